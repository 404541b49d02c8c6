/** Sealing: writing the checksum of published frames, in the log buffer, just before they are written to disk. */
import { assert, InternalError } from '../platform/errors.js';
import { addressOf } from '../platform/ffi.js';
import { nativeSeal, SEAL_STATE, type NativeSeal } from '../platform/native-seal.js';
import { crc32c } from './protocol/crc32c.js';
import { boundChecksum, CHECKSUM_BYTES, frameBytes, HEADER_BYTES, KIND, RECORD_BYTES_MAX } from './protocol/frame.js';
import type { LogBuffer } from './protocol/log-buffer.js';
import type { Sealing } from './protocol/messages.js';

export interface Sealer {
  /** Seals every frame that ends by `limit`; answers how far the log, from its start on, is fit to be written. */
  seal(limit: number): number;
  /** Goes on at the frame boundary `lsn`: the log between is none of its business. */
  moveTo(lsn: number): void;
  /** How far the log is sealed. */
  readonly position: number;
  /** The end of the last sealed frame: behind {@link seal}'s answer when that lies inside a frame. */
  readonly frameEnd: number;
  /** Records sealed so far, and where the last of them begins. */
  readonly records: number;
  readonly lastRecordLsn: number;
  /** The pad that sealing stands in, or has just left; undefined when that frame is another one. */
  readonly pad: { readonly start: number; readonly end: number } | undefined;
}

/**
 * A sealer that begins at the frame boundary `lsn`: the native one where it was built. `idChecksum` binds the frames to
 * their journal and place (segment layout); without it they are those of the file layout.
 */
export function createSealer(log: LogBuffer, lsn: number, idChecksum?: number): Sealer {
  const native = nativeSeal();
  return native === undefined ? new ScriptSealer(log, lsn, idChecksum) : new NativeSealer(native, log, lsn, idChecksum);
}

/** Which of the two sealers this system has. */
export function sealing(): Sealing {
  return nativeSeal() === undefined ? 'script' : 'native';
}

export class NativeSealer implements Sealer {
  readonly #seal: NativeSeal;
  readonly #log: LogBuffer;
  readonly #window: number;
  /** Native code keeps no pointer to it after a call, but a small array would move during one. */
  readonly #state = new BigUint64Array(new SharedArrayBuffer(Math.max(SEAL_STATE.words * 8, 128)));
  readonly #stateAddress: number;
  #at: number;

  constructor(seal: NativeSeal, log: LogBuffer, lsn: number, idChecksum?: number) {
    this.#seal = seal;
    this.#log = log;
    this.#window = addressOf(log.bytes);
    this.#stateAddress = addressOf(new Uint8Array(this.#state.buffer));
    this.#state[SEAL_STATE.bound] = idChecksum === undefined ? 0n : 1n;
    this.#state[SEAL_STATE.idChecksum] = BigInt(idChecksum ?? 0);
    this.#state[SEAL_STATE.frameStart] = BigInt(lsn);
    this.#at = lsn;
  }

  get position(): number {
    return this.#at;
  }

  get frameEnd(): number {
    return this.#word(SEAL_STATE.frameStart);
  }

  get records(): number {
    return this.#word(SEAL_STATE.records);
  }

  get lastRecordLsn(): number {
    return this.#word(SEAL_STATE.lastRecord);
  }

  get pad(): { start: number; end: number } | undefined {
    const padKind = KIND.pad & 0xff;
    const frameEnd = this.#word(SEAL_STATE.frameEnd);
    if (frameEnd !== 0) return this.#word(SEAL_STATE.kind) === padKind ? { start: this.frameEnd, end: frameEnd } : undefined;
    return this.#word(SEAL_STATE.lastKind) === padKind ? { start: this.#word(SEAL_STATE.lastStart), end: this.frameEnd } : undefined;
  }

