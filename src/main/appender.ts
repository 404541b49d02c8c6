/**
 * One thread's appends to one journal: straight into the log buffer where there is room, else through a queue that keeps
 * their order and holds no reservation, so that a slow thread never stalls the log.
 */
import { ENOSPC, ioError } from '../platform/errno.js';
import { assert, InvalidArgumentError, JournalError } from '../platform/errors.js';
import type { Threads } from '../platform/platform.js';
import { frameBytes, CHECKSUM_BYTES, HEADER_BYTES } from '../workers/protocol/frame.js';
import type { ControlBlock } from '../workers/protocol/control-block.js';
import { DETACHED, isDetached, type LogBuffer, Producer, recordLength, type RecordBytes } from '../workers/protocol/log-buffer.js';
import { DurableWaiters, type Watermark } from './durable-waiters.js';

/** `buffered`: in shared memory. `written`: handed to the kernel. `durable`: on stable storage. */
export type AckLevel = 'buffered' | 'written' | 'durable';

export interface AppenderOptions {
  readonly path: string;
  readonly slot: number;
  readonly threads: Threads;
  readonly queueBytesMax: number;
  readonly whenQueueFull: 'wait' | 'throw';
  /** The reason why nothing can be appended any more, if there is one: poisoned or closed. */
  readonly failure: () => Error | undefined;
  /** The reason why nothing becomes durable any more, if there is one. */
  readonly poisoned: () => Error | undefined;
  /** Poisons the journal if its writer's thread has ended; for a thread that nobody tells. */
  readonly watchWriter: (() => void) | undefined;
}

/** Most bytes that a large record copies before the event loop gets its turn. */
const COPY_BYTES_MAX = 4 * 1024 * 1024;

/** Frames that wait for room, all of one call, so that they get one range. */
interface Queued {
  readonly records: RecordBytes[];
  readonly lengths: readonly number[];
  readonly totalBytes: number;
  /** Bytes of records that were copied aside and count against the queue's limit. */
  readonly copiedBytes: number;
  readonly reserved: (start: number) => void;
  readonly reject: (error: Error) => void;
}

export class Appender {
  readonly waiters: DurableWaiters;
  readonly #control: ControlBlock;
  readonly #log: LogBuffer;
  readonly #producer: Producer;
  readonly #options: AppenderOptions;
  readonly #queue: Queued[] = [];
  #queuedBytes = 0;
  #streaming: Streaming | undefined;
  #abandonedRecords = 0;

  constructor(control: ControlBlock, log: LogBuffer, options: AppenderOptions) {
    this.#control = control;
    this.#log = log;
    this.#options = options;
    this.#producer = new Producer(control, log, options.slot);
    this.waiters = new DurableWaiters(control, options.threads, {
      poisoned: options.poisoned, watchWriter: options.watchWriter, onProgress: () => this.placeQueued(),
    });
  }

  /** Bytes that wait for room in the log buffer. */
  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  get queuedRecords(): number {
    return this.#queue.reduce((sum, queued) => sum + queued.records.length, 0);
  }

  /** Records whose appends were rejected while they waited for room. */
  get abandonedRecords(): number {
    return this.#abandonedRecords;
  }

  /** The last record that found no room needs a segment that is not in place. */
  get lacksSegment(): boolean {
    return this.#producer.lacksSegment;
  }

  append(record: RecordBytes, level: AckLevel): Promise<number> {
    const recordBytes = this.#check(record);
    const start = this.#tryAppend(record, recordBytes);
    if (start < 0) {
      return this.#enqueue([record], [recordBytes]).then((reserved) => this.#acknowledge(reserved + frameBytes(recordBytes), level));
    }
    return this.#acknowledge(start + frameBytes(recordBytes), level);
  }

