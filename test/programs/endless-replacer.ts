/** A thread that replaces the file of its `workerData`, with a scheduler of its own, until it is ended. */
import { workerData } from 'node:worker_threads';
import { IoScheduler } from 'tidemark';

const { files } = new IoScheduler();
const content = new Uint8Array(new SharedArrayBuffer(64 * 1024 * 1024));
for (;;) await files.replaceFile(workerData as string, content);
