/**
 * The shared log buffer: byte `lsn mod capacity` of it is byte `lsn` of the log.
 *
 * It is a window on the log, not a queue: the disk writes straight out of it. {@link LogBuffer} is the window,
 * {@link Producer} the way in: reserve, copy, publish.
 */
import { assert } from '../../platform/errors.js';
import { CHECKSUM_BYTES, frameBytes, HEADER_BYTES, KIND, OVERHEAD_BYTES, RECORD_BYTES_MAX } from './frame.js';
import { Geometry, MARK_BYTES, SEGMENT_HEADER_BYTES } from './segment.js';
import { SEALED_LSN, type ControlBlock } from './control-block.js';

/** Direct IO wants memory aligned to a sector; no disk has larger ones than this. */
export const LOG_BUFFER_ALIGNMENT = 4096;

export type RecordBytes = string | Uint8Array;

/** The log buffer as it travels between threads. `skipBytes` leads from the buffer's start to its aligned base. */
export interface SharedLogBuffer {
  readonly buffer: SharedArrayBuffer;
  readonly skipBytes: number;
  readonly capacity: number;
  /** Size of a segment; without it the log is one file. */
  readonly segmentBytes?: number | undefined;
}

export class LogBuffer {
  readonly capacity: number;
  readonly bytes: Uint8Array;
  /** Where frames may stand; undefined when the log is one file. */
  readonly geometry: Geometry | undefined;
  readonly #recordKind: number;
  /** The same memory, for its UTF-8 writer. */
  readonly #buffer: Buffer;
  readonly #view: DataView;

  constructor({ buffer, skipBytes, capacity, segmentBytes }: SharedLogBuffer) {
    assert(capacity > 0 && (capacity & (capacity - 1)) === 0, 'the capacity is a power of two');
    assert(skipBytes + capacity <= buffer.byteLength, 'the window lies inside its memory');
    this.capacity = capacity;
    this.geometry = segmentBytes === undefined ? undefined : new Geometry(segmentBytes);
    this.#recordKind = segmentBytes === undefined ? KIND.record : KIND.boundRecord;
    this.bytes = new Uint8Array(buffer, skipBytes, capacity);
    this.#buffer = Buffer.from(buffer, skipBytes, capacity);
    this.#view = new DataView(buffer, skipBytes, capacity);
  }

  /**
   * The longest range that is sure to fit at once. The window begins with a sector that is durable only in part, so the
   * whole capacity may never be free.
   */
  get wholeBytesMax(): number {
    return this.capacity - LOG_BUFFER_ALIGNMENT;
  }

  /** The longest record that the log can take. */
  get recordBytesMax(): number {
    return this.geometry?.recordBytesMax ?? RECORD_BYTES_MAX;
  }

  /** The longest range of frames that can be appended as one. */
  get rangeBytesMax(): number {
    return this.geometry?.rangeBytesMax ?? Infinity;
  }

  /** Where byte `lsn` of the log lies in {@link bytes}. */
  position(lsn: number): number {
    // The capacity is a power of two but an LSN has up to 53 bits, so no bit mask.
    return lsn % this.capacity;
  }

  putHeader(lsn: number, recordBytes: number, kind = this.#recordKind): void {
    const at = this.position(lsn);
    if (at + HEADER_BYTES <= this.capacity) {
      this.#view.setUint32(at, kind, false);
      this.#view.setUint32(at + 4, recordBytes, true);
      return;
    }
    const header = new DataView(new ArrayBuffer(HEADER_BYTES));
    header.setUint32(0, kind, false);
    header.setUint32(4, recordBytes, true);
    this.put(lsn, new Uint8Array(header.buffer));
  }

