/**
 * The shared log buffer: byte `lsn mod capacity` of it is byte `lsn` of the log.
 *
 * It is a window on the log, not a queue: the disk writes straight out of it. {@link LogBuffer} is the window,
 * {@link Producer} the way in: reserve, copy, publish.
 */
import { assert } from '../../platform/errors.js';
import { CHECKSUM_BYTES, frameBytes, HEADER_BYTES, KIND } from './frame.js';
import { SEALED_LSN, type ControlBlock } from './control-block.js';

/** Direct IO wants memory aligned to a sector; no disk has larger ones than this. */
export const LOG_BUFFER_ALIGNMENT = 4096;

export type RecordBytes = string | Uint8Array;

/** The log buffer as it travels between threads. `skipBytes` leads from the buffer's start to its aligned base. */
export interface SharedLogBuffer {
  readonly buffer: SharedArrayBuffer;
  readonly skipBytes: number;
  readonly capacity: number;
}

export class LogBuffer {
  readonly capacity: number;
  readonly bytes: Uint8Array;
  /** The same memory, for its UTF-8 writer. */
  readonly #buffer: Buffer;
  readonly #view: DataView;

  constructor({ buffer, skipBytes, capacity }: SharedLogBuffer) {
    assert(capacity > 0 && (capacity & (capacity - 1)) === 0, 'the capacity is a power of two');
    assert(skipBytes + capacity <= buffer.byteLength, 'the window lies inside its memory');
    this.capacity = capacity;
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

  /** Where byte `lsn` of the log lies in {@link bytes}. */
  position(lsn: number): number {
    // The capacity is a power of two but an LSN has up to 53 bits, so no bit mask.
    return lsn % this.capacity;
  }

  putHeader(lsn: number, recordBytes: number): void {
    const at = this.position(lsn);
    if (at + HEADER_BYTES <= this.capacity) {
      this.#view.setUint32(at, KIND.record, false);
      this.#view.setUint32(at + 4, recordBytes, true);
      return;
    }
    const header = new DataView(new ArrayBuffer(HEADER_BYTES));
    header.setUint32(0, KIND.record, false);
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

  constructor(control: ControlBlock, log: LogBuffer, slot: number) {
    this.#control = control;
    this.#log = log;
    this.#slot = slot;
    this.#seenEnd = control.reservedLsn;
    this.#seenReleased = control.releasedLsn;
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

  /** Moves the end of the log by `bytes` when `roomBytes` of them fit the window. The slot stays entered on success. */
  #reserve(bytes: number, roomBytes = bytes): number {
    const capacity = this.#log.capacity;
    let expected = this.#seenEnd;
    // Any earlier end is a valid lower bound: this reservation cannot begin before it.
    this.#control.enter(this.#slot, expected);
    for (;;) {
      if (expected + roomBytes - this.#seenReleased > capacity) {
        this.#seenReleased = this.#control.releasedLsn;
        if (expected + roomBytes - this.#seenReleased > capacity) {
          // The guess may be behind or, never, ahead of the true end: look before giving up.
          const end = this.#control.reservedLsn;
          this.#seenEnd = end;
          if (end === expected) break;
          expected = end;
          continue;
        }
      }
      const found = this.#control.reserve(expected, bytes);
      if (found === expected) {
        this.#seenEnd = expected + bytes;
        return expected;
      }
      if (found === SEALED_LSN) break;
      expected = found;
    }
    this.#control.publish(this.#slot);
    // A writer that saw the bound may have gone to sleep on it.
    this.#control.ringDoorbell();
    return -1;
  }
}
