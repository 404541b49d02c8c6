/**
 * What the directory and the segments' headers say of a journal, before any frame is read: which journal it is, which
 * segments belong to it, and what is wrong with them.
 */
import { HEADER_BYTES, idChecksum, KIND } from '../protocol/frame.js';
import { decodeSegmentHeader, FORMAT_VERSION, Geometry, SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN, SEGMENT_HEADER_BYTES, type HeaderVerdict, type SegmentHeader } from '../protocol/segment.js';
import type { SegmentFormat, SegmentRead } from '../protocol/segment-walk.js';
import type { Finding, FindingKind, SegmentEntry, SegmentsVerdict } from './verdict.js';

/** Headers that opening reads, from the newest segment backwards. Farther back, every frame and footer is bound to the journal anyway. */
const NEWEST_HEADERS = 64;

export interface Journal {
  readonly journalId: Uint8Array;
  readonly format: SegmentFormat;
  /** Base of the oldest segment. */
  readonly firstBase: number;
  /** Bases of the segments that may hold frames, in order. */
  readonly bases: readonly number[];
  /** Valid headers, as far as they were read. */
  readonly headers: Map<number, SegmentHeader>;
  /** What is wrong with the other headers that were read, by base. */
  readonly headerFindings: Map<number, Finding>;
  /** What is wrong with the directory: sizes, gaps, bases. */
  readonly structure: readonly Finding[];
}

type Refusal = Extract<SegmentsVerdict, { kind: 'corrupt' | 'not-a-journal' }>;

/** Tells which journal `listing`, which is not empty, belongs to. */
export function* identify(listing: readonly SegmentEntry[], depth: 'tail' | 'all'): Generator<SegmentRead, Journal | Refusal, Uint8Array> {
  let told: SegmentHeader | undefined;
  let magicSeen = false;
  const refused: Finding[] = [];
  for (const { base } of listing) {
    const bytes = yield { base, offset: 0, bytes: SEGMENT_HEADER_BYTES };
    const verdict = readHeader(bytes);
    if (verdict.ok) {
      told = verdict.header;
      break;
    }
    magicSeen ||= hasMagic(bytes);
    refused.push(refusal(base, verdict));
  }
  if (told === undefined) {
    const [finding, ...others] = refused;
    if (finding === undefined || !magicSeen) return { kind: 'not-a-journal', detail: `no file with a segment's name begins like a segment: ${finding?.found ?? 'there is none'}` };
    return { kind: 'corrupt', findings: [finding, ...others], log: undefined };
  }
  const geometry = new Geometry(told.segmentBytes);
  const bases = listing.map(({ base }) => base).filter((base) => base % geometry.segmentBytes === 0);
  const journal: Journal = {
    journalId: told.journalId,
    format: { idSum: idChecksum(told.journalId), geometry },
    firstBase: bases[0] ?? 0,
    bases,
    headers: new Map(),
    headerFindings: new Map(),
    structure: checkListing(listing, geometry),
  };
  yield* readHeaders(journal, depth === 'all' ? bases : [...bases.slice(0, 1), ...bases.slice(1).slice(-NEWEST_HEADERS)]);
  return journal;
}

/** Reads the headers of the segments at `bases` that were not read before. */
export function* readHeaders({ journalId, format: { geometry }, headers, headerFindings }: Journal, bases: readonly number[]): Generator<SegmentRead, void, Uint8Array> {
  for (const base of bases) {
    if (headers.has(base) || headerFindings.has(base)) continue;
    const verdict = readHeader(yield { base, offset: 0, bytes: SEGMENT_HEADER_BYTES });
    if (!verdict.ok) {
      headerFindings.set(base, refusal(base, verdict));
      continue;
    }
    const expected = words(journalId, base, geometry.segmentBytes);
    const found = words(verdict.header.journalId, verdict.header.base, verdict.header.segmentBytes);
    if (found === expected) headers.set(base, verdict.header);
    else headerFindings.set(base, headerFinding('foreign-segment', base, expected, found));
  }
}

/** A header whose checksum is right and whose size is impossible was never written by a writer of this version. */
function readHeader(bytes: Uint8Array): HeaderVerdict {
  const verdict = decodeSegmentHeader(bytes);
  if (!verdict.ok) return verdict;
  const { segmentBytes } = verdict.header;
  const legal = segmentBytes >= SEGMENT_BYTES_MIN && segmentBytes <= SEGMENT_BYTES_MAX && Number.isInteger(Math.log2(segmentBytes));
  if (legal) return verdict;
  return { ok: false, problem: 'damaged', expected: `a segment size that is a power of two from ${SEGMENT_BYTES_MIN} to ${SEGMENT_BYTES_MAX}`, found: `${segmentBytes}` };
}

function hasMagic(bytes: Uint8Array): boolean {
  return bytes.length >= HEADER_BYTES && new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getUint32(0, false) === KIND.segmentHeader;
}

function refusal(base: number, verdict: Extract<HeaderVerdict, { ok: false }>): Finding {
  if (verdict.problem === 'newer-version') return headerFinding('newer-version', base, `format version ${FORMAT_VERSION} or older`, `format version ${verdict.found}`);
  return headerFinding('damaged-header', base, verdict.expected, verdict.found);
}

function headerFinding(kind: FindingKind, base: number, expected: string, found: string): Finding {
  return { kind, base, offset: 0, lsn: base, endLsn: base + SEGMENT_HEADER_BYTES, state: undefined, expected, found, proof: undefined };
}

function words(journalId: Uint8Array, base: number, segmentBytes: number): string {
  return `journal ${Buffer.from(journalId).toString('hex')}, base ${base}, ${segmentBytes} bytes`;
}

/** Sizes and bases of all segments, prepared ones included: none of them costs a read. */
function checkListing(listing: readonly SegmentEntry[], geometry: Geometry): Finding[] {
  const findings: Finding[] = [];
  const { segmentBytes } = geometry;
  const add = (kind: FindingKind, base: number, offset: number, endLsn: number, expected: string, found: string): void => {
    findings.push({ kind, base, offset, lsn: base + offset, endLsn, state: undefined, expected, found, proof: undefined });
  };
  let previous: number | undefined;
  for (const { base, sizeBytes } of listing) {
    if (base % segmentBytes !== 0) {
      add('foreign-segment', base, 0, base + sizeBytes, `a base that is a multiple of ${segmentBytes}`, `${base}`);
      continue;
    }
    const expected = previous === undefined ? base : geometry.nextBase(previous);
    if (base !== expected) add('missing-segment', expected, 0, base, `a segment with base ${expected}`, `none; the next has base ${base}`);
    if (sizeBytes !== segmentBytes) add('wrong-size', base, Math.min(sizeBytes, segmentBytes), base + segmentBytes, `a file of ${segmentBytes} bytes`, `${sizeBytes}`);
    previous = base;
  }
  return findings;
}
