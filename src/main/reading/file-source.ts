/** Reads the file layout. */
import type { FileHandle } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { JournalError, NotSupportedError } from '../../platform/errors.js';
import { walkFrames, type Frame, type Tail, type WalkStep } from '../../workers/protocol/frame-walk.js';
import { openRegularFile, readFully } from './files.js';
import { LOOK_AGAIN_MS, LOOKS_MAX, MOVING_END, type JournalSegment, type JournalSource, type ReadRange } from './source.js';

export class FileSource implements JournalSource {
  readonly layout = 'file';
  readonly firstLsn = 0;
  readonly durableLsn = undefined;
  readonly #path: string;
  readonly #handle: FileHandle;

  static async open(path: string): Promise<FileSource> {
    return new FileSource(path, await openRegularFile(path));
  }

  private constructor(path: string, handle: FileHandle) {
    this.#path = path;
    this.#handle = handle;
  }

  async *records({ from, to }: ReadRange): AsyncGenerator<Frame, Tail | undefined, void> {
    let tail = yield* this.#walk(from ?? 0, to);
    // While a writer is at work its last batch may be half written, and zeros turn into frames between two reads. What
    // looks damaged is looked at again; where frames have come meanwhile it was the moving end.
    for (let look = 0; look < LOOKS_MAX && tail !== undefined && tail.state !== 'clean-end'; look++) {
      await delay(LOOK_AGAIN_MS);
      const before: number = tail.position;
      tail = yield* this.#walk(before, to);
      if (tail !== undefined && tail.state !== 'clean-end' && tail.position > before) {
        tail = { state: 'clean-end', position: tail.position, detail: MOVING_END };
      }
    }
    return tail;
  }

  /** Yields what is there from `position` on; returns undefined when it came to `to`. */
  async *#walk(position: number, to: number): AsyncGenerator<Frame, Tail | undefined, void> {
    const sizeBytes = await this.#size();
    if (position > sizeBytes) throw this.#beyond(position, sizeBytes);
    const walk = walkFrames(position, sizeBytes);
    for (;;) {
      const step = await advance(this.#handle, this.#path, walk);
      if (step.done === true) return step.value;
      if (step.value.start >= to) return undefined;
      yield step.value;
    }
  }

  async readAt(start: number): Promise<Frame> {
    const step = await advance(this.#handle, this.#path, walkFrames(start, await this.#size()));
    if (step.done !== true) return step.value;
    const { state, detail } = step.value;
    throw new JournalError('TIDEMARK_NO_RECORD', `no record starts at LSN ${start} of '${this.#path}': ${state}, ${detail}`, { path: this.#path, lsn: start });
  }

  follow(): never {
    throw new NotSupportedError(`following '${this.#path}' from outside`, FILE_TELLS_NOTHING);
  }

  async segments(): Promise<readonly JournalSegment[]> {
    return [{ path: this.#path, baseLsn: 0, bytes: await this.#size() }];
  }

  close(): Promise<void> {
    return this.#handle.close();
  }

  async #size(): Promise<number> {
    return (await this.#handle.stat()).size;
  }

  #beyond(position: number, sizeBytes: number): JournalError {
    const message = `LSN ${position} is beyond the end of '${this.#path}', which has ${sizeBytes} bytes`;
    return new JournalError('TIDEMARK_LSN_OUT_OF_RANGE', message, { path: this.#path, lsn: position });
  }
}

/** Why the file layout has neither durable reading nor a follower in another process. */
export const FILE_TELLS_NOTHING = 'a journal in the file layout does not tell which of its records are durable';

/** Runs the walk until its next frame or its end. */
export async function advance(handle: FileHandle, path: string, walk: Generator<WalkStep, Tail, Uint8Array>): Promise<IteratorResult<Frame, Tail>> {
  let step = walk.next(new Uint8Array(0));
  while (step.done !== true) {
    if ('frame' in step.value) return { done: false, value: step.value.frame };
    step = walk.next(await readFully(handle, path, step.value.read.offset, step.value.read.bytes));
  }
  return step;
}
