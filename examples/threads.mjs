/**
 * Several threads append to one journal: no lock, no message to another thread on the way of a record.
 *
 *     node examples/threads.mjs
 */
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isMainThread, threadId, Worker, workerData } from 'node:worker_threads';
import { Journal, JournalReader } from 'tidemark';

const THREADS = 3;
const RECORDS = 1000;

if (isMainThread) await main();
else await appendFromHere();

async function main() {
  const directory = await mkdtemp(join(tmpdir(), 'tidemark-threads-'));
  const path = join(directory, 'shared.journal');
  const journal = await Journal.open(path);

  const threads = Array.from({ length: THREADS }, () => new Worker(new URL(import.meta.url), { workerData: journal.share() }));
  await Promise.all(threads.map((thread) => once(thread, 'exit')));
  const { batches } = journal.stats();
  // The thread that opened the journal closes it, when the others have detached.
  await journal.close();

  const perThread = new Map();
  const reader = await JournalReader.open(path);
  for await (const { payload } of reader) {
    const [thread] = Buffer.from(payload).toString().split(':');
    perThread.set(thread, (perThread.get(thread) ?? 0) + 1);
  }
  await reader.close();
  for (const [thread, records] of perThread) console.log(`${thread}: ${records} records`);
  console.log(`written in ${batches} batches`);
  await rm(directory, { recursive: true });
}

async function appendFromHere() {
  const journal = Journal.attach(workerData);
  const appends = Array.from({ length: RECORDS }, (_, i) => journal.append(`thread ${threadId}: record ${i}`));
  await Promise.all(appends);
  await journal.close(); // detaches this thread, no more
}
