/** Goes through the frames of a segment journal, from one segment into the next. */
import type { Frame } from '../../workers/protocol/frame-walk.js';
import type { FrameProblem, SegmentEnd, SegmentFrame, SegmentStep } from '../../workers/protocol/segment-walk.js';
import { readFooter, walkSegment } from '../../workers/protocol/segment-walk.js';
import { OVERHEAD_BYTES } from '../../workers/protocol/frame.js';
import { MARK_FLAG, type CommitMark } from '../../workers/protocol/segment.js';
import type { EnteredSegment, SegmentDirectory, SegmentFile } from './segment-directory.js';

/** Why a cursor came to no frame: none is valid at its position, or the directory has no segment there. */
export type Stop =
  | { readonly kind: 'invalid'; readonly file: EnteredSegment; readonly problem: FrameProblem }
  | { readonly kind: 'missing' };

export type CursorStep = { readonly kind: 'frame'; readonly frame: SegmentFrame } | { readonly kind: 'limit' } | Stop;

type SegmentWalk = Generator<SegmentStep, SegmentEnd, Uint8Array>;

const NOTHING = new Uint8Array(0);
/** What a walk reads first. At the end of a log that grows little more is of use; each further read takes twice as much. */
const REACH_BYTES_MIN = 16 * 1024;

/** How much is read at once, whatever a walk asks for. */
interface Reach {
  bytes: number;
  /** What the walk asked for when it was given less. */
  asked: number | undefined;
}
const LIMIT = { kind: 'limit' } as const;
const MISSING = { kind: 'missing' } as const;

export class SegmentCursor {
  readonly #directory: SegmentDirectory;
  readonly #entering: (lsn: number) => void;
  #position: number;
  #file: EnteredSegment | undefined;
  #walk: { readonly steps: SegmentWalk; readonly limit: number; readonly reach: Reach } | undefined;
  #closed = false;

  /** `entering` is told the position before a segment is opened. */
  constructor(directory: SegmentDirectory, position: number, entering: (lsn: number) => void = () => undefined) {
    this.#directory = directory;
    this.#position = position;
    this.#entering = entering;
  }

  /** LSN of the next frame; where a body is full, the footer's until the next step. */
  get position(): number {
    return this.#position;
  }

  /** Whether the frames before the position are those that end a journal which was closed. */
  get closed(): boolean {
    return this.#closed;
  }

  seek(lsn: number): void {
    this.#position = lsn;
    this.#walk = undefined;
    this.#closed = false;
  }

