/** Reads journals: needs no lock, writes nothing, uses constant memory but for the record at hand. */
import { open, type FileHandle } from 'node:fs/promises';
import { constants } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { EINVAL, EISDIR, fromNodeError, ioError } from '../platform/errno.js';
import { IoError, JournalError } from '../platform/errors.js';
import { walkFrames, type Frame, type Tail, type WalkStep } from '../workers/protocol/frame-walk.js';
import * as check from './options.js';

const LOOKS_MAX = 3;
const LOOK_AGAIN_MS = 20;

/** One record: `start` and `end` are the LSNs of its frame. `payload` is the reader's to give away: it is never reused. */
export type JournalRecord = Frame;

export interface JournalReaderOptions {
  /** LSN of the record to begin with. Default 0. */
  readonly from?: number;
}

/**
 * A journal as an async-iterable of records, from `from` on or from where {@link seek} went.
 *
 * It reads what is in the file, durable or not: of a journal that is being written, the newest records may still be lost.
 * `journal.follow()` shows durable ones only.
 */
export class JournalReader implements AsyncIterable<JournalRecord> {
  readonly path: string;
  readonly #handle: FileHandle;
  #position: number;
  #tail: Tail | undefined;
  #closed = false;

  /** Opens a journal for reading. Rejects with an {@link IoError} when it cannot be read or is not a regular file. */
  static async open(path: string, options: JournalReaderOptions = {}): Promise<JournalReader> {
    check.path('path', path);
    check.checkKeys('options', options, ['from']);
    const from = options.from === undefined ? 0 : check.lsn('from', options.from);
    return new JournalReader(path, await openRegularFile(path), from);
  }

  private constructor(path: string, handle: FileHandle, from: number) {
    this.path = path;
    this.#handle = handle;
    this.#position = from;
  }

  /** LSN of the next record. */
  get position(): number {
    return this.#position;
  }

  /** How the journal ends; undefined until the iteration has come there. */
  get tail(): Tail | undefined {
    return this.#tail;
  }

  /** Continues at `lsn`, which must be a record's start: anything else reads as damage there. */
  seek(lsn: number): void {
    this.#position = check.lsn('lsn', lsn);
    this.#tail = undefined;
  }

  /** Reads the one record that starts at `start`. Rejects with `TIDEMARK_NO_RECORD` when no valid frame lies there. */
  async readAt(start: number): Promise<JournalRecord> {
    this.#checkOpen();
    const walk = walkFrames(check.lsn('start', start), await sizeOf(this.#handle));
    const step = await advance(this.#handle, walk);
    if (step.done !== true) return step.value;
    const { state, detail } = step.value;
    throw new JournalError('TIDEMARK_NO_RECORD', `no record starts at LSN ${start} of '${this.path}': ${state}, ${detail}`, { path: this.path, lsn: start });
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<JournalRecord, void, void> {
    this.#checkOpen();
    let tail = yield* this.#walk();
    // While a writer is at work its last batch may be half written, and zeros turn into frames between two reads. What
    // looks damaged is looked at again; where frames have come meanwhile it was the moving end.
    for (let look = 0; look < LOOKS_MAX && tail.state !== 'clean-end'; look++) {
      await delay(LOOK_AGAIN_MS);
      const before = tail.position;
      tail = yield* this.#walk();
      if (tail.state !== 'clean-end' && tail.position > before) {
        tail = { state: 'clean-end', position: tail.position, detail: 'the journal is being written' };
      }
    }
    this.#tail = tail;
  }

  /** Yields what is there from the position on. */
  async *#walk(): AsyncGenerator<JournalRecord, Tail, void> {
    const sizeBytes = await sizeOf(this.#handle);
    if (this.#position > sizeBytes) throw this.#beyond(sizeBytes);
    const walk = walkFrames(this.#position, sizeBytes);
    for (;;) {
      const step = await advance(this.#handle, walk);
      if (step.done === true) return step.value;
      this.#position = step.value.end;
      yield step.value;
    }
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#handle.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #beyond(sizeBytes: number): JournalError {
    const message = `LSN ${this.#position} is beyond the end of '${this.path}', which has ${sizeBytes} bytes`;
    return new JournalError('TIDEMARK_LSN_OUT_OF_RANGE', message, { path: this.path, lsn: this.#position });
  }

  #checkOpen(): void {
    if (this.#closed) throw new JournalError('TIDEMARK_CLOSED', `the reader of '${this.path}' is closed`, { path: this.path });
  }
}

export async function openRegularFile(path: string): Promise<FileHandle> {
  let handle: FileHandle;
  try {
    // O_NONBLOCK: opening a FIFO must not wait for somebody to write to it.
    handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    throw fromNodeError(error, path);
  }
  const status = await handle.stat();
  if (status.isFile()) return handle;
  await handle.close();
  if (status.isDirectory()) throw ioError(EISDIR, 'open', path);
  throw new IoError('TIDEMARK_NOT_A_FILE', {
    errno: EINVAL, errnoName: 'EINVAL', syscall: 'open', path, explanation: 'expected a regular file, got a device, socket or FIFO',
  });
}

async function sizeOf(handle: FileHandle): Promise<number> {
  return (await handle.stat()).size;
}

/** Runs the walk until its next frame or its end. */
export async function advance(handle: FileHandle, walk: Generator<WalkStep, Tail, Uint8Array>): Promise<IteratorResult<Frame, Tail>> {
  let step = walk.next(new Uint8Array(0));
  while (step.done !== true) {
    if ('frame' in step.value) return { done: false, value: step.value.frame };
    step = walk.next(await readFully(handle, step.value.read.offset, step.value.read.bytes));
  }
  return step;
}

async function readFully(handle: FileHandle, offset: number, bytes: number): Promise<Uint8Array> {
  const target = Buffer.allocUnsafeSlow(bytes);
  let done = 0;
  while (done < bytes) {
    const { bytesRead } = await handle.read(target, done, bytes - done, offset + done);
    if (bytesRead === 0) break;
    done += bytesRead;
  }
  return target.subarray(0, done);
}
