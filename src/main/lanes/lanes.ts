/**
 * The lanes to the file workers: who goes first, how many at a time, how many may wait.
 *
 * There are three, and each one passes through those above it: bulk work never takes the threads that normal work needs, and
 * neither takes all that urgent work needs. A lane keeps its calls in order and hands them over in groups, as many as have
 * gathered while the threads were busy: one message then carries them all.
 */
import PQueue from 'p-queue';
import type { Piscina } from 'piscina';
import { fromWire, OperationError } from '../platform/errors.js';
import type { Outcome } from '../workers/protocol/messages.js';
import { CallControl, type OperationsTask } from '../workers/protocol/operation.js';
import { checkKeys, integer } from './options.js';

/** From first to last. */
export const LANES = ['urgent', 'normal', 'bulk'] as const;
export type LaneName = (typeof LANES)[number];

export interface LaneOptions {
  /**
   * Threads that the lane may keep busy at a time, from 1 to 64. Default: of `fileWorkers` threads, urgent operations may have
   * all, normal ones all but one, bulk ones all but two, and each of them one at least.
   */
  readonly concurrency?: number;
  /** Operations that may wait; one more is refused with `TIDEMARK_QUEUE_FULL`. From 1 to 2^31 - 1, default 65536. */
  readonly queueMax?: number;
}

/** How a call is made. */
export interface CallOptions {
  readonly lane: LaneName;
  readonly signal?: AbortSignal | undefined;
  readonly timeoutMs?: number | undefined;
  /** Told the bytes that are done, now and then, and at the end. */
  readonly onProgress?: ((bytes: number) => void) | undefined;
  /**
   * Calls with the same word may be given to one thread together: a fair share of what waits, so that the other threads help, but
   * `least` where so many wait, and never more than `most`. Other calls go alone.
   */
  readonly together?: { readonly word: string; readonly least: number; readonly most: number } | undefined;
  /** Gets the result that came when nobody waited any more. */
  readonly discard?: ((value: unknown) => void) | undefined;
}

const PROGRESS_MS = 100;
const QUEUE_MAX = 65_536;

interface Listeners {
  readonly calls: Set<() => void>;
  readonly tell: () => void;
}

/** One listener for a signal, however many calls have it: of more than ten Node.js warns. */
const listeners = new WeakMap<AbortSignal, Listeners>();

function listen(signal: AbortSignal, call: () => void): void {
  let known = listeners.get(signal);
  if (known === undefined) {
    const calls = new Set<() => void>();
    known = { calls, tell: () => {
      for (const each of [...calls]) each();
    } };
    listeners.set(signal, known);
    signal.addEventListener('abort', known.tell, { once: true });
  }
  known.calls.add(call);
}

function unlisten(signal: AbortSignal, call: () => void): void {
  const known = listeners.get(signal);
  if (known === undefined) return;
  known.calls.delete(call);
  if (known.calls.size > 0) return;
  signal.removeEventListener('abort', known.tell);
  listeners.delete(signal);
}

/** One call, from its submission until it is settled, and until its thread is through with it. */
class Call {
  readonly name: string;
  readonly args: readonly unknown[];
  readonly options: CallOptions;
  readonly control: CallControl | undefined;
  readonly promise: Promise<unknown>;
  settled = false;
  #resolve!: (value: unknown) => void;
  #reject!: (error: unknown) => void;
  #running = false;
  #timeout: NodeJS.Timeout | undefined;
  #progress: NodeJS.Timeout | undefined;
  #leftQueue: (() => void) | undefined;
  #through: (() => void) | undefined;

