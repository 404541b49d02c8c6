/** A journal at the end of the process: what was appended is waited for, blocking, within a bound. */
import { writeSync } from 'node:fs';
import type { Threads } from '../platform/platform.js';
import type { ControlBlock } from '../workers/protocol/control-block.js';
import type { Appender } from './appender.js';
import { drainAtExit, type AtExit } from './at-exit.js';
import { report } from './diagnostics.js';

export interface ExitDrainOptions {
  readonly path: string;
  /** 0: nothing is waited for. */
  readonly exitDrainMs: number;
  readonly threads: Threads;
  /** False in a thread whose end the writer outlives: what is in the log buffer needs nobody to wait for it. */
  readonly untilDurable: boolean;
  /** End of the segments that the writer has, or is being handed. Infinite where another thread sees to them. */
  readonly spaceEnd: () => number;
  readonly poisoned: () => Error | undefined;
}

export class ExitDrain implements AtExit {
  readonly #control: ControlBlock;
  readonly #appender: Appender;
  readonly #options: ExitDrainOptions;
  readonly #leave: (() => void) | undefined;
  /** What is left of the bound: handlers that append share it. */
  #leftMs: number;
  /** All threads had reserved so much. */
  #reserved = 0;
  #abandonedBefore = 0;
  /** The watermarks at the last look. */
  #seen = { durableLsn: 0, releasedLsn: 0 };
  #finished = true;
  #waited = false;
  #warned = false;

  constructor(control: ControlBlock, appender: Appender, options: ExitDrainOptions) {
    this.#control = control;
    this.#appender = appender;
    this.#options = options;
    this.#leftMs = options.exitDrainMs;
    if (options.exitDrainMs > 0) this.#leave = drainAtExit(this);
  }

  /** The journal is closed, or was never in use. */
  end(): void {
    this.#leave?.();
  }

  begin(again: () => void): void {
    this.#appender.waiters.blockFromNowOn(again);
    this.#reserved = this.#control.reservedLsn;
    this.#abandonedBefore = this.#appender.abandonedRecords;
    this.#finished = false;
    this.#waited = false;
  }

  advance(tookMs: number): boolean {
    if (this.#finished) return true;
    const { durableLsn, releasedLsn } = this.#control;
    this.#seen = { durableLsn, releasedLsn };
    const ownPending = this.#appender.waiters.heldThrough > durableLsn || this.#appender.queuedRecords > 0;
    const waits = this.#appender.placeQueued();
    const outcome = this.#outcome(waits, tookMs);
    if (outcome === undefined) {
      this.#waited = true;
      return false;
    }
    this.#finished = true;
    this.#leftMs = Math.max(0, this.#leftMs - tookMs);
    // Of an earlier failure those were told who waited then.
    if (this.#waited || (outcome !== 'drained' && ownPending)) this.#report(outcome, tookMs);
    return true;
  }

  sleep(boundMs: number): void {
    const { durableLsn, releasedLsn } = this.#seen;
    this.#control.sleepBlocking(() => this.#control.durableLsn > durableLsn || this.#control.releasedLsn > releasedLsn, boundMs);
  }

  /** All that is waited for: what was reserved at the beginning, and what this thread had in its queue. */
  get #target(): number {
    return this.#options.untilDurable ? Math.max(this.#reserved, this.#appender.waiters.heldThrough) : 0;
  }

  get #isDurable(): boolean {
    return this.#control.durableLsn >= this.#target;
  }

  /** `drained`, or why it ends without; undefined while it goes on. `waits`: records wait for room. */
  #outcome(waits: boolean, tookMs: number): string | undefined {
    const { exitDrainMs, poisoned, spaceEnd, threads } = this.#options;
    // The failure first: the watermark does not move after it.
    const failure = poisoned();
    // Once: it moves meanwhile.
    const isDurable = this.#isDurable;
    const abandoned = this.#appender.abandonedRecords > this.#abandonedBefore;
    if (isDurable && !waits && !abandoned) return 'drained';
    if (failure !== undefined) return failure.message;
    if (isDurable && !waits) return this.#control.diskFull ? 'the disk is full' : 'it was closed by its opener';
    // Whoever would make a further segment waits for this thread's event loop.
    const noSegment = waits && this.#appender.lacksSegment && this.#control.spaceEnd >= spaceEnd();
    if (isDurable && noSegment) return 'no further segment is in place';
    const { writerThread } = this.#control;
    if (writerThread !== 0 && !threads.isAlive(writerThread)) return 'the writer thread has ended';
    return tookMs >= this.#leftMs ? `${exitDrainMs} ms were not enough` : undefined;
  }

  #report(outcome: string, tookMs: number): void {
    const { path } = this.#options;
    const drained = outcome === 'drained';
    const durableLsn = this.#control.durableLsn;
    const pendingBytes = Math.max(0, this.#target - durableLsn);
    const queuedRecords = this.#appender.queuedRecords + this.#appender.abandonedRecords - this.#abandonedBefore;
    report('exitDrain', { path, drained, ...(!drained && { reason: outcome }), durableLsn, pendingBytes, queuedRecords, tookMs });
    // Once: after a bound that has passed, every append in a handler of exit comes here.
    if (drained || this.#warned) return;
    this.#warned = true;
    const lost = `${pendingBytes} bytes behind LSN ${durableLsn} may be lost, ${queuedRecords} records found no place`;
    // A process warning would be printed in a turn that never comes.
    try {
      writeSync(2, `(tidemark:${process.pid}) Warning: journal '${path}' was not drained at exit: ${outcome}; ${lost}\n`);
    } catch {
      // Nobody reads there.
    }
  }
}
