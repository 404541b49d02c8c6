/** What is known of a log up to a position: counted frame by frame, or told by its commit marks. */
import { OVERHEAD_BYTES } from '../protocol/frame.js';
import { MARK_FLAG, type CommitMark } from '../protocol/segment.js';

export interface Disagreement {
  readonly expected: string;
  readonly found: string;
}

/** A mark, and what it says of the bytes before it. */
export interface Witness {
  readonly lsn: number;
  readonly durableLsn: number;
}

export class Tally {
  /** LSN after the last valid frame. */
  position: number;
  recordsEver = 0;
  segmentRecords = 0;
  lastRecordLsn = 0;
  markNumber = 0;
  windowBytes = 0;
  closed = false;
  /** Records before the oldest segment; undefined while no mark has told them. */
  recordsBefore: number | undefined;
  /** The mark that proves most. */
  strongest: Witness | undefined;
  /** Whether the counts are exact, or only count from where the walk began. */
  #everKnown: boolean;
  #segmentKnown = false;
  /** Records that pads may have taken the place of: in all, and in the segment. Marks behind a repaired range count them still. */
  #replaced = { ever: 0, segment: 0 };

  /** Begins at `position`, with `recordsEver` records before it if that is known. */
  constructor(position: number, recordsEver: number | undefined) {
    this.position = position;
    this.recordsEver = recordsEver ?? 0;
    this.#everKnown = recordsEver !== undefined;
  }

  /** Whether the counts of records are exact at the position. */
  get exact(): boolean {
    return this.#everKnown && this.#segmentKnown;
  }

  enterBody(position: number): void {
    this.position = position;
    this.segmentRecords = 0;
    this.lastRecordLsn = 0;
    this.#segmentKnown = true;
    this.#replaced.segment = 0;
  }

  /** Goes on at `position`; what lies between is damaged. */
  skipTo(position: number): void {
    this.position = position;
    this.closed = false;
    this.#everKnown = false;
    this.#segmentKnown = false;
  }

  takeRecord(start: number, end: number): void {
    this.position = end;
    this.recordsEver++;
    this.segmentRecords++;
    this.lastRecordLsn = start;
    this.closed = false;
  }

  /** A pad follows the mark that closes a journal, up to the end of the sector: it says nothing. */
  takePad(start: number, end: number): void {
    const records = Math.floor((end - start) / OVERHEAD_BYTES);
    this.#replaced = { ever: this.#replaced.ever + records, segment: this.#replaced.segment + records };
    this.position = end;
  }

  /** Answers what the mark says otherwise than it was counted. From then on the mark is believed: the next ones agree with it. */
  takeMark(mark: CommitMark, start: number, end: number, inOldest: boolean): Disagreement | undefined {
    const { records, segmentRecords, lastRecordLsn } = mark;
    const disagreement = this.#disagreement(mark, start);
    if (inOldest) this.recordsBefore ??= records - segmentRecords;
    this.recordsEver = records;
    this.segmentRecords = segmentRecords;
    this.lastRecordLsn = lastRecordLsn;
    this.#everKnown = true;
    this.#segmentKnown = true;
    this.position = end;
    this.believe(mark, start);
    return disagreement;
  }

  #disagreement(mark: CommitMark, start: number): Disagreement | undefined {
    const { records, segmentRecords, lastRecordLsn, durableLsn } = mark;
    if (durableLsn > start) return { expected: `a durable LSN of at most ${start}, where the mark lies`, found: `${durableLsn}` };
    const more = this.#everKnown ? records - this.recordsEver : 0;
    const moreInSegment = this.#segmentKnown ? segmentRecords - this.segmentRecords : 0;
    const { ever, segment } = this.#replaced;
    this.#replaced = { ever: ever - more, segment: segment - moreInSegment };
    const lastAgrees = !this.#segmentKnown || lastRecordLsn === this.lastRecordLsn || (moreInSegment > 0 && lastRecordLsn > this.lastRecordLsn);
    if (more >= 0 && more <= ever && moreInSegment >= 0 && moreInSegment <= segment && lastAgrees) return undefined;
    this.#replaced = { ever: 0, segment: 0 };
    return {
      expected: inWords(this.#everKnown ? this.recordsEver : records, this.#segmentKnown ? this : mark),
      found: inWords(records, mark),
    };
  }

  /** Is told how many records are before the oldest segment, having counted from its start. */
  learnBefore(records: number): void {
    if (this.recordsBefore !== undefined) return;
    this.recordsBefore = records;
    this.recordsEver += records;
    this.#everKnown = true;
  }

  /** Takes over what a mark proves, without counting up to it. */
  believe(mark: CommitMark, lsn: number): void {
    this.markNumber = mark.number;
    this.windowBytes = Math.max(this.windowBytes, mark.windowBytes);
    this.closed = (mark.flags & MARK_FLAG.closed) !== 0;
    if (this.strongest === undefined || mark.durableLsn > this.strongest.durableLsn) this.strongest = { lsn, durableLsn: mark.durableLsn };
  }
}

function inWords(recordsEver: number, { segmentRecords, lastRecordLsn }: Pick<CommitMark, 'segmentRecords' | 'lastRecordLsn'>): string {
  return `${recordsEver} records before the mark, ${segmentRecords} of them in its segment, the last at LSN ${lastRecordLsn}`;
}
