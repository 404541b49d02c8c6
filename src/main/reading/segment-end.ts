/** Tells the end of a log from damage: what lies where no frame is valid, and what proves that there had been one. */
import { setTimeout as delay } from 'node:timers/promises';
import type { JournalError } from '../../platform/errors.js';
import type { Tail } from '../../workers/protocol/frame-walk.js';
import { HEADER_BYTES, OVERHEAD_BYTES, frameBytes } from '../../workers/protocol/frame.js';
import { walkSegment, type FrameProblem, type SegmentFormat, type SegmentFrame } from '../../workers/protocol/segment-walk.js';
import { decodeSegmentHeader, SEGMENT_HEADER_BYTES, type CommitMark } from '../../workers/protocol/segment.js';
import { footerOf, frameAt, type SegmentCursor, type Stop } from './segment-cursor.js';
import type { EnteredSegment, SegmentDirectory, SegmentFile } from './segment-directory.js';
import { LOOK_AGAIN_MS, LOOKS_MAX } from './source.js';

/** How far behind an invalid frame its proof is looked for, and behind where it says that it ends. */
const SCAN_BYTES = 1024 * 1024;
/** Bytes of which checksums are computed in one scan, so that a log full of frames' beginnings takes no longer. */
const CHECKED_BYTES_MAX = 8 * SCAN_BYTES;

export type Verdict =
  /** The log ends here, as far as anything proves. */
  | { readonly kind: 'end'; readonly tail: Tail }
  /** There had been durable frames. Final only when a later look finds none either: a writer may have been faster. */
  | { readonly kind: 'corrupt'; readonly error: JournalError }
  /** The file was replaced by another one. */
  | { readonly kind: 'replaced' };

/**
 * Judges what stopped `cursor`. Throws `TIDEMARK_TRIMMED` when the segment is no longer part of the journal. Everything
 * below `provenLsn` is known to be durable.
 */
export async function judge(directory: SegmentDirectory, cursor: SegmentCursor, stop: Stop, provenLsn = directory.provenLsn): Promise<Verdict> {
  const { position } = cursor;
  const { geometry } = directory.format;
  const base = geometry.baseOf(position);
  const place = await directory.whereabouts(base, stop.kind === 'invalid' ? stop.file : undefined);
  if (place === 'trimmed') throw directory.trimmed(position);
  if (place === 'hole') return { kind: 'corrupt', error: directory.missing(base) };
  if (place === 'ahead') {
    const begun = provenLsn > geometry.bodyStart(base) || position > geometry.bodyStart(base);
    if (begun) return { kind: 'corrupt', error: directory.corrupt(position, `${directory.describe(position)}: the segment is gone, and younger ones are not there`) };
    return { kind: 'end', tail: { state: 'clean-end', position, detail: 'the journal ends with its last segment' } };
  }
  if (place === 'replaced' || stop.kind === 'missing') return { kind: 'replaced' };
  const { file, problem } = stop;
  const proof = provenLsn > position ? `everything below LSN ${provenLsn} is durable` : undefined;
  const evidence = proof === undefined ? await evidenceBeyond(directory, file, position, problem) : undefined;
  const proven = proof ?? evidence?.proofFor(position, problem);
  if (proven !== undefined) return { kind: 'corrupt', error: directory.corrupt(position, `${inWords(directory, position, problem)}; ${proven}`) };
  return { kind: 'end', tail: await tailAt(directory, cursor, file, problem, evidence?.anyLsn) };
}

/**
 * For a stop below what is known to be durable: returns when another look is worth while, throws when there have been
 * enough of them.
 */
export async function lookAgain(directory: SegmentDirectory, cursor: SegmentCursor, stop: Stop, look: number, provenLsn: number): Promise<void> {
  const verdict = await judge(directory, cursor, stop, provenLsn);
  if (look >= LOOKS_MAX) throw verdict.kind === 'corrupt' ? verdict.error : directory.corrupt(cursor.position, `${directory.describe(cursor.position)}: no frame, though it is durable`);
  await cursor.leave();
  await delay(LOOK_AGAIN_MS);
}

