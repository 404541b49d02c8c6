/**
 * Segments: the geometry of the segment layout, and the frames that are not records. docs/format.md describes every byte.
 *
 * Pure: bytes in, bytes out.
 */
import { assert } from '../../platform/errors.js';
import { crc32c } from './crc32c.js';
import { boundChecksum, CHECKSUM_BYTES, frameBytes, HEADER_BYTES, idChecksum, JOURNAL_ID_BYTES, KIND, OVERHEAD_BYTES, RECORD_BYTES_MAX } from './frame.js';

export const FORMAT_VERSION = 1;
export const SEGMENT_HEADER_BYTES = 4096;
const MARK_PAYLOAD_BYTES = 5 * 8 + 3 * 4;
export const MARK_BYTES = OVERHEAD_BYTES + MARK_PAYLOAD_BYTES;
export const SEGMENT_BYTES_MIN = 64 * 1024;
export const SEGMENT_BYTES_MAX = 1024 * 1024 * 1024;
export const SEGMENT_SUFFIX = '.segment';
export const SPARE_SUFFIX = '.spare';

const TWO_POW_32 = 2 ** 32;

/** What "in its earlier life" says of a new file. */
const NO_BASE = 2n ** 64n - 1n;

export const MARK_FLAG = { footer: 1, closed: 2 } as const;

assert(MARK_BYTES === 64, 'a commit mark has 64 bytes');

/** Where what lies, in a journal whose segments have `segmentBytes`. LSNs are numbers, so no bit masks. */
export class Geometry {
  readonly segmentBytes: number;

  constructor(segmentBytes: number) {
    assert(segmentBytes >= SEGMENT_BYTES_MIN && segmentBytes <= SEGMENT_BYTES_MAX && (segmentBytes & (segmentBytes - 1)) === 0, 'a segment has a legal size');
    this.segmentBytes = segmentBytes;
  }

  /** The base of the segment that holds `lsn`. */
  baseOf(lsn: number): number {
    return lsn - (lsn % this.segmentBytes);
  }

  bodyStart(base: number): number {
    return base + SEGMENT_HEADER_BYTES;
  }

  /** The LSN of the footer, where the body ends. */
  footerOf(base: number): number {
    return base + this.segmentBytes - MARK_BYTES;
  }

  nextBase(base: number): number {
    return base + this.segmentBytes;
  }

  /** Where the log goes on behind the footer of the segment at `base`. */
  nextBody(base: number): number {
    return base + this.segmentBytes + SEGMENT_HEADER_BYTES;
  }

  /** Whether frames of `bytes` in all may stand at `lsn`: up to the footer, or leaving room for a pad before it. */
  fits(lsn: number, bytes: number): boolean {
    const left = this.footerOf(this.baseOf(lsn)) - lsn;
    return bytes === left || bytes + OVERHEAD_BYTES <= left;
  }

  /**
   * The longest range of frames that is appended as one: with it and with every shorter one, a body has room for a pad
   * behind. A range of the whole body would fit too, but one that is a few bytes shorter would not.
   */
  get rangeBytesMax(): number {
    return this.segmentBytes - SEGMENT_HEADER_BYTES - MARK_BYTES - OVERHEAD_BYTES;
  }

  get recordBytesMax(): number {
    return Math.min(this.rangeBytesMax - OVERHEAD_BYTES, RECORD_BYTES_MAX);
  }
}

// ---- names ---------------------------------------------------------------------------------------------------------

export function segmentName(base: number): string {
  return `${base.toString(16).padStart(16, '0')}${SEGMENT_SUFFIX}`;
}

/** The base that a file name tells; undefined when it is not a segment's. */
export function baseOfName(name: string): number | undefined {
  const [, digits] = /^([0-9a-f]{16})\.segment$/.exec(name) ?? [];
  if (digits === undefined) return undefined;
  const base = Number.parseInt(digits, 16);
  return Number.isSafeInteger(base) ? base : undefined;
}

// ---- frames that are no records ------------------------------------------------------------------------------------

export interface SegmentHeader {
  readonly version: number;
  readonly journalId: Uint8Array;
  readonly base: number;
  readonly segmentBytes: number;
  readonly preparedMs: number;
  /** Base in the earlier life of the file; undefined when it is its first. */
  readonly earlierBase: number | undefined;
  readonly windowBytes: number;
}