  /** Reads the header at `lsn` that {@link putHeader} wrote. */
  header(lsn: number): { magic: number; recordBytes: number } {
    const at = this.position(lsn);
    if (at + HEADER_BYTES <= this.capacity) {
      return { magic: this.#view.getUint32(at, false), recordBytes: this.#view.getUint32(at + 4, true) };
    }
    const header = new Uint8Array(HEADER_BYTES);
    for (let i = 0; i < HEADER_BYTES; i++) header[i] = this.bytes[this.position(lsn + i)] ?? 0;
    const view = new DataView(header.buffer);
    return { magic: view.getUint32(0, false), recordBytes: view.getUint32(4, true) };
  }

  /** Puts a pad that fills the log from `lsn` to `end`. Zeros follow its header up to `zeroedEnd`. */
  putPad(lsn: number, end: number, zeroedEnd: number): void {
    this.putHeader(lsn, end - lsn - OVERHEAD_BYTES, KIND.pad);
    for (const piece of this.pieces(lsn + HEADER_BYTES, Math.max(lsn + OVERHEAD_BYTES, zeroedEnd))) piece.fill(0);
  }

  putChecksum(lsn: number, checksum: number): void {
    const at = this.position(lsn);
    if (at + CHECKSUM_BYTES <= this.capacity) {
      this.#view.setUint32(at, checksum, true);
      return;
    }
    for (let i = 0; i < CHECKSUM_BYTES; i++) this.bytes[this.position(lsn + i)] = (checksum >>> (8 * i)) & 0xff;
  }

  /** Copies `source` to the log position `lsn`, around the end of the window if need be. */
  put(lsn: number, source: Uint8Array): void {
    const at = this.position(lsn);
    if (at + source.length <= this.capacity) {
      this.bytes.set(source, at);
      return;
    }
    const first = this.capacity - at;
    this.bytes.set(source.subarray(0, first), at);
    this.bytes.set(source.subarray(first), 0);
  }

  /** Writes `bytes` bytes of UTF-8 text to the log position `lsn`. */
  putText(lsn: number, text: string, bytes: number): void {
    const at = this.position(lsn);
    if (at + bytes <= this.capacity) this.#buffer.write(text, at, bytes, 'utf8');
    else this.put(lsn, Buffer.from(text, 'utf8'));
  }

  /** The pieces, one or two, in which the log range lies in the window. */
  pieces(start: number, end: number): Uint8Array[] {
    assert(end - start <= this.capacity, 'a range fits the window');
    const at = this.position(start);
    const bytes = end - start;
    if (at + bytes <= this.capacity) return [this.bytes.subarray(at, at + bytes)];
    return [this.bytes.subarray(at), this.bytes.subarray(0, at + bytes - this.capacity)];
  }
}

/** Whether these bytes are gone: their buffer was transferred to another thread. */
export function isDetached(bytes: unknown): boolean {
  if (!(bytes instanceof Uint8Array) || bytes.buffer.byteLength > 0) return false;
  try {
    return new Uint8Array(bytes.buffer).length > 0;
  } catch {
    return true;
  }
}

export const DETACHED = 'Expected bytes, got a Uint8Array whose buffer was transferred: nothing is left of it here';

export function recordLength(record: RecordBytes): number {
  return typeof record === 'string' ? Buffer.byteLength(record, 'utf8') : record.byteLength;
}

/** One thread's way into the log buffer. It owns one producer slot of the control block. */
export class Producer {
  readonly #control: ControlBlock;
  readonly #log: LogBuffer;
  readonly #slot: number;
  /** The end of the log as this thread saw it last: a guess that is right while it appends alone. */
  #seenEnd: number;
  /** Space before it may be reused, as seen last: it only grows, so an old value is safe. */
  #seenReleased: number;
  #seenSpaceEnd: number;
  #lacksSegment = false;
  /** The end of the segments in place when an append had to wait for another one. */
  #stalledAt = -1;
  /** The footer of the segment that was appended to last; without segments there is none. */
  #footer = Infinity;

  constructor(control: ControlBlock, log: LogBuffer, slot: number) {
    this.#control = control;
    this.#log = log;
    this.#slot = slot;
    this.#seenEnd = control.reservedLsn;
    this.#seenReleased = control.releasedLsn;
    this.#seenSpaceEnd = control.spaceEnd;
    if (log.geometry !== undefined) this.#footer = log.geometry.footerOf(log.geometry.baseOf(this.#seenEnd));
  }

  /** The last reservation that was refused needed a segment that is not in place yet. */
  get lacksSegment(): boolean {
    return this.#lacksSegment;
  }

  /**
   * Appends one frame that fits the window. Answers the LSN of its start, or -1 when there is no room now.
   * Synchronous from reservation to publication, so no thread that runs keeps another waiting.
   */
  tryAppend(record: RecordBytes, recordBytes: number): number {
    const start = this.#reserve(frameBytes(recordBytes));
    if (start < 0) return -1;
    this.#putFrame(start, record, recordBytes);
    this.#control.publish(this.#slot);
    this.#control.ringDoorbell();
    return start;
  }

  /** The same for frames that follow each other without a gap; all or none. */
  tryAppendBatch(records: readonly RecordBytes[], lengths: readonly number[], totalBytes: number): number {
    const start = this.#reserve(totalBytes);
    if (start < 0) return -1;
    let at = start;
    for (let i = 0; i < records.length; i++) {
      const recordBytes = lengths[i] ?? 0;
      this.#putFrame(at, records[i] ?? '', recordBytes);
      at += frameBytes(recordBytes);
    }
    assert(at === start + totalBytes, 'the frames of a batch fill their reservation');
    this.#control.publish(this.#slot);
    this.#control.ringDoorbell();
    return start;
  }

  /**
   * Reserves a range longer than the window. It is copied and published piece by piece as room appears
   * ({@link publishThrough}), then ended with {@link finish}. Answers -1 while another large range is not through.
   */
  tryReserveLarge(bytes: number): number {
    return this.#reserve(bytes, 0);
  }

