/**
 * The lanes to the file workers: who goes first, how many at a time, how many may wait.
 *
 * There are three, and each one passes through those above it: bulk work never takes the threads that normal work needs, and
 * neither takes all that urgent work needs. A lane keeps its calls in order and hands them over in groups, as many as have
 * gathered while the threads were busy: one message then carries them all.
 */
import PQueue from 'p-queue';
import type { Piscina } from 'piscina';
import { JournalError, OperationError } from '../../platform/errors.js';
import type { Outcome } from '../../workers/protocol/messages.js';
import type { OperationCall, OperationsTask } from '../../workers/protocol/operation.js';
import { checkKeys, integer } from '../options.js';
import { Call, LANES, wordsFor, type CallArguments, type CallOptions, type LaneName } from './call.js';
import { Luggage } from './luggage.js';

export interface LaneOptions {
  /**
   * Threads that the lane may keep busy at a time, together with the lanes behind it: from 1 to `fileWorkers`. Default: of *n*
   * threads, urgent operations may have all, normal ones all but one, bulk ones all but two, and each of them one at least.
   */
  readonly concurrency?: number;
  /** Operations that may wait; one more is refused with `TIDEMARK_QUEUE_FULL`. From 1 to 2^31 - 1, default 65536. */
  readonly queueMax?: number;
}

const QUEUE_MAX = 65_536;
const TIDIED_MIN = 1024;

/** Calls that wait. */
class Lane {
  readonly concurrency: number;
  readonly #name: LaneName;
  readonly #queueMax: number;
  readonly #start: (take: () => Call[]) => Promise<void>;
  /**
   * In order, by their places, of which the first one is `base`. Whoever is taken or settled leaves an empty place at once, for his
   * arguments and his result go with him. (A Set would do the same, and cost short operations a third of their speed.)
   */
  #queue: (Call | undefined)[] = [];
  #base = 0;
  /** Before it all places are empty. */
  #head = 0;
  /** Places that are not empty. */
  #queued = 0;
  /** Those whose arguments are not there yet. */
  readonly #coming = new Set<Call>();
  /** Waiting calls of the library itself. */
  #own = 0;
  /** Places at threads that were asked for. */
  #places = 0;

  constructor(name: LaneName, options: Required<LaneOptions>, start: (take: () => Call[]) => Promise<void>) {
    this.#name = name;
    this.concurrency = options.concurrency;
    this.#queueMax = options.queueMax;
    this.#start = start;
  }

  get waiting(): number {
    return this.#queued + this.#coming.size;
  }

  add(name: string, args: CallArguments, options: CallOptions, through: () => void): Promise<unknown> {
    const users = this.waiting - this.#own;
    if (options.own !== true && users >= this.#queueMax) {
      through();
      return Promise.reject(new OperationError('TIDEMARK_QUEUE_FULL', `${wordsFor(name, options.subject?.())}: ${users} operations wait in the lane '${this.#name}', which is its limit (\`queueMax\`)`));
    }
    const call = new Call(name, options, { left: this.#left, through });
    if (options.own === true) this.#own++;
    if ('after' in args) this.#await(call, args);
    else {
      call.args = args;
      this.#enqueue(call);
    }
    return call.promise;
  }

  /** A call that has to be done once more. */
  addAgain(call: Call): void {
    if (call.options.own === true) this.#own++;
    this.#enqueue(call);
  }

  #await(call: Call, { after, make }: Exclude<CallArguments, readonly unknown[]>): void {
    this.#coming.add(call);
    // In the same turn in which it comes about: whoever ends it does that later.
    after.then((value) => {
      if (call.settled) return;
      call.args = make(value);
      this.#coming.delete(call);
      this.#enqueue(call);
    }).catch((error: unknown) => {
      call.fail(error);
    });
  }

  #enqueue(call: Call): void {
    call.place = this.#base + this.#queue.length;
    this.#queue.push(call);
    this.#queued++;
    this.#pump();
  }

  readonly #left = (call: Call): void => {
    if (call.options.own === true) this.#own--;
    if (this.#coming.delete(call)) return;
    const index = call.place - this.#base;
    // Else it was taken before.
    if (index < 0 || this.#queue[index] !== call) return;
    this.#queue[index] = undefined;
    this.#queued--;
    this.#tidy();
  };

  /** Lets empty places go, now and then. */
  #tidy(): void {
    const empty = this.#queue.length - this.#queued;
    if (this.#queued > 0 && empty < Math.max(this.#queued, TIDIED_MIN)) return;
    this.#base += this.#queue.length;
    this.#queue = this.#queued === 0 ? [] : this.#queue.filter((call) => call !== undefined);
    this.#queue.forEach((call, index) => {
      if (call !== undefined) call.place = this.#base + index;
    });
    this.#head = 0;
  }

  #pump(): void {
    if (this.#places >= this.concurrency || this.#queued === 0) return;
    this.#places++;
    void this.#start(() => this.#take()).finally(() => {
      this.#places--;
      this.#pump();
    });
    this.#pump();
  }

  /** The next call, with those behind it that go together with it. */
  #take(): Call[] {
    const taken: Call[] = [];
    const share = Math.ceil(this.#queued / this.concurrency);
    let most = 1;
    for (; this.#head < this.#queue.length && taken.length < most; this.#head++) {
      const call = this.#queue[this.#head];
      if (call === undefined) continue;
      const { together } = call;
      const [first] = taken;
      if (first === undefined) most = together === undefined ? 1 : Math.min(Math.max(share, together.least), together.most);
      else if (together?.word !== first.together?.word) break;
      this.#queue[this.#head] = undefined;
      taken.push(call);
    }
    this.#queued -= taken.length;
    this.#tidy();
    return taken;
  }
}