/** What an end looks like that nothing proves to be damage. `laterLsn`: where a valid frame lies beyond it. */
async function tailAt(directory: SegmentDirectory, cursor: SegmentCursor, file: EnteredSegment, problem: FrameProblem, laterLsn: number | undefined): Promise<Tail> {
  const { position } = cursor;
  const clean = (detail: string): Tail => ({ state: 'clean-end', position, detail });
  if (laterLsn !== undefined) {
    const state = problem.state === 'clean-end' ? 'bad-magic' : problem.state;
    return { state, position, detail: `${inWords(directory, position, problem)}, and a valid frame again at LSN ${laterLsn}` };
  }
  if (cursor.closed) return clean('the journal was closed after its last frame');
  if (problem.state === 'clean-end') return clean('unwritten space follows the last frame');
  if (problem.state === 'bad-magic') return clean('no frame follows the last one');
  if (await isEarlierFrame(directory, file, position)) return clean(`frames of the earlier life of segment ${file.name} follow the last one`);
  return { state: problem.state, position, detail: inWords(directory, position, problem) };
}

function inWords(directory: SegmentDirectory, lsn: number, { expected, found }: FrameProblem): string {
  return `${directory.describe(lsn)}: expected ${expected}, found ${found}`;
}

async function isEarlierFrame(directory: SegmentDirectory, file: EnteredSegment, position: number): Promise<boolean> {
  const base = file.header.earlierBase;
  if (base === undefined || base !== directory.format.geometry.baseOf(base)) return false;
  return 'kind' in (await frameAt(directory, { ...file, base }, base + position - file.base));
}

// ---- evidence ------------------------------------------------------------------------------------------------------

/** What valid frames beyond a place prove of it. */
class Evidence {
  #marked = { durableLsn: 0, at: 0 };
  #windowBytes: number;
  #frameLsn = 0;
  /** LSN of the first valid frame that was found. */
  anyLsn: number | undefined;

  readonly #directory: SegmentDirectory;

  constructor(directory: SegmentDirectory, windowBytes: number) {
    this.#directory = directory;
    this.#windowBytes = windowBytes;
  }

  addWindow(windowBytes: number): void {
    this.#windowBytes = Math.max(this.#windowBytes, windowBytes);
  }

  addFrame(frame: SegmentFrame): void {
    this.anyLsn ??= frame.start;
    this.#frameLsn = Math.max(this.#frameLsn, frame.start);
    if (frame.kind === 'mark') this.addMark(frame.start, frame.mark);
  }

