/**
 * Plans the repair of a damaged journal: what is damaged below the end of the log gives way to pads, so that every record
 * behind it stays where it is and can be read. Pure: it asks for bytes and plans changes, on an {@link Overlay}.
 *
 * It goes by what recovery finds, fixes it, and looks again, until recovery finds a log that is clean or has a torn tail.
 * Files and headers come first: what frames say can be judged only where they can be read.
 */
import { assert, JournalError, NotSupportedError } from '../../platform/errors.js';
import { idChecksum, OVERHEAD_BYTES } from '../protocol/frame.js';
import {
  decodeSegmentFields, encodeMark, encodePad, encodeSegmentHeader, Geometry, MARK_BYTES, MARK_FLAG, sealFrame, SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN,
  SEGMENT_HEADER_BYTES, type CommitMark,
} from '../protocol/segment.js';
import { readFooter, walkSegment, type SegmentFormat, type SegmentFrame, type SegmentStep } from '../protocol/segment-walk.js';
import type { Overlay } from './overlay.js';
import { examineBlocking } from './recovery.js';
import { Tally } from './tally.js';
import { describeFinding, type Finding, type LogState, type SegmentsVerdict } from './verdict.js';

/** A part of a segment's file that is changed, and why. */
export interface PlannedRange {
  readonly base: number;
  readonly offset: number;
  readonly bytes: number;
  readonly finding: Finding;
}

export interface RepairPlan {
  /** What recovery says when the plan is carried out. */
  readonly verdict: Extract<SegmentsVerdict, { kind: 'clean' | 'torn' }>;
  /** Empty: the journal needs no repair. */
  readonly ranges: readonly PlannedRange[];
}

/** More missing segments than this are no gap: a stray file far behind the log is. */
const MISSING_MAX = 1000;

/** What one look finds is fixed before the next, so more looks than this only go round in circles. */
const LOOKS_MAX = 1000;

/** The largest log buffer: a window that is too large only takes damage for a torn tail, never the other way round. */
const WINDOW_BYTES_GUESS = 1024 * 1024 * 1024;

const NO_BYTES = new Uint8Array(0);

/** Plans on `overlay`. Throws when the journal is none, is of a newer version, or cannot be repaired. */
export function planRepair(path: string, overlay: Overlay): RepairPlan {
  const ranges: PlannedRange[] = [];
  const fixed = new Set<string>();
  for (let looks = 0; looks < LOOKS_MAX; looks++) {
    const verdict = examineBlocking(overlay.listing, { depth: 'all' }, overlay.read);
    if (verdict.kind === 'not-a-journal') throw new JournalError('TIDEMARK_NOT_A_JOURNAL', `'${path}' is not a journal and was left untouched: ${verdict.detail}`, { path });
    if (verdict.kind !== 'corrupt') return { verdict: checkOpening(path, overlay, verdict), ranges };
    refuseForeign(path, verdict.findings);
    const found = verdict.findings.map(describeFinding).join('\n');
    // Marks that contradict each other send it round in circles.
    if (fixed.has(found)) throw beyondRepair(path, `it looks damaged after every repair: ${describeFinding(verdict.findings[0])}`, verdict.findings[0].lsn);
    fixed.add(found);
    if (verdict.log === undefined) ranges.push(salvageHeader(path, overlay, verdict.findings));
    else ranges.push(...new Repair(path, overlay, verdict.log).fix(verdict.findings));
  }
  throw beyondRepair(path, 'it looks damaged after every repair');
}

/** Opening begins near the end, by what marks say. Where those contradict the frames before, no pad makes that good. */
function checkOpening(path: string, overlay: Overlay, planned: RepairPlan['verdict']): RepairPlan['verdict'] {
  const opening = examineBlocking(overlay.listing, { depth: 'tail' }, overlay.read);
  if (opening.kind === 'corrupt') throw beyondRepair(path, describeFinding(opening.findings[0]), opening.findings[0].lsn);
  return planned;
}

function refuseForeign(path: string, findings: readonly Finding[]): void {
  const newer = findings.find(({ kind }) => kind === 'newer-version');
  if (newer !== undefined) throw new NotSupportedError(`repairing journal '${path}'`, `${describeFinding(newer)}. Nothing was changed`);
  const foreign = findings.find(({ kind }) => kind === 'foreign-segment');
  if (foreign !== undefined) throw beyondRepair(path, `${describeFinding(foreign)}: a file that is not of this journal has to be moved away first`, foreign.lsn);
}

function beyondRepair(path: string, why: string, lsn?: number): JournalError {
  return new JournalError('TIDEMARK_CORRUPT', `journal '${path}' cannot be repaired: ${why}. Nothing was changed`, { path, lsn });
}

