/** Sealing: writing the checksum of published frames, in the log buffer, just before they are written to disk. */
import { assert, InternalError } from '../platform/errors.js';
import { addressOf } from '../platform/ffi.js';
import { nativeSeal, SEAL_STATE, type NativeSeal } from '../platform/native-seal.js';
import { crc32c } from './protocol/crc32c.js';
import { CHECKSUM_BYTES, frameBytes, HEADER_BYTES, RECORD_BYTES_MAX, KIND } from './protocol/frame.js';
import type { LogBuffer } from './protocol/log-buffer.js';
import type { Sealing } from './protocol/messages.js';

export interface Sealer {
  /** Seals every frame that ends by `limit`; answers how far the log, from its start on, is fit to be written. */
  seal(limit: number): number;
  /** How far the log is sealed. */
  readonly position: number;
  /** The end of the last sealed frame: behind {@link seal}'s answer when that lies inside a frame. */
  readonly frameEnd: number;
}

/** A sealer that begins at the frame boundary `lsn`: the native one where it was built. */
export function createSealer(log: LogBuffer, lsn: number): Sealer {
  const native = nativeSeal();
  return native === undefined ? new ScriptSealer(log, lsn) : new NativeSealer(native, log, lsn);
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
  readonly #state = new BigUint64Array(new SharedArrayBuffer(SEAL_STATE.words * 8));
  readonly #stateAddress: number;
  #at: number;

  constructor(seal: NativeSeal, log: LogBuffer, lsn: number) {
    this.#seal = seal;
    this.#log = log;
    this.#window = addressOf(log.bytes);
    this.#stateAddress = addressOf(new Uint8Array(this.#state.buffer));
    this.#state[SEAL_STATE.frameStart] = BigInt(lsn);
    this.#at = lsn;
  }

  get position(): number {
    return this.#at;
  }

  get frameEnd(): number {
    return Number(this.#state[SEAL_STATE.frameStart]);
  }

  seal(limit: number): number {
    const end = Number(this.#seal(this.#window, this.#log.capacity, this.#at, limit, this.#stateAddress));
    if (end < 0) throw new InternalError(`no frame was published at or after LSN ${this.#at}`);
    assert(end >= this.#at && end <= limit, 'sealing goes forward, up to its limit');
    this.#at = end;
    return end;
  }
}

export class ScriptSealer implements Sealer {
  readonly #log: LogBuffer;
  #at: number;
  /** Start of the frame that `#at` stands in or at, its end once the header was read, and the checksum so far. */
  #frameStart: number;
  #frameEnd: number | undefined;
  #checksum = 0;

  constructor(log: LogBuffer, lsn: number) {
    this.#log = log;
    this.#at = lsn;
    this.#frameStart = lsn;
  }

  get position(): number {
    return this.#at;
  }

  get frameEnd(): number {
    return this.#frameStart;
  }

  seal(limit: number): number {
    for (;;) {
      if (this.#frameEnd === undefined) {
        // Only a cut at a batch's limit can divide a header: that frame is left to the next batch.
        if (limit - this.#at < HEADER_BYTES) return this.#at;
        this.#enterFrame();
      }
      const frameEnd = this.#frameEnd as unknown as number;
      const bodyEnd = frameEnd - CHECKSUM_BYTES;
      const through = Math.min(limit, bodyEnd);
      if (through > this.#at) {
        for (const piece of this.#log.pieces(this.#at, through)) this.#checksum = crc32c(piece, this.#checksum);
        this.#at = through;
      }
      if (limit < frameEnd) return this.#at;
      this.#log.putChecksum(bodyEnd, this.#checksum);
      this.#at = frameEnd;
      this.#frameStart = frameEnd;
      this.#frameEnd = undefined;
      if (frameEnd === limit) return limit;
    }
  }

  #enterFrame(): void {
    const { magic, recordBytes } = this.#log.header(this.#at);
    if (magic !== KIND.record || recordBytes > RECORD_BYTES_MAX) {
      throw new InternalError(`no frame was published at LSN ${this.#at}`);
    }
    this.#frameStart = this.#at;
    this.#frameEnd = this.#at + frameBytes(recordBytes);
    this.#checksum = 0;
  }
}
