/**
 * Searches for valid frames behind a place where none is. They tell whether the bytes at that place had been durable:
 * docs/format.md, "How a log ends".
 */
import type { ChecksumBudget } from '../protocol/checksum-budget.js';
import { crc32c } from '../protocol/crc32c.js';
import { boundChecksum, CHECKSUM_BYTES, frameBytes, HEADER_BYTES, KIND } from '../protocol/frame.js';
import { decodeMark, MARK_BYTES, type CommitMark } from '../protocol/segment.js';
import { checkLong, readFooter, readsOf, type SegmentFormat, type SegmentRead } from '../protocol/segment-walk.js';

export interface FoundFrame {
  readonly start: number;
  readonly end: number;
  /** What it says, if it is a mark. */
  readonly mark: CommitMark | undefined;
  readonly footer: boolean;
}

/** LSNs at which a frame may begin to be of interest. */
export interface SearchRange {
  readonly from: number;
  readonly to: number;
}

const SEARCH_BYTES = 1024 * 1024;
/** The three bytes that every kind begins with. */
const MAGIC = Buffer.from('FSY');

/**
 * Calls `onFrame` with every valid frame that begins in [from, to), in order, until it answers false. What a valid frame
 * carries is not searched. Ends early when the budget is spent.
 */
export function* searchFrames(format: SegmentFormat, bases: readonly number[], { from, to }: SearchRange, budget: ChecksumBudget, onFrame: (frame: FoundFrame) => boolean): Generator<SegmentRead, void, Uint8Array> {
  const { geometry } = format;
  for (const base of bases) {
    const footerLsn = geometry.footerOf(base);
    if (from > footerLsn) continue;
    if (base >= to) return;
    const more = yield* searchBody(format, { from: Math.max(from, geometry.bodyStart(base)), to: Math.min(to, footerLsn) }, budget, onFrame);
    if (!more || footerLsn >= to) return;
    const mark = yield* readsOf(readFooter(format, base));
    if (mark !== undefined && !onFrame({ start: footerLsn, end: footerLsn + MARK_BYTES, mark, footer: true })) return;
  }
}

function* searchBody(format: SegmentFormat, { from, to }: SearchRange, budget: ChecksumBudget, onFrame: (frame: FoundFrame) => boolean): Generator<SegmentRead, boolean, Uint8Array> {
  const { geometry } = format;
  const base = geometry.baseOf(from);
  for (let at = from; at < to;) {
    // No farther than a mark that begins right before the limit: a footer's room is behind every body.
    const bytes = yield { base, offset: at - base, bytes: Math.min(SEARCH_BYTES, to + MARK_BYTES - at) };
    if (bytes.length < MARK_BYTES) return true;
    const piece = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    // Pieces overlap, so that a header or a mark on their border is seen whole.
    const border = Math.min(at + piece.length - MARK_BYTES + 1, to);
    let next = border;
    for (let hit = piece.indexOf(MAGIC); hit >= 0 && at + hit < border;) {
      const frame = yield* checkCandidate(format, piece, hit, at + hit, budget);
      if (budget.spent || (frame !== undefined && !onFrame(frame))) return false;
      const after = frame === undefined ? hit + 1 : frame.end - at;
      next = Math.max(border, at + after);
      hit = piece.indexOf(MAGIC, after);
    }
    at = next;
  }
  return true;
}

/** The frame at `hit` of `piece`, which lies at `lsn`, if it is valid there. */
function* checkCandidate({ geometry, idSum }: SegmentFormat, piece: Buffer, hit: number, lsn: number, budget: ChecksumBudget): Generator<SegmentRead, FoundFrame | undefined, Uint8Array> {
  const claim = claimedBytes(piece.readUInt32BE(hit), piece.readUInt32LE(hit + 4));
  if (claim === undefined || !geometry.fits(lsn, claim.frame) || (claim.kind === KIND.mark && claim.frame !== MARK_BYTES)) return undefined;
  if (!budget.spend(claim.covered)) return undefined;
  const end = hit + claim.covered + CHECKSUM_BYTES;
  const startSum = boundChecksum(idSum, lsn);
  if (end > piece.length) {
    const base = geometry.baseOf(lsn);
    if ((yield* readsOf(checkLong(startSum, base, lsn - base, claim.covered))) !== undefined) return undefined;
  } else if (piece.readUInt32LE(end - CHECKSUM_BYTES) !== crc32c(piece.subarray(hit, end - CHECKSUM_BYTES), startSum)) {
    return undefined;
  }
  const mark = claim.kind === KIND.mark ? decodeMark(piece.subarray(hit + HEADER_BYTES, end - CHECKSUM_BYTES)) : undefined;
  return { start: lsn, end: lsn + claim.frame, mark, footer: false };
}

export interface Claim {
  readonly kind: number;
  /** Bytes of the whole frame. */
  readonly frame: number;
  /** Bytes that its checksum covers. */
  readonly covered: number;
}

/** What the first bytes of a frame claim; undefined when they are not those of a frame in a body. */
export function claimedBytes(kind: number, length: number): Claim | undefined {
  const frame = frameBytes(length);
  if (kind === KIND.pad) return { kind, frame, covered: HEADER_BYTES };
  if (kind === KIND.boundRecord || kind === KIND.mark) return { kind, frame, covered: frame - CHECKSUM_BYTES };
  return undefined;
}