function run<T>(overlay: Overlay, steps: Generator<SegmentStep, T, Uint8Array>, onFrame: (frame: SegmentFrame) => boolean = () => true): T | undefined {
  let step = steps.next(NO_BYTES);
  while (step.done !== true) {
    if ('read' in step.value) step = steps.next(overlay.read(step.value.read));
    else if (onFrame(step.value.frame)) step = steps.next(NO_BYTES);
    else return undefined;
  }
  return step.value;
}

/** No header is valid. One that still names journal and size is believed when a frame is bound to what it names. */
function salvageHeader(path: string, overlay: Overlay, findings: readonly Finding[]): PlannedRange {
  for (const finding of findings) {
    const { base } = finding;
    const { journalId, windowBytes } = decodeSegmentFields(overlay.read({ base, offset: 0, bytes: SEGMENT_HEADER_BYTES }));
    const segmentBytes = overlay.foundBytes(base) ?? 0;
    const legal = segmentBytes >= SEGMENT_BYTES_MIN && segmentBytes <= SEGMENT_BYTES_MAX && Number.isInteger(Math.log2(segmentBytes)) && base % segmentBytes === 0;
    if (finding.kind !== 'damaged-header' || !legal) continue;
    const format: SegmentFormat = { idSum: idChecksum(journalId), geometry: new Geometry(segmentBytes) };
    const first = run(overlay, walkSegment(format, format.geometry.bodyStart(base)), () => false);
    // It ends early at a valid frame.
    if (first !== undefined) continue;
    overlay.patch(base, 0, encodeSegmentHeader({
      journalId, base, segmentBytes, preparedMs: Date.now(), earlierBase: 0, windowBytes: isWindow(windowBytes) ? windowBytes : WINDOW_BYTES_GUESS,
    }));
    return { base, offset: 0, bytes: SEGMENT_HEADER_BYTES, finding };
  }
  throw beyondRepair(path, `${findings[0] === undefined ? 'it is damaged' : describeFinding(findings[0])}; nothing else tells which journal the segments belong to`);
}

function isWindow(bytes: number): boolean {
  return bytes > 0 && Number.isInteger(Math.log2(bytes)) && bytes <= WINDOW_BYTES_GUESS;
}

/** Fixes what one look found. */
class Repair {
  readonly #path: string;
  readonly #overlay: Overlay;
  readonly #log: LogState;
  readonly #format: SegmentFormat;

  constructor(path: string, overlay: Overlay, log: LogState) {
    this.#path = path;
    this.#overlay = overlay;
    this.#log = log;
    this.#format = { idSum: idChecksum(log.journalId), geometry: new Geometry(log.segmentBytes) };
  }

