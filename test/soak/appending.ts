/** Appends at a constant rate and keeps what was acknowledged. */
import { createHistogram, type RecordableHistogram } from 'node:perf_hooks';
import { setTimeout as delay } from 'node:timers/promises';
import type { Journal } from 'tidemark';
import { soakRecord } from './records.js';

const TICK_MS = 5;
/** On a disk that does not keep up the rate drops, instead of a queue that grows. */
const PENDING_MAX = 512;

/** Words that the appending threads read. */
export const FLAG = { stop: 0, hold: 1, count: 2 } as const;

export interface Appending {
  readonly seed: number;
  readonly thread: number;
  readonly perSecond: number;
  /** For each record the LSN after it, once it is acknowledged. */
  readonly ends: Float64Array;
  readonly flags: Int32Array;
}

export class PacedAppender {
  /** Nanoseconds from `append` to its acknowledgement. */
  readonly latency: RecordableHistogram = createHistogram();
  readonly #journal: Journal;
  readonly #work: Appending;
  #appended = 0;
  #pending = 0;
  #last: Promise<void> = Promise.resolve();
  #failure: unknown;

  constructor(journal: Journal, work: Appending) {
    this.#journal = journal;
    this.#work = work;
  }

  /** Appends until it is told to stop, and answers how many records; all of them are acknowledged then. */
  async run(): Promise<number> {
    const { perSecond, ends, flags } = this.#work;
    let last = performance.now();
    let due = 0;
    while (Atomics.load(flags, FLAG.stop) === 0 && this.#failure === undefined) {
      await delay(TICK_MS);
      const now = performance.now();
      // Nothing is made up for later.
      if (Atomics.load(flags, FLAG.hold) === 0) due += (perSecond * (now - last)) / 1000;
      last = now;
      for (; due >= 1 && this.#pending < PENDING_MAX; due--) this.#append(this.#appended++);
      due = Math.min(due, 1);
      if (this.#appended > ends.length) throw new Error('the soak takes much longer than it should');
    }
    // A thread's appends are acknowledged in order.
    await this.#last;
    if (this.#failure !== undefined) throw this.#failure as Error;
    return this.#appended;
  }

  #append(sequence: number): void {
    const { seed, thread, ends } = this.#work;
    const record = soakRecord(seed, thread, sequence);
    const begun = performance.now();
    this.#pending++;
    this.#last = this.#journal.append(record).then(
      (end) => {
        this.#pending--;
        ends[sequence] = end;
        this.latency.record(Math.max(1, Math.round((performance.now() - begun) * 1e6)));
      },
      (error: unknown) => {
        this.#failure ??= error;
      },
    );
  }
}