  /** All records in one range without a gap; answers the LSN after the last. */
  appendBatch(given: readonly RecordBytes[], level: AckLevel): Promise<number> {
    // An array may have holes, and its owner may change it: neither must be seen twice.
    const records = Array.from(given);
    const lengths = records.map((record) => this.#check(record));
    const totalBytes = lengths.reduce((sum, length) => sum + frameBytes(length), 0);
    if (totalBytes > this.#log.rangeBytesMax) {
      throw tooLarge(`a batch of this journal has at most ${this.#log.rangeBytesMax} bytes, frames included, got ${totalBytes}`, this.#options.path);
    }
    const failure = this.#options.failure();
    if (failure !== undefined) return Promise.reject(failure);
    const fits = this.#queue.length === 0 && totalBytes <= this.#log.wholeBytesMax;
    const start = fits ? this.#producer.tryAppendBatch(records, lengths, totalBytes) : -1;
    if (start < 0) return this.#enqueue(records, lengths).then((reserved) => this.#acknowledge(reserved + totalBytes, level));
    return this.#acknowledge(start + totalBytes, level);
  }

  /** The LSN after the record, or undefined when there is no room now. Never waits. */
  tryAppend(record: RecordBytes): number | undefined {
    const recordBytes = this.#check(record);
    if (frameBytes(recordBytes) > this.#log.wholeBytesMax) {
      throw tooLarge(`a record of ${recordBytes} bytes is not sure to fit the log buffer of ${this.#log.capacity} bytes; use append()`, this.#options.path);
    }
    const failure = this.#options.failure();
    if (failure !== undefined) throw failure;
    const start = this.#tryAppend(record, recordBytes);
    if (start < 0) {
      if (this.#diskFull !== undefined) throw this.#diskFull;
      return undefined;
    }
    const end = start + frameBytes(recordBytes);
    this.waiters.hold(end);
    return end;
  }

  /** Resolves with the start of the record's frame once it is in the log buffer. */
  reserve(record: RecordBytes): Promise<{ start: number; end: number }> {
    const recordBytes = this.#check(record);
    const start = this.#tryAppend(record, recordBytes);
    const range = (at: number): { start: number; end: number } => {
      this.waiters.hold(at + frameBytes(recordBytes));
      return { start: at, end: at + frameBytes(recordBytes) };
    };
    return start < 0 ? this.#enqueue([record], [recordBytes]).then(range) : Promise.resolve(range(start));
  }

  #check(record: RecordBytes): number {
    if (typeof record !== 'string' && !(record instanceof Uint8Array)) {
      throw new InvalidArgumentError(`Expected \`record\` to be a Uint8Array or a string, got ${typeof record}`);
    }
    const recordBytes = recordLength(record);
    // From the reservation on nothing may fail.
    if (recordBytes === 0 && isDetached(record)) throw new InvalidArgumentError(DETACHED);
    if (recordBytes > this.#log.recordBytesMax) {
      throw tooLarge(`a record of this journal has at most ${this.#log.recordBytesMax} bytes, got ${recordBytes}`, this.#options.path);
    }
    return recordBytes;
  }

  /** Why the last refused reservation will not be granted by waiting, if that is so. */
  get #diskFull(): Error | undefined {
    return this.#producer.lacksSegment && this.#control.diskFull ? ioError(ENOSPC, 'fallocate', this.#options.path) : undefined;
  }

  /** Start of the frame, or -1: no room, others wait before it, or nothing can be appended (the queue then tells why). */
  #tryAppend(record: RecordBytes, recordBytes: number): number {
    if (this.#queue.length > 0 || frameBytes(recordBytes) > this.#log.wholeBytesMax) return -1;
    if (this.#options.failure() !== undefined) return -1;
    return this.#producer.tryAppend(record, recordBytes);
  }

  #acknowledge(end: number, level: AckLevel): Promise<number> {
    this.waiters.hold(end);
    if (level === 'buffered') return Promise.resolve(end);
    return this.waiters.waitFor(level satisfies Watermark, end);
  }

  // ---- the queue -------------------------------------------------------------------------------------------------

  /** Resolves with the start of the range once the records have left the queue. */
  #enqueue(records: readonly RecordBytes[], lengths: readonly number[]): Promise<number> {
    const failure = this.#options.failure() ?? (this.#queue.length === 0 ? this.#diskFull : undefined);
    if (failure !== undefined) return Promise.reject(failure);
    const recordBytes = lengths.reduce((sum, length) => sum + length, 0);
    const full = this.#queuedBytes + recordBytes > this.#options.queueBytesMax;
    if (full && this.#options.whenQueueFull === 'throw') {
      const message = `${this.#queuedBytes} bytes wait for room in journal '${this.#options.path}', the limit is ${this.#options.queueBytesMax}`;
      return Promise.reject(new JournalError('TIDEMARK_QUEUE_FULL', message, { path: this.#options.path }));
    }
    return new Promise((resolve, reject) => {
      const copiedBytes = full ? 0 : recordBytes;
      this.#queuedBytes += copiedBytes;
      this.#queue.push({
        // Within the limit the caller may reuse its memory at once, as when there is room.
        records: full ? [...records] : records.map((record) => (typeof record === 'string' ? record : Buffer.from(record))),
        lengths,
        totalBytes: lengths.reduce((sum, length) => sum + frameBytes(length), 0),
        copiedBytes,
        reserved: resolve,
        reject,
      });
      this.waiters.watchRoom();
    });
  }

  /** Moves queued records into the log buffer as far as there is room; answers whether some still wait. */
  placeQueued(): boolean {
    if (this.#queue.length === 0) return false;
    for (let next = this.#queue[0]; next !== undefined; next = this.#queue[0]) {
      // A range that is half copied is finished even if the journal was closed meanwhile: its owner waits for it.
      const failure = this.#streaming === undefined ? this.#options.failure() : this.#options.poisoned();
      if (failure !== undefined) {
        this.#abandon(failure);
        return false;
      }
      const start = this.#place(next);
      if (start < 0) {
        if (this.#streaming !== undefined || this.#diskFull === undefined) return true;
        // Nothing of them is in the log: they fail as a whole, and may be appended again when there is room.
        this.#abandon(this.#diskFull);
        return false;
      }
      this.#queue.shift();
      this.#queuedBytes -= next.copiedBytes;
      // The process must stay alive from here on too, before the promise's own turn comes.
      this.waiters.hold(start + next.totalBytes);
      next.reserved(start);
    }
    return false;
  }

  /** Start of the range once all of it is in the log buffer, or -1. */
  #place(next: Queued): number {
    if (next.totalBytes <= this.#log.wholeBytesMax) {
      return this.#producer.tryAppendBatch(next.records, next.lengths, next.totalBytes);
    }
    if (this.#streaming === undefined) {
      const start = this.#producer.tryReserveLarge(next.totalBytes);
      if (start < 0) return -1;
      this.#streaming = new Streaming(this.#log, start, next);
    }
    const streaming = this.#streaming;
    const published = streaming.copy(this.#producer.windowEnd());
    if (!streaming.done) {
      this.#producer.publishThrough(published);
      return -1;
    }
    this.#producer.finish();
    this.#streaming = undefined;
    return streaming.start;
  }

  #abandon(failure: Error): void {
    // A range that is half copied stays entered: nothing above it may ever be written.
    this.#streaming = undefined;
    this.#abandonedRecords += this.queuedRecords;
    this.#queuedBytes = 0;
    for (const queued of this.#queue.splice(0)) queued.reject(failure);
  }
}

/** Copies frames that are larger than the window into it, as far as it reaches, again and again. */
class Streaming {
  readonly start: number;
  readonly #log: LogBuffer;
  readonly #frames: { readonly payload: Uint8Array; readonly start: number; readonly end: number }[] = [];
  #frame = 0;
  #at: number;

  constructor(log: LogBuffer, start: number, { records, lengths }: Queued) {
    this.#log = log;
    this.start = start;
    this.#at = start;
    let at = start;
    records.forEach((record, i) => {
      const end = at + frameBytes(lengths[i] ?? 0);
      this.#frames.push({ payload: typeof record === 'string' ? Buffer.from(record, 'utf8') : record, start: at, end });
      at = end;
    });
  }

  get done(): boolean {
    return this.#frame === this.#frames.length;
  }

  /** Copies up to `windowEnd`; answers how far the log may be published: never into a header. */
  copy(windowEnd: number): number {
    const limit = Math.min(windowEnd, this.#at + COPY_BYTES_MAX);
    for (let frame = this.#frames[this.#frame]; frame !== undefined; frame = this.#frames[this.#frame]) {
      const bodyStart = frame.start + HEADER_BYTES;
      const bodyEnd = frame.end - CHECKSUM_BYTES;
      if (this.#at === frame.start) {
        if (limit < bodyStart) return this.#at;
        this.#log.putHeader(frame.start, frame.payload.length);
        this.#at = bodyStart;
      }
      const through = Math.min(limit, bodyEnd);
      if (through > this.#at) {
        this.#log.put(this.#at, frame.payload.subarray(this.#at - bodyStart, through - bodyStart));
        this.#at = through;
      }
      // The writer fills the checksum in; its place must lie in the window.
      if (limit < frame.end) return this.#at;
      this.#at = frame.end;
      this.#frame++;
    }
    assert(this.done, 'all frames are copied');
    return this.#at;
  }
}

function tooLarge(message: string, path: string): JournalError {
  return new JournalError('TIDEMARK_RECORD_TOO_LARGE', message, { path });
}
