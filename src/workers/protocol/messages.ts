/** What the main thread and the workers tell each other: plain data, kept by structured clone. */
import type { Advice, RingRemains } from '../../platform/platform.js';
import { fromWire, toWire, type WireError } from '../../platform/errors.js';
import type { SharedLogBuffer } from './log-buffer.js';
import type { OperationsTask } from './operation.js';

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

/** What a worker needs to serve the write side of a journal, whatever its layout. */
interface WriteSideCommon {
  readonly id: number;
  readonly shared: SharedJournal;
  readonly groupCommitWindowUs: number;
}

export interface FileWriteSideRequest extends WriteSideCommon {
  readonly layout: 'file';
  readonly file: JournalFile;
  /** How much space to keep written with zeros ahead of the log; 0 for none. */
  readonly preallocateBytes: number;
}

/** A segment that is in place: its header is durable, and so is its name. */
export interface SegmentFile {
  readonly base: number;
  /** Holds the segment's lock, like the one of a file journal. */
  readonly descriptor: number;
}

/** How the segments of a journal are written. */
export interface SegmentWriting {
  readonly direct: boolean;
  /** Extents begin and end at multiples of this; no sector is written twice. */
  readonly sectorBytes: number;
  /** Writes carry RWF_DSYNC, instead of a sync after them. */
  readonly dsyncWrites: boolean;
  /** Most writes in flight. */
  readonly queueDepth: number;
}

/** Where a log stands that the writer goes on with. */
export interface LogPosition {
  readonly journalId: Uint8Array;
  readonly recordsEver: number;
  readonly lastRecordLsn: number;
  readonly segmentRecords: number;
  readonly markNumber: number;
}

export interface SegmentsWriteSideRequest extends WriteSideCommon {
  readonly layout: 'segments';
  readonly writing: SegmentWriting;
  readonly position: LogPosition;
  /** The segment that holds the end of the log, and those that are in place behind it, in order. */
  readonly segments: readonly SegmentFile[];
  /** Where the writer tells how it gets on: {@link WriterNews}. */
  readonly news: import('node:worker_threads').MessagePort;
}

/** What the writer of a segment journal tells the thread that opened it. */
export type WriterNews =
  /** Writing of this segment has begun. */
  | { readonly kind: 'entered'; readonly base: number }
  /** The log has passed the middle of the segment that it is in, or comes near its end. */
  | { readonly kind: 'half' | 'near' }
  /** An append waits for a segment that is not in place. */
  | { readonly kind: 'wanted' }
  /** Nothing has been appended for a while, and all that was is durable. */
  | { readonly kind: 'idle' }
  /** The segment is full and durable; nothing is written to it any more. */
  | { readonly kind: 'filled'; readonly base: number };

export type WriteSideRequest = FileWriteSideRequest | SegmentsWriteSideRequest;

export interface Attached {
  /** The log buffer is registered with the ring. */
  readonly registered: boolean;
}

export interface Detached {
  /** Where the log of a segment journal stands. */
  readonly position: LogPosition | undefined;
}

/** The control plane of a dedicated worker, called through comlink. Never on the path of a record. */
export interface WriterControl {
  attach(request: WriteSideRequest): Attached;
  /** Ends the write side. All that was reserved is durable, or the journal is poisoned. */
  detach(id: number): Promise<Detached>;
  /** Writes zeros until at least `bytes` are prepared ahead of the log. */
  prepare(id: number, bytes: number): Promise<void>;
  /** Hands over a segment that was put in place behind the last one. */
  addSegment(id: number, segment: SegmentFile): void;
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
  /** Memory in which the blocking writers of a scheduler offer each other writes. */
  readonly team: SharedArrayBuffer;
}