export function encodeSegmentHeader(header: Omit<SegmentHeader, 'version'>): Uint8Array {
  const bytes = new Uint8Array(SEGMENT_HEADER_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, KIND.segmentHeader, false);
  view.setUint32(4, SEGMENT_HEADER_BYTES - OVERHEAD_BYTES, true);
  const at = HEADER_BYTES;
  view.setUint32(at, FORMAT_VERSION, true);
  view.setUint32(at + 4, SEGMENT_HEADER_BYTES, true);
  assert(header.journalId.length === JOURNAL_ID_BYTES, 'a journal id has 16 bytes');
  bytes.set(header.journalId, at + 8);
  view.setBigUint64(at + 24, BigInt(header.base), true);
  view.setBigUint64(at + 32, BigInt(header.segmentBytes), true);
  view.setBigUint64(at + 40, BigInt(header.preparedMs), true);
  view.setBigUint64(at + 48, header.earlierBase === undefined ? NO_BASE : BigInt(header.earlierBase), true);
  view.setUint32(at + 56, header.windowBytes, true);
  const body = SEGMENT_HEADER_BYTES - CHECKSUM_BYTES;
  view.setUint32(body, crc32c(bytes.subarray(0, body), boundChecksum(idChecksum(header.journalId), header.base)), true);
  return bytes;
}

export type HeaderVerdict =
  | { readonly ok: true; readonly header: SegmentHeader }
  | { readonly ok: false; readonly problem: 'not-a-segment' | 'newer-version' | 'damaged'; readonly expected: string; readonly found: string };

/** Reads a segment's first block. */
export function decodeSegmentHeader(bytes: Uint8Array): HeaderVerdict {
  const refuse = (problem: 'not-a-segment' | 'newer-version' | 'damaged', expected: string, found: string): HeaderVerdict => ({ ok: false, problem, expected, found });
  if (bytes.length < SEGMENT_HEADER_BYTES) return refuse('not-a-segment', `${SEGMENT_HEADER_BYTES} bytes of header`, `${bytes.length}`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const magic = view.getUint32(0, false);
  if (magic !== KIND.segmentHeader) return refuse('not-a-segment', `magic ${hex(KIND.segmentHeader)}`, hex(magic));
  const at = HEADER_BYTES;
  const version = view.getUint32(at, true);
  const journalId = bytes.slice(at + 8, at + 8 + JOURNAL_ID_BYTES);
  const base = view.getBigUint64(at + 24, true);
  const body = SEGMENT_HEADER_BYTES - CHECKSUM_BYTES;
  const checksum = base <= BigInt(Number.MAX_SAFE_INTEGER)
    ? crc32c(bytes.subarray(0, body), boundChecksum(idChecksum(journalId), Number(base)))
    : undefined;
  const found = view.getUint32(body, true);
  if (checksum !== found) {
    return refuse('damaged', `header checksum ${checksum === undefined ? 'of a base below 2^53' : hex(checksum)}`, `${hex(found)} (format version field ${version})`);
  }
  if (version > FORMAT_VERSION) return refuse('newer-version', `format version ${FORMAT_VERSION} or older`, `${version}`);
  const earlier = view.getBigUint64(at + 48, true);
  return {
    ok: true,
    header: {
      version,
      journalId,
      base: Number(base),
      segmentBytes: Number(view.getBigUint64(at + 32, true)),
      preparedMs: Number(view.getBigUint64(at + 40, true)),
      earlierBase: earlier === NO_BASE ? undefined : Number(earlier),
      windowBytes: view.getUint32(at + 56, true),
    },
  };
}

/** What a header's fields hold that name the journal, whether or not the header is valid. */
export function decodeSegmentFields(bytes: Uint8Array): Pick<SegmentHeader, 'journalId' | 'windowBytes'> {
  const header = new Uint8Array(SEGMENT_HEADER_BYTES);
  header.set(bytes.subarray(0, SEGMENT_HEADER_BYTES));
  const at = HEADER_BYTES;
  return { journalId: header.slice(at + 8, at + 8 + JOURNAL_ID_BYTES), windowBytes: new DataView(header.buffer).getUint32(at + 56, true) };
}

/** A commit mark's payload. */
export interface CommitMark {
  readonly durableLsn: number;
  readonly number: number;
  readonly clockMs: number;
  /** Records before the mark since the journal was created. */
  readonly records: number;
  /** LSN of the last record before the mark in its segment, 0 if there is none. */
  readonly lastRecordLsn: number;
  readonly windowBytes: number;
  /** Records before the mark in its segment. */
  readonly segmentRecords: number;
  /** Bits of {@link MARK_FLAG}. */
  readonly flags: number;
}

const markBytes = new Uint8Array(MARK_BYTES);
const markView = new DataView(markBytes.buffer);

/** Without the cost of a bigint: a mark is made for every batch. */
function putMarkNumber(offset: number, value: number): void {
  markView.setUint32(HEADER_BYTES + offset, value % TWO_POW_32, true);
  markView.setUint32(HEADER_BYTES + offset + 4, Math.floor(value / TWO_POW_32), true);
}

/** A commit mark's frame without its checksum: the writer's sealer adds that. */
export function encodeMark(mark: CommitMark): Uint8Array {
  return borrowMark(mark).slice();
}

/** The same in memory that the next call uses again: for whoever copies it at once. */
export function borrowMark(mark: CommitMark): Uint8Array {
  markView.setUint32(0, KIND.mark, false);
  markView.setUint32(4, MARK_PAYLOAD_BYTES, true);
  putMarkNumber(0, mark.durableLsn);
  putMarkNumber(8, mark.number);
  putMarkNumber(16, mark.clockMs);
  putMarkNumber(24, mark.records);
  putMarkNumber(32, mark.lastRecordLsn);
  markView.setUint32(HEADER_BYTES + 40, mark.windowBytes, true);
  markView.setUint32(HEADER_BYTES + 44, mark.segmentRecords, true);
  markView.setUint32(HEADER_BYTES + 48, mark.flags, true);
  return markBytes;
}

/** Reads the payload of a valid mark; undefined when it does not have a mark's length. */
export function decodeMark(payload: Uint8Array): CommitMark | undefined {
  if (payload.length !== MARK_PAYLOAD_BYTES) return undefined;
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  return {
    durableLsn: Number(view.getBigUint64(0, true)),
    number: Number(view.getBigUint64(8, true)),
    clockMs: Number(view.getBigUint64(16, true)),
    records: Number(view.getBigUint64(24, true)),
    lastRecordLsn: Number(view.getBigUint64(32, true)),
    windowBytes: view.getUint32(40, true),
    segmentRecords: view.getUint32(44, true),
    flags: view.getUint32(48, true),
  };
}

/** Writes the bound checksum of the frame of `total` bytes that lies at `offset` of `bytes` and at `lsn` of the log. */
export function sealFrame(bytes: Uint8Array, offset: number, total: number, idSum: number, lsn: number): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const body = view.getUint32(offset, false) === KIND.pad ? HEADER_BYTES : total - CHECKSUM_BYTES;
  view.setUint32(offset + body, crc32c(bytes.subarray(offset, offset + body), boundChecksum(idSum, lsn)), true);
}

