/**
 * Walks the frames of one segment. Pure: it asks for bytes and is told them, so that the same walk serves blocking
 * recovery and the asynchronous readers.
 *
 * The memory it asks for is bounded: a long frame is checked piece by piece before it is read as a whole.
 */
import { crc32c } from './crc32c.js';
import { boundChecksum, CHECKSUM_BYTES, frameBytes, HEADER_BYTES, KIND, OVERHEAD_BYTES } from './frame.js';
import type { TailState } from './frame-walk.js';
import { decodeMark, MARK_BYTES, type CommitMark, type Geometry } from './segment.js';

/** What binds the frames of a journal, and where they may lie. */
export interface SegmentFormat {
  readonly idSum: number;
  readonly geometry: Geometry;
}

/** A request for bytes of the segment at `base`. The answer is fresh memory, and shorter only where the file ends. */
export interface SegmentRead {
  readonly base: number;
  readonly offset: number;
  readonly bytes: number;
}

interface FrameRange {
  /** LSN of the frame's first byte. */
  readonly start: number;
  /** LSN after the frame. */
  readonly end: number;
}

export type SegmentFrame = FrameRange & (
  | { readonly kind: 'record'; readonly payload: Uint8Array }
  | { readonly kind: 'pad' }
  | { readonly kind: 'mark'; readonly mark: CommitMark }
);

export type SegmentStep = { readonly read: SegmentRead } | { readonly frame: SegmentFrame };

export type SegmentEnd =
  /** The body is tiled to its end; `footer` is its commit mark, undefined when that is not valid. */
  | { readonly kind: 'full'; readonly position: number; readonly footer: CommitMark | undefined }
  /** The next frame ends beyond the limit. */
  | { readonly kind: 'limit'; readonly position: number }
  /** No valid frame lies at `position`. */
  | { readonly kind: 'invalid'; readonly position: number; readonly problem: FrameProblem };

export interface FrameProblem {
  /** `clean-end` means: zeros where the header would be. */
  readonly state: TailState;
  readonly expected: string;
  readonly found: string;
}

const WINDOW_BYTES = 256 * 1024;
/** A longer frame is checked piece by piece before memory for the whole of it is asked for. */
const WHOLE_BYTES_MAX = 1024 * 1024;

/**
 * Yields requests and frames from the frame boundary `from` on, and returns how the walk ended. No frame that ends beyond
 * `limit` is looked at.
 */
export function* walkSegment(format: SegmentFormat, from: number, limit = Infinity): Generator<SegmentStep, SegmentEnd, Uint8Array> {
  const { geometry, idSum } = format;
  const base = geometry.baseOf(from);
  const footerLsn = geometry.footerOf(base);
  let window: Uint8Array = new Uint8Array(0);
  let view = new DataView(window.buffer);
  let windowStart = from;
  let at = from;

  /** Has at least `bytes` bytes from `at` in the window, unless the file ends before. Answers how many there are. */
  function* load(bytes: number): Generator<SegmentStep, number, Uint8Array> {
    const held = windowStart + window.length - at;
    if (held >= bytes) return held;
    const wanted = Math.min(Math.max(bytes, WINDOW_BYTES), base + geometry.segmentBytes - at);
    window = yield { read: { base, offset: at - base, bytes: wanted } };
    view = new DataView(window.buffer, window.byteOffset, window.length);
    windowStart = at;
    return window.length;
  }

  const invalid = (state: TailState, expected: string, found: string): SegmentEnd =>
    ({ kind: 'invalid', position: at, problem: { state, expected, found } });

  while (at < footerLsn) {
    if (at >= limit) return { kind: 'limit', position: at };
    const held = yield* load(OVERHEAD_BYTES);
    if (held < OVERHEAD_BYTES) return invalid('truncated-header', `a frame of at least ${OVERHEAD_BYTES} bytes`, `${held} bytes before the end of the file`);
    const offset = at - windowStart;
    const magic = view.getUint32(offset, false);
    const length = view.getUint32(offset + 4, true);
    if (magic === 0 && length === 0) return invalid('clean-end', 'a frame', 'zeros');
    if (magic !== KIND.boundRecord && magic !== KIND.pad && magic !== KIND.mark) {
      return invalid('bad-magic', `magic ${hex(KIND.boundRecord)}, ${hex(KIND.pad)} or ${hex(KIND.mark)}`, hex(magic));
    }
    const total = frameBytes(length);
    if (!geometry.fits(at, total)) return invalid('length-overflow', `a length of at most ${footerLsn - at - OVERHEAD_BYTES}`, `${length}`);
    if (at + total > limit) return { kind: 'limit', position: at };
    const bodyBytes = magic === KIND.pad ? HEADER_BYTES : total - CHECKSUM_BYTES;
    if (bodyBytes > WHOLE_BYTES_MAX) {
      const verdict = yield* checkLong(boundChecksum(idSum, at), base, at - base, bodyBytes);
      if (verdict !== undefined) return invalid(verdict.state, verdict.expected, verdict.found);
    }
    const needed = bodyBytes + CHECKSUM_BYTES;
    const got = yield* load(needed);
    if (got < needed) return invalid('truncated-payload', `a frame of ${total} bytes`, `${got} bytes before the end of the file`);
    const start = at - windowStart;
    const found = view.getUint32(start + bodyBytes, true);
    const expected = crc32c(window.subarray(start, start + bodyBytes), boundChecksum(idSum, at));
    if (found !== expected) return invalid('checksum-mismatch', `checksum ${hex(expected)}`, hex(found));
    const range = { start: at, end: at + total };
    const payload = window.subarray(start + HEADER_BYTES, start + bodyBytes);
    if (magic === KIND.boundRecord) yield { frame: { ...range, kind: 'record', payload } };
    else if (magic === KIND.pad) yield { frame: { ...range, kind: 'pad' } };
    else {
      const mark = decodeMark(payload);
      if (mark === undefined) return invalid('length-overflow', 'a commit mark of 52 bytes', `${length}`);
      yield { frame: { ...range, kind: 'mark', mark } };
    }
    at += total;
  }
  return { kind: 'full', position: at, footer: yield* readFooter(format, base) };
}

