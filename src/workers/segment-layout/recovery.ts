/**
 * Recovery of a journal in the segment layout: where its valid log ends, and whether what follows is nothing, a torn tail or
 * corruption. docs/format.md, "How a log ends", is the rule.
 *
 * Pure: it asks for bytes and is told them. Reading only; what to do about the verdict is for others.
 */
import { assert } from '../../platform/errors.js';
import { ChecksumBudget } from '../protocol/checksum-budget.js';
import { OVERHEAD_BYTES } from '../protocol/frame.js';
import { MARK_BYTES, MARK_FLAG, type CommitMark } from '../protocol/segment.js';
import { framesOf, readFooter, readsOf, walkSegment, type FrameProblem, type SegmentFrame, type SegmentRead } from '../protocol/segment-walk.js';
import { identify, readHeaders, type Journal } from './headers.js';
import { searchFrames, type FoundFrame } from './later-frames.js';
import { findRemains } from './remains.js';
import { Tally, type Witness } from './tally.js';
import type { Finding, LogState, SegmentEntry, SegmentsVerdict } from './verdict.js';

export interface ExamineOptions {
  /** `tail`: what opening needs. `all`: every frame, and every damaged range. */
  readonly depth: 'tail' | 'all';
  /** Told now and then how far the walk is, and how many records it knows of. */
  readonly onProgress?: (lsn: number, records: number) => void;
}

type Examining<T> = Generator<SegmentRead, T, Uint8Array>;

/** Tells how the journal of the segments in `listing`, in the order of their bases, ends. */
export function* examineSegments(listing: readonly SegmentEntry[], options: ExamineOptions): Examining<SegmentsVerdict> {
  if (listing.length === 0) return { kind: 'not-a-journal', detail: 'there is no segment' };
  const journal = yield* identify(listing, options.depth);
  if ('kind' in journal) return journal;
  const [structural, ...others] = journal.structure;
  if (structural !== undefined && (options.depth === 'tail' || journal.bases.length === 0)) {
    // A newer version may have other rules for what looks wrong here, so it is named first.
    const newer = [...journal.headerFindings.values()].filter(({ kind }) => kind === 'newer-version');
    const [first = structural, ...rest] = [...newer, structural, ...others];
    return { kind: 'corrupt', findings: [first, ...rest], log: undefined };
  }
  return yield* new Examination(journal, options).run();
}

export function examineBlocking(listing: readonly SegmentEntry[], options: ExamineOptions, read: (request: SegmentRead) => Uint8Array): SegmentsVerdict {
  const steps = examineSegments(listing, options);
  let step = steps.next();
  while (step.done !== true) step = steps.next(read(step.value));
  return step.value;
}

export async function examine(listing: readonly SegmentEntry[], options: ExamineOptions, read: (request: SegmentRead) => Promise<Uint8Array>): Promise<SegmentsVerdict> {
  const steps = examineSegments(listing, options);
  let step = steps.next();
  while (step.done !== true) step = steps.next(await read(step.value));
  return step.value;
}

/** A place in the log where no valid frame stands. */
interface Stop {
  readonly position: number;
  readonly problem: FrameProblem;
}

/** What valid frames behind the first stop tell. It holds for every stop. */
interface Later {
  readonly first: FoundFrame | undefined;
  readonly last: FoundFrame | undefined;
  /** The last that is no footer: a footer is written when its body is full, without regard to the window. */
  readonly lastInBody: FoundFrame | undefined;
  readonly strongest: Witness | undefined;
  readonly windowBytes: number;
  /** Records before the oldest segment, as a mark in it says. */
  readonly recordsBefore: number | undefined;
  /** Segments with valid frames. */
  readonly bases: ReadonlySet<number>;
}

/** A journal with more damage than this needs no longer list of it. */
const FINDINGS_MAX = 1000;

/** Behind the mark that closed a journal, a later writer is looked for at least so far. */
const CLOSED_SEARCH_BYTES_MIN = 1024 * 1024;

