/** An operation of the pool, as it travels to a file worker: its name, plain arguments, and words in shared memory. */

/** A name in the file tree. */
export interface Place {
  /** Absolute, or relative to `root`. */
  readonly path: string;
  /** Descriptor of a directory that nothing leads out of: no `..`, no link, no absolute path. Undefined: the whole tree. */
  readonly root: number | undefined;
}

/** An open file or directory, with the path that errors name. */
export interface OpenFile {
  readonly descriptor: number;
  readonly path: string;
  /** Transfers must be aligned to this many bytes, in file and memory. Undefined: they go through the page cache. */
  readonly directAlignment: number | undefined;
  /** What it was opened for, where that is not everything: `append` puts whatever is written at the end (`O_APPEND`). */
  readonly only?: 'read' | 'append';
}

/** What most operations work on: a name that they open themselves, or something open. */
export type Target = Place | OpenFile;

export function isOpen(target: Target): target is OpenFile {
  return 'descriptor' in target;
}

export interface OperationCall {
  readonly name: string;
  readonly args: readonly unknown[];
  /** {@link CallControl}; undefined when nobody will abort it or look at its progress. */
  readonly control: SharedArrayBuffer | undefined;
}

/** Calls that one thread does one after the other. */
export interface OperationsTask {
  readonly role: 'operations';
  readonly calls: readonly OperationCall[];
}

const INDEX = { abort: 0, begun: 1 } as const;
const PROGRESS_INDEX = 1;
const CONTROL_BYTES = 16;

/** What the caller of an operation and the thread that does it tell each other while it runs. */
export class CallControl {
  readonly buffer: SharedArrayBuffer;
  readonly #words: Int32Array;
  readonly #progress: BigInt64Array;

  constructor(buffer = new SharedArrayBuffer(CONTROL_BYTES)) {
    this.buffer = buffer;
    this.#words = new Int32Array(buffer);
    this.#progress = new BigInt64Array(buffer);
  }

  /** Asks the worker to stop at the next place where that is safe. */
  abort(): void {
    // Before the caller looks whether it has begun; whoever begins looks after that whether it was aborted. So what has not begun
    // by then, does nothing.
    Atomics.store(this.#words, INDEX.abort, 1);
  }

  get aborted(): boolean {
    return Atomics.load(this.#words, INDEX.abort) === 1;
  }

  begin(): void {
    Atomics.store(this.#words, INDEX.begun, 1);
  }

  /** It waits for a worker once more. */
  rest(): void {
    Atomics.store(this.#words, INDEX.begun, 0);
  }

  /** A worker has taken it up. */
  get begun(): boolean {
    return Atomics.load(this.#words, INDEX.begun) === 1;
  }

  /** Bytes done so far. Only told, never relied on. */
  get progress(): number {
    return Number(Atomics.load(this.#progress, PROGRESS_INDEX));
  }

  set progress(bytes: number) {
    Atomics.store(this.#progress, PROGRESS_INDEX, BigInt(bytes));
  }
}
