/** One call of an operation, from its submission until it is settled, and until no thread has anything to do with it. */
import { fromWire, OperationError } from '../../platform/errors.js';
import type { Outcome } from '../../workers/protocol/messages.js';
import { CallControl } from '../../workers/protocol/operation.js';

/** From first to last. */
export const LANES = ['urgent', 'normal', 'bulk'] as const;
export type LaneName = (typeof LANES)[number];

/** What a call is to its caller. */
export interface Subject {
  readonly method: string;
  readonly path: string | undefined;
}

/** How a call is made. */
export interface CallOptions {
  readonly lane: LaneName;
  readonly signal?: AbortSignal | undefined;
  readonly timeoutMs?: number | undefined;
  /** Told the bytes that are done, now and then, and at the end. */
  readonly onProgress?: ((bytes: number) => void) | undefined;
  /**
   * Calls with the same word may be given to one thread together: a fair share of what waits, so that the other threads help, but
   * `least` where so many wait, and never more than `most`. Other calls go alone.
   */
  readonly together?: { readonly word: string; readonly least: number; readonly most: number } | undefined;
  /** What it is to its caller, as errors name it, and on which file. Default: its name. */
  readonly subject?: (() => Subject) | undefined;
  /** Gets the result that came when nobody waited any more. */
  readonly discard?: ((value: unknown) => void) | undefined;
  /** Arguments for another attempt, alone and behind those that wait; undefined where the result is one. */
  readonly again?: ((value: unknown) => readonly unknown[] | undefined) | undefined;
  /** Work of the library itself: the queue's bound holds back users, and must not stop what their journals and handles need. */
  readonly own?: boolean;
}

/** Arguments of a call; or how to make them, once something has come about that it has to wait for. */
export type CallArguments = readonly unknown[] | { readonly after: Promise<unknown>; readonly make: (value: unknown) => readonly unknown[] };

const PROGRESS_MS = 100;

interface Listeners {
  readonly calls: Set<() => void>;
  readonly tell: () => void;
}

/** One listener for a signal, however many calls have it: of more than ten Node.js warns. */
const listeners = new WeakMap<AbortSignal, Listeners>();

function listen(signal: AbortSignal, call: () => void): void {
  let known = listeners.get(signal);
  if (known === undefined) {
    const calls = new Set<() => void>();
    known = { calls, tell: () => {
      for (const each of [...calls]) each();
    } };
    listeners.set(signal, known);
    signal.addEventListener('abort', known.tell, { once: true });
  }
  known.calls.add(call);
}

function unlisten(signal: AbortSignal, call: () => void): void {
  const known = listeners.get(signal);
  if (known === undefined) return;
  known.calls.delete(call);
  if (known.calls.size > 0) return;
  signal.removeEventListener('abort', known.tell);
  listeners.delete(signal);
}

/** Who keeps a call while it waits. */
export interface CallKeeper {
  /** It waits no more: a thread gets it, or it was settled. */
  readonly left: (call: Call) => void;
  /** No thread has anything to do with it any more; that may be long after it was settled. */
  readonly through: () => void;
}

export function wordsFor(name: string, subject: Subject | undefined): string {
  return subject === undefined ? name : `${subject.method}${subject.path === undefined ? '' : ` of '${subject.path}'`}`;
}

export class Call {
  readonly name: string;
  readonly options: CallOptions;
  readonly control: CallControl | undefined;
  readonly promise: Promise<unknown>;
  args: readonly unknown[] = [];
  together: CallOptions['together'];
  settled = false;
  /** Where it waits: for its lane. */
  place = -1;
  #resolve!: (value: unknown) => void;
  #reject!: (error: unknown) => void;
  readonly #keeper: CallKeeper;
  #state: 'waiting' | 'running' | 'through' = 'waiting';
  #timeout: NodeJS.Timeout | undefined;
  #progress: NodeJS.Timeout | undefined;

