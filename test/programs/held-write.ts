/**
 * Closes a file whose other user, a thread, was terminated with a write inside the kernel. A tracer has to hold the second
 * pwrite64 of each thread for longer than {@link BEGUN_MS}, before the kernel looks at the descriptor.
 */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { parentPort, Worker, workerData } from 'node:worker_threads';
import { FileHandle, IoScheduler, OperationError, type SharedHandle } from 'tidemark';
import { report, taskOf } from './report.js';

const BEGUN_MS = 100;

async function writeHeld(shared: SharedHandle): Promise<void> {
  const { files } = new IoScheduler({ fileWorkers: 1 });
  const handle = FileHandle.attach(shared);
  await files.writeAt(handle, 'first', 0);
  for (let begun = false; !begun;) {
    begun = await files.writeAt(handle, ' second', 5, { timeoutMs: BEGUN_MS }).then(() => true, (error: unknown) => error instanceof OperationError && error.begun === true);
  }
  parentPort?.postMessage('begun');
}

async function closeMeanwhile(path: string): Promise<void> {
  const scheduler = new IoScheduler();
  const handle = await scheduler.files.openWriteNew(path);
  const user = new Worker(new URL(import.meta.url), { workerData: handle.share() });
  await once(user, 'message');
  const before = readFileSync(path, 'utf8');
  const ended = user.terminate();
  await handle.close();
  report({ before, after: readFileSync(path, 'utf8') });
  await ended;
  await scheduler.close();
}

if (parentPort === null) await closeMeanwhile((taskOf() as { path: string }).path);
else await writeHeld(workerData as SharedHandle);