export interface OpenFileTask {
  readonly role: 'open-file';
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

/** What opening found, whatever the layout. */
interface Opened {
  readonly end: number;
  readonly records: number;
  readonly created: boolean;
  readonly filesystem: string;
  readonly torn: TornTail | undefined;
  /** Why direct IO is off although it was asked for. */
  readonly directRefused: string | undefined;
}

export interface OpenedFile extends Opened {
  readonly layout: 'file';
  readonly file: JournalFile;
}

// ---- segments ------------------------------------------------------------------------------------------------------

export interface OpenSegmentsTask {
  readonly role: 'open-segments';
  readonly path: string;
  readonly create: boolean;
  /** Of files that are created; a directory gets the right to be entered by whoever may read. */
  readonly mode: number;
  readonly direct: boolean;
  /** Of a journal that is created. */
  readonly segmentBytes: number;
  readonly queueDepth: number;
  /** Capacity of the log buffer: the most that is ever on its way to the disk. */
  readonly windowBytes: number;
  /** How much of a new first segment is written with zeros before it is used. */
  readonly firstZeroBytes: number;
  readonly control: SharedArrayBuffer;
}

export interface OpenedSegments extends Opened {
  readonly layout: 'segments';
  readonly journalId: Uint8Array;
  readonly segmentBytes: number;
  readonly writing: SegmentWriting;
  readonly position: LogPosition;
  /** The directory; it holds the lock. */
  readonly lockDescriptor: number;
  /** The segment that holds the end, and those in place behind it. */
  readonly segments: readonly SegmentFile[];
  /** Bases of the full segments before it, in order, with the wall clock of their last mark where it is known. */
  readonly filled: readonly FilledSegment[];
  /** Names of spare files. */
  readonly spares: readonly string[];
}

export type OpenedJournal = OpenedFile | OpenedSegments;

export interface FilledSegment {
  readonly base: number;
  /** Milliseconds since 1970. */
  readonly filledMs: number;
}

/** What all segments of a journal have in common. */
export interface SegmentMaking {
  readonly directory: string;
  /** Of the directory: tells when its path leads to another one. */
  readonly lockDescriptor: number;
  readonly journalId: Uint8Array;
  readonly segmentBytes: number;
  readonly windowBytes: number;
  readonly mode: number;
  readonly direct: boolean;
  readonly dsync: boolean;
}

/** How a segment was made ready. `plain`: space is reserved, and partly or not at all written with zeros. */
export type SegmentOrigin = 'recycled' | 'zeroed' | 'plain';

export interface PrepareSegmentTask {
  readonly role: 'prepare-segment';
  readonly making: SegmentMaking;
  readonly base: number;
  /** Name of a spare to use; a new file is made without one. */
  readonly spare: string | undefined;
  /** Bytes to write with zeros at most. */
  readonly zeroBytes: number;
  /** One word: {@link PACE}. */
  readonly pace: SharedArrayBuffer;
  /** Of the journal: zeros make way for its appends. */
  readonly control: SharedArrayBuffer;
}

/** What the one who asked for a segment wants while it is being prepared. */
export const PACE = { calm: 0, hurry: 1, abandon: 2 } as const;

export interface PreparedSegment {
  readonly segment: SegmentFile;
  readonly origin: SegmentOrigin;
  readonly zeroedBytes: number;
}

export interface TrimSegmentsTask {
  readonly role: 'trim-segments';
  readonly directory: string;
  readonly lockDescriptor: number;
  /** From the oldest on, in order. */
  readonly bases: readonly number[];
  /** How many of them are kept as spares; the others are deleted. */
  readonly keep: number;
}

export interface CloseSegmentsTask {
  readonly role: 'close-segments';
  readonly path: string;
  readonly lockDescriptor: number;
  readonly descriptors: readonly number[];
  /** Nothing of the journal is in flight any more. False when its writer has ended: the kernel may still write. */
  readonly idle: boolean;
  /** The last frame to write: a mark that says the journal was closed. Undefined for a poisoned journal. */
  readonly closing: { readonly segment: SegmentFile; readonly end: number; readonly writing: SegmentWriting; readonly position: LogPosition; readonly windowBytes: number; readonly segmentBytes: number } | undefined;
}

/** Closes a segment that is full: all its writes are through. */
export interface CloseDescriptorTask {
  readonly role: 'close-descriptor';
  readonly descriptor: number;
}

export interface CloseFileTask {
  readonly role: 'close-file';
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

// ---- repair --------------------------------------------------------------------------------------------------------

export interface RepairTask {
  readonly role: 'repair';
  readonly layout: 'file' | 'segments';
  readonly path: string;
  readonly dryRun: boolean;
}

/** What was wrong with a range that repair changed. */
export interface RepairFinding {
  readonly kind: 'corruption' | 'damaged-header' | 'missing-segment' | 'wrong-size';
  readonly expected: string;
  readonly found: string;
  /** What proves that the bytes had been durable; undefined where that is not the question. */
  readonly proof: string | undefined;
}

/** A range of a journal that repair changed, or would. */
export interface RepairedRange {
  /** Name of the file. */
  readonly segment: string;
  /** Where the range begins in it. */
  readonly offset: number;
  readonly lsn: number;
  readonly endLsn: number;
  /** Bytes that were there. */
  readonly bytes: number;
  /** The file that keeps them; undefined when there were none, and in a dry run. */
  readonly keptAs: string | undefined;
  /** LSNs of the last record before the range in its file and of the first one behind it. */
  readonly recordsAround: { readonly before: number | undefined; readonly after: number | undefined };
  /** Layout `file`: whole records behind the damage, which are cut off with it. */
  readonly droppedRecords: number;
  readonly finding: RepairFinding;
}

export interface RepairReport {
  readonly path: string;
  readonly layout: 'file' | 'segments';
  readonly dryRun: boolean;
  /** The journal was damaged, and is no more. */
  readonly repaired: boolean;
  /** Empty when the journal needs no repair. */
  readonly ranges: readonly RepairedRange[];
  /** Where the log ends, as it is now, or would be. What lies behind it, such as a torn tail, is for opening. */
  readonly end: number;
  /** Records of the journal. In layout `segments` its marks go on counting those that are lost. */
  readonly records: number;
}

export type FileTask =
  | RepairTask
  | OpenFileTask | CloseFileTask | AdviseTask
  | OpenSegmentsTask | PrepareSegmentTask | TrimSegmentsTask | CloseDescriptorTask | CloseSegmentsTask;
export type WorkerTask = OperationsTask | StartWriterTask;

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
