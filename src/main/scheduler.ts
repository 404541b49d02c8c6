/**
 * The scheduler: the worker threads that journals share.
 *
 * It starts nothing before it is needed: the writer threads with the first journal, file workers with the first file task.
 */
import { JournalError, NotSupportedError } from '../platform/errors.js';
import type { BackendKind, FileTask, Sealing } from '../workers/protocol/messages.js';
import { TEAM_BYTES } from '../workers/write-team.js';
import type { DedicatedWorker, DedicatedWorkerOptions } from './dedicated-worker.js';
import { report } from './diagnostics.js';
import { Caller } from './files/caller.js';
import { filesOf, type Files } from './files/files.js';
import type { OpenHandle } from './files/handle.js';
import type { LaneName } from './lanes/call.js';
import { Lanes, type LaneOptions } from './lanes/lanes.js';
import { boolean, checkKeys, fail, integer, oneOf, powerOfTwo } from './options.js';

export interface IoSchedulerOptions {
  /**
   * Who writes: `io_uring` (rejects where there is none), `blocking`, or `auto`: io_uring where the kernel allows it.
   * Default: the environment variable `TIDEMARK_BACKEND`, else `auto`.
   */
  readonly backend?: 'auto' | BackendKind;
  /** A kernel thread polls the ring for submissions. Burns a core. Default false. */
  readonly sqpoll?: boolean;
  /** Entries of the ring, a power of two from 16 to 4096. Default 128. */
  readonly ringEntries?: number;
  /**
   * Threads of the blocking backend, from 1 to 64. Each journal has one of them; where it has segments, the others help
   * it with several writes at a time. Default 2.
   */
  readonly writers?: number;
  /** Threads for file operations, and for opening, recovering and closing journals, from 1 to 64. Default 4. */
  readonly fileWorkers?: number;
  /** How the lanes share those threads. Journals use the lane `urgent`; its `queueMax` does not count what they do. */
  readonly lanes?: Readonly<Partial<Record<LaneName, LaneOptions>>>;
  /** Where the worker script lies, for bundlers that move it. Default: beside this package's own files. */
  readonly workerUrl?: URL | string;
}

/** Which backend serves a scheduler's journals, and why not the other one. */
export interface Backend {
  readonly kind: BackendKind;
  /** Why this one: asked for, available, or the reason that io_uring is not. */
  readonly reason: string;
  /** Flags the ring was set up with; empty for the blocking backend. */
  readonly setupFlags: readonly string[];
  /** What computes checksums: the native shim, or `@node-rs/crc32` from TypeScript where it was not built. */
  readonly sealing: Sealing;
}

const BACKENDS = ['auto', 'io_uring', 'blocking'] as const;
const OPTIONS = ['backend', 'sqpoll', 'ringEntries', 'writers', 'fileWorkers', 'lanes', 'workerUrl'] as const;

/** A journal's place on a writer thread. */
export interface WriterSeat {
  readonly worker: DedicatedWorker;
  readonly backend: Backend;
  /** Gives the place back. */
  leave(): void;
}

/** What a scheduler asks of the journals on it. */
export interface Tenant {
  /** The thread ended while the seat was taken. */
  readonly workerDied: (cause: Error) => void;
  /** The scheduler closes. */
  readonly close: () => Promise<void>;
}

interface Writer {
  readonly worker: Promise<DedicatedWorker>;
  readonly tenants: Set<Tenant>;
}

export class IoScheduler {
  readonly #backendWanted: 'auto' | BackendKind;
  readonly #sqpoll: boolean;
  readonly #ringEntries: number;
  readonly #writersMax: number;
  readonly #workerUrl: URL;
  #backend: Promise<Backend> | undefined;
  readonly #writers: Writer[] = [];
  /** The blocking writers help each other through it. */
  readonly #team = new SharedArrayBuffer(TEAM_BYTES);
  readonly #lanes: Lanes;
  #files: Files | undefined;
  /** Open files that their users have not closed. */
  readonly #handles = new Set<OpenHandle>();
  /** Journals that are being opened: they are nobody's yet. */
  readonly #opening = new Set<Promise<unknown>>();
  #closing: Promise<void> | undefined;

  constructor(options: IoSchedulerOptions = {}) {
    checkKeys('options', options, OPTIONS);
    this.#backendWanted = options.backend === undefined ? backendFromEnvironment() : oneOf('backend', options.backend, 'auto', BACKENDS);
    this.#sqpoll = boolean('sqpoll', options.sqpoll, false);
    this.#ringEntries = powerOfTwo('ringEntries', options.ringEntries, 128, 16, 4096);
    this.#writersMax = integer('writers', options.writers, 2, 1, 64);
    this.#workerUrl = workerUrl(options.workerUrl);
    this.#lanes = new Lanes(this.#workerUrl, integer('fileWorkers', options.fileWorkers, 4, 1, 64), options.lanes ?? {});
  }

