/** What recovery says of a journal in the segment layout: plain data, for opening, `verify` and `repair` alike. */
import type { TailState } from '../protocol/frame-walk.js';
import { segmentName } from '../protocol/segment.js';

/** A segment file as the directory shows it. */
export interface SegmentEntry {
  readonly base: number;
  readonly sizeBytes: number;
}

/** Where a log stands: what a writer needs to go on with it. */
export interface LogState {
  readonly journalId: Uint8Array;
  readonly segmentBytes: number;
  /** Base of the oldest segment. */
  readonly firstBase: number;
  /**
   * LSN after the last valid frame. Footer and header of a full segment are skipped: it lies in a body, or at one's start.
   * It is a footer's place only if the body before it is full and that footer never landed: it is to be written first.
   */
  readonly end: number;
  /** The segment that holds `end` is in place. False: none of the log is in it, and it is missing or its header is not valid. */
  readonly endInPlace: boolean;
  /** Records in the journal, trimmed ones left out. */
  readonly records: number;
  /** Records since the journal was created. */
  readonly recordsEver: number;
  /** LSN of the last record in the segment that holds `end`, 0 if there is none; and how many there are. */
  readonly lastRecordLsn: number;
  readonly segmentRecords: number;
  /** Number of the last valid mark, 0 if there is none. */
  readonly markNumber: number;
  /** Everything below it is proven durable. */
  readonly provenLsn: number;
  /** The greatest window of a writer that may have been at work: nothing beyond `end` + this was written by it. */
  readonly windowBytes: number;
  /** The last frame is a mark that says the journal was closed. */
  readonly closed: boolean;
  /** Segments that are in place behind the one that holds `end`, prepared and not begun. */
  readonly prepared: readonly number[];
}

export type FindingKind =
  /** An invalid frame, or a damaged footer, below what is proven durable. */
  | 'corruption'
  /** An invalid frame beyond what is proven durable. */
  | 'torn-tail'
  | 'damaged-header'
  | 'foreign-segment'
  | 'missing-segment'
  | 'wrong-size'
  | 'newer-version';

/** One thing that is wrong, and where. */
export interface Finding {
  readonly kind: FindingKind;
  /** Base of the segment. */
  readonly base: number;
  /** Offset in the segment's file. */
  readonly offset: number;
  readonly lsn: number;
  /** Where the next valid frame begins, or where the damage ends as far as can be told. */
  readonly endLsn: number;
  readonly state: TailState | undefined;
  readonly expected: string;
  readonly found: string;
  /** What proves that the bytes had been durable, in words; undefined when nothing does. */
  readonly proof: string | undefined;
}

export type SegmentsVerdict =
  /** Valid frames, then the end. */
  | { readonly kind: 'clean'; readonly log: LogState }
  /** Valid frames, then the remains of an interrupted write: they end before `dataEnd`. */
  | { readonly kind: 'torn'; readonly log: LogState; readonly finding: Finding; readonly dataEnd: number }
  /** Damage below what is proven durable, or a segment that is not what it should be. */
  | { readonly kind: 'corrupt'; readonly findings: readonly [Finding, ...Finding[]]; readonly log: LogState | undefined }
  | { readonly kind: 'not-a-journal'; readonly detail: string };

/** A finding in words: what, where, what was expected there and what was found. */
export function describeFinding({ kind, base, offset, lsn, expected, found, proof }: Finding): string {
  const what = kind.replace('-', ' ');
  const where = `segment '${segmentName(base)}', offset ${offset}, LSN ${lsn}`;
  return `${what} in ${where}: expected ${expected}, found ${found}${proof === undefined ? '' : `; ${proof}`}`;
}
