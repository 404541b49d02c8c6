/** Programs that end in different ways, with a journal open. */
import { Worker } from 'node:worker_threads';
import { IoScheduler, Journal, type Backend, type JournalOptions, type Layout } from 'tidemark';
import { failureOf, report, taskOf, type Failure } from './report.js';

export type Ending =
  | 'idle'
  | 'exit-idle'
  | 'exit-pending'
  | 'exit-opening'
  | 'unawaited'
  | 'writer-dies'
  | 'idle-producer-dies'
  | 'producer-dies-reserved'
  | 'producer-dies-entered';

export interface LifetimeTask {
  readonly path: string;
  readonly backend: Backend['kind'];
  readonly layout: Layout;
  readonly ending: Ending;
  readonly count: number;
  /** `exit-opening`: how long it opens the journal before it exits. */
  readonly delayMs?: number;
}

export interface LifetimeReport {
  readonly appended?: number;
  readonly failures?: readonly Failure[];
  readonly acknowledged?: number;
  /** Milliseconds from the cause to the last rejection. */
  readonly tookMs?: number;
  readonly closeFailure?: Failure | undefined;
  readonly later?: Failure | undefined;
  readonly reopenedAt?: number;
}

/** Longer than any test: a commit that waits for it is pending as long as the test wants. */
const LONG_WINDOW_US = 1_000_000;

const task = taskOf() as LifetimeTask;
const workers: Worker[] = [];
process.on('worker', (worker) => workers.push(worker));
const scheduler = new IoScheduler({ backend: task.backend });

function open(options: JournalOptions = {}): Promise<Journal> {
  return Journal.open(task.path, { scheduler, layout: task.layout, segmentBytes: 1024 * 1024, ...options });
}

function producer(journal: Journal, deed: string): Worker {
  return new Worker(new URL('./dying-producer.js', import.meta.url), { workerData: { handle: journal.share(), deed } });
}

function once(worker: Worker, event: 'message' | 'exit'): Promise<unknown> {
  return new Promise((resolve) => {
    worker.once(event, resolve);
  });
}

interface Outcomes {
  readonly failures: Failure[];
  readonly acknowledged: number;
}

async function outcomesOf(appends: readonly Promise<number>[]): Promise<Outcomes> {
  const settled = await Promise.allSettled(appends);
  const failures = settled.flatMap((outcome) => (outcome.status === 'rejected' ? [failureOf(outcome.reason)] : []));
  return { failures, acknowledged: settled.length - failures.length };
}

async function appendMany(journal: Journal, count: number): Promise<void> {
  for (let i = 0; i < count; i++) {
    if (i % 2 === 0 || journal.tryAppend(`record ${i}`) === undefined) void journal.append(`record ${i}`);
  }
  report({ appended: count } satisfies LifetimeReport);
  return Promise.resolve();
}

/** The writer's thread is the first one that a scheduler starts. */
async function killWriter(): Promise<void> {
  const journal = await open({ groupCommitWindow: LONG_WINDOW_US });
  const pending = Array.from({ length: task.count }, (_, i) => journal.append(`record ${i}`));
  const outcomes = outcomesOf(pending);
  const killed = performance.now();
  await workers[0]?.terminate();
  const { failures, acknowledged } = await outcomes;
  const tookMs = performance.now() - killed;
  const later = await journal.append('later').then(() => undefined, failureOf);
  const closeFailure = await journal.close().then(() => undefined, failureOf);
  const again = await open();
  const reopenedAt = await again.append('after the death');
  await again.close();
  report({ failures, acknowledged, tookMs, later, closeFailure, reopenedAt } satisfies LifetimeReport);
}

async function killIdleProducer(): Promise<void> {
  const journal = await open();
  let acknowledged = 0;
  for (let i = 0; i < task.count; i++) {
    const worker = producer(journal, 'append');
    await once(worker, 'message');
    await worker.terminate();
    await journal.append(`record ${i}`);
    acknowledged++;
  }
  await journal.close();
  report({ acknowledged } satisfies LifetimeReport);
}

async function killProducer(deed: 'reserve' | 'enter'): Promise<void> {
  const journal = await open();
  await journal.append('before');
  await once(producer(journal, deed), 'exit');
  const died = performance.now();
  const { failures, acknowledged } = await outcomesOf(Array.from({ length: task.count }, (_, i) => journal.append(`record ${i}`)));
  const tookMs = performance.now() - died;
  const closeFailure = await journal.close().then(() => undefined, failureOf);
  report({ failures, acknowledged, tookMs, closeFailure } satisfies LifetimeReport);
}

async function appendOne(): Promise<void> {
  await (await open()).append('a record');
  report({ appended: 1 } satisfies LifetimeReport);
}

async function exitAfter(work: Promise<void>): Promise<void> {
  await work;
  process.exit(7);
}

const endings: Readonly<Record<Ending, () => Promise<void>>> = {
  'idle': appendOne,
  'exit-idle': () => exitAfter(appendOne()),
  'exit-pending': async () => exitAfter(appendMany(await open(), task.count)),
  'exit-opening': () => {
    report({});
    void open();
    return exitAfter(new Promise((resolve) => setTimeout(resolve, task.delayMs)));
  },
  'unawaited': async () => appendMany(await open(), task.count),
  'writer-dies': killWriter,
  'idle-producer-dies': killIdleProducer,
  'producer-dies-reserved': () => killProducer('reserve'),
  'producer-dies-entered': () => killProducer('enter'),
};

await endings[task.ending]();
