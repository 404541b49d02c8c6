/** What the main thread and the workers tell each other: plain data, kept by structured clone. */
import type { Advice, RingRemains } from '../../platform/platform.js';
import { fromWire, toWire, type WireError } from '../../platform/errors.js';
import type { SharedLogBuffer } from './log-buffer.js';

export type BackendKind = 'io_uring' | 'blocking';

/** The shared memory of one journal. */
export interface SharedJournal {
  readonly control: SharedArrayBuffer;
  readonly log: SharedLogBuffer;
}

/** How the write side reaches the file. */
export interface JournalFile {
  /**
   * The descriptor that holds the lock and that is written through: a write that the kernel still has in hand when the
   * process is killed keeps the lock until it is over.
   */
  readonly descriptor: number;
  readonly direct: boolean;
  /** Writes are cut at multiples of this. 1 when they are buffered. */
  readonly sectorBytes: number;
  /** Writes carry RWF_DSYNC where the backend can, instead of a sync after them. */
  readonly dsyncWrites: boolean;
  /** Space that is on disk already, written or prepared: bytes from the start of the file. */
  readonly spaceEnd: number;
}

/** What a worker needs to serve the write side of a journal. */
export interface WriteSideRequest {
  readonly id: number;
  readonly shared: SharedJournal;
  readonly file: JournalFile;
  /** How much space to keep written with zeros ahead of the log; 0 for none. */
  readonly preallocateBytes: number;
  readonly groupCommitWindowUs: number;
}

export interface Attached {
  /** The log buffer is registered with the ring. */
  readonly registered: boolean;
}

/** The control plane of a dedicated worker, called through comlink. Never on the path of a record. */
export interface WriterControl {
  attach(request: WriteSideRequest): Attached;
  /** Ends the write side. All that was reserved is durable, or the journal is poisoned. */
  detach(id: number): Promise<void>;
  /** Writes zeros until at least `bytes` are prepared ahead of the log. */
  prepare(id: number, bytes: number): Promise<void>;
  /** Gives back what the thread owns. No journal is attached any more. */
  close(): void;
}

/** What a dedicated worker says when its loop has started. */
export interface WriterStarted {
  readonly kind: BackendKind;
  /** Set-up flags of the ring, for `doctor` and curious users. */
  readonly setupFlags: readonly string[];
  /** The ring, for whoever has to give it back when the thread has died. */
  readonly ring: RingRemains | undefined;
  /** What computes checksums: the native shim, or `@node-rs/crc32` from TypeScript. */
  readonly sealing: Sealing;
}

export type Sealing = 'native' | 'script';

export interface StartWriterTask {
  readonly role: 'ring-owner' | 'blocking-writer';
  readonly port: import('node:worker_threads').MessagePort;
  readonly sqpoll: boolean;
  readonly ringEntries: number;
}

export interface OpenJournalTask {
  readonly role: 'open-journal';
  readonly path: string;
  readonly create: boolean;
  readonly mode: number;
  readonly direct: boolean;
  readonly shared: SharedJournal;
}

/** What recovery cut off the end of a journal, and where it lies now. */
export interface TornTail {
  readonly lsn: number;
  readonly state: string;
  readonly detail: string;
  /** Bytes up to the last one that is not zero. */
  readonly bytes: number;
  readonly keptAs: string;
}

export interface OpenedJournal {
  readonly file: JournalFile;
  readonly end: number;
  readonly records: number;
  readonly created: boolean;
  readonly filesystem: string;
  readonly torn: TornTail | undefined;
  /** Why direct IO is off although it was asked for. */
  readonly directRefused: string | undefined;
}

export interface CloseJournalTask {
  readonly role: 'close-journal';
  readonly path: string;
  readonly file: JournalFile;
  /**
   * Where to cut the file: its last frame. Undefined (a poisoned journal) leaves it alone, and waits until the kernel has
   * let go of it too.
   */
  readonly end: number | undefined;
}

export interface AdviseTask {
  readonly role: 'advise';
  readonly descriptor: number;
  readonly offset: number;
  readonly bytes: number;
  readonly advice: Advice;
}

export type FileTask = OpenJournalTask | CloseJournalTask | AdviseTask;
export type WorkerTask = FileTask | StartWriterTask;

/** An answer that keeps the class and code of an error on its way between threads. */
export type Outcome<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly error: WireError };

export async function outcomeOf<T>(work: () => T | Promise<T>): Promise<Outcome<T>> {
  try {
    return { ok: true, value: await work() };
  } catch (error) {
    return { ok: false, error: toWire(error) };
  }
}

export function valueOf<T>(outcome: Outcome<T>): T {
  if (outcome.ok) return outcome.value;
  throw fromWire(outcome.error);
}
