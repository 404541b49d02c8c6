/** Plays schedules: starts the threads, sets the stage for each schedule, and has the history judged. */
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import type { ActorData } from './actor.js';
import { CODES } from './appender.js';
import { LogModel, Violation } from './log-model.js';
import { loadProduct, type Product } from './product.js';
import { DISK_BYTES, scenarioOf, SEGMENT_BYTES, type Scenario } from './scenario.js';
import { NOT_EXCHANGED, ROLES, Stage, type StageEvent, type StageMemory } from './stage.js';
import { learnWords, type Words } from './words.js';

/** Memory of all threads: the stage, and the journal's. */
export interface Shared {
  readonly stage: StageMemory;
  readonly control: SharedArrayBuffer;
  readonly log: SharedArrayBuffer;
  readonly skipBytes: number;
  /** What is on stable storage. */
  readonly stable: SharedArrayBuffer;
}

const LOG_BYTES_MAX = 64 * 1024;
const SCHEDULE_MS_MAX = 30_000;
/** The product as it was built. */
export const PRODUCT = new URL('../../../dist/', import.meta.url).href;

export interface Failure {
  readonly seed: number;
  readonly what: string;
  /** The interleaving, a line for each step. */
  readonly story: readonly string[];
}

export interface Played {
  readonly schedules: number;
  readonly steps: number;
  readonly switches: number;
  /** How often what came up, in how many schedules. */
  readonly seen: Readonly<Record<string, number>>;
  readonly failure: Failure | undefined;
}

export class Theatre {
  readonly #stage = Stage.create();
  readonly #product: Product;
  readonly #words: Words;
  readonly #shared: Shared;
  readonly #workers: Worker[] = [];

  /** `product`: URL of the modules that the threads play. */
  static async open(product: string): Promise<Theatre> {
    const theatre = new Theatre(await loadProduct(PRODUCT, 'everybody'));
    await theatre.#start(product);
    return theatre;
  }

  private constructor(product: Product) {
    this.#product = product;
    this.#words = learnWords(product);
    const log = new SharedArrayBuffer(LOG_BYTES_MAX + product.LOG_BUFFER_ALIGNMENT);
    this.#shared = {
      stage: this.#stage.memory, log, skipBytes: product.alignmentSkip(log, product.LOG_BUFFER_ALIGNMENT),
      control: new SharedArrayBuffer(product.CONTROL_BYTES), stable: new SharedArrayBuffer(DISK_BYTES),
    };
  }

  async #start(product: string): Promise<void> {
    const ready = ROLES.map(async (_, me) => {
      const worker = new Worker(new URL('./actor.js', import.meta.url), { workerData: { shared: this.#shared, me, product } satisfies ActorData });
      this.#workers.push(worker);
      await once(worker, 'message');
    });
    await Promise.all(ready);
  }

  async close(): Promise<void> {
    await Promise.all(this.#workers.map((worker) => worker.terminate()));
  }

  /** Plays schedules with the seeds from `seed` on, until one fails. */
  play(seed: number, schedules: number): Played {
    const seen: Record<string, number> = {};
    let steps = 0;
    let switches = 0;
    let played = 0;
    let failure: Failure | undefined;
    while (played < schedules && failure === undefined) {
      failure = this.#playOne(seed + played, seen);
      steps += this.#stage.steps;
      switches += this.#stage.switches;
      played++;
    }
    return { schedules: played, steps, switches, seen, failure };
  }

  #playOne(seed: number, seen: Record<string, number>): Failure | undefined {
    const scenario = scenarioOf(seed);
    this.#set(scenario);
    const ended = this.#stage.play(seed, scenario.switchPercent, SCHEDULE_MS_MAX);
    const story = (): string[] => this.#story(scenario);
    const { complaint } = this.#stage;
    if (complaint !== undefined) return { seed, what: complaint, story: story() };
    if (!ended) return { seed, what: 'a thread hangs, or has crashed', story: story() };
    try {
      const model = new LogModel(scenario, this.#words);
      for (let i = 0; i < this.#stage.length; i++) model.observe(i, this.#stage.event(i));
      model.end(new Uint8Array(this.#shared.stable));
      for (const what of model.seen) seen[what] = (seen[what] ?? 0) + 1;
      return undefined;
    } catch (error) {
      if (!(error instanceof Violation)) throw error;
      return { seed, what: error.message, story: story() };
    }
  }

  /** The journal as opening leaves it. */
  #set(scenario: Scenario): void {
    const { ControlBlock } = this.#product;
    const { control, log, stable } = this.#shared;
    new Uint8Array(control).set(new Uint8Array(ControlBlock.create().buffer));
    new Uint8Array(log).fill(0xee);
    new Uint8Array(stable).fill(0);
    const block = new ControlBlock(control);
    block.start(scenario.start, scenario.released);
    if (scenario.layout === 'segments') block.setSpaceEnd(scenario.origin + scenario.segments * SEGMENT_BYTES);
  }

  // ---- the interleaving, for a person --------------------------------------------------------------------------------

  #story(scenario: Scenario): string[] {
    const { scripts, ...rest } = scenario;
    const lines = [JSON.stringify(rest), ...scripts.map((script, thread) => `${ROLES[thread] ?? ''}: ${JSON.stringify(script)}`)];
    for (let i = 0; i < this.#stage.length; i++) lines.push(`${String(i).padStart(5)} ${this.#line(this.#stage.event(i))}`);
    return lines;
  }

  #line({ thread, kind, a, b, c }: StageEvent): string {
    const who = (ROLES[thread] ?? '').padEnd(7);
    const word = (this.#words.get(a) ?? String(a)).padEnd(13);
    if (kind === 'load') return `${who} ${word} is ${b}`;
    if (kind === 'store') return `${who} ${word} := ${b}`;
    if (kind === 'compareExchange') return `${who} ${word} was ${b}, ${c === NOT_EXCHANGED ? 'stays' : `becomes ${c}`}`;
    if (kind === 'add' || kind === 'sub' || kind === 'exchange') return `${who} ${word} was ${b}, ${kind} ${c}`;
    if (kind === 'notify') return `${who} ${word} notifies ${b}`;
    if (kind === 'sleep') return `${who} ${word} is ${b}, ${b === c ? 'sleeps' : `no longer ${c}`}`;
    if (kind === 'reject') return `${who} call ${a} rejects with ${CODES[b] ?? b}`;
    return `${who} ${kind} ${a} ${b} ${c}`;
  }
}