  /** A footer is a mark, yet may be older than the frames before it. */
  addMark(lsn: number, mark: CommitMark): void {
    this.anyLsn ??= lsn;
    this.addWindow(mark.windowBytes);
    // What it proves of the frames before the damage may be shown.
    this.#directory.noteMark(mark);
    if (mark.durableLsn > this.#marked.durableLsn) this.#marked = { durableLsn: mark.durableLsn, at: lsn };
  }

  /** Why a frame at `lsn` had been durable, in words; undefined when nothing tells. */
  proofFor(lsn: number, problem: FrameProblem): string | undefined {
    const { durableLsn, at } = this.#marked;
    if (durableLsn > lsn) return `the commit mark at LSN ${at} proves that everything below LSN ${durableLsn} had been durable`;
    const durable = this.#frameLsn - this.#windowBytes;
    // A long frame that began before the window may have ended in it, and be torn; it ended before the next valid one.
    const end = problem.state === 'checksum-mismatch' ? this.anyLsn ?? Infinity : lsn + OVERHEAD_BYTES;
    if (durable >= end) return `the frame at LSN ${this.#frameLsn}, more than a window of ${this.#windowBytes} bytes behind, proves that it had been durable`;
    return undefined;
  }
}

/** Collects the evidence that is cheap to see: a stretch of this segment and of each younger one, and their footers. */
async function evidenceBeyond(directory: SegmentDirectory, file: EnteredSegment, position: number, problem: FrameProblem): Promise<Evidence> {
  const evidence = new Evidence(directory, file.header.windowBytes);
  await scan(directory, file, position, evidence);
  if (problem.state === 'checksum-mismatch') {
    const header = await directory.read(file, position - file.base, HEADER_BYTES);
    const end = position + frameBytes(new DataView(header.buffer, header.byteOffset).getUint32(4, true));
    if (end > position + SCAN_BYTES) await scan(directory, file, end, evidence);
  }
  await addFooter(directory, file.base, evidence);
  for (const base of await directory.look()) {
    if (evidence.proofFor(position, problem) !== undefined) break;
    if (base <= file.base) continue;
    await addFooter(directory, base, evidence);
    await directory.withFile(base, async (younger) => {
      const verdict = decodeSegmentHeader(await directory.read(younger, 0, SEGMENT_HEADER_BYTES));
      if (verdict.ok) evidence.addWindow(verdict.header.windowBytes);
      await scan(directory, younger, directory.format.geometry.bodyStart(base), evidence);
    });
  }
  return evidence;
}

async function addFooter(directory: SegmentDirectory, base: number, evidence: Evidence): Promise<void> {
  const footer = await footerOf(directory, base);
  if (footer !== undefined) evidence.addMark(directory.format.geometry.footerOf(base), footer);
}

/** Adds the valid frames in a stretch of a body, wherever they begin. */
async function scan(directory: SegmentDirectory, file: SegmentFile, from: number, evidence: Evidence): Promise<void> {
  const bodyEnd = directory.format.geometry.footerOf(file.base);
  if (from >= bodyEnd) return;
  const bytes = await directory.read(file, from - file.base, Math.min(SCAN_BYTES, bodyEnd - from));
  for (const frame of framesIn(directory.format, Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length), from)) evidence.addFrame(frame);
}

const FRAME_BEGINS = Buffer.from('FSY');

function* framesIn(format: SegmentFormat, bytes: Buffer, lsn: number): Generator<SegmentFrame> {
  let left = CHECKED_BYTES_MAX;
  for (let at = bytes.indexOf(FRAME_BEGINS); at >= 0 && left > 0; at = bytes.indexOf(FRAME_BEGINS, at)) {
    const { frame, checkedBytes } = wholeFrame(format, bytes, at, lsn + at);
    left -= checkedBytes;
    if (frame !== undefined) yield frame;
    at += frame === undefined ? 1 : frame.end - frame.start;
  }
}

/** The valid frame at offset `at` of `bytes`, if all of it is there, and how many bytes were looked at for it. */
function wholeFrame(format: SegmentFormat, bytes: Buffer, at: number, lsn: number): { readonly frame: SegmentFrame | undefined; readonly checkedBytes: number } {
  if (bytes.length - at < HEADER_BYTES || frameBytes(bytes.readUInt32LE(at + 4)) > bytes.length - at) return { frame: undefined, checkedBytes: HEADER_BYTES };
  const total = frameBytes(bytes.readUInt32LE(at + 4));
  const walk = walkSegment(format, lsn, lsn + total);
  const origin = format.geometry.baseOf(lsn) + at - lsn;
  let step = walk.next(bytes);
  while (step.done !== true) {
    if ('frame' in step.value) return { frame: step.value.frame, checkedBytes: total };
    const { offset, bytes: wanted } = step.value.read;
    step = walk.next(bytes.subarray(offset + origin, offset + origin + wanted));
  }
  return { frame: undefined, checkedBytes: step.value.kind === 'invalid' && step.value.problem.state === 'checksum-mismatch' ? total : HEADER_BYTES };
}
