/** Programs and threads that end in different ways, with a journal open: see {@link Claimant} for what they tell. */
import { subscribe } from 'node:diagnostics_channel';
import { Worker } from 'node:worker_threads';
import { IoScheduler, Journal, type Backend, type JournalOptions, type Layout, type SharedJournalHandle } from 'tidemark';
import { allLoaded, Claimant, say, type Deed, type EndsThread } from './ends-thread.js';
import { failureOf, report, taskOf } from './report.js';

export interface EndsTask {
  readonly path: string;
  readonly layout: Layout;
  readonly backend: Backend['kind'];
  readonly ending: Ending;
  readonly options?: JournalOptions;
  /** Records that are acknowledged before the end, and those that are pending then. */
  readonly before: number;
  readonly pending: number;
  /** Length of those that are pending; by default each has its own. */
  readonly bytes?: number;
  /** Segments to have in place before the end. */
  readonly preallocate?: number;
}

/** What a thread's end did to the journal, as far as the process could see it. */
export interface EndsFacts {
  /** Milliseconds from the thread's end to the last rejection. */
  readonly rejectedMs?: number;
  /** Codes of what was tried after it. */
  readonly later?: string;
  readonly close?: string;
  readonly reopen?: string;
}

/** Longer than any test: a commit that waits for it is pending as long as the test wants. */
const LONG_WINDOW_US = 1_000_000;

/** Where the bound of the drain is not what is looked at, a busy machine must not make it one. */
const PATIENT_MS = 15_000;

const task = taskOf() as EndsTask;
const workers: Worker[] = [];
process.on('worker', (worker) => workers.push(worker));
const scheduler = new IoScheduler({ backend: task.backend, fileWorkers: 1 });
subscribe('tidemark:journal:exit-drain', (message) => {
  say(`@ ${JSON.stringify(message)}`);
});

function open(options: JournalOptions = {}, path = task.path): Promise<Journal> {
  const { layout } = task;
  return Journal.open(path, { scheduler, layout, segmentBytes: 256 * 1024, logBufferBytes: 64 * 1024, preallocate: 0, exitDrainMs: PATIENT_MS, ...task.options, ...options });
}

function start(deed: Deed, thread: number, rest: Partial<EndsThread>): Worker {
  return new Worker(new URL('./ends-thread.js', import.meta.url), { workerData: { deed, thread, ...rest } satisfies EndsThread });
}

function once(worker: Worker, event: 'message' | 'exit'): Promise<unknown> {
  return new Promise((resolve) => {
    worker.once(event, resolve);
  });
}

function codeOf(promise: Promise<unknown>): Promise<string> {
  return promise.then(() => 'done', (error: unknown) => failureOf(error).code);
}

function tell(facts: EndsFacts): void {
  say(`= ${JSON.stringify(facts)}`);
}

// ---- the process ends ----------------------------------------------------------------------------------------------

/** With records acknowledged, and others appended in the turn that ends. */
async function withPending(end: (claimant: Claimant) => void): Promise<void> {
  const journal = await open();
  if (task.preallocate !== undefined) await journal.preallocate(task.preallocate);
  const claimant = new Claimant(journal, 0);
  await claimant.appendMany(task.before);
  void claimant.appendMany(task.pending, task.bytes);
  end(claimant);
}

/** Appends until a signal comes; `stop` hears of it first. */
async function underLoad(prepare: (stop: () => void, journal: Journal) => void): Promise<void> {
  const journal = await open();
  const claimant = new Claimant(journal, 0);
  let stopped = false;
  prepare(() => {
    stopped = true;
  }, journal);
  await claimant.appendMany(task.before);
  report('ready');
  await Promise.all(Array.from({ length: 8 }, async () => {
    while (!stopped) await claimant.append();
  }));
}

/** Appends to a small filesystem until something is refused. */
async function onFullDisk(): Promise<void> {
  const journal = await open();
  const claimant = new Claimant(journal, 0);
  const bytesOf = (): number => journal.stats().reservedLsn;
  for (let seen = -1; bytesOf() > seen;) {
    seen = bytesOf();
    await claimant.appendMany(8, task.bytes);
  }
  void claimant.appendMany(task.pending, task.bytes);
  process.exit(7);
}

/** One journal's commit waits longer than its bound. */
async function besideAnother(): Promise<void> {
  const stalled = await open({ groupCommitWindow: LONG_WINDOW_US, exitDrainMs: 50 }, `${task.path}-stalled`);
  await withPending(() => {
    void stalled.append('pending');
    process.exit(7);
  });
}

// ---- a thread ends -------------------------------------------------------------------------------------------------

/** Has other threads end, one after the other, while this one appends; then closes. */
async function threadsEnd(deed: Deed, count: number, end: (worker: Worker) => Promise<unknown>): Promise<void> {
  const journal = await open();
  const claimant = new Claimant(journal, 0);
  for (let thread = 1; thread <= count; thread++) {
    const handle = journal.share();
    await end(start(deed, thread, { handle }));
    await claimant.appendMany(20);
  }
  tell({ close: await codeOf(journal.close()) });
}