  constructor(name: string, args: readonly unknown[], options: CallOptions, leftQueue: () => void, through: () => void) {
    this.name = name;
    this.args = args;
    this.options = options;
    this.#leftQueue = leftQueue;
    this.#through = through;
    this.promise = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    const { signal, timeoutMs, onProgress } = options;
    const watched = signal !== undefined || timeoutMs !== undefined || onProgress !== undefined;
    this.control = watched ? new CallControl() : undefined;
    if (timeoutMs !== undefined) this.#timeout = setTimeout(this.#onTimeout, timeoutMs);
    if (signal !== undefined) listen(signal, this.#onAbort);
  }

  /** It is being handed to a thread. */
  run(): void {
    this.#running = true;
    this.#leave();
    const { onProgress } = this.options;
    if (onProgress === undefined) return;
    this.#progress = setInterval(() => {
      onProgress(this.control?.progress ?? 0);
    }, PROGRESS_MS);
  }

  /** What the thread answered. */
  finish(outcome: Outcome<unknown>): void {
    this.#endUse();
    if (this.settled) {
      if (outcome.ok) this.options.discard?.(outcome.value);
      return;
    }
    if (outcome.ok) {
      this.options.onProgress?.(this.control?.progress ?? 0);
      this.#settle(() => {
        this.#resolve(outcome.value);
      });
      return;
    }
    const error = fromWire(outcome.error);
    const { signal } = this.options;
    const aborted = signal?.aborted === true && error instanceof OperationError && error.code === 'TIDEMARK_ABORTED';
    this.#fail(aborted ? signal.reason : error);
  }

  /** The thread that had it is gone. */
  lose(error: unknown): void {
    this.#endUse();
    this.#fail(error);
  }

  #fail(error: unknown): void {
    if (this.settled) return;
    if (!this.#running) this.#endUse();
    this.#settle(() => {
      this.#reject(error);
    });
  }

  #settle(how: () => void): void {
    this.settled = true;
    clearTimeout(this.#timeout);
    clearInterval(this.#progress);
    if (this.options.signal !== undefined) unlisten(this.options.signal, this.#onAbort);
    this.#leave();
    how();
  }

  #endUse(): void {
    this.#through?.();
    this.#through = undefined;
  }

  #leave(): void {
    this.#leftQueue?.();
    this.#leftQueue = undefined;
  }

  readonly #onAbort = (): void => {
    // What runs is asked to stop and answers itself: then nothing of it goes on behind the caller's back.
    if (this.#running) this.control?.abort();
    else this.#fail(this.options.signal?.reason);
  };

  readonly #onTimeout = (): void => {
    this.control?.abort();
    const begun = this.control?.begun === true;
    const what = begun ? 'it had begun and may still take effect' : 'it had not begun';
    this.#fail(new OperationError('TIDEMARK_TIMEOUT', `${this.name} took longer than ${this.options.timeoutMs ?? 0} ms; ${what}`, { begun }));
  };
}

/** Calls that wait, and those of them that are with threads. */
class Lane {
  readonly concurrency: number;
  readonly #name: LaneName;
  readonly #queueMax: number;
  readonly #start: (take: () => Call[]) => Promise<void>;
  /** In order; those that were settled while they waited are passed over. */
  #queue: Call[] = [];
  #head = 0;
  #waiting = 0;
  #tasks = 0;

  constructor(name: LaneName, options: Required<LaneOptions>, start: (take: () => Call[]) => Promise<void>) {
    this.#name = name;
    this.concurrency = options.concurrency;
    this.#queueMax = options.queueMax;
    this.#start = start;
  }

  get waiting(): number {
    return this.#waiting;
  }

  get running(): number {
    return this.#tasks;
  }

  add(name: string, args: readonly unknown[], options: CallOptions, through: () => void): Promise<unknown> {
    if (this.#waiting >= this.#queueMax) {
      through();
      return Promise.reject(new OperationError('TIDEMARK_QUEUE_FULL', `${name}: ${this.#waiting} operations wait in the lane '${this.#name}', which is its limit (\`queueMax\`)`));
    }
    this.#waiting++;
    const call = new Call(name, args, options, () => {
      this.#waiting--;
    }, through);
    this.#queue.push(call);
    this.#pump();
    return call.promise;
  }

  #pump(): void {
    if (this.#tasks >= this.concurrency || this.#waiting === 0) return;
    this.#tasks++;
    void this.#start(() => this.#take()).finally(() => {
      this.#tasks--;
      this.#pump();
    });
    this.#pump();
  }

  /** The next call, with those behind it that go together with it. */
  #take(): Call[] {
    const taken: Call[] = [];
    const share = Math.ceil(this.#waiting / this.concurrency);
    let most = 1;
    for (; this.#head < this.#queue.length && taken.length < most; this.#head++) {
      const call = this.#queue[this.#head];
      if (call === undefined || call.settled) continue;
      const { together } = call.options;
      const [first] = taken;
      if (first === undefined) most = together === undefined ? 1 : Math.min(Math.max(share, together.least), together.most);
      else if (together?.word !== first.options.together?.word) break;
      taken.push(call);
    }
    this.#forgetTaken();
    return taken;
  }

  #forgetTaken(): void {
    if (this.#head < 1024 && this.#head < this.#queue.length) return;
    this.#queue = this.#queue.slice(this.#head);
    this.#head = 0;
  }
}

/** The lanes and the pool behind them. */
export class Lanes {
  readonly #workerUrl: URL;
  readonly #threads: number;
  readonly #lanes: Readonly<Record<LaneName, Lane>>;
  /** What each lane passes through, from the last one to the first. */
  readonly #gates: Readonly<Record<LaneName, PQueue>>;
  #pool: Piscina | undefined;

  constructor(workerUrl: URL, threads: number, options: Readonly<Partial<Record<LaneName, LaneOptions>>>) {
    checkKeys('lanes', options, LANES);
    this.#workerUrl = workerUrl;
    this.#threads = threads;
    const resolved = LANES.map((name, index) => [name, laneOptions(name, options[name] ?? {}, Math.max(1, threads - index))] as const);
    this.#gates = Object.fromEntries(resolved.map(([name, { concurrency }]) => [name, new PQueue({ concurrency })])) as Record<LaneName, PQueue>;
    this.#lanes = Object.fromEntries(resolved.map(([name, lane]) => [name, new Lane(name, lane, (take) => this.#pass(name, name, take))])) as Record<LaneName, Lane>;
  }