/**
 * Checks, piece by piece, the frame at `offset` of the segment at `base`, whose checksum covers `bodyBytes` and starts from
 * `startSum`; undefined when it is valid.
 */
export function* checkLong(startSum: number, base: number, offset: number, bodyBytes: number): Generator<SegmentStep, FrameProblem | undefined, Uint8Array> {
  let sum = startSum;
  for (let done = 0; done < bodyBytes;) {
    const piece = yield { read: { base, offset: offset + done, bytes: Math.min(WINDOW_BYTES, bodyBytes - done) } };
    if (piece.length === 0) return { state: 'truncated-payload', expected: `a frame of ${bodyBytes + CHECKSUM_BYTES} bytes`, found: `${done} bytes before the end of the file` };
    sum = crc32c(piece, sum);
    done += piece.length;
  }
  const tail = yield { read: { base, offset: offset + bodyBytes, bytes: CHECKSUM_BYTES } };
  if (tail.length < CHECKSUM_BYTES) return { state: 'truncated-payload', expected: `a frame of ${bodyBytes + CHECKSUM_BYTES} bytes`, found: `${bodyBytes + tail.length} bytes before the end of the file` };
  const found = new DataView(tail.buffer, tail.byteOffset, tail.byteLength).getUint32(0, true);
  return found === sum ? undefined : { state: 'checksum-mismatch', expected: `checksum ${hex(sum)}`, found: hex(found) };
}

/** The footer of the segment at `base`, undefined when no valid mark lies there. */
export function* readFooter({ idSum, geometry }: SegmentFormat, base: number): Generator<SegmentStep, CommitMark | undefined, Uint8Array> {
  const lsn = geometry.footerOf(base);
  const bytes = yield { read: { base, offset: lsn - base, bytes: MARK_BYTES } };
  if (bytes.length < MARK_BYTES) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (view.getUint32(0, false) !== KIND.mark) return undefined;
  const body = MARK_BYTES - CHECKSUM_BYTES;
  if (view.getUint32(body, true) !== crc32c(bytes.subarray(0, body), boundChecksum(idSum, lsn))) return undefined;
  return decodeMark(bytes.subarray(HEADER_BYTES, body));
}

/** Runs `steps` within a generator that asks for bytes alone; `onFrame` answers false to end it early, with undefined. */
export function* framesOf<T>(steps: Generator<SegmentStep, T, Uint8Array>, onFrame: (frame: SegmentFrame) => boolean): Generator<SegmentRead, T | undefined, Uint8Array> {
  let step = steps.next(NOTHING);
  while (step.done !== true) {
    if ('read' in step.value) step = steps.next(yield step.value.read);
    else if (onFrame(step.value.frame)) step = steps.next(NOTHING);
    else return undefined;
  }
  return step.value;
}

/** Runs `steps` that yield no frames within a generator that asks for bytes alone. */
export function* readsOf<T>(steps: Generator<SegmentStep, T, Uint8Array>): Generator<SegmentRead, T, Uint8Array> {
  let step = steps.next(NOTHING);
  while (step.done !== true) step = steps.next('read' in step.value ? yield step.value.read : NOTHING);
  return step.value;
}

const NOTHING = new Uint8Array(0);

function hex(value: number): string {
  return value.toString(16).padStart(8, '0');
}
