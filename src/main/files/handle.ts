/** Open files and directories: who may use them, and when they are closed. */
import { setTimeout as delay } from 'node:timers/promises';
import { InvalidArgumentError, OperationError } from '../../platform/errors.js';
import type { OpenFile } from '../../workers/protocol/operation.js';

/** A handle for another thread of this process: plain data, for `workerData` or `postMessage`. */
export interface SharedHandle {
  readonly kind: 'tidemark-file' | 'tidemark-directory';
  readonly version: 1;
  readonly file: OpenFile;
  readonly uses: SharedArrayBuffer;
  /** Of a file: why it is not direct. */
  readonly directReason?: string;
}

/** Words that all threads with the handle share. */
const WORD = { closed: 0, users: 1, count: 2 } as const;
const CLOSE_LOOK_MS = 1;

export abstract class OpenHandle {
  /** What a worker needs to use it. */
  readonly file: OpenFile;
  readonly #kind: SharedHandle['kind'];
  readonly #words: Int32Array<SharedArrayBuffer>;
  /** Closes the descriptor; undefined where it was opened by another thread, which does that. */
  readonly #release: ((handle: OpenHandle) => Promise<void>) | undefined;
  #closing: Promise<void> | undefined;

  protected constructor(kind: SharedHandle['kind'], file: OpenFile, origin: ((handle: OpenHandle) => Promise<void>) | SharedArrayBuffer) {
    this.#kind = kind;
    this.file = file;
    this.#words = new Int32Array(origin instanceof SharedArrayBuffer ? origin : new SharedArrayBuffer(WORD.count * 4));
    this.#release = origin instanceof SharedArrayBuffer ? undefined : origin;
  }

  /** As it was opened: errors name it. The file may have got another name since. */
  get path(): string {
    return this.file.path;
  }

  get closed(): boolean {
    return Atomics.load(this.#words, WORD.closed) === 1;
  }

  /** Keeps the descriptor open for an operation; {@link leave} gives it back. */
  enter(): void {
    // The count first: whoever closes sets its flag and then waits for the count, so one of the two sees the other.
    Atomics.add(this.#words, WORD.users, 1);
    if (!this.closed) return;
    this.leave();
    throw new OperationError('TIDEMARK_CLOSED', `the handle of '${this.path}' is closed`);
  }

  leave(): void {
    Atomics.sub(this.#words, WORD.users, 1);
  }

  /**
   * The handle for another thread, which gets it with `attach`. The descriptor belongs to the process: it stays open until the
   * thread that opened it closes it, and `close` waits for what other threads are doing with it.
   */
  share(): SharedHandle {
    return { kind: this.#kind, version: 1, file: this.file, uses: this.#words.buffer };
  }

  /**
   * Waits for the operations that use it, then closes the descriptor; later ones reject with `TIDEMARK_CLOSED`. Closing syncs
   * nothing. Where the handle came from another thread, nothing happens: that one closes it.
   */
  close(): Promise<void> {
    this.#closing ??= this.#release === undefined ? Promise.resolve() : this.#close(this.#release);
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(release: (handle: OpenHandle) => Promise<void>): Promise<void> {
    Atomics.store(this.#words, WORD.closed, 1);
    while (Atomics.load(this.#words, WORD.users) > 0) await delay(CLOSE_LOOK_MS);
    await release(this);
  }
}

/** Checks what came from another thread. */
export function checkShared(shared: unknown, kind: SharedHandle['kind']): SharedHandle {
  const handle = shared as Partial<SharedHandle> | null | undefined;
  if (handle?.kind !== kind || handle.version !== 1 || !(handle.uses instanceof SharedArrayBuffer)) {
    throw new InvalidArgumentError(`Expected \`shared\` to be what \`share()\` of a ${kind === 'tidemark-file' ? 'FileHandle' : 'DirectoryHandle'} answered`);
  }
  return handle as SharedHandle;
}
