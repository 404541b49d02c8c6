/** A thread that attaches to a shared journal and appends numbered records in every way there is. */
import { parentPort, workerData } from 'node:worker_threads';
import { Journal, TidemarkError, type SharedJournalHandle } from 'tidemark';
import { threadRecord } from './thread-record.js';

export interface AppendData {
  readonly handle: SharedJournalHandle;
  readonly thread: number;
  readonly records: number;
}

export interface AppendReport {
  readonly ends: readonly number[];
  readonly backend: string;
  readonly directActive: boolean;
  readonly openReport: unknown;
  /** The code that an owner's method was refused with. */
  readonly refused: string;
  /** The code of an append after closing. */
  readonly afterClose: string;
}

async function codeOf(promise: Promise<unknown>): Promise<string> {
  return promise.then(() => 'none', (error: unknown) => (error instanceof TidemarkError ? error.code : String(error)));
}

const { handle, thread, records } = workerData as AppendData;
const journal = Journal.attach(handle);
const pending: Promise<number>[] = [];
for (let i = 0; i < records;) {
  const record = threadRecord(thread, i);
  if (i % 7 === 1) {
    pending.push(journal.submit(record).then(({ durable }) => durable));
    i++;
  } else if (i % 7 === 2 && i + 3 <= records) {
    const batch = [record, threadRecord(thread, i + 1), threadRecord(thread, i + 2)];
    const last = journal.appendBatch(batch);
    const behind = [batch[1], batch[2]].map((_, j) => batch.slice(j + 1).reduce((sum, { length }) => sum + length + 12, 0));
    pending.push(...behind.map((bytes) => last.then((end) => end - bytes)), last);
    i += 3;
  } else {
    // What finds no room goes the way that waits.
    const end = i % 7 === 6 ? journal.tryAppend(record) : undefined;
    pending.push(end === undefined ? journal.append(record) : Promise.resolve(end));
    i++;
  }
  if (i % 100 === 0) await Promise.all(pending);
}
const ends = await Promise.all(pending);
const refused = await codeOf(journal.preallocate(1));
await journal.close();
const afterClose = await codeOf(journal.append('late'));
const report: AppendReport = {
  ends, refused, afterClose, backend: journal.backend.kind, directActive: journal.directActive, openReport: journal.openReport,
};
parentPort?.postMessage(report);
