/** The owner's side of a segment journal's files: opening, what its keeper does in between, closing. */
import { MessageChannel, type MessagePort } from 'node:worker_threads';
import { NotSupportedError } from '../platform/errors.js';
import type { SharedLogBuffer } from '../workers/protocol/log-buffer.js';
import type { CloseSegmentsTask, Detached, OpenedSegments, OpenSegmentsTask, WriteSideRequest, WriterNews } from '../workers/protocol/messages.js';
import { SEGMENT_HEADER_BYTES } from '../workers/protocol/segment.js';
import type { SegmentStats } from './journal-types.js';
import { SegmentKeeper } from './segment-keeper.js';
import type { JournalStorage, Seat, StorageRequest, TrimOptions } from './storage.js';

/** A new journal's first segment is written with zeros up to here before the first append; the rest is reserved space. */
const FIRST_ZERO_BYTES = 16 * 1024 * 1024;

export class SegmentStorage implements JournalStorage {
  readonly layout = 'segments';
  readonly opened: OpenedSegments;
  readonly log: SharedLogBuffer;
  readonly #request: StorageRequest;
  readonly #keeper: SegmentKeeper;
  #news: MessagePort | undefined;

  static async open(request: StorageRequest): Promise<SegmentStorage> {
    const { scheduler, path, options, control, log } = request;
    const opened = await scheduler.runFileTask<OpenedSegments>({
      role: 'open-segments',
      path,
      create: options.create,
      mode: options.mode,
      direct: options.direct,
      segmentBytes: options.segmentBytes,
      queueDepth: options.queueDepth,
      windowBytes: log.capacity,
      firstZeroBytes: options.newSegments === 'plain' ? 0 : FIRST_ZERO_BYTES,
      control: control.buffer,
    } satisfies OpenSegmentsTask);
    return new SegmentStorage(request, opened);
  }

  private constructor(request: StorageRequest, opened: OpenedSegments) {
    this.#request = request;
    this.opened = opened;
    this.log = { ...request.log, segmentBytes: opened.segmentBytes };
    const { path, options, control, scheduler } = request;
    this.#keeper = new SegmentKeeper(scheduler, control, opened, options, {
      directory: path,
      lockDescriptor: opened.lockDescriptor,
      journalId: opened.journalId,
      segmentBytes: opened.segmentBytes,
      windowBytes: request.log.capacity,
      mode: options.mode,
      direct: opened.writing.direct,
      dsync: opened.writing.dsyncWrites,
    });
  }

  get direct(): boolean {
    return this.opened.writing.direct;
  }

  get sectorBytes(): number {
    return this.opened.writing.sectorBytes;
  }

  get firstLsn(): number {
    return this.#keeper.firstBase + SEGMENT_HEADER_BYTES;
  }

  get spaceEnd(): number {
    return this.#keeper.spaceEnd;
  }

  writeSide(id: number, groupCommitWindowUs: number): { request: WriteSideRequest; transfer: MessagePort[] } {
    const { port1, port2 } = new MessageChannel();
    this.#news = port1;
    port1.on('message', (news: WriterNews) => {
      this.#keeper.hear(news);
    });
    // What the writer tells is no reason to keep a process alive.
    port1.unref();
    const { writing, position, segments } = this.opened;
    return {
      request: { layout: 'segments', id, shared: { control: this.#request.control.buffer, log: this.log }, writing, position, segments, groupCommitWindowUs, news: port2 },
      transfer: [port2],
    };
  }

  attached(seat: Seat): void {
    this.#keeper.start(seat);
  }

  preallocate(bytes: number): Promise<void> {
    return this.#keeper.preallocate(bytes);
  }

  advise(): Promise<void> {
    return Promise.reject(new NotSupportedError('advise', 'a segment journal has many files; its readers read each of them from its start'));
  }

  trimBefore(lsn: number, options: TrimOptions): Promise<void> {
    return this.#keeper.trimBefore(lsn, options.force ?? false);
  }

  stats(): SegmentStats {
    return this.#keeper.stats();
  }

  followersMoved(): void {
    this.#keeper.followersMoved();
  }

  stop(): Promise<void> {
    return this.#keeper.stop();
  }

  async close(end: number | undefined, detached: Detached | undefined): Promise<void> {
    await this.#keeper.stop();
    this.#news?.close();
    const { writing, segmentBytes, lockDescriptor } = this.opened;
    const inPlace = this.#keeper.inPlace;
    const segment = inPlace.find(({ base }) => end !== undefined && base <= end && end < base + segmentBytes);
    const position = detached?.position;
    const closing = end === undefined || position === undefined || segment === undefined
      ? undefined
      : { segment, end, writing, position, windowBytes: this.log.capacity, segmentBytes };
    const task: CloseSegmentsTask = {
      role: 'close-segments', path: this.#request.path, lockDescriptor, descriptors: inPlace.map(({ descriptor }) => descriptor),
      idle: position !== undefined, closing,
    };
    await this.#request.scheduler.runFileTask(task);
  }
}
