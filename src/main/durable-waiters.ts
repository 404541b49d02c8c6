/**
 * Promises that wait for a watermark: resolved in LSN order, or all rejected.
 *
 * While something is pending, the watermark is looked at from `setImmediate` for a short while: the event loop keeps
 * turning, and a worker that syncs in some tens of microseconds need not wake this thread. Then the thread sleeps in
 * `Atomics.waitAsync`, which does not keep a process alive; a timer does that as long as something is pending.
 */
import type { Threads } from '../platform/platform.js';
import type { ControlBlock } from '../workers/protocol/control-block.js';

/** The longest look without progress. The price is CPU, so it is short. */
const LOOK_US_MAX = 200;
/** Waits that last longer than this on average are not worth looking for. */
const WORTH_LOOKING_US = 400;
/** Weight of the newest wait in the running average. */
const AVERAGE_WEIGHT = 0.1;
const KEEP_ALIVE_MS = 2 ** 30;
/** While something is pending, the writer's thread is looked after this often, where nobody would tell of its end. */
const WATCH_MS = 500;

interface Settle {
  readonly resolve: (lsn: number) => void;
  readonly reject: (error: Error) => void;
}

/** Waiters for one watermark, in LSN order. A ring of two arrays: appends come in order, so they are pushed. */
class WaiterQueue {
  #ends: number[] = [];
  #settles: Settle[] = [];
  #head = 0;

  get size(): number {
    return this.#ends.length - this.#head;
  }

  add(end: number, settle: Settle): void {
    const last = this.#ends.at(-1);
    if (last === undefined || last <= end || this.size === 0) {
      this.#ends.push(end);
      this.#settles.push(settle);
      return;
    }
    // Waiting for an LSN in the past of others is rare.
    let at = this.#ends.length;
    while (at > this.#head && (this.#ends[at - 1] ?? 0) > end) at--;
    this.#ends.splice(at, 0, end);
    this.#settles.splice(at, 0, settle);
  }

  /** Resolves every waiter at or below `lsn`; answers whether there was one. */
  resolveThrough(lsn: number): boolean {
    const first = this.#head;
    while (this.#head < this.#ends.length) {
      const end = this.#ends[this.#head] as number;
      if (end > lsn) break;
      (this.#settles[this.#head] as Settle).resolve(end);
      this.#head++;
    }
    const resolved = this.#head > first;
    this.#compact();
    return resolved;
  }

  rejectAll(error: Error): void {
    const settles = this.#settles.slice(this.#head);
    this.#ends = [];
    this.#settles = [];
    this.#head = 0;
    for (const { reject } of settles) reject(error);
  }

  #compact(): void {
    if (this.#head === this.#ends.length) {
      this.#ends.length = 0;
      this.#settles.length = 0;
      this.#head = 0;
    } else if (this.#head > 4096 && this.#head * 2 > this.#ends.length) {
      this.#ends.splice(0, this.#head);
      this.#settles.splice(0, this.#head);
      this.#head = 0;
    }
  }
}

export type Watermark = 'durable' | 'written';

export interface WaiterHooks {
  /** The reason why nothing becomes durable any more, if there is one. */
  readonly poisoned: () => Error | undefined;
  /** Called after each look: room may have appeared for queued records. Answers whether some still wait. */
  readonly onProgress: () => boolean;
  /** Sees to it that the end of the writer's thread is noticed. Missing where that is told. */
  readonly watchWriter?: (() => void) | undefined;
}

export class DurableWaiters {
  readonly #control: ControlBlock;
  readonly #threads: Threads;
  readonly #hooks: WaiterHooks;
  readonly #durable = new WaiterQueue();
  readonly #written = new WaiterQueue();
  readonly #keepAlive: NodeJS.Timeout;
  /** Followers: they want to know of progress without keeping the process alive. */
  readonly #observers = new Set<{ readonly beyond: number; readonly notify: () => void }>();
  /** The process stays alive until the durable watermark has reached this, whether or not a promise waits for it. */
  #holdThrough = 0;
  #durableSeen: number;
  #held = false;
  #looking = false;
  #sleeping = false;
  #queued = false;
  #lookUntil = 0;
  #waitSince = 0;
  #averageUs = 0;
  /** Set when the event loop turns no more: waits for all that is pending. */
  #block: (() => void) | undefined;

  constructor(control: ControlBlock, threads: Threads, hooks: WaiterHooks) {
    this.#control = control;
    this.#threads = threads;
    this.#hooks = hooks;
    this.#durableSeen = control.durableLsn;
    const { watchWriter } = hooks;
    this.#keepAlive = setInterval(() => {
      if (this.#held) watchWriter?.();
    }, watchWriter === undefined ? KEEP_ALIVE_MS : WATCH_MS);
    this.#keepAlive.unref();
  }

  get pending(): number {
    return this.#durable.size + this.#written.size;
  }

  /** The process stays alive until this is durable. */
  get heldThrough(): number {
    return this.#holdThrough;
  }

  /** The event loop turns no more: `block` is called wherever something is to be waited for. */
  blockFromNowOn(block: () => void): void {
    this.#block = block;
    this.#held = false;
  }