const afterMessage = async (worker: Worker): Promise<void> => {
  await once(worker, 'message');
  await worker.terminate();
};

async function producerDies(deed: 'reserve' | 'enter'): Promise<void> {
  const journal = await open();
  const claimant = new Claimant(journal, 0);
  await claimant.appendMany(task.before);
  await once(start(deed, 1, { handle: journal.share() }), 'exit');
  await rejected(journal, claimant.appendMany(task.pending));
}

/** The writer's thread is the first one that a scheduler starts. */
async function writerDies(): Promise<void> {
  const journal = await open({ groupCommitWindow: LONG_WINDOW_US });
  const pending = new Claimant(journal, 0).appendMany(task.pending);
  await workers[0]?.terminate();
  await rejected(journal, pending);
}

async function rejected(journal: Journal, pending: Promise<void>): Promise<void> {
  const ended = performance.now();
  await pending;
  const rejectedMs = performance.now() - ended;
  const later = await codeOf(journal.append('later'));
  const close = await codeOf(journal.close());
  const again = await open();
  const reopen = await codeOf(new Claimant(again, 9).append());
  await again.close();
  tell({ rejectedMs, later, close, reopen });
}

/** The third thread, after the writer and the file worker, helps the writer. */
async function helperDies(): Promise<void> {
  const journal = await open();
  const claimant = new Claimant(journal, 0);
  await claimant.appendMany(task.before);
  await allLoaded(scheduler, task.path);
  await workers[2]?.terminate();
  await claimant.appendMany(task.pending, task.bytes);
  tell({ close: await codeOf(journal.close()) });
}

/** The next thread that starts: the writer's, or a file worker. */
async function starterDies(): Promise<void> {
  // At once, before it loads anything.
  process.once('worker', (worker) => void worker.terminate());
  const later = await codeOf(open());
  const journal = await open();
  await new Claimant(journal, 0).appendMany(task.before);
  tell({ later, close: await codeOf(journal.close()) });
}

function opener(deed: Deed): Worker {
  const options: JournalOptions = { layout: task.layout, segmentBytes: 256 * 1024, exitDrainMs: PATIENT_MS, ...task.options };
  return start(deed, 1, { path: task.path, backend: task.backend, options });
}

/** The opener's thread ends, and the writer's with it, while this thread is attached. */
async function openerDies(): Promise<void> {
  const thread = opener('open-share');
  const journal = Journal.attach((await once(thread, 'message')) as SharedJournalHandle);
  const pending = new Claimant(journal, 0).appendMany(task.pending);
  await thread.terminate();
  const ended = performance.now();
  await pending;
  const rejectedMs = performance.now() - ended;
  tell({ rejectedMs, later: await codeOf(journal.append('later')), close: await codeOf(journal.close()) });
}

const ENDINGS = {
  'natural': () => withPending(() => undefined),
  'exit': () => withPending(() => process.exit(7)),
  'exit-in-handler': () => withPending(() => {
    process.on('exit', () => process.exit(8));
    process.exit(7);
  }),
  'append-in-handler': () => withPending((claimant) => {
    process.on('exit', () => {
      void claimant.append();
      void claimant.append(100_000);
    });
    process.exit(7);
  }),
  'append-too-late': () => withPending((claimant) => {
    process.on('exit', () => void claimant.appendMany(3));
    process.exit(7);
  }),
  'exit-beside': besideAnother,
  'full-disk': onFullDisk,
  'exception': () => withPending(() => {
    queueMicrotask(() => {
      throw new Error('nobody catches this');
    });
  }),
  'rejection': () => withPending(() => {
    void Promise.reject(new Error('nobody catches this'));
  }),
  'load': () => underLoad(() => undefined),
  'handler-closes': () => underLoad((stop, journal) => {
    process.once('SIGTERM', () => {
      stop();
      void journal.close();
    });
  }),
  'handler-exits': () => underLoad(() => {
    for (const signal of ['SIGTERM', 'SIGINT']) process.once(signal, () => process.exit(7));
  }),
  'idle-producer': () => threadsEnd('append', 4, afterMessage),
  'pending-producer': () => threadsEnd('publish', 2, afterMessage),
  'exiting-producer': () => threadsEnd('exit-queued', 1, (worker) => once(worker, 'exit')),
  'exiting-parent': () => threadsEnd('exit-above', 2, (worker) => once(worker, 'exit')),
  'reserving-producer': () => producerDies('reserve'),
  'entering-producer': () => producerDies('enter'),
  'writer': writerDies,
  'helper': helperDies,
  'starting-writer': starterDies,
  'file-worker': async () => {
    await scheduler.backend();
    await starterDies();
  },
  'opener-dies': openerDies,
  'opener-exits': async () => {
    await once(opener('open-exit'), 'exit');
  },
  'opener-left': async () => {
    await once(opener('open-stay'), 'message');
    process.exit(7);
  },
} satisfies Readonly<Record<string, () => Promise<void>>>;

export type Ending = keyof typeof ENDINGS;

await ENDINGS[task.ending]();