/** The header of a pad that fills `total` bytes, without its checksum. */
export function encodePad(total: number): Uint8Array {
  assert(total >= OVERHEAD_BYTES, 'a pad has a whole frame');
  const bytes = new Uint8Array(OVERHEAD_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, KIND.pad, false);
  view.setUint32(4, total - frameBytes(0), true);
  return bytes;
}

/** A mark, and behind it a pad up to a multiple of `sectorBytes`: how the log closes a sector. Sealed. */
export function closingFrames(mark: CommitMark, idSum: number, lsn: number, sectorBytes: number): Uint8Array {
  const bytes = new Uint8Array(closingBytes(lsn, sectorBytes));
  bytes.set(encodeMark(mark), 0);
  sealFrame(bytes, 0, MARK_BYTES, idSum, lsn);
  const padBytes = bytes.length - MARK_BYTES;
  if (padBytes > 0) {
    bytes.set(encodePad(padBytes), MARK_BYTES);
    sealFrame(bytes, MARK_BYTES, padBytes, idSum, lsn + MARK_BYTES);
  }
  return bytes;
}

/** The bytes from `lsn` on that a mark and a pad take so that they end with a sector. */
export function closingBytes(lsn: number, sectorBytes: number): number {
  const afterMark = lsn + MARK_BYTES;
  const rest = (sectorBytes - (afterMark % sectorBytes)) % sectorBytes;
  // What is left of the sector may be too short for a pad: then it takes the next sector too.
  return MARK_BYTES + (rest === 0 || rest >= OVERHEAD_BYTES ? rest : rest + sectorBytes);
}

function hex(value: number): string {
  return value.toString(16).padStart(8, '0');
}