  /** Starts the writers if need be and tells which backend serves. Rejects when the one asked for is not available. */
  backend(): Promise<Backend> {
    this.#checkOpen();
    this.#backend ??= this.#chooseBackend().catch((error: unknown) => {
      // Leave the next attempt a fresh start: what was missing may be there by then.
      this.#backend = undefined;
      throw error;
    });
    return this.#backend;
  }

  /** File operations on the threads of this scheduler. */
  get files(): Files {
    this.#files ??= filesOf(new Caller({ lanes: this.#lanes, handles: this.#handles, checkOpen: () => {
      this.#checkOpen();
    } }));
    return this.#files;
  }

  /** How many file operations wait, and how many threads work for them, by lane. */
  fileStats(): ReturnType<Lanes['stats']> {
    return this.#lanes.stats();
  }

  /** Runs a journal's task on a file worker. */
  runFileTask<T>(task: FileTask): Promise<T> {
    return this.#lanes.call(task.role, [task], { lane: 'urgent', own: true }) as Promise<T>;
  }

  /** Opens a journal, for which {@link close} waits. */
  async opening<T>(open: () => Promise<T>): Promise<T> {
    this.#checkOpen();
    const opened = open();
    this.#opening.add(opened);
    try {
      return await opened;
    } finally {
      this.#opening.delete(opened);
    }
  }

  /** Gives a journal its place on the writer thread with the fewest of them. `helped`: other threads write for it too. */
  async takeSeat(tenant: Tenant, helped: boolean): Promise<WriterSeat> {
    const backend = await this.backend();
    const writer = this.#leastBusyWriter(backend.kind);
    // A thread that starts helps as soon as it runs; nobody waits for it.
    if (helped && backend.kind === 'blocking' && this.#writers.length < this.#writersMax) this.#startWriter('blocking');
    const leave = (): void => {
      writer.tenants.delete(tenant);
    };
    writer.tenants.add(tenant);
    try {
      return { worker: await writer.worker, backend, leave };
    } catch (error) {
      leave();
      throw error;
    }
  }

  /** Closes the journals that are open on it, then ends its threads. */
  close(): Promise<void> {
    this.#closing ??= this.#shutDown();
    return this.#closing;
  }

  async #shutDown(): Promise<void> {
    await Promise.allSettled(this.#opening);
    await Promise.allSettled(this.#writers.flatMap(({ tenants }) => [...tenants].map((tenant) => tenant.close())));
    // What is being opened is a handle by then.
    await this.#lanes.idle();
    await Promise.allSettled([...this.#handles].map((handle) => handle.close()));
    await this.#lanes.close();
    for (const { worker } of this.#writers.splice(0)) await worker.then((started) => started.shutDown()).catch(() => undefined);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #checkOpen(): void {
    if (this.#closing !== undefined) throw new JournalError('TIDEMARK_CLOSED', 'the scheduler is closed');
  }

  async #chooseBackend(): Promise<Backend> {
    const wanted = this.#backendWanted;
    let backend: Backend;
    if (wanted === 'blocking') {
      backend = await this.#startFirst('blocking', 'it was asked for');
    } else {
      try {
        backend = await this.#startFirst('io_uring', wanted === 'auto' ? 'it is available' : 'it was asked for');
      } catch (error) {
        if (wanted === 'io_uring' || !(error instanceof NotSupportedError)) throw error;
        backend = await this.#startFirst('blocking', `io_uring is not available: ${error.reason}`);
      }
    }
    report('backend', { ...backend });
    return backend;
  }

  async #startFirst(kind: BackendKind, reason: string): Promise<Backend> {
    const writer = this.#startWriter(kind);
    const { started } = await writer.worker;
    return { kind, reason, setupFlags: started.setupFlags, sealing: started.sealing };
  }

  #leastBusyWriter(kind: BackendKind): Writer {
    const least = this.#writers.toSorted((a, b) => a.tenants.size - b.tenants.size)[0];
    const most = kind === 'io_uring' ? 1 : this.#writersMax;
    if (least !== undefined && (least.tenants.size === 0 || this.#writers.length >= most)) return least;
    return this.#startWriter(kind);
  }

  #startWriter(kind: BackendKind): Writer {
    const tenants = new Set<Tenant>();
    const remove = (): void => {
      const index = this.#writers.indexOf(writer);
      if (index >= 0) this.#writers.splice(index, 1);
      // A ring that is gone has to be probed again.
      if (this.#writers.length === 0) this.#backend = undefined;
    };
    const options = {
      workerUrl: this.#workerUrl,
      role: kind === 'io_uring' ? 'ring-owner' : 'blocking-writer',
      sqpoll: this.#sqpoll,
      ringEntries: this.#ringEntries,
      team: this.#team,
      onDeath: (cause: Error) => {
        remove();
        for (const tenant of tenants) tenant.workerDied(cause);
      },
    } satisfies DedicatedWorkerOptions;
    // Loaded when needed: a thread that only attaches to a journal starts no threads.
    const worker = import('./dedicated-worker.js').then((module) => module.DedicatedWorker.start(options));
    const writer: Writer = { worker, tenants };
    this.#writers.push(writer);
    worker.catch(remove);
    return writer;
  }
}

function backendFromEnvironment(): 'auto' | BackendKind {
  const value = process.env['TIDEMARK_BACKEND'];
  if (value === undefined || value === '') return 'auto';
  return oneOf('TIDEMARK_BACKEND', value, 'auto', BACKENDS);
}

function workerUrl(option: unknown): URL {
  if (option === undefined) return new URL('../workers/entry.js', import.meta.url);
  try {
    return new URL(option as string | URL);
  } catch {
    return fail('workerUrl', 'a URL', option);
  }
}

let shared: IoScheduler | undefined;

/** The scheduler of this thread that serves whoever brings none of their own. Made when first asked for. */
export function defaultScheduler(): IoScheduler {
  shared ??= new IoScheduler();
  return shared;
}
