/** The evidence of an interrupted write where a log ends. docs/format.md says what else may stand there. */
import { boundChecksum, HEADER_BYTES, KIND } from '../protocol/frame.js';
import { dataLength } from '../protocol/frame-walk.js';
import { MARK_BYTES } from '../protocol/segment.js';
import { checkLong, readsOf, type SegmentRead } from '../protocol/segment-walk.js';
import type { Journal } from './headers.js';
import { claimedBytes } from './later-frames.js';

const READ_BYTES = 256 * 1024;

/** Where the remains of an interrupted write at `lsn` end, as far as can be told; undefined when nothing speaks of one. */
export function* findRemains(journal: Journal, lsn: number, windowBytes: number): Generator<SegmentRead, number | undefined, Uint8Array> {
  const limit = lsn + windowBytes;
  const claimed = yield* claimedEnd(journal, lsn);
  const data = yield* newDataEnd(journal, lsn, limit);
  if (claimed === undefined) return data;
  // A length is believed no farther than a writer's window reaches.
  return Math.max(Math.min(claimed, Math.max(limit, lsn + HEADER_BYTES)), data ?? 0);
}

/** The end of the frame that the bytes at `lsn` claim to be, unless they are a whole frame of the segment's earlier life. */
function* claimedEnd({ format: { geometry, idSum }, headers }: Journal, lsn: number): Generator<SegmentRead, number | undefined, Uint8Array> {
  const base = geometry.baseOf(lsn);
  const offset = lsn - base;
  const bytes = yield { base, offset, bytes: HEADER_BYTES };
  if (bytes.length < HEADER_BYTES) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const claim = claimedBytes(view.getUint32(0, false), view.getUint32(4, true));
  const stands = claim !== undefined && (lsn === geometry.footerOf(base) ? claim.kind === KIND.mark && claim.frame === MARK_BYTES : geometry.fits(lsn, claim.frame));
  if (!stands) return undefined;
  const earlierBase = headers.get(base)?.earlierBase;
  const stale = earlierBase !== undefined
    && (yield* readsOf(checkLong(boundChecksum(idSum, earlierBase + offset), base, offset, claim.covered))) === undefined;
  return stale ? undefined : lsn + claim.frame;
}

/** The end of what is not zero between `lsn` and `limit`, in segments that began as new files: nothing but a writer put it there. */
function* newDataEnd({ format: { geometry }, bases, headers }: Journal, lsn: number, limit: number): Generator<SegmentRead, number | undefined, Uint8Array> {
  let end: number | undefined;
  for (const base of bases) {
    const header = headers.get(base);
    const stop = Math.min(limit, geometry.nextBase(base));
    if (header === undefined || header.earlierBase !== undefined) continue;
    for (let at = Math.max(lsn, geometry.bodyStart(base)); at < stop;) {
      const bytes = yield { base, offset: at - base, bytes: Math.min(READ_BYTES, stop - at) };
      if (bytes.length === 0) break;
      const length = dataLength(bytes);
      if (length > 0) end = at + length;
      at += bytes.length;
    }
  }
  return end;
}