  /** How far the window reaches at this moment: bytes before it may be copied. */
  windowEnd(): number {
    this.#seenReleased = this.#control.releasedLsn;
    return this.#seenReleased + this.#log.capacity;
  }

  /** Publishes what a large reservation has copied so far; `lsn` lies inside it. */
  publishThrough(lsn: number): void {
    this.#control.enter(this.#slot, lsn);
    this.#control.ringDoorbell();
  }

  finish(): void {
    this.#control.publish(this.#slot);
    this.#control.ringDoorbell();
  }

  #putFrame(lsn: number, record: RecordBytes, recordBytes: number): void {
    this.#log.putHeader(lsn, recordBytes);
    if (typeof record === 'string') this.#log.putText(lsn + HEADER_BYTES, record, recordBytes);
    else this.#log.put(lsn + HEADER_BYTES, record);
  }

  /**
   * Moves the end of the log by `bytes` when `roomBytes` of them fit the window. The slot stays entered on success.
   * Where the segment has no room for all of them, the rest of it becomes a pad and the next segment is tried.
   */
  #reserve(bytes: number, roomBytes = bytes): number {
    let expected = this.#seenEnd;
    this.#lacksSegment = false;
    // Any earlier end is a valid lower bound: this reservation cannot begin before it.
    this.#control.enter(this.#slot, expected);
    for (;;) {
      const skipped = this.#fits(expected, bytes) ? 0 : this.#rest(expected);
      const taken = skipped > 0 ? skipped : bytes + this.#jump(expected + bytes);
      const room = skipped > 0 ? padRoom(expected) : roomBytes;
      if (!this.#hasRoom(expected + taken, expected + room)) {
        // The guess may be behind or, never, ahead of the true end: look before giving up.
        const end = this.#control.reservedLsn;
        this.#seenEnd = end;
        if (end === expected) break;
        expected = end;
        continue;
      }
      const found = this.#control.reserve(expected, taken);
      if (found === expected) {
        this.#seenEnd = expected + taken;
        if (skipped === 0) return expected;
        this.#log.putPad(expected, this.#footer, expected + room);
        expected = this.#seenEnd;
        // Raising the bound publishes the pad, and holds nothing below the segment that follows.
        this.#control.enter(this.#slot, expected);
        continue;
      }
      if (found === SEALED_LSN) break;
      expected = found;
    }
    this.#control.publish(this.#slot);
    // A writer that saw the bound may have gone to sleep on it.
    this.#control.ringDoorbell();
    return -1;
  }

  /** Whether the log may reach to `end`, and the window to `roomEnd`; notes what is missing. */
  #hasRoom(end: number, roomEnd: number): boolean {
    if (end > this.#seenSpaceEnd) {
      this.#seenSpaceEnd = this.#control.spaceEnd;
      this.#lacksSegment = end > this.#seenSpaceEnd;
      if (this.#lacksSegment) {
        this.#wantSegment();
        return false;
      }
    }
    if (roomEnd - this.#seenReleased <= this.#log.capacity) return true;
    this.#seenReleased = this.#control.releasedLsn;
    return roomEnd - this.#seenReleased <= this.#log.capacity;
  }

  #wantSegment(): void {
    this.#control.wantSegment();
    // Counted once, however often it is tried again.
    if (this.#stalledAt !== this.#seenSpaceEnd) this.#control.count('rotationStalls');
    this.#stalledAt = this.#seenSpaceEnd;
  }

  // ---- segments --------------------------------------------------------------------------------------------------

  /** Whether frames of `bytes` in all may stand at `lsn`. */
  #fits(lsn: number, bytes: number): boolean {
    // Nearly always far from the end of the segment that the last append was in.
    if (lsn + bytes + OVERHEAD_BYTES <= this.#footer) return true;
    const { geometry } = this.#log;
    if (geometry === undefined) return true;
    this.#footer = geometry.footerOf(geometry.baseOf(lsn));
    return geometry.fits(lsn, bytes);
  }

  /** From `lsn` to the body of the next segment. After {@link #fits} has looked at it. */
  #rest(lsn: number): number {
    assert(this.#log.geometry !== undefined && this.#footer >= lsn + OVERHEAD_BYTES, 'a segment that is left has room for a pad');
    return this.#footer - lsn + JUMP_BYTES;
  }

  /** What the log skips when frames end at `lsn`: footer and header, where that is the end of a body. */
  #jump(lsn: number): number {
    return lsn === this.#footer ? JUMP_BYTES : 0;
  }
}

/** A footer and the next segment's header: LSNs between two bodies. */
const JUMP_BYTES = MARK_BYTES + SEGMENT_HEADER_BYTES;

/** A pad's header and the rest of the sector it is in must lie in the window; the rest of it is never written. */
function padRoom(lsn: number): number {
  return Math.ceil((lsn + OVERHEAD_BYTES) / LOG_BUFFER_ALIGNMENT) * LOG_BUFFER_ALIGNMENT - lsn;
}