  fix(findings: readonly Finding[]): PlannedRange[] {
    const files = findings.filter(({ kind }) => kind === 'missing-segment' || kind === 'wrong-size' || kind === 'damaged-header');
    if (files.length > 0) return files.flatMap((finding) => this.#fixFile(finding));
    const damaged = findings.filter(({ kind }) => kind === 'corruption');
    // What comes behind a mark that is wrong is judged by it, and a new footer needs a body that is whole: so what comes
    // before such a mark first, then the mark alone.
    const wrongMark = damaged.findIndex(({ state }) => state === undefined);
    return this.#fixFrames(wrongMark < 0 ? damaged : damaged.slice(0, Math.max(wrongMark, 1)));
  }

  // ---- files and headers -----------------------------------------------------------------------------------------

  #fixFile(finding: Finding): PlannedRange[] {
    const { segmentBytes } = this.#log;
    if (finding.kind === 'missing-segment') {
      const { geometry } = this.#format;
      const ranges: PlannedRange[] = [];
      for (let base = finding.lsn; base < finding.endLsn; base = geometry.nextBase(base)) {
        if (ranges.length === MISSING_MAX) throw beyondRepair(this.#path, `${describeFinding(finding)}, and more than ${MISSING_MAX} segments would have to be made`, finding.lsn);
        this.#overlay.resize(base, segmentBytes);
        this.#putHeader(base, undefined);
        ranges.push({ base, offset: 0, bytes: segmentBytes, finding });
      }
      return ranges;
    }
    const { base } = finding;
    if (finding.kind === 'damaged-header') {
      // What an unreadable header leaves behind is unknown, so it counts as an earlier life.
      this.#putHeader(base, 0);
      return [{ base, offset: 0, bytes: SEGMENT_HEADER_BYTES, finding }];
    }
    const found = this.#overlay.foundBytes(base) ?? 0;
    this.#overlay.resize(base, segmentBytes);
    return [{ base, offset: Math.min(found, segmentBytes), bytes: Math.abs(found - segmentBytes), finding }];
  }

  #putHeader(base: number, earlierBase: number | undefined): void {
    const { journalId, segmentBytes, windowBytes } = this.#log;
    if ((this.#overlay.foundBytes(base) ?? segmentBytes) < SEGMENT_HEADER_BYTES) this.#overlay.resize(base, segmentBytes);
    this.#overlay.patch(base, 0, encodeSegmentHeader({ journalId, base, segmentBytes, preparedMs: Date.now(), earlierBase, windowBytes }));
  }

  // ---- frames ----------------------------------------------------------------------------------------------------

  #fixFrames(findings: readonly Finding[]): PlannedRange[] {
    const ranges: PlannedRange[] = [];
    const footers: number[] = [];
    for (const finding of findings) {
      if (finding.proof === undefined) throw beyondRepair(this.#path, describeFinding(finding), finding.lsn);
      for (const { base, start, end, footer } of this.#partsOf(finding)) {
        if (start < end) this.#putPad(finding, start, end);
        if (footer) footers.push(base);
        // What a new file holds was told when it was planned.
        const stop = footer ? this.#format.geometry.nextBase(base) : end;
        if (this.#overlay.foundBytes(base) !== undefined) ranges.push({ base, offset: start - base, bytes: stop - start, finding });
      }
    }
    // When all pads are in place: a footer says what its body holds.
    for (const base of footers) this.#putFooter(base);
    return ranges;
  }

  /** What of each segment a damaged range takes: bytes of the body, and the footer. */
  *#partsOf({ lsn, endLsn }: Finding): Generator<{ base: number; start: number; end: number; footer: boolean }> {
    const { geometry } = this.#format;
    const last = this.#overlay.listing.at(-1)?.base ?? 0;
    for (let base = geometry.baseOf(lsn); base < endLsn && base <= last; base = geometry.nextBase(base)) {
      const footerLsn = geometry.footerOf(base);
      const start = Math.max(lsn, geometry.bodyStart(base));
      const end = Math.min(endLsn, footerLsn);
      const footer = endLsn > footerLsn;
      if (start < end || footer) yield { base, start: Math.min(start, footerLsn), end, footer };
    }
  }

  #putPad(finding: Finding, start: number, end: number): void {
    const { geometry, idSum } = this.#format;
    if (end - start < OVERHEAD_BYTES || !geometry.fits(start, end - start)) throw beyondRepair(this.#path, `${describeFinding(finding)}; no pad can fill the ${end - start} bytes`, start);
    const pad = encodePad(end - start);
    sealFrame(pad, 0, end - start, idSum, start);
    this.#overlay.patch(geometry.baseOf(start), start - geometry.baseOf(start), pad);
  }

  #putFooter(base: number): void {
    const { geometry, idSum } = this.#format;
    const lsn = geometry.footerOf(base);
    const bytes = encodeMark(this.#footerOf(base));
    sealFrame(bytes, 0, MARK_BYTES, idSum, lsn);
    this.#overlay.patch(base, lsn - base, bytes);
  }

  /** A footer with the counts that are known: those of the frames that are there, and what a mark behind it says of them. */
  #footerOf(base: number): CommitMark {
    const { geometry } = this.#format;
    const before = this.#markBefore(base);
    const tally = new Tally(geometry.bodyStart(base), before?.records);
    tally.enterBody(geometry.bodyStart(base));
    tally.markNumber = before?.number ?? 0;
    const end = run(this.#overlay, walkSegment(this.#format, tally.position), (frame) => {
      if (frame.kind === 'record') tally.takeRecord(frame.start, frame.end);
      else if (frame.kind === 'pad') tally.takePad(frame.start, frame.end);
      else tally.takeMark(frame.mark, frame.start, frame.end, false);
      return true;
    });
    assert(end?.kind === 'full', 'a body whose footer is planned is tiled');
    const told = this.#recordsBefore(geometry.nextBase(base));
    const lost = told === undefined || !tally.exact ? 0 : Math.max(0, told - tally.recordsEver);
    const records = tally.exact ? tally.recordsEver + lost : told ?? tally.recordsEver;
    return {
      durableLsn: geometry.footerOf(base), number: tally.markNumber + 1, clockMs: Date.now(), records, lastRecordLsn: tally.lastRecordLsn,
      windowBytes: this.#log.windowBytes, segmentRecords: tally.segmentRecords + lost, flags: MARK_FLAG.footer,
    };
  }

  /** The footer of the segment before, or what stands for it where the log begins. */
  #markBefore(base: number): Pick<CommitMark, 'records' | 'number'> | undefined {
    const { geometry } = this.#format;
    if (base === 0) return { records: 0, number: 0 };
    return base === this.#log.firstBase ? undefined : run(this.#overlay, readFooter(this.#format, base - geometry.segmentBytes));
  }

  /** How many records are before the segment, as the first mark in it says; undefined when there is none. */
  #recordsBefore(base: number): number | undefined {
    if (this.#overlay.listing.every((segment) => segment.base !== base)) return undefined;
    let told: CommitMark | undefined;
    const end = run(this.#overlay, walkSegment(this.#format, this.#format.geometry.bodyStart(base)), (frame) => {
      if (frame.kind === 'mark') told = frame.mark;
      return frame.kind !== 'mark';
    });
    told ??= end?.kind === 'full' ? end.footer : undefined;
    return told === undefined ? undefined : told.records - told.segmentRecords;
  }
}
