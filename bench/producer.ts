/** A thread of the `threads` topic: appends durably for some seconds, then tells its rate. */
import { parentPort, workerData } from 'node:worker_threads';
import { Journal, type SharedJournalHandle } from 'tidemark';

interface Task {
  readonly journal: SharedJournalHandle;
  readonly concurrency: number;
  readonly recordBytes: number;
  readonly seconds: number;
}

const task = workerData as Task;
const journal = Journal.attach(task.journal);
const started = performance.now();
const until = started + task.seconds * 1000;
let appended = 0;
await Promise.all(Array.from({ length: task.concurrency }, async () => {
  const record = Buffer.alloc(task.recordBytes, 0x61);
  while (performance.now() < until) {
    await journal.append(record);
    appended++;
  }
}));
const perSecond = appended / ((performance.now() - started) / 1000);
await journal.close();
parentPort?.postMessage(perSecond);
