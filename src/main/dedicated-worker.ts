/**
 * A worker thread of its own that runs a writer's loop: a piscina pool of exactly one thread, controlled through comlink.
 *
 * The thread keeps no process alive. Its end, expected or not, is terminal: piscina would start another one, but what the
 * first one owned (a ring, its journals) is gone.
 */
import { MessageChannel, type MessagePort } from 'node:worker_threads';
import { releaseProxy, transfer, wrap, type Remote } from 'comlink';
import type { Piscina } from 'piscina';
import { JournalError } from '../platform/errors.js';
import { selectPlatform } from '../platform/select.js';
import type { RemoteWriter } from '../workers/entry.js';
import { endpointOf } from '../workers/protocol/endpoint.js';
import { valueOf, type Attached, type Outcome, type StartWriterTask, type WriterControl, type WriterStarted, type WriteSideRequest } from '../workers/protocol/messages.js';
import { createPool, destroyPool, runTask } from './worker-pool.js';

export interface DedicatedWorkerOptions {
  readonly workerUrl: URL;
  readonly role: StartWriterTask['role'];
  readonly sqpoll: boolean;
  readonly ringEntries: number;
  readonly team: SharedArrayBuffer;
  /** Called once if the thread ends before {@link DedicatedWorker.close}. */
  readonly onDeath: (cause: Error) => void;
}

export class DedicatedWorker {
  readonly started: WriterStarted;
  readonly threadId: number;
  readonly #pool: Piscina;
  readonly #port: MessagePort;
  readonly #remote: Remote<RemoteWriter>;
  /** Rejects the calls that wait for an answer. */
  readonly #waiting = new Set<(death: Error) => void>();
  #closed = false;

  /** Starts the thread; rejects with what its writer refused with. */
  static async start(options: DedicatedWorkerOptions): Promise<DedicatedWorker> {
    const pool = createPool(options.workerUrl, 1);
    const { port1, port2 } = new MessageChannel();
    const { role, sqpoll, ringEntries, team } = options;
    const task: StartWriterTask = { role, port: port2, sqpoll, ringEntries, team };
    try {
      const outcome = await runTask<Outcome<WriterStarted>>(pool, task, [port2], () => undefined);
      return new DedicatedWorker(options, pool, port1, valueOf(outcome));
    } catch (error) {
      port1.close();
      await destroyPool(pool);
      throw error;
    }
  }

  private constructor(options: DedicatedWorkerOptions, pool: Piscina, port: MessagePort, started: WriterStarted) {
    this.#pool = pool;
    this.#port = port;
    this.started = started;
    this.#remote = wrap<RemoteWriter>(endpointOf(port));
    port.unref();
    const [thread] = pool.threads;
    if (thread === undefined) throw new JournalError('TIDEMARK_WORKER_DIED', 'the writer thread ended while it started');
    this.threadId = thread.threadId;
    let cause: unknown;
    thread.on('error', (error) => {
      cause = error;
    });
    thread.on('exit', (code) => {
      if (this.#closed) return;
      const death = new JournalError('TIDEMARK_WORKER_DIED', `the writer thread ended with exit code ${code}`, { cause });
      for (const reject of this.#waiting) reject(death);
      // A ring belongs to the process. What it still holds, a journal's file above all, goes with it.
      if (started.ring !== undefined) selectPlatform().releaseRing(started.ring);
      options.onDeath(death);
      void this.close();
    });
  }

  /** Calls the writer's control plane. Keeps the process alive until the answer. */
  async call<Name extends keyof WriterControl>(
    name: Name,
    ...parameters: Parameters<WriterControl[Name]>
  ): Promise<Awaited<ReturnType<WriterControl[Name]>>> {
    if (this.#closed) throw new JournalError('TIDEMARK_WORKER_DIED', 'the writer thread has ended');
    // A call to a thread that dies is never answered: its death settles it.
    const { promise: death, reject } = withReject();
    if (this.#waiting.size === 0) this.#port.ref();
    this.#waiting.add(reject);
    try {
      const method = this.#remote[name] as unknown as (...p: unknown[]) => Promise<Outcome<Awaited<ReturnType<WriterControl[Name]>>>>;
      return valueOf(await Promise.race([method(...parameters), death]));
    } finally {
      this.#waiting.delete(reject);
      if (this.#waiting.size === 0) this.#port.unref();
    }
  }

  /** `call('attach')` with what moves to the thread. */
  attach(request: WriteSideRequest, moved: MessagePort[]): Promise<Attached> {
    return this.call('attach', transfer(request, moved as never));
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    for (const reject of this.#waiting) reject(new JournalError('TIDEMARK_CLOSED', 'the scheduler is closed'));
    this.#remote[releaseProxy]();
    this.#port.close();
    await destroyPool(this.#pool);
  }

  /** Has the thread give back what it owns, then ends it. */
  async shutDown(): Promise<void> {
    await this.call('close');
    await this.close();
  }
}

function withReject(): { promise: Promise<never>; reject: (error: Error) => void } {
  let reject: (error: Error) => void = () => undefined;
  const promise = new Promise<never>((_, rejectIt) => {
    reject = rejectIt;
  });
  return { promise, reject };
}