  /** Resolves with `end` when the watermark has reached it. */
  waitFor(watermark: Watermark, end: number): Promise<number> {
    return new Promise((resolve, reject) => {
      const isDurable = watermark === 'durable';
      (isDurable ? this.#durable : this.#written).add(end, { resolve, reject });
      // A record that left the queue is waited for a turn later: a thread that sleeps by then may have seen its watermark.
      const isReached = this.#sleeping && end <= (isDurable ? this.#control.durableLsn : this.#control.writtenLsn);
      if (isReached && !this.#looking) this.#lookSoon(performance.now());
      else this.#begin();
    });
  }

  /** Keeps the process alive until `end` is durable. */
  hold(end: number): void {
    // Records that left the queue are acknowledged a turn later, when others may have gone on already.
    this.#holdThrough = Math.max(this.#holdThrough, end);
    if (!this.#held) this.#begin();
  }

  /** Has queued records looked after although no promise waits for a watermark yet. */
  watchRoom(): void {
    this.#queued = true;
    this.#begin();
  }

  /** Calls `notify` once when the durable watermark is beyond `lsn`, or never will be. Answers how to take that back. */
  onDurableBeyond(lsn: number, notify: () => void): () => void {
    const observer = { beyond: lsn, notify };
    this.#observers.add(observer);
    if (!this.#looking) this.#sleep();
    return () => this.#observers.delete(observer);
  }

  dispose(): void {
    clearInterval(this.#keepAlive);
    for (const { notify } of this.#observers) notify();
    this.#observers.clear();
    // A wait that nobody ends would hold the journal's memory.
    this.#control.wakeWaiters();
  }

  get #busy(): boolean {
    return this.pending > 0 || this.#queued || this.#holdThrough > this.#durableSeen;
  }

  #begin(): void {
    if (this.#block !== undefined) {
      this.#block();
      return;
    }
    const first = !this.#held;
    if (first) {
      this.#held = true;
      this.#keepAlive.ref();
      this.#waitSince = performance.now();
    }
    // A thread that sleeps with something pending has looked for it long enough; one that sleeps for a follower has not.
    if (this.#looking || (this.#sleeping && !first)) return;
    if (this.#averageUs > WORTH_LOOKING_US) this.#sleep();
    else this.#lookSoon(performance.now());
  }

  #lookSoon(now: number): void {
    this.#lookUntil = now + LOOK_US_MAX / 1000;
    this.#looking = true;
    setImmediate(this.#look);
  }

  readonly #look = (): void => {
    this.#looking = false;
    const moved = this.#settle();
    if (!this.#busy) {
      if (this.#observers.size > 0) this.#sleep();
      return;
    }
    const now = performance.now();
    if (this.#averageUs > WORTH_LOOKING_US) this.#sleep();
    else if (moved) this.#lookSoon(now);
    else if (now < this.#lookUntil) {
      this.#looking = true;
      setImmediate(this.#look);
      // The kernel's own workers complete the IO. Where one waits for this very processor, looking would hold it up.
      this.#threads.yield();
    } else this.#sleep();
  };

  #sleep(): void {
    if (this.#sleeping) return;
    // A thread that ended when it had published, and had not rung yet, left the writer asleep: who waits sees to it.
    if (this.#busy) this.#control.ringDoorbell();
    // Once registered, look at everything again: what moved before saw no sleeper to wake.
    const woken = this.#control.sleep(() => {
      this.#settle();
      return !this.#busy && this.#observers.size === 0;
    });
    if (woken === undefined) {
      // Woken between the look and the wait, or nothing left to wait for.
      if ((this.#busy || this.#observers.size > 0) && !this.#looking) this.#lookSoon(performance.now());
      return;
    }
    this.#sleeping = true;
    void woken.then(() => {
      this.#sleeping = false;
      if (!this.#looking) this.#look();
    });
  }

  /** Resolves what the watermarks have reached, or rejects all. Answers whether something moved. */
  #settle(): boolean {
    // The failure first: the watermark does not move after it, so promises at or below the watermark are kept.
    const failure = this.#hooks.poisoned();
    const durable = this.#control.durableLsn;
    const movedDurable = this.#durable.resolveThrough(durable);
    const movedWritten = this.#written.resolveThrough(this.#control.writtenLsn);
    const moved = movedDurable || movedWritten || durable > this.#durableSeen;
    this.#durableSeen = durable;
    if (moved) this.#measure();
    this.#queued = this.#hooks.onProgress();
    if (failure !== undefined) {
      this.#durable.rejectAll(failure);
      this.#written.rejectAll(failure);
      this.#holdThrough = 0;
    }
    this.#notifyObservers(failure !== undefined || this.#control.sealed);
    if (this.#held && !this.#busy) {
      this.#held = false;
      this.#keepAlive.unref();
    }
    return moved;
  }

  #measure(): void {
    const now = performance.now();
    const waitUs = (now - this.#waitSince) * 1000;
    this.#averageUs += (waitUs - this.#averageUs) * AVERAGE_WEIGHT;
    this.#waitSince = now;
  }

  #notifyObservers(all: boolean): void {
    if (this.#observers.size === 0) return;
    for (const observer of this.#observers) {
      if (!all && this.#durableSeen <= observer.beyond) continue;
      this.#observers.delete(observer);
      observer.notify();
    }
  }
}
