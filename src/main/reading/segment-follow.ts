/** Follows a journal that another process writes: the records that its commit marks prove durable, as they do. */
import { setTimeout as delay } from 'node:timers/promises';
import type { JournalError } from '../../platform/errors.js';
import type { Frame } from '../../workers/protocol/frame-walk.js';
import { recordOf, SegmentCursor, type Stop } from './segment-cursor.js';
import type { SegmentDirectory } from './segment-directory.js';
import { judge, lookAgain } from './segment-end.js';
import { Scout } from './segment-scout.js';

const POLL_MS_MIN = 1;
/** A place where nothing comes is judged after so long, then after twice as long, and so on. */
const JUDGE_MS_MIN = 100;
const JUDGE_MS_MAX = 5000;
/** What a look at an idle journal reads. */
const GLANCE_BYTES = 64;

export async function* followSegments(directory: SegmentDirectory, from: number, pollMs: number, signal: AbortSignal | undefined): AsyncGenerator<Frame, void, void> {
  const cursor = new SegmentCursor(directory, from);
  const scout = new Scout(directory, from);
  const end = new MovingEnd(directory, scout.cursor, pollMs, signal);
  try {
    // A limit that moved with each record would have each record read on its own.
    for (let looks = 0, limit = 0; ;) {
      signal?.throwIfAborted();
      const step = await cursor.next(limit);
      if (step.kind === 'frame') {
        looks = 0;
        if (step.frame.kind === 'record') yield recordOf(step.frame);
      } else if (step.kind === 'limit') {
        const stop = await scout.prove(cursor.position);
        if (stop === undefined) end.moved();
        else await end.wait(stop);
        limit = directory.provenLsn;
      } else {
        await lookAgain(directory, cursor, step, looks++, limit);
      }
    }
  } finally {
    await cursor.leave();
    await scout.cursor.leave();
  }
}

/** Waits where a log ends for the time being, and tells when that is no end but damage. */
class MovingEnd {
  readonly #directory: SegmentDirectory;
  readonly #cursor: SegmentCursor;
  readonly #pollMs: number;
  readonly #signal: AbortSignal | undefined;
  #position = -1;
  #waitMs = POLL_MS_MIN;
  #judgeMs = JUDGE_MS_MIN;
  #judgeAt = 0;
  #glance: Uint8Array | undefined;
  #damage: { readonly error: JournalError; readonly seenAs: Stop['kind'] } | undefined;

  constructor(directory: SegmentDirectory, cursor: SegmentCursor, pollMs: number, signal: AbortSignal | undefined) {
    this.#directory = directory;
    this.#cursor = cursor;
    this.#pollMs = pollMs;
    this.#signal = signal;
  }

  moved(): void {
    this.#waitMs = POLL_MS_MIN;
    this.#damage = undefined;
  }

  /** Resolves when another look at the cursor's position may find a frame. */
  async wait(stop: Stop): Promise<void> {
    this.#arrive();
    // A file that is gone is no second sight of damage in it: it may have been trimmed.
    if (this.#damage?.seenAs === stop.kind) throw this.#damage.error;
    this.#damage = undefined;
    for (;;) {
      await this.#sleep();
      if (performance.now() >= this.#judgeAt) return this.#judge(stop);
      if (stop.kind === 'missing' || (await this.#hasChanged(stop))) return;
    }
  }

  #arrive(): void {
    if (this.#cursor.position === this.#position) return;
    this.#position = this.#cursor.position;
    this.#waitMs = POLL_MS_MIN;
    this.#judgeMs = JUDGE_MS_MIN;
    this.#judgeAt = performance.now() + JUDGE_MS_MIN;
    this.#glance = undefined;
    this.#damage = undefined;
  }

  async #sleep(): Promise<void> {
    const waitMs = Math.min(this.#waitMs, this.#pollMs);
    this.#waitMs = waitMs * 2;
    try {
      await delay(waitMs, undefined, this.#signal === undefined ? {} : { signal: this.#signal });
    } catch {
      this.#signal?.throwIfAborted();
    }
  }

  /** The first glance at a place counts as change: what was read before it may be older. */
  async #hasChanged({ file, problem }: Stop & { readonly kind: 'invalid' }): Promise<boolean> {
    const before = this.#glance;
    this.#glance = await this.#directory.read(file, this.#position - file.base, GLANCE_BYTES);
    if (before === undefined || Buffer.compare(before, this.#glance) !== 0) return true;
    // A frame whose beginning is there may be completed anywhere.
    return problem.state !== 'clean-end' && problem.state !== 'bad-magic';
  }

  /** A writer may have been faster than the judgement: damage is believed when the next look finds it too. */
  async #judge(stop: Stop): Promise<void> {
    const verdict = await judge(this.#directory, this.#cursor, stop);
    // The name may lead to another file by now, or later.
    await this.#cursor.leave();
    if (verdict.kind === 'corrupt') this.#damage = { error: verdict.error, seenAs: stop.kind };
    this.#judgeMs = Math.min(this.#judgeMs * 2, JUDGE_MS_MAX);
    this.#judgeAt = performance.now() + this.#judgeMs;
  }
}
