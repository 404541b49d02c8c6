/** Open files and directories: who may use them, and when they are closed. */
import { setTimeout as delay } from 'node:timers/promises';
import { InvalidArgumentError, OperationError } from '../../platform/errors.js';
import { selectPlatform } from '../../platform/select.js';
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

/** Handles of one file that may be in use at a time: one for each thread that uses it. */
const SLOTS = 64;
/** Words that all threads with the handle share. A slot has the id of the thread that uses the handle, or 0. */
const WORD = { closed: 0, firstSlot: 1, count: 1 + SLOTS } as const;
const CLOSE_LOOK_MS = 1;

/** Of this thread, as the system knows it. */
let ownThread: number | undefined;

export abstract class OpenHandle {
  /** What a worker needs to use it. */
  readonly file: OpenFile;
  readonly #kind: SharedHandle['kind'];
  readonly #words: Int32Array<SharedArrayBuffer>;
  /** Closes the descriptor; undefined where it was opened by another thread, which does that. */
  readonly #release: ((handle: OpenHandle) => Promise<void>) | undefined;
  /** Operations of this thread that use it. While there are any, the thread has a slot. */
  #users = 0;
  #slot = 0;
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
    // The slot first: whoever closes sets its flag and then looks at the slots, so one of the two sees the other.
    if (this.#users === 0) this.#slot = this.#claimSlot();
    this.#users++;
    if (!this.closed) return;
    this.leave();
    throw new OperationError('TIDEMARK_CLOSED', `the handle of '${this.path}' is closed`);
  }

  leave(): void {
    this.#users--;
    if (this.#users === 0) Atomics.store(this.#words, this.#slot, 0);
  }

  #claimSlot(): number {
    const { threads } = selectPlatform();
    ownThread ??= threads.currentId();
    // Whether a thread lives takes a system call: that is asked where no slot is free.
    for (const isFree of [(owner: number) => owner === 0, (owner: number) => !threads.isAlive(owner)]) {
      for (let slot: number = WORD.firstSlot; slot < WORD.count; slot++) {
        const owner = Atomics.load(this.#words, slot);
        if (isFree(owner) && Atomics.compareExchange(this.#words, slot, owner, ownThread) === owner) return slot;
      }
    }
    throw new OperationError('TIDEMARK_QUEUE_FULL', `${SLOTS} threads use the handle of '${this.path}', which is the limit`);
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
   *
   * A thread that was ended meanwhile is waited for until it is gone, and not longer. Then nothing of its operations goes on:
   * Node.js ends a thread only after the threads that it has started, here those of its schedulers, and a thread ends only when
   * the system call that it is in has returned. So none of them ever meets the descriptor's number when it means another file.
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
    while (this.#isUsed()) await delay(CLOSE_LOOK_MS);
    await release(this);
  }

  #isUsed(): boolean {
    const { threads } = selectPlatform();
    return this.#words.subarray(WORD.firstSlot).some((_, slot, slots) => {
      const owner = Atomics.load(slots, slot);
      return owner !== 0 && threads.isAlive(owner);
    });
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