  /** `through`: no thread has anything to do with the call any more; that may be long after it was settled. */
  call(name: string, args: readonly unknown[], options: CallOptions, through: () => void = () => undefined): Promise<unknown> {
    const { signal } = options;
    if (signal?.aborted !== true) return this.#lanes[options.lane].add(name, args, options, through);
    through();
    // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors -- whatever the caller aborted with
    return Promise.reject(signal.reason);
  }

  /** How many operations wait and how many threads work, by lane. */
  stats(): Readonly<Record<LaneName, { readonly waiting: number; readonly running: number }>> {
    return Object.fromEntries(LANES.map((name) => [name, { waiting: this.#lanes[name].waiting, running: this.#lanes[name].running }])) as never;
  }

  /** Waits for what was called, and until its callers have seen how it ended. */
  async idle(): Promise<void> {
    while (LANES.some((name) => this.#lanes[name].running > 0)) await Promise.all(LANES.map((name) => this.#gates[name].onIdle()));
    await new Promise(setImmediate);
  }

  /** Waits for what was called, and ends the threads. */
  async close(): Promise<void> {
    await this.idle();
    if (this.#pool !== undefined) await (await import('./worker-pool.js')).destroyPool(this.#pool);
  }

  /** From gate to gate up to the threads. */
  #pass(lane: LaneName, gate: LaneName, take: () => Call[]): Promise<void> {
    const next = LANES[LANES.indexOf(gate) - 1];
    return this.#gates[gate].add(() => (next === undefined ? this.#run(take) : this.#pass(lane, next, take)), { priority: -LANES.indexOf(lane) });
  }

  async #run(take: () => Call[]): Promise<void> {
    // Whoever was just answered may call again in this turn: that goes along.
    await new Promise(setImmediate);
    const calls = take();
    if (calls.length === 0) return;
    const luggage = new Luggage(calls);
    const task: OperationsTask = {
      role: 'operations',
      calls: calls.map((call) => {
        call.run();
        return { name: call.name, args: call.args.map((value) => luggage.pack(value)), control: call.control?.buffer };
      }),
    };
    try {
      const outcomes = await this.#inPool(task, luggage.transfer);
      for (const [index, call] of calls.entries()) call.finish(outcomes[index] as Outcome<unknown>);
    } catch (error) {
      for (const call of calls) call.lose(error);
    }
  }

  async #inPool(task: OperationsTask, transfer: ArrayBuffer[]): Promise<Outcome<unknown>[]> {
    const { createPool, runTask } = await import('./worker-pool.js');
    const pool = (this.#pool ??= createPool(this.#workerUrl, this.#threads));
    return runTask<Outcome<unknown>[]>(pool, task, transfer, () => {
      this.#pool = undefined;
    });
  }
}

/** Bytes as they travel: those in shared memory as they are, the others of a task in one copy that moves. */
class Luggage {
  readonly transfer: ArrayBuffer[] = [];
  readonly #copy: Uint8Array | undefined;
  #packed = 0;

  constructor(calls: readonly Call[]) {
    const bytes = calls.reduce((sum, { args }) => sum + args.reduce<number>((inCall, value) => inCall + copiedBytes(value), 0), 0);
    if (bytes === 0) return;
    const buffer = new ArrayBuffer(bytes);
    this.transfer.push(buffer);
    this.#copy = new Uint8Array(buffer);
  }

  pack(value: unknown): unknown {
    if (isListOfBytes(value)) return value.map((item) => this.pack(item));
    if (!isCopied(value)) return value;
    const at = this.#packed;
    this.#packed += value.byteLength;
    this.#copy?.set(value, at);
    return this.#copy?.subarray(at, this.#packed) ?? value;
  }
}

function isCopied(value: unknown): value is Uint8Array {
  return value instanceof Uint8Array && !(value.buffer instanceof SharedArrayBuffer);
}

function isListOfBytes(value: unknown): value is readonly unknown[] {
  return Array.isArray(value) && value[0] instanceof Uint8Array;
}

function copiedBytes(value: unknown): number {
  if (isListOfBytes(value)) return value.reduce<number>((sum, item) => sum + copiedBytes(item), 0);
  return isCopied(value) ? value.byteLength : 0;
}

function laneOptions(name: LaneName, options: LaneOptions, concurrency: number): Required<LaneOptions> {
  checkKeys(`lanes.${name}`, options, ['concurrency', 'queueMax']);
  return {
    concurrency: integer(`lanes.${name}.concurrency`, options.concurrency, concurrency, 1, 64),
    queueMax: integer(`lanes.${name}.queueMax`, options.queueMax, QUEUE_MAX, 1, 2 ** 31 - 1),
  };
}

