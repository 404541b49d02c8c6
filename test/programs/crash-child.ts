/** Opens a journal, lets four threads append to it, tells what they say and what is trimmed, and waits to be killed. */
import { subscribe } from 'node:diagnostics_channel';
import { Worker } from 'node:worker_threads';
import { IoScheduler, Journal, type Backend, type JournalOptions } from 'tidemark';
import { appendAndTell, tellParent, type CrashThread } from './crash-thread.js';
import { taskOf } from './report.js';

export interface CrashTask {
  readonly path: string;
  readonly backend: Backend['kind'];
  readonly options: JournalOptions;
  readonly life: number;
  /** It keeps no full segment. */
  readonly trims: boolean;
  readonly cheats: boolean;
}

const THREADS = 4;
const { path, backend, options, life, trims, cheats } = taskOf() as CrashTask;
// The threads load their modules while the journal opens.
const workers = Array.from({ length: THREADS - 1 }, () => new Worker(new URL('./crash-thread.js', import.meta.url)));
subscribe('tidemark:journal:trim', (message) => {
  tellParent(`trim ${(message as { before: number }).before}`);
});
const scheduler = new IoScheduler({ backend, fileWorkers: 1 });
const journal = await Journal.open(path, { scheduler, logBufferBytes: 256 * 1024, ...options, ...(trims && { retainSegments: 0 }) });
workers.forEach((worker, i) => {
  worker.postMessage({ handle: journal.share(), life, thread: i + 1, cheats } satisfies CrashThread);
});
await appendAndTell(journal, { life, thread: 0, cheats });
