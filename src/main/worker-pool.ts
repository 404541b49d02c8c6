/** Piscina pools as this library uses them: lasting threads that keep no process alive and can be ended at any moment. */
import { Piscina } from 'piscina';
import { ThreadStart } from '../platform/thread-start.js';
import { endAtExit } from './at-exit.js';

/** The pools of this thread that were not destroyed. */
const pools = new Map<Piscina, { readonly start: ThreadStart; readonly leave: () => void }>();

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
    trackUnmanagedFds: false,
    workerData: start.data,
  });
  // The pool reports a thread's death here too; an event nobody listens to would be thrown.
  pool.on('error', () => undefined);
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

export async function destroyPool(pool: Piscina): Promise<void> {
  const known = pools.get(pool);
  await known?.start.end(pool.threads.length);
  known?.leave();
  pools.delete(pool);
  await pool.destroy();
}
