/**
 * What a journal's owner has on disk, whatever the layout: how it is opened, prepared, and closed. One class per layout,
 * `FileStorage` here and `SegmentStorage` beside it.
 */
import { stat } from 'node:fs/promises';
import type { MessagePort } from 'node:worker_threads';
import { fromNodeError, ENOENT } from '../platform/errno.js';
import { InvalidArgumentError, IoError, NotSupportedError } from '../platform/errors.js';
import type { Advice } from '../platform/platform.js';
import type { ControlBlock } from '../workers/protocol/control-block.js';
import type { SharedLogBuffer } from '../workers/protocol/log-buffer.js';
import type { AdviseTask, CloseFileTask, Detached, OpenedFile, OpenedJournal, OpenFileTask, SharedJournal, WriteSideRequest } from '../workers/protocol/messages.js';
import type { ResolvedJournalOptions } from './journal-options.js';
import type { SegmentStats } from './journal-types.js';
import type { IoScheduler, WriterSeat } from './scheduler.js';
import { SegmentStorage } from './segment-storage.js';

export type Layout = 'file' | 'segments';

/** What storage is opened with. */
export interface StorageRequest {
  readonly scheduler: IoScheduler;
  readonly path: string;
  readonly options: ResolvedJournalOptions;
  readonly control: ControlBlock;
  readonly log: SharedLogBuffer;
}

/** A place on a writer thread, and what the journal is called there. */
export interface Seat {
  readonly writer: WriterSeat;
  readonly id: number;
}

export interface TrimOptions {
  /** Trims even what a follower in this process still reads. Default false. */
  readonly force?: boolean;
}

export interface JournalStorage {
  readonly layout: Layout;
  readonly opened: OpenedJournal;
  /** The log buffer, as threads that append see it. */
  readonly log: SharedLogBuffer;
  readonly direct: boolean;
  readonly sectorBytes: number;
  /** LSN of the place of the oldest record. */
  readonly firstLsn: number;
  /** End of the segments that the writer has, or is being handed. */
  readonly spaceEnd: number;
  /** What the writer thread needs, and what of it moves there. */
  writeSide(id: number, groupCommitWindowUs: number): { request: WriteSideRequest; transfer: MessagePort[] };
  /** The writer thread has it. */
  attached(seat: Seat): void;
  /** Has at least `bytes` of prepared space ahead of the log. */
  preallocate(bytes: number): Promise<void>;
  advise(advice: Advice, offset: number, bytes: number): Promise<void>;
  trimBefore(lsn: number, options: TrimOptions): Promise<void>;
  stats(): SegmentStats | undefined;
  /** A follower of this thread has gone on, or ended. */
  followersMoved(): void;
  /** Nothing new is begun; settles when nothing is under way. Before the write side is detached. */
  stop(): Promise<void>;
  /** `end` undefined: the journal is poisoned, its files are left as they are. */
  close(end: number | undefined, detached: Detached | undefined): Promise<void>;
}

/** Opens the journal at `path` for writing, in the layout it has, or in the wanted one if there is none. */
export async function openStorage(request: StorageRequest): Promise<JournalStorage> {
  const { path, options } = request;
  const found = await layoutOf(path);
  if (found !== undefined && options.layout !== undefined && options.layout !== found) {
    const what = found === 'file' ? 'is a file' : 'is a directory, which holds segments';
    throw new InvalidArgumentError(`Expected \`layout\` to be '${found}', for '${path}' ${what}, got '${options.layout}'. A journal keeps its layout`);
  }
  const layout = found ?? options.layout ?? 'segments';
  return layout === 'file' ? FileStorage.open(request) : SegmentStorage.open(request);
}

/** The layout that a path has: a directory holds segments. Undefined when nothing is there. */
export async function layoutOf(path: string): Promise<Layout | undefined> {
  try {
    return (await stat(path)).isDirectory() ? 'segments' : 'file';
  } catch (error) {
    const failure = fromNodeError(error, path);
    if (failure instanceof IoError && failure.errno === ENOENT) return undefined;
    throw failure;
  }
}

export class FileStorage implements JournalStorage {
  readonly layout = 'file';
  readonly opened: OpenedFile;
  readonly log: SharedLogBuffer;
  readonly firstLsn = 0;
  readonly spaceEnd = Infinity;
  readonly #request: StorageRequest;
  #seat: Seat | undefined;

  static async open(request: StorageRequest): Promise<FileStorage> {
    const { path, options, control, log } = request;
    const opened = await request.scheduler.runFileTask<OpenedFile>({
      role: 'open-file', path, create: options.create, mode: options.mode, direct: options.direct, shared: { control: control.buffer, log },
    } satisfies OpenFileTask);
    return new FileStorage(request, opened);
  }

  private constructor(request: StorageRequest, opened: OpenedFile) {
    this.#request = request;
    this.opened = opened;
    this.log = request.log;
  }

  get direct(): boolean {
    return this.opened.file.direct;
  }

  get sectorBytes(): number {
    return this.opened.file.sectorBytes;
  }

  writeSide(id: number, groupCommitWindowUs: number): { request: WriteSideRequest; transfer: MessagePort[] } {
    const { control, options } = this.#request;
    const shared: SharedJournal = { control: control.buffer, log: this.log };
    return { request: { layout: 'file', id, shared, file: this.opened.file, preallocateBytes: options.preallocate, groupCommitWindowUs }, transfer: [] };
  }

  attached(seat: Seat): void {
    this.#seat = seat;
  }

  async preallocate(bytes: number): Promise<void> {
    await this.#seat?.writer.worker.call('prepare', this.#seat.id, bytes);
  }

  async advise(advice: Advice, offset: number, bytes: number): Promise<void> {
    await this.#request.scheduler.runFileTask({ role: 'advise', descriptor: this.opened.file.descriptor, offset, bytes, advice } satisfies AdviseTask);
  }

  trimBefore(): Promise<void> {
    return Promise.reject(new NotSupportedError('trimBefore', "the file layout is one file that keeps everything; layout 'segments' can be trimmed"));
  }

  stats(): undefined {
    return undefined;
  }

  followersMoved(): void {
    // Nothing is ever trimmed.
  }

  stop(): Promise<void> {
    return Promise.resolve();
  }

  async close(end: number | undefined): Promise<void> {
    const task: CloseFileTask = { role: 'close-file', path: this.#request.path, file: this.opened.file, end };
    await this.#request.scheduler.runFileTask(task);
  }
}
