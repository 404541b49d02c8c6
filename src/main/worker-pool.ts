/** Piscina pools as this library uses them: lasting threads that keep no process alive and can be ended at any moment. */
import type { MessagePort } from 'node:worker_threads';
import { Piscina } from 'piscina';
import { InternalError, JournalError } from '../platform/errors.js';
import { ThreadStart } from '../platform/thread-start.js';
import type { WorkerTask } from '../workers/protocol/messages.js';
import { endAtExit } from './at-exit.js';

/** The pools of this thread that were not destroyed. */
const pools = new Map<Piscina, { readonly start: ThreadStart; readonly leave: () => void; /** What ended one of its threads. */ failure?: unknown }>();

/** A pool that starts up to `threads` threads as tasks need them. A thread that dies is not replaced before the next task. */
export function createPool(workerUrl: URL, threads: number): Piscina {
  const start = new ThreadStart();
  const pool = new Piscina({
    filename: workerUrl.href,
    minThreads: 0,
    maxThreads: threads,
    idleTimeout: Infinity,
    // 'sync' would freeze a worker's event loop between tasks, and with it the writer's loop.
    atomics: 'disabled',
    // Flags for the main script (a loader, --input-type, a debugger port) are not meant for these threads.
    execArgv: [],
    // What a thread opens natively belongs to the process, what it opens by node:fs ends with the thread.
    trackUnmanagedFds: true,
    workerData: start.data,
  });
  // The pool reports a thread's death here too; an event nobody listens to would be thrown.
  pool.on('error', (error: unknown) => {
    const known = pools.get(pool);
    if (known !== undefined) known.failure = error;
  });
  // The process ends, and its threads with it: none may be cut short in what must be finished.
  const leave = endAtExit({
    end: () => {
      start.endSync(pool.threads.length);
    },
    resume: () => {
      start.resume();
    },
  });
  pools.set(pool, { start, leave });
  return pool;
}

/**
 * Runs a task on a pool's thread. Rejects when that thread ends: nobody knows then how far it came.
 *
 * A pool whose last thread ends before it has even taken its task would keep the task for ever; such a pool is destroyed,
 * and `lost` called.
 */
export async function runTask<T>(pool: Piscina, task: WorkerTask, transferList: readonly (MessagePort | ArrayBuffer)[], lost: () => void): Promise<T> {
  const running = pool.run(task, { transferList: [...transferList] }) as Promise<T>;
  const known = pools.get(pool);
  const watched = [...pool.threads];
  const onExit = (): void => {
    if (pool.threads.length > 0 || pool.queueSize === 0) return;
    lost();
    void destroyPool(pool);
  };
  for (const thread of watched) thread.once('exit', onExit);
  try {
    return await running;
  } catch (error) {
    if (error instanceof DOMException) throw new InternalError(`a task could not be sent to a worker thread: ${error.message}`);
    const cause = known?.failure ?? error;
    const why = known?.failure instanceof Error ? `: ${known.failure.message}` : '';
    throw new JournalError('TIDEMARK_WORKER_DIED', `a worker thread ended before it had done its task${why}`, { cause });
  } finally {
    for (const thread of watched) thread.off('exit', onExit);
  }
}

export async function destroyPool(pool: Piscina): Promise<void> {
  const known = pools.get(pool);
  await known?.start.end(pool.threads.length);
  known?.leave();
  pools.delete(pool);
  await pool.destroy();
}
