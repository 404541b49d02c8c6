/** A thread that appends: the opener, with the supply of segments, or one that attached. */
import type { Journal as JournalClass, SharedJournalHandle } from 'tidemark';
import type { PreparedSegment, WriterNews } from '../../dist/workers/protocol/messages.js';
import type { Product } from './product.js';
import { JOURNAL_ID, recordOf, SEGMENT_BYTES, type Scenario, type Step } from './scenario.js';
import { Died, type Message, OPENER, WRITER } from './stage.js';
import type { Shared } from './theatre.js';
import type { Part, StageThread } from './thread.js';
import { logOf, segmentAt, segmentsOf } from './writer.js';

const ENOSPC = 28;
const PATH = 'model';
const BACKEND = { kind: 'blocking', reason: 'model', setupFlags: [], sealing: 'script', registeredBuffer: false } as const;

/** Codes of rejections, as numbers for the history. */
export const CODES = ['', 'TIDEMARK_POISONED', 'TIDEMARK_CLOSED', 'TIDEMARK_NO_SPACE', 'TIDEMARK_WORKER_DIED'] as const;

type Keeper = InstanceType<Product['SegmentKeeper']>;
type JournalConstructor = new (path: string, options: object, control: object, log: object, from: object) => JournalClass;

export class AppenderPart implements Part {
  readonly #thread: StageThread;
  readonly #product: Product;
  readonly #shared: Shared;
  readonly #scenarioOf: () => Scenario;
  #script: readonly Step[] = [];
  #next = 0;
  #unsettled = 0;
  #journal: JournalClass | undefined;
  #keeper: Keeper | undefined;
  #diskFullLeft = 0;
  #writerDied = false;
  /** Calls to the writer's thread that were not answered yet. */
  #calls: { readonly answer: 'added' | 'detached'; readonly resolve: () => void; readonly reject: (error: Error) => void }[] = [];

  constructor(thread: StageThread, product: Product, shared: Shared, scenarioOf: () => Scenario) {
    this.#thread = thread;
    this.#product = product;
    this.#shared = shared;
    this.#scenarioOf = scenarioOf;
  }

  /** A thread with nothing to append takes no part. */
  get gone(): boolean {
    return this.#journal === undefined;
  }

