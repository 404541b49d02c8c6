/**
 * Walks the frames of a file-layout journal. Pure: it asks for bytes and is told them, so that the same walk serves
 * blocking recovery and the asynchronous reader.
 *
 * The memory it asks for is bounded: a length that it finds is believed only as far as the file reaches, and a long frame is
 * checked piece by piece before it is read as a whole.
 */
import { crc32c } from './crc32c.js';
import { CHECKSUM_BYTES, frameBytes, HEADER_BYTES, RECORD_BYTES_MAX, KIND } from './frame.js';

/**
 * How a journal ends:
 * `clean-end` after the last frame come zeros or nothing; `truncated-header` fewer bytes than a header has;
 * `truncated-payload` fewer than the header announces; `checksum-mismatch` a whole frame with a wrong checksum;
 * `bad-magic` something else than a frame; `length-overflow` a length beyond the format's limit.
 */
export type TailState = 'clean-end' | 'truncated-header' | 'truncated-payload' | 'checksum-mismatch' | 'bad-magic' | 'length-overflow';

export interface Tail {
  readonly state: TailState;
  /** LSN where the last valid frame ends. */
  readonly position: number;
  /** What was expected and found there, in words. */
  readonly detail: string;
}

export interface Frame {
  /** LSN of the frame's first byte. */
  readonly start: number;
  /** LSN after the frame. */
  readonly end: number;
  readonly payload: Uint8Array;
}

/** A request for the bytes at `offset`. The answer is fresh memory, and shorter only where the file ends. */
export interface ReadRequest {
  readonly offset: number;
  readonly bytes: number;
}

export type WalkStep = { readonly read: ReadRequest } | { readonly frame: Frame };

/** Bytes read at once. Several thousand small records; little beside a large one. */
const WINDOW_BYTES = 256 * 1024;

/** A longer frame is checked piece by piece before memory for the whole of it is asked for. */
const WHOLE_BYTES_MAX = 1024 * 1024;

/** Yields requests and frames from `position` on, returns how the walk ended. `sizeBytes` is where the file ends. */
export function* walkFrames(position: number, sizeBytes: number): Generator<WalkStep, Tail, Uint8Array> {
  let window: Uint8Array = new Uint8Array(0);
  let view = new DataView(window.buffer);
  let windowStart = position;
  let at = position;

  /** Has at least `bytes` bytes from `at` in the window, unless the file ends before. */
  function* load(bytes: number): Generator<WalkStep, number, Uint8Array> {
    const held = windowStart + window.length - at;
    if (held >= bytes || windowStart + window.length >= sizeBytes) return held;
    window = yield { read: { offset: at, bytes: Math.min(Math.max(bytes, WINDOW_BYTES), sizeBytes - at) } };
    view = new DataView(window.buffer, window.byteOffset, window.length);
    windowStart = at;
    return window.length;
  }

  const tail = (state: TailState, detail: string): Tail => ({ state, position: at, detail });

  for (;;) {
    const held = yield* load(HEADER_BYTES);
    if (held === 0) return tail('clean-end', 'the journal ends with its last frame');
    const offset = at - windowStart;
    if (isZero(window.subarray(offset, offset + HEADER_BYTES))) {
      const data = yield* findData(at, sizeBytes);
      if (data === undefined) return tail('clean-end', 'unwritten space follows the last frame');
      return tail('bad-magic', `expected a frame, got zeros, and data again at offset ${data}`);
    }
    if (held < HEADER_BYTES) return tail('truncated-header', `expected ${HEADER_BYTES} bytes of header, got ${held}`);
    const magic = view.getUint32(offset, false);
    if (magic !== KIND.record) {
      return tail('bad-magic', `expected magic ${hex(KIND.record)}, got ${hex(magic)}`);
    }
    const recordBytes = view.getUint32(offset + 4, true);
    if (recordBytes > RECORD_BYTES_MAX) {
      return tail('length-overflow', `expected a length of at most ${RECORD_BYTES_MAX}, got ${recordBytes}`);
    }
    const total = frameBytes(recordBytes);
    if (total > sizeBytes - at) {
      return tail('truncated-payload', `expected a frame of ${total} bytes, got ${sizeBytes - at} before the end`);
    }
    const shrank = (): Tail => tail('truncated-payload', `expected a frame of ${total} bytes, but the file shrank`);
    const mismatch = (expected: number, found: number): Tail => tail('checksum-mismatch', `expected checksum ${hex(expected)}, got ${hex(found)}`);
    if (total > WHOLE_BYTES_MAX) {
      const sums = yield* checksumsOf(at, total - CHECKSUM_BYTES);
      if (sums === undefined) return shrank();
      if (sums.found !== sums.expected) return mismatch(sums.expected, sums.found);
    }
    if ((yield* load(total)) < total) return shrank();
    const start = at - windowStart;
    const bodyEnd = start + total - CHECKSUM_BYTES;
    const found = view.getUint32(bodyEnd, true);
    const expected = crc32c(window.subarray(start, bodyEnd));
    if (found !== expected) return mismatch(expected, found);
    const payload = window.subarray(start + HEADER_BYTES, bodyEnd);
    const frame = { start: at, end: at + total, payload };
    at += total;
    yield { frame };
  }
}

/** The checksum of the `bodyBytes` bytes at `at`, read piece by piece, and the one that stands behind them. */
function* checksumsOf(at: number, bodyBytes: number): Generator<WalkStep, { expected: number; found: number } | undefined, Uint8Array> {
  let expected = 0;
  for (let done = 0; done < bodyBytes;) {
    const piece = yield { read: { offset: at + done, bytes: Math.min(WINDOW_BYTES, bodyBytes - done) } };
    if (piece.length === 0) return undefined;
    expected = crc32c(piece, expected);
    done += piece.length;
  }
  const last = yield { read: { offset: at + bodyBytes, bytes: CHECKSUM_BYTES } };
  if (last.length < CHECKSUM_BYTES) return undefined;
  return { expected, found: new DataView(last.buffer, last.byteOffset).getUint32(0, true) };
}

/** Offset of the first byte at or after `from` that is not zero. */
export function* findData(from: number, sizeBytes: number): Generator<WalkStep, number | undefined, Uint8Array> {
  for (let at = from; at < sizeBytes;) {
    const chunk = yield { read: { offset: at, bytes: Math.min(WINDOW_BYTES, sizeBytes - at) } };
    if (chunk.length === 0) return undefined;
    const index = firstNonZero(chunk);
    if (index >= 0) return at + index;
    at += chunk.length;
  }
  return undefined;
}

const ZEROS = Buffer.alloc(WINDOW_BYTES);

function isZero(bytes: Uint8Array): boolean {
  return ZEROS.compare(bytes, 0, bytes.length, 0, bytes.length) === 0;
}

function firstNonZero(bytes: Uint8Array): number {
  return isZero(bytes) ? -1 : bytes.findIndex((byte) => byte !== 0);
}

/** Offset after the last byte that is not zero, within `bytes`; 0 when there is none. */
export function dataLength(bytes: Uint8Array): number {
  return isZero(bytes) ? 0 : bytes.findLastIndex((byte) => byte !== 0) + 1;
}

function hex(value: number): string {
  return value.toString(16).padStart(8, '0');
}