class Examination {
  readonly #journal: Journal;
  readonly #options: ExamineOptions;
  readonly #findings: Finding[];
  #tally: Tally;
  /** Base of the segment in which the walk began. */
  #begunBase: number;
  /** Set when the first damage is met: the log as far as it is whole. */
  #whole: LogState | undefined;
  #later: Later | undefined;
  #budget: ChecksumBudget | undefined;
  /** Base and footer of the segment in whose middle the walk began, while it has not begun at its start. */
  #begunWithin: { readonly base: number; readonly footer: CommitMark } | undefined;

  constructor(journal: Journal, options: ExamineOptions) {
    this.#journal = journal;
    this.#options = options;
    this.#findings = [...journal.structure];
    this.#tally = this.#fromOldest();
    this.#begunBase = journal.firstBase;
  }

  *run(): Examining<SegmentsVerdict> {
    if (this.#options.depth === 'tail' && !(yield* this.#startAtFooter())) return this.#corrupt(undefined);
    yield* readHeaders(this.#journal, this.#journal.bases.filter((base) => base >= this.#begunBase));
    for (;;) {
      let stop = yield* this.#walk();
      if (stop !== undefined && this.#begunWithin !== undefined && !this.#tally.exact) {
        if (!(yield* this.#startOver(this.#begunWithin))) return this.#corrupt(undefined);
        stop = yield* this.#walk();
      }
      if (stop === undefined) return yield* this.#finish(undefined);
      const later = this.#later ??= yield* this.#searchBehind(stop.position);
      if (this.#budget?.spent === true) return this.#gaveUp(stop);
      // Before any mark was met, one beyond the damage may tell what came before the oldest segment.
      if (later.recordsBefore !== undefined) this.#tally.learnBefore(later.recordsBefore);
      const proof = yield* this.#proofAt(stop, later);
      if (proof === undefined) return yield* this.#finish(stop);
      if (!(yield* this.#passDamage(stop, later, proof))) return this.#corrupt(this.#whole);
    }
  }

  // ---- where to begin --------------------------------------------------------------------------------------------------

  #fromOldest(): Tally {
    const { firstBase } = this.#journal;
    const tally = new Tally(this.#geometry.bodyStart(firstBase), firstBase === 0 ? 0 : undefined);
    if (firstBase === 0) tally.recordsBefore = 0;
    return tally;
  }

  /**
   * Begins where the newest footer says that everything before was durable, if its own segment holds that place; without one,
   * at the oldest segment. False if what is found on the way is corruption.
   */
  *#startAtFooter(): Examining<boolean> {
    const { format, bases, firstBase } = this.#journal;
    for (const base of bases.toReversed()) {
      const footer = yield* readsOf(readFooter(format, base));
      if (footer === undefined || (footer.flags & MARK_FLAG.footer) === 0 || footer.durableLsn < base) continue;
      const footerLsn = this.#geometry.footerOf(base);
      const oldest = base === firstBase ? footer : yield* this.#provenFooter(firstBase, { lsn: footerLsn, durableLsn: footer.durableLsn });
      if (oldest === undefined) return false;
      this.#begunBase = base;
      if (footer.durableLsn >= footerLsn) {
        this.#tally = new Tally(footerLsn, undefined);
        this.#tally.recordsBefore = oldest.records - oldest.segmentRecords;
        this.#tally.takeMark(footer, footerLsn, this.#geometry.nextBody(base), base === firstBase);
        return true;
      }
      this.#tally = new Tally(Math.max(footer.durableLsn, this.#geometry.bodyStart(base)), undefined);
      this.#tally.recordsBefore = oldest.records - oldest.segmentRecords;
      this.#begunWithin = { base, footer };
      return true;
    }
    return true;
  }

  /**
   * The walk came to an end before a mark told how many records are before it: it begins again at the start of the segment.
   * False if what is found on the way is corruption.
   */
  *#startOver({ base, footer }: { readonly base: number; readonly footer: CommitMark }): Examining<boolean> {
    const { recordsBefore } = this.#tally;
    this.#begunWithin = undefined;
    this.#tally = new Tally(this.#geometry.bodyStart(base), footer.records - footer.segmentRecords);
    this.#tally.recordsBefore = recordsBefore;
    if (base === this.#journal.firstBase) return true;
    const previous = base - this.#geometry.segmentBytes;
    const mark = yield* this.#provenFooter(previous, { lsn: this.#geometry.footerOf(base), durableLsn: footer.durableLsn });
    if (mark !== undefined) this.#tally.believe(mark, this.#geometry.footerOf(previous));
    return mark !== undefined;
  }

  /** The footer of a segment that lies wholly below what is proven durable; undefined and a finding when it is damaged. */
  *#provenFooter(base: number, witness: Witness): Examining<CommitMark | undefined> {
    const footer = yield* readsOf(readFooter(this.#journal.format, base));
    if (footer === undefined) {
      const stop = { position: this.#geometry.footerOf(base), problem: yield* this.#footerProblem(base) };
      this.#findings.push(this.#finding('corruption', stop, this.#geometry.nextBody(base), sayWitness(witness)));
    }
    return footer;
  }

  // ---- the walk --------------------------------------------------------------------------------------------------------

  /** Walks from the tally's position to a place without a valid frame; undefined when all segments are full. */
  *#walk(): Examining<Stop | undefined> {
    const { format, bases } = this.#journal;
    const geometry = this.#geometry;
    for (const base of bases) {
      if (geometry.nextBase(base) <= this.#tally.position) continue;
      if (base > this.#tally.position) {
        this.#breakLog();
        this.#tally.skipTo(base);
      }
      if (this.#tally.position <= geometry.bodyStart(base)) this.#tally.enterBody(geometry.bodyStart(base));
      const end = yield* this.#reporting(framesOf(walkSegment(format, this.#tally.position), (frame) => this.#take(base, frame)));
      if (end === undefined) return undefined;
      assert(end.kind !== 'limit', 'the walk of a segment has no limit');
      if (end.kind === 'invalid') return end;
      if (end.footer === undefined) return { position: end.position, problem: yield* this.#footerProblem(base) };
      if (base === this.#begunWithin?.base) this.#begunWithin = undefined;
      this.#takeMark(base, end.footer, end.position, geometry.nextBody(base));
    }
    return undefined;
  }

  #take(base: number, frame: SegmentFrame): boolean {
    if (frame.kind === 'record') this.#tally.takeRecord(frame.start, frame.end);
    else if (frame.kind === 'pad') this.#tally.takePad(frame.start, frame.end);
    else this.#takeMark(base, frame.mark, frame.start, frame.end);
    return true;
  }

  #takeMark(base: number, mark: CommitMark, start: number, end: number): void {
    const disagreement = this.#tally.takeMark(mark, start, end, base === this.#journal.firstBase);
    if (disagreement === undefined || this.#options.depth === 'tail' || this.#findings.length >= FINDINGS_MAX) return;
    this.#findings.push(this.#finding('corruption', { position: start, problem: { ...disagreement, state: undefined } }, end, 'the mark itself is valid'));
  }

  *#reporting<T>(steps: Examining<T>): Examining<T> {
    let step = steps.next();
    while (step.done !== true) {
      this.#options.onProgress?.(this.#tally.position, this.#tally.recordsEver);
      step = steps.next(yield step.value);
    }
    return step.value;
  }

  *#footerProblem(base: number): Examining<FrameProblem> {
    const bytes = yield { base, offset: this.#geometry.footerOf(base) - base, bytes: MARK_BYTES };
    const zeros = bytes.every((byte) => byte === 0);
    return { state: zeros ? 'clean-end' : 'checksum-mismatch', expected: 'the footer of a full segment', found: zeros ? 'zeros' : 'no valid commit mark' };
  }

  // ---- an invalid frame ------------------------------------------------------------------------------------------------

  *#searchBehind(position: number): Examining<Later> {
    const { format, bases, firstBase } = this.#journal;
    const to = this.#searchLimit(position);
    const searched = bases.filter((base) => this.#geometry.nextBase(base) > position && base < to);
    this.#budget = new ChecksumBudget(searched.length * this.#geometry.segmentBytes);
    const seen = new Set<number>();
    let later: Later = { first: undefined, last: undefined, lastInBody: undefined, strongest: undefined, windowBytes: 0, recordsBefore: undefined, bases: seen };
    yield* searchFrames(format, bases, { from: position + 1, to }, this.#budget, (frame) => {
      const { mark, start: lsn } = frame;
      seen.add(this.#baseOf(lsn));
      later = { ...later, first: later.first ?? frame, last: frame, lastInBody: frame.footer ? later.lastInBody : frame };
      if (mark === undefined) return true;
      const stronger = later.strongest === undefined || mark.durableLsn > later.strongest.durableLsn;
      later = { ...later, windowBytes: Math.max(later.windowBytes, mark.windowBytes), strongest: stronger ? { lsn, durableLsn: mark.durableLsn } : later.strongest };
      if (this.#baseOf(lsn) === firstBase) later = { ...later, recordsBefore: mark.records - mark.segmentRecords };
      return true;
    });
    return later;
  }

  /**
   * How far opening looks behind `position`. A writer that found a closed journal began right behind the mark, and nobody
   * else wrote there: what speaks of it lies within its window.
   */
  #searchLimit(position: number): number {
    if (this.#options.depth === 'all' || !this.#tally.closed) return Infinity;
    return position + Math.max(this.#windowAt(undefined), CLOSED_SEARCH_BYTES_MIN);
  }

  /** What proves that the frame at `position` had been durable, in words. */
  *#proofAt({ position, problem }: Stop, later: Later): Examining<string | undefined> {
    for (const witness of [this.#tally.strongest, later.strongest]) {
      if (witness !== undefined && witness.durableLsn > position) return sayWitness(witness);
    }
    const windowBytes = this.#windowAt(later);
    const frame = later.lastInBody;
    const durable = (frame?.start ?? 0) - windowBytes;
    if (frame === undefined || durable < position + OVERHEAD_BYTES) return undefined;
    // What stands there was durable, but a long frame may have reached further, and be torn: where it ended is not known,
    // only that it was no later than the next valid frame begins.
    if (problem.state === 'checksum-mismatch') {
      const next = yield* this.#nextValid(position, later);
      if (next === undefined || next > durable) return undefined;
    }
    return `the frame at LSN ${frame.start} was written when everything below ${durable} was durable, for the window is ${windowBytes} bytes`;
  }

  /** The greatest window that is known. */
  #windowAt(later: Later | undefined): number {
    let windowBytes = Math.max(this.#tally.windowBytes, later?.windowBytes ?? 0);
    for (const [base, header] of this.#journal.headers) if (base >= this.#begunBase) windowBytes = Math.max(windowBytes, header.windowBytes);
    return windowBytes;
  }

  /** Where the next valid frame behind `position` begins. */
  *#nextValid(position: number, { first }: Later): Examining<number | undefined> {
    if (first !== undefined && first.start > position) return first.start;
    const { format, bases } = this.#journal;
    let next: number | undefined;
    if (this.#budget !== undefined) {
      yield* searchFrames(format, bases, { from: position + 1, to: Infinity }, this.#budget, (frame) => {
        next = frame.start;
        return false;
      });
    }
    return next;
  }

  /** Notes the damage at `stop`, and goes on at the next valid frame. False if that is not wanted, or there is none. */
  *#passDamage(stop: Stop, later: Later, proof: string): Examining<boolean> {
    const next = yield* this.#nextValid(stop.position, later);
    this.#breakLog();
    const ends = next ?? Math.max(stop.position + 1, this.#tally.strongest?.durableLsn ?? 0);
    this.#findings.push(this.#finding('corruption', stop, ends, proof));
    if (next === undefined || this.#options.depth === 'tail' || this.#findings.length >= FINDINGS_MAX) return false;
    this.#tally.skipTo(next);
    return true;
  }

  #gaveUp(stop: Stop): SegmentsVerdict {
    const { state, expected, found } = stop.problem;
    this.#breakLog();
    this.#findings.push(this.#finding('corruption', { ...stop, problem: { state, expected, found: `${found}; and behind it so many bytes that look like frames upon frames that checking them was given up` } }, stop.position + 1, undefined));
    return this.#corrupt(this.#whole);
  }

  // ---- the verdict -----------------------------------------------------------------------------------------------------

  /** The log ends at the tally's position: at `stop`, or behind the last segment. */
  *#finish(stop: Stop | undefined): Examining<SegmentsVerdict> {
    const log = this.#whole ?? this.#logState();
    const torn = stop === undefined ? undefined : yield* this.#tornAt(stop);
    const findings = [...this.#findings, ...this.#headerFindings()];
    const [first, ...others] = findings;
    if (first !== undefined) return { kind: 'corrupt', findings: [first, ...others, ...torn === undefined ? [] : [torn.finding]], log };
    return torn === undefined ? { kind: 'clean', log } : { kind: 'torn', log, ...torn };
  }

  #corrupt(log: LogState | undefined): SegmentsVerdict {
    const [first, ...others] = [...this.#findings, ...this.#headerFindings()];
    assert(first !== undefined, 'corruption has a finding');
    return { kind: 'corrupt', findings: [first, ...others], log };
  }

  /** The torn tail at `stop`, which nothing proves to have been durable; undefined when nothing speaks of an interrupted write. */
  *#tornAt(stop: Stop): Examining<{ finding: Finding; dataEnd: number } | undefined> {
    const { position } = stop;
    const later = this.#later;
    const beyondHole = later?.last !== undefined && later.last.start > position;
    // A writer that found this mark began behind it without zeros: whatever else stands there is older, or never landed.
    if (this.#tally.closed && !beyondHole) return undefined;
    const remains = yield* findRemains(this.#journal, position, this.#windowAt(later));
    if (remains === undefined && !beyondHole) return undefined;
    const dataEnd = Math.max(remains ?? 0, beyondHole ? later.last.end : 0);
    const next = later?.first !== undefined && later.first.start > position ? later.first.start : dataEnd;
    return { finding: this.#finding('torn-tail', stop, next, undefined), dataEnd };
  }

  /** What is wrong with headers, but for prepared space: that is prepared anew if its header is of no use. */
  #headerFindings(): Finding[] {
    const { headerFindings, firstBase } = this.#journal;
    return [...headerFindings.values()].filter(({ base }) =>
      base === firstBase || this.#geometry.bodyStart(base) < this.#tally.position || this.#later?.bases.has(base) === true);
  }

  /** The log is whole up to the tally's position, and no farther. */
  #breakLog(): void {
    this.#whole ??= this.#logState();
  }

  #logState(): LogState {
    const { journalId, bases, headers, firstBase } = this.#journal;
    const tally = this.#tally;
    const end = tally.position;
    const endBase = this.#baseOf(end);
    const within = end > this.#geometry.bodyStart(endBase);
    const told = Math.max(tally.strongest?.durableLsn ?? 0, this.#later?.strongest?.durableLsn ?? 0);
    return {
      journalId,
      segmentBytes: this.#geometry.segmentBytes,
      firstBase,
      end,
      records: tally.recordsEver - (tally.recordsBefore ?? 0),
      recordsEver: tally.recordsEver,
      lastRecordLsn: within ? tally.lastRecordLsn : 0,
      segmentRecords: within ? tally.segmentRecords : 0,
      markNumber: tally.markNumber,
      provenLsn: Math.max(told, this.#geometry.bodyStart(firstBase)),
      windowBytes: this.#windowAt(this.#later),
      closed: tally.closed,
      endInPlace: within || headers.has(endBase),
      prepared: bases.filter((base) => base > endBase && headers.has(base)),
    };
  }

  // ---- small things ----------------------------------------------------------------------------------------------------

  get #geometry(): Journal['format']['geometry'] {
    return this.#journal.format.geometry;
  }

  #baseOf(lsn: number): number {
    return this.#geometry.baseOf(lsn);
  }

  #finding(kind: Finding['kind'], { position, problem }: { readonly position: number; readonly problem: Omit<FrameProblem, 'state'> & Pick<Finding, 'state'> }, endLsn: number, proof: string | undefined): Finding {
    const base = this.#baseOf(position);
    return { kind, base, offset: position - base, lsn: position, endLsn, state: problem.state, expected: problem.expected, found: problem.found, proof };
  }
}

function sayWitness({ lsn, durableLsn }: Witness): string {
  return `the commit mark at LSN ${lsn} says everything below ${durableLsn} was durable`;
}