  seal(limit: number): number {
    const end = Number(this.#seal(this.#window, this.#log.capacity, this.#at, limit, this.#stateAddress));
    if (end < 0) throw new InternalError(`no frame was published at or after LSN ${this.#at}`);
    assert(end >= this.#at && end <= limit, 'sealing goes forward, up to its limit');
    this.#at = end;
    return end;
  }

  moveTo(lsn: number): void {
    assert(this.#at === this.frameEnd && lsn >= this.#at, 'sealing moves on from the end of a frame');
    this.#state[SEAL_STATE.frameStart] = BigInt(lsn);
    this.#at = lsn;
  }

  #word(index: number): number {
    return Number(this.#state[index]);
  }
}

/** The frame that sealing stands in. */
interface OpenFrame {
  readonly kind: number;
  readonly start: number;
  readonly end: number;
  /** Where the checksum stands, and where what it covers ends. */
  readonly bodyEnd: number;
}

export class ScriptSealer implements Sealer {
  readonly #log: LogBuffer;
  readonly #idChecksum: number | undefined;
  #at: number;
  #frameStart: number;
  /** Undefined while the header at `#at` was not read. */
  #frame: OpenFrame | undefined;
  #checksum = 0;
  #records = 0;
  #lastRecordLsn = 0;
  #last: OpenFrame | undefined;

  constructor(log: LogBuffer, lsn: number, idChecksum?: number) {
    this.#log = log;
    this.#idChecksum = idChecksum;
    this.#at = lsn;
    this.#frameStart = lsn;
  }

  get position(): number {
    return this.#at;
  }

  get frameEnd(): number {
    return this.#frameStart;
  }

  get records(): number {
    return this.#records;
  }

  get lastRecordLsn(): number {
    return this.#lastRecordLsn;
  }

  get pad(): { start: number; end: number } | undefined {
    const frame = this.#frame ?? this.#last;
    return frame?.kind === KIND.pad ? frame : undefined;
  }

  seal(limit: number): number {
    for (;;) {
      // Only a cut at a batch's limit can divide a header: that frame is left to the next batch.
      if (this.#frame === undefined && limit - this.#at < HEADER_BYTES) return this.#at;
      this.#frame ??= this.#enterFrame();
      const frame = this.#frame;
      if (this.#at <= frame.bodyEnd) {
        const through = Math.min(limit, frame.bodyEnd);
        if (through > this.#at) {
          for (const piece of this.#log.pieces(this.#at, through)) this.#checksum = crc32c(piece, this.#checksum);
        }
        this.#at = through;
        if (limit < frame.bodyEnd + CHECKSUM_BYTES) return this.#at;
        this.#log.putChecksum(frame.bodyEnd, this.#checksum);
      }
      this.#at = Math.min(limit, frame.end);
      if (limit < frame.end) return this.#at;
      this.#leaveFrame(frame);
      if (frame.end === limit) return limit;
    }
  }

  moveTo(lsn: number): void {
    assert(this.#frame === undefined && lsn >= this.#at, 'sealing moves on from the end of a frame');
    this.#frameStart = lsn;
    this.#at = lsn;
  }

  #enterFrame(): OpenFrame {
    const start = this.#at;
    const { magic, recordBytes } = this.#log.header(start);
    const known = this.#idChecksum === undefined ? magic === KIND.record : magic >= KIND.boundRecord && magic <= KIND.mark;
    if (!known || (magic !== KIND.pad && recordBytes > RECORD_BYTES_MAX)) throw new InternalError(`no frame was published at LSN ${start}`);
    this.#checksum = this.#idChecksum === undefined ? 0 : boundChecksum(this.#idChecksum, start);
    const end = start + frameBytes(recordBytes);
    // The checksum of a pad stands right behind its header; what follows means nothing.
    return { kind: magic, start, end, bodyEnd: magic === KIND.pad ? start + HEADER_BYTES : end - CHECKSUM_BYTES };
  }

  #leaveFrame(frame: OpenFrame): void {
    if (frame.kind <= KIND.boundRecord) {
      this.#records++;
      this.#lastRecordLsn = frame.start;
    }
    this.#last = frame;
    this.#frame = undefined;
    this.#frameStart = frame.end;
  }
}