  /**
   * The next frame that ends at or below `limit`, a frame's or a body's start. After anything but a frame the next call
   * looks at the disk again.
   */
  async next(limit = Infinity): Promise<CursorStep> {
    for (;;) {
      if (this.#position >= limit) return LIMIT;
      const file = await this.#enter();
      if (file === undefined) return MISSING;
      const { steps, reach } = this.#walk?.limit === limit ? this.#walk : this.#begin(limit, REACH_BYTES_MIN);
      const step = await advance(this.#directory, file, steps, limit, reach);
      if (step.done !== true) {
        this.#pass(step.value);
        return { kind: 'frame', frame: step.value };
      }
      this.#walk = undefined;
      if (step.value.kind === 'limit') return this.#position < limit ? await this.#crossing(file, limit) : LIMIT;
      if (step.value.kind === 'invalid' && reach.asked !== undefined && step.value.problem.state.startsWith('truncated')) {
        this.#begin(limit, reach.asked);
        continue;
      }
      if (step.value.kind === 'invalid') return { kind: 'invalid', file, problem: step.value.problem };
      if (step.value.footer !== undefined) this.#directory.noteMark(step.value.footer);
      // Frames tell whether the log goes on: the footer is an index entry, and may be written after them.
      this.#position = this.#directory.format.geometry.nextBody(file.base);
    }
  }

  /** Leaves the file that is open: the next step opens what then has its name. */
  async leave(): Promise<void> {
    const file = this.#file;
    this.#file = undefined;
    this.#walk = undefined;
    if (file !== undefined) await this.#directory.leave(file);
  }

  /** A frame that seems to end beyond a limit where another one begins is none: its length is damaged, or the limit is no frame's start. */
  async #crossing(file: EnteredSegment, limit: number): Promise<Stop> {
    const step = await advance(this.#directory, file, walkSegment(this.#directory.format, this.#position), Infinity);
    const problem: FrameProblem = step.done === true && step.value.kind === 'invalid'
      ? step.value.problem
      : { state: 'length-overflow', expected: `a frame that ends at or below LSN ${limit}, up to which a commit mark says that everything is durable`, found: 'one that ends beyond it' };
    return { kind: 'invalid', file, problem };
  }

  #begin(limit: number, reachBytes: number): { readonly steps: SegmentWalk; readonly reach: Reach } {
    const steps = walkSegment(this.#directory.format, this.#position, limit);
    this.#walk = { steps, limit, reach: { bytes: reachBytes, asked: undefined } };
    return this.#walk;
  }

  #pass(frame: SegmentFrame): void {
    this.#position = frame.end;
    if (frame.kind === 'mark') this.#directory.noteMark(frame.mark);
    // A mark may have a pad behind it, up to the end of its sector.
    if (frame.kind !== 'pad') this.#closed = frame.kind === 'mark' && (frame.mark.flags & MARK_FLAG.closed) !== 0;
  }

  async #enter(): Promise<EnteredSegment | undefined> {
    const base = this.#directory.format.geometry.baseOf(this.#position);
    if (this.#file?.base === base) return this.#file;
    await this.leave();
    this.#entering(this.#position);
    this.#file = await this.#directory.enter(base);
    return this.#file;
  }
}

/** A record as readers are given it. */
export function recordOf({ start, end, payload }: SegmentFrame & { readonly kind: 'record' }): Frame {
  return { start, end, payload };
}

/** Runs a walk until its next frame or its end, reading nothing of the bodies beyond `limit`. */
async function advance<End>(
  directory: SegmentDirectory,
  file: SegmentFile,
  walk: Generator<SegmentStep, End, Uint8Array>,
  limit: number,
  reach: Reach = { bytes: Infinity, asked: undefined },
): Promise<IteratorResult<SegmentFrame, End>> {
  let step = walk.next(NOTHING);
  while (step.done !== true) {
    if ('frame' in step.value) return { done: false, value: step.value.frame };
    const { base, offset, bytes } = step.value.read;
    const wanted = Math.min(bytes, limit - base - offset);
    reach.asked = wanted > reach.bytes ? wanted : undefined;
    const given = Math.min(wanted, reach.bytes);
    reach.bytes *= 2;
    step = walk.next(await directory.read(file, offset, given));
  }
  return step;
}

/** The footer of the segment at `base`; undefined when it has none that is valid, or is not there. */
export async function footerOf(directory: SegmentDirectory, base: number): Promise<CommitMark | undefined> {
  return directory.withFile(base, async (file) => {
    const step = await advance(directory, file, readFooter(directory.format, base), Infinity);
    return step.done === true ? step.value : undefined;
  });
}

/** The frame at `lsn` of `file`, read alone, or what lies there instead. */
export async function frameAt(directory: SegmentDirectory, file: SegmentFile, lsn: number): Promise<SegmentFrame | FrameProblem> {
  const header = await directory.read(file, lsn - file.base, OVERHEAD_BYTES);
  const length = header.length < OVERHEAD_BYTES ? 0 : new DataView(header.buffer, header.byteOffset).getUint32(4, true);
  const limit = lsn + OVERHEAD_BYTES + length;
  const step = await advance(directory, file, walkSegment(directory.format, lsn, limit), limit);
  if (step.done !== true) return step.value;
  if (step.value.kind === 'invalid') return step.value.problem;
  return { state: 'bad-magic', expected: 'a frame', found: 'the end of the body' };
}
