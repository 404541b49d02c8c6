/** One life of a journal on a disk whose power will be cut: opens it, appends from some threads, trims, and ends. */
import { writeSync } from 'node:fs';
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { IoScheduler, Journal, type Backend, type JournalOptions } from 'tidemark';
import { appendAndTell, type CrashThread } from './crash-thread.js';
import { taskOf } from './report.js';

/** What a writer does wrong, so that a test can show that it would be noticed. */
export type Cheat = 'acknowledges early' | 'never syncs' | 'never syncs directories';

export interface PowerWriterTask {
  readonly path: string;
  readonly backend: Backend['kind'];
  readonly options: JournalOptions;
  readonly life: number;
  readonly threads: number;
  /** Records that each thread appends. */
  readonly records: number;
  /** Appends that each thread has in flight. */
  readonly inFlight?: number;
  /** The log is trimmed so far behind its end, again and again. */
  readonly keepBytes?: number;
  /** At the end of this life. */
  readonly ending: 'close' | 'kill';
  readonly cheat?: Cheat;
}

/** What begins each line for the device log. */
const MARK = 'mark ';
const CONTROL = 3;

const { path, backend, options, life, threads, records, keepBytes, ending, cheat, inFlight } = taskOf() as PowerWriterTask;
const workerUrl = cheat === undefined || cheat === 'acknowledges early' ? {} : { workerUrl: new URL('./cheating-entry.js', import.meta.url) };
if (cheat !== undefined) process.env['TIDEMARK_TEST_CHEAT'] = cheat;
const producer = { life, cheats: cheat === 'acknowledges early', records, prefix: MARK, ...(inFlight !== undefined && { inFlight }) };

writeSync(CONTROL, `${MARK}life ${life}\n`);
const scheduler = new IoScheduler({ backend, fileWorkers: 1, ...workerUrl });
const journal = await Journal.open(path, { scheduler, ...options });
const workers = Array.from({ length: threads - 1 }, () => new Worker(new URL('./crash-thread.js', import.meta.url)));
workers.forEach((worker, i) => {
  worker.postMessage({ ...producer, handle: journal.share(), thread: i + 1 } satisfies CrashThread);
});

const trimming = { ended: false };
async function trimAgainAndAgain(keep: number): Promise<void> {
  while (!trimming.ended) {
    const lsn = journal.durableLsn - keep;
    if (lsn > (journal.firstLsn ?? 0)) {
      writeSync(CONTROL, `${MARK}trim ${lsn}\n`);
      await journal.trimBefore(lsn);
    }
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

const trimmed = keepBytes === undefined ? undefined : trimAgainAndAgain(keepBytes);
// Whoever is to be killed is killed in the midst of things: the others are not waited for.
const others = ending === 'close' ? workers.map((worker) => once(worker, 'exit')) : [];
await appendAndTell(journal, { ...producer, thread: 0 });
if (ending === 'kill') process.kill(process.pid, 'SIGKILL');
await Promise.all(others);
trimming.ended = true;
await trimmed;
await journal.close();
await scheduler.close();