  begin(): void {
    const scenario = this.#scenarioOf();
    const { me } = this.#thread;
    this.#script = scenario.scripts[me] ?? [];
    this.#next = 0;
    this.#unsettled = 0;
    this.#writerDied = false;
    this.#calls = [];
    this.#keeper = undefined;
    this.#journal = undefined;
    if (this.#script.every(({ kind }) => kind === 'close' || kind === 'await')) return;
    const ack = scenario.acks[me] ?? 'durable';
    const options = { ack, queueBytesMax: 1 << 20, whenQueueFull: 'wait', exitDrainMs: 0 };
    const log = logOf(this.#shared, scenario);
    if (me === OPENER) this.#journal = this.#open(scenario, options, log);
    else {
      const handle = { kind: 'tidemark-journal', version: 1, path: PATH, control: this.#shared.control, log, ...options, backend: BACKEND, directActive: false, directReason: '' };
      this.#journal = this.#product.Journal.attach(handle as SharedJournalHandle);
    }
  }

  choices(): (() => void)[] {
    const step = this.#script[this.#next];
    if (step === undefined || (step.kind === 'await' && this.#unsettled > 0)) return [];
    return [() => {
      this.#next++;
      this.#perform(step, this.#next - 1);
    }];
  }

  hear(message: Message, argument: number): void {
    if (message === 'added' || message === 'detached') {
      const call = this.#calls.find(({ answer }) => answer === message);
      this.#calls.splice(call === undefined ? 0 : this.#calls.indexOf(call), 1);
      call?.resolve();
    } else if (message === 'writerDied') {
      this.#writerDied = true;
      // What the opener does when the scheduler tells it so.
      new this.#product.ControlBlock(this.#shared.control).poison(this.#product.POISON.workerDied);
      for (const { reject } of this.#calls.splice(0)) reject(this.#death());
    } else {
      this.#keeper?.hear({ kind: message, base: argument } as WriterNews);
    }
  }

  // ---- the script ----------------------------------------------------------------------------------------------------

  #perform(step: Step, index: number): void {
    const journal = this.#journal;
    if (journal === undefined || step.kind === 'await') return;
    if (step.kind === 'close') {
      this.#close(journal);
      return;
    }
    const { stage, me } = this.#thread;
    const records = step.sizes.map((bytes, i) => recordOf(me, index * 4 + i, bytes));
    const [record = Buffer.alloc(0)] = records;
    stage.record(me, 'call', index);
    if (step.kind === 'append') this.#follow(index, journal.append(record));
    else if (step.kind === 'batch') this.#follow(index, journal.appendBatch(records));
    else if (step.kind === 'submit') this.#follow(index, this.#submit(journal, record));
    else this.#follow(index, this.#try(journal, record, index));
  }

  /** Both promises of a submission, the one for `durable` last. */
  async #submit(journal: JournalClass, record: Uint8Array): Promise<number> {
    const { start, end, written, durable } = await journal.submit(record);
    if ((await written) !== end || (await durable) !== end) this.#thread.complain('a submission that ends elsewhere', start);
    return end;
  }

  /** What was refused counts as settled, and what was taken when it is durable. */
  async #try(journal: JournalClass, record: Uint8Array, index: number): Promise<number | undefined> {
    const end = journal.tryAppend(record);
    try {
      if (end !== undefined) {
        await journal.syncThrough(end);
        return end;
      }
    } catch (error) {
      // What is in the log becomes durable all the same, but nobody is told.
      if (error instanceof Died || this.#codeOf(error) !== CODES.indexOf('TIDEMARK_CLOSED')) throw error;
    }
    this.#thread.stage.record(this.#thread.me, 'refused', index);
    return undefined;
  }

  #follow(index: number, promise: Promise<number | undefined>): void {
    const { stage, me } = this.#thread;
    this.#unsettled++;
    promise.then((end) => {
      this.#unsettled--;
      if (end !== undefined) stage.record(me, 'resolve', index, end);
    }, (error: unknown) => {
      if (error instanceof Died) return;
      this.#unsettled--;
      stage.record(me, 'reject', index, this.#codeOf(error));
    });
  }

  #close(journal: JournalClass): void {
    const { stage, me } = this.#thread;
    this.#unsettled++;
    stage.record(me, 'closing');
    journal.close().then(() => {
      this.#unsettled--;
      stage.record(me, 'closed');
    }, (error: unknown) => {
      if (error instanceof Died) return;
      this.#unsettled--;
      stage.record(me, 'closed', this.#codeOf(error));
    });
  }

  #codeOf(error: unknown): number {
    const code = CODES.findIndex((name) => error instanceof Error && 'code' in error && error.code === name);
    if (code < 0) this.#thread.complain('an error that does not belong here', error);
    return code;
  }

  // ---- what the opener has -------------------------------------------------------------------------------------------

  #open(scenario: Scenario, options: object, log: object): JournalClass {
    const worker = {
      call: (name: 'addSegment' | 'detach', _id: number, segment?: { base: number }) => this.#call(name, segment?.base ?? 0),
    };
    const seat = { worker, backend: BACKEND, leave: () => undefined };
    const storage = {
      layout: scenario.layout,
      direct: true,
      sectorBytes: scenario.sectorBytes,
      opened: {},
      followersMoved: () => undefined,
      stop: () => this.#keeper?.stop() ?? Promise.resolve(),
      close: () => Promise.resolve(),
    };
    const { Journal, ControlBlock } = this.#product;
    const control = new ControlBlock(this.#shared.control);
    const journal = new (Journal as unknown as JournalConstructor)(PATH, options, control, log, { seat, id: 1, storage });
    if (scenario.layout === 'segments') {
      this.#keeper = this.#keep(scenario, control);
      this.#keeper.start({ writer: seat as never, id: 1 });
    }
    return journal;
  }

  #keep(scenario: Scenario, control: InstanceType<Product['ControlBlock']>): Keeper {
    this.#diskFullLeft = scenario.diskFull;
    const opened = { segments: segmentsOf(scenario), filled: [], spares: [] };
    const supply = { newSegments: 'auto', spareSegments: 0, retainBytes: undefined, retainSegments: undefined, retainMs: undefined } as const;
    const making = { directory: PATH, journalId: JOURNAL_ID, segmentBytes: SEGMENT_BYTES, windowBytes: scenario.capacity, mode: 0o600, direct: true, dsync: false, lockDescriptor: -1 };
    const scheduler = { runFileTask: (task: { role: string; base?: number }) => this.#runFileTask(task) };
    return new this.#product.SegmentKeeper(scheduler as never, control, opened as never, supply, making);
  }

  /** A file worker: it takes its time. */
  async #runFileTask(task: { role: string; base?: number }): Promise<unknown> {
    for (let turns = this.#thread.stage.random(4); turns > 0; turns--) await new Promise<void>((resolve) => setImmediate(resolve));
    if (task.role !== 'prepare-segment') return [];
    if (this.#diskFullLeft > 0) {
      this.#diskFullLeft--;
      throw this.#product.ioError(ENOSPC, 'fallocate', `${PATH}/segment`);
    }
    return { segment: segmentAt(task.base ?? 0), origin: 'plain', zeroedBytes: 0 } satisfies PreparedSegment;
  }

  #call(name: 'addSegment' | 'detach', base: number): Promise<unknown> {
    if (this.#writerDied) return Promise.reject(this.#death());
    return new Promise<unknown>((resolve, reject) => {
      const answer = name === 'detach' ? 'detached' : 'added';
      this.#calls.push({ answer, reject, resolve: () => {
        resolve({ position: undefined });
      } });
      this.#thread.stage.post(WRITER, name, base);
    });
  }

  #death(): Error {
    return new this.#product.JournalError('TIDEMARK_WORKER_DIED', 'the writer thread ended');
  }
}
