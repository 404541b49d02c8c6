/** Opens and closes journals and schedulers again and again, and counts what the process holds. */
import { readdirSync, readFileSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { IoScheduler, Journal, type Backend, type JournalOptions, type Layout } from 'tidemark';
import { readBack } from '../segments.js';
import { report, taskOf } from './report.js';
import { nameOf, recordOf } from './records.js';

export interface LeaksTask {
  readonly directory: string;
  readonly backend: Backend['kind'];
  readonly what: 'together' | 'journals' | 'schedulers';
  readonly layout: Layout;
  readonly cycles: number;
  /** The cycle after which the first count is taken. */
  readonly settled: number;
}

export interface Held {
  readonly threads: number;
  readonly descriptors: number;
  readonly mappings: number;
  /** Virtual size of the process. */
  readonly mib: number;
  readonly listeners: number;
}

export interface LeaksReport {
  readonly before?: Held;
  readonly after?: Held;
  /** Of each journal that was open at the same time: its records that came back, in order and intact. */
  readonly intact?: readonly number[];
  readonly backend: Backend;
}

const task = taskOf() as LeaksTask;
/** Large enough that each one kept is seen in the size of the process; only touched pages cost memory. */
const LOG_BUFFER_BYTES = 1024 * 1024;
const options: JournalOptions = { layout: task.layout, direct: true, preallocate: 0, segmentBytes: 64 * 1024, logBufferBytes: LOG_BUFFER_BYTES };
setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

async function held(): Promise<Held> {
  // What is unreachable goes now, and what was to be closed after it gets its turn.
  for (let i = 0; i < 3; i++) {
    collectGarbage();
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return {
    threads: readdirSync('/proc/self/task').length,
    descriptors: readdirSync('/proc/self/fd').length,
    mappings: readFileSync('/proc/self/maps', 'latin1').split('\n').length,
    mib: Math.round(Number(/VmSize:\s+(\d+) kB/.exec(readFileSync('/proc/self/status', 'latin1'))?.[1]) / 1024),
    listeners: process.eventNames().reduce((sum, name) => sum + process.listenerCount(name), 0),
  };
}

const TOGETHER = 10;
const RECORDS = 500;

async function together(): Promise<LeaksReport> {
  const scheduler = new IoScheduler({ backend: task.backend });
  const paths = Array.from({ length: TOGETHER }, (_, i) => `${task.directory}/together-${i}`);
  const journals = await Promise.all(paths.map((path) => Journal.open(path, { ...options, scheduler })));
  await Promise.all(
    journals.map((journal, life) => Promise.all(Array.from({ length: RECORDS }, (_, sequence) => journal.append(recordOf({ life, thread: 0, sequence }))))),
  );
  const [backend] = journals.map((journal) => journal.backend);
  await Promise.all(journals.map((journal) => journal.close()));
  await scheduler.close();
  const intact = await Promise.all(paths.map(async (path, life) => {
    let next = 0;
    for (const { payload } of await readBack(path)) {
      const name = nameOf(payload);
      if (name?.life !== life || name.sequence !== next) break;
      next++;
    }
    return next;
  }));
  return { intact, backend: backend as Backend };
}

async function openAndClose(scheduler: IoScheduler, cycle: number): Promise<void> {
  const journal = await Journal.open(`${task.directory}/journal-${cycle % 4}`, { ...options, scheduler });
  if (cycle % 10 === 0) await journal.append(`record of cycle ${cycle}`);
  await journal.close();
}

async function again(): Promise<LeaksReport> {
  const shared = new IoScheduler({ backend: task.backend });
  const backend = await shared.backend();
  // At once, so that every thread that a scheduler may start has started: one that starts late looks like a leak.
  if (task.what === 'journals') await Promise.all([0, 1, 2, 3].map((cycle) => openAndClose(shared, cycle)));
  let before: Held | undefined;
  for (let cycle = 1; cycle <= task.cycles; cycle++) {
    const scheduler = task.what === 'journals' ? shared : new IoScheduler({ backend: task.backend });
    await openAndClose(scheduler, cycle);
    if (scheduler !== shared) await scheduler.close();
    if (cycle === task.settled) before = await held();
  }
  const after = await held();
  await shared.close();
  return { ...(before && { before }), after, backend };
}

report(await (task.what === 'together' ? together() : again()));