/** The lanes and the pool behind them. */
export class Lanes {
  readonly #workerUrl: URL;
  readonly #threads: number;
  readonly #lanes: Readonly<Record<LaneName, Lane>>;
  /** What each lane passes through, from the last one to the first. */
  readonly #gates: Readonly<Record<LaneName, PQueue>>;
  readonly #working: Record<LaneName, number> = { urgent: 0, normal: 0, bulk: 0 };
  #pool: Piscina | undefined;
  /** Calls with which a thread may have something to do. */
  #unfinished = 0;
  #closed = false;
  #onFinished: (() => void)[] = [];

  constructor(workerUrl: URL, threads: number, options: Readonly<Partial<Record<LaneName, LaneOptions>>>) {
    checkKeys('lanes', options, LANES);
    this.#workerUrl = workerUrl;
    this.#threads = threads;
    const resolved = LANES.map((name, index) => [name, laneOptions(name, options[name] ?? {}, threads, Math.max(1, threads - index))] as const);
    this.#gates = Object.fromEntries(resolved.map(([name, { concurrency }]) => [name, new PQueue({ concurrency })])) as Record<LaneName, PQueue>;
    this.#lanes = Object.fromEntries(resolved.map(([name, lane]) => [name, new Lane(name, lane, (take) => this.#pass(name, name, take))])) as Record<LaneName, Lane>;
  }

  /** `through`: no thread has anything to do with the call any more; that may be long after it was settled. */
  call(name: string, args: CallArguments, options: CallOptions, through: () => void = () => undefined): Promise<unknown> {
    this.#unfinished++;
    const end = (): void => {
      through();
      this.#unfinished--;
      if (this.#unfinished === 0) for (const tell of this.#onFinished.splice(0)) tell();
    };
    const { signal } = options;
    if (this.#closed) {
      end();
      return Promise.reject(new JournalError('TIDEMARK_CLOSED', 'the scheduler is closed'));
    }
    if (signal?.aborted !== true) return this.#lanes[options.lane].add(name, args, options, end);
    end();
    // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors -- whatever the caller aborted with
    return Promise.reject(signal.reason);
  }

  /** How many operations wait and how many threads work, by lane. */
  stats(): Readonly<Record<LaneName, { readonly waiting: number; readonly running: number }>> {
    return Object.fromEntries(LANES.map((name) => [name, { waiting: this.#lanes[name].waiting, running: this.#working[name] }])) as never;
  }

  /** Waits for what was called, and until its callers have seen how it ended. */
  async idle(): Promise<void> {
    if (this.#unfinished > 0) await new Promise<void>((resolve) => this.#onFinished.push(resolve));
    await new Promise(setImmediate);
  }

  /** Waits for what was called, and ends the threads. */
  async close(): Promise<void> {
    await this.idle();
    this.#closed = true;
    if (this.#pool !== undefined) await (await import('../worker-pool.js')).destroyPool(this.#pool);
  }

  /** From gate to gate up to the threads. */
  #pass(lane: LaneName, gate: LaneName, take: () => Call[]): Promise<void> {
    const next = LANES[LANES.indexOf(gate) - 1];
    return this.#gates[gate].add(() => (next === undefined ? this.#run(lane, take) : this.#pass(lane, next, take)), { priority: -LANES.indexOf(lane) });
  }

  async #run(lane: LaneName, take: () => Call[]): Promise<void> {
    // Whoever was just answered may call again in this turn: that goes along.
    await new Promise(setImmediate);
    const taken = take();
    if (taken.length === 0) return;
    const calls: Call[] = [];
    this.#working[lane]++;
    try {
      const packed: OperationCall[] = [];
      const luggage = new Luggage(taken);
      for (const call of taken) {
        try {
          packed.push({ name: call.name, args: call.args.map((value) => luggage.pack(value)), control: call.control?.buffer });
          calls.push(call);
        } catch (error) {
          // One that cannot travel is told so, and leaves the others alone.
          call.lose(error);
        }
      }
      if (calls.length === 0) return;
      const outcomes = await this.#inPool(packed, luggage, calls);
      for (const [index, call] of calls.entries()) {
        if (call.finish(outcomes[index] as Outcome<unknown>)) this.#lanes[lane].addAgain(call);
      }
    } catch (error) {
      for (const call of taken) call.lose(error);
    } finally {
      this.#working[lane]--;
    }
  }

  async #inPool(packed: readonly OperationCall[], luggage: Luggage, calls: readonly Call[]): Promise<Outcome<unknown>[]> {
    const task: OperationsTask = { role: 'operations', calls: packed };
    for (const call of calls) call.run();
    const { createPool, runTask } = await import('../worker-pool.js');
    const pool = (this.#pool ??= createPool(this.#workerUrl, this.#threads));
    return runTask<Outcome<unknown>[]>(pool, task, luggage.transfer, () => {
      this.#pool = undefined;
    });
  }
}

function laneOptions(name: LaneName, options: LaneOptions, threads: number, concurrency: number): Required<LaneOptions> {
  checkKeys(`lanes.${name}`, options, ['concurrency', 'queueMax']);
  return {
    concurrency: integer(`lanes.${name}.concurrency`, options.concurrency, concurrency, 1, threads),
    queueMax: integer(`lanes.${name}.queueMax`, options.queueMax, QUEUE_MAX, 1, 2 ** 31 - 1),
  };
}