  constructor(name: string, options: CallOptions, keeper: CallKeeper) {
    this.name = name;
    this.options = options;
    this.together = options.together;
    this.#keeper = keeper;
    this.promise = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    const { signal, timeoutMs, onProgress } = options;
    const watched = signal !== undefined || timeoutMs !== undefined || onProgress !== undefined;
    this.control = watched ? new CallControl() : undefined;
    if (timeoutMs !== undefined) this.#timeout = setTimeout(this.#onTimeout, timeoutMs);
    if (signal !== undefined) listen(signal, this.#onAbort);
  }

  /** It is being handed to a thread. */
  run(): void {
    this.#state = 'running';
    this.#keeper.left(this);
    const { onProgress } = this.options;
    if (onProgress === undefined) return;
    this.#progress = setInterval(() => {
      onProgress(this.control?.progress ?? 0);
    }, PROGRESS_MS);
  }

  /** What the thread answered. True when it waits once more, for another attempt. */
  finish(outcome: Outcome<unknown>): boolean {
    if (this.settled) {
      this.#endUse();
      if (outcome.ok) this.options.discard?.(outcome.value);
      return false;
    }
    const { signal, onProgress, again } = this.options;
    if (!outcome.ok) {
      const error = fromWire(outcome.error);
      const aborted = signal?.aborted === true && error instanceof OperationError && error.code === 'TIDEMARK_ABORTED';
      this.lose(aborted ? signal.reason : error);
      return false;
    }
    const args = again?.(outcome.value);
    if (args !== undefined && signal?.aborted !== true) {
      this.#waitAgain(args);
      return true;
    }
    this.#endUse();
    if (args !== undefined) this.fail(signal?.reason);
    else this.#settle(() => {
      if (onProgress !== undefined) tellSafely(onProgress, this.control?.progress ?? 0);
      this.#resolve(outcome.value);
    });
    return false;
  }

  /** The thread that had it is gone, or it never came to one. */
  lose(error: unknown): void {
    this.#endUse();
    this.fail(error);
  }

  fail(error: unknown): void {
    if (this.settled) return;
    if (this.#state === 'waiting') this.#endUse();
    this.#settle(() => {
      this.#reject(error);
    });
  }

  #waitAgain(args: readonly unknown[]): void {
    this.#state = 'waiting';
    this.args = args;
    this.together = undefined;
    this.control?.rest();
    clearInterval(this.#progress);
  }

  #settle(how: () => void): void {
    this.settled = true;
    clearTimeout(this.#timeout);
    clearInterval(this.#progress);
    if (this.options.signal !== undefined) unlisten(this.options.signal, this.#onAbort);
    how();
  }

  #endUse(): void {
    if (this.#state === 'through') return;
    if (this.#state === 'waiting') this.#keeper.left(this);
    this.#state = 'through';
    this.args = [];
    this.#keeper.through();
  }

  readonly #onAbort = (): void => {
    // What runs is asked to stop and answers itself: then nothing of it goes on behind the caller's back.
    if (this.#state === 'running') this.control?.abort();
    else this.fail(this.options.signal?.reason);
  };

  readonly #onTimeout = (): void => {
    this.control?.abort();
    const begun = this.control?.begun === true;
    const what = begun ? 'it had begun and may still take effect' : 'it had not begun';
    const { timeoutMs = 0 } = this.options;
    const subject = this.options.subject?.();
    this.fail(new OperationError('TIDEMARK_TIMEOUT', `${wordsFor(this.name, subject)} took longer than ${timeoutMs} ms; ${what}`, { begun, ...(subject?.path !== undefined && { path: subject.path }) }));
  };
}

/** What a callback throws is nothing of the operation: it goes where what it throws in between goes. */
function tellSafely(onProgress: (bytes: number) => void, bytes: number): void {
  try {
    onProgress(bytes);
  } catch (error) {
    process.nextTick(() => {
      throw error;
    });
  }
}
