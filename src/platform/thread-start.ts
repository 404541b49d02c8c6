/**
 * The start and end of this library's threads, which may be ended at any moment.
 *
 * A thread that is terminated while it loads modules, or while a native module makes JavaScript values, takes the whole
 * process down: node asserts that loading succeeds, and `napi_throw` is fatal then. So the threads of this library tell
 * when they are loaded and when they do such work, and whoever ends them lets them finish: see {@link ThreadStart}.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { workerData } from 'node:worker_threads';

/** Indices of the shared words. */
const WORD = {
  /** How many threads do work that must not be cut short. */
  busy: 0,
  /** How many threads have been loaded. */
  loaded: 1,
  /** 1 when the threads are about to be ended: nobody may begin such work. */
  ending: 2,
  /** Changes whenever `busy` or `loaded` does. */
  change: 3,
  count: 4,
} as const;
const QUIET_WAIT_MS = 1000;
const QUIET_LOOK_MS = 2;
const PARK_MS = 60_000;

/** What the threads of a pool share about this; travels as `workerData`. */
export interface ThreadStartData {
  readonly tidemarkThreadStart: SharedArrayBuffer;
}

/** The side of the thread that starts and ends a pool's threads. */
export class ThreadStart {
  readonly data: ThreadStartData = { tidemarkThreadStart: new SharedArrayBuffer(WORD.count * 4) };
  readonly #words = new Int32Array(this.data.tidemarkThreadStart);

  /** Waits, a second at most, until all `threads` are loaded and none is busy. For the end of the process: it blocks. */
  endSync(threads: number): void {
    // The flag first: a thread announces itself before it looks at the flag, so one of the two sees the other.
    Atomics.store(this.#words, WORD.ending, 1);
    const until = performance.now() + QUIET_WAIT_MS;
    for (;;) {
      const seen = Atomics.load(this.#words, WORD.change);
      const leftMs = until - performance.now();
      if (this.#isQuiet(threads) || leftMs <= 0) return;
      Atomics.wait(this.#words, WORD.change, seen, leftMs);
    }
  }

  /** Takes {@link endSync} back: the threads may do such work again. */
  resume(): void {
    if (Atomics.exchange(this.#words, WORD.ending, 0) === 1) Atomics.notify(this.#words, WORD.ending);
  }

  /** The same for the end of a pool, without blocking. */
  async end(threads: number): Promise<void> {
    Atomics.store(this.#words, WORD.ending, 1);
    const until = performance.now() + QUIET_WAIT_MS;
    while (!this.#isQuiet(threads) && performance.now() < until) await delay(QUIET_LOOK_MS);
  }

  #isQuiet(threads: number): boolean {
    return Atomics.load(this.#words, WORD.loaded) >= threads && Atomics.load(this.#words, WORD.busy) === 0;
  }
}

/** Called by a thread once its modules are loaded. */
export function announceLoaded(): void {
  const words = sharedWords();
  if (words !== undefined) change(words, WORD.loaded, 1);
}

/**
 * Does native work that must not be cut short by the thread's end: loading, binding a function, mapping memory.
 * Plain calls need no such care.
 */
export function uninterrupted<T>(work: () => T): T {
  const words = sharedWords();
  if (words === undefined) return work();
  change(words, WORD.busy, 1);
  // The thread is about to be ended: it waits here, and is ended in good order.
  while (Atomics.load(words, WORD.ending) === 1) {
    change(words, WORD.busy, -1);
    Atomics.wait(words, WORD.ending, 1, PARK_MS);
    change(words, WORD.busy, 1);
  }
  try {
    return work();
  } finally {
    change(words, WORD.busy, -1);
  }
}

function change(words: Int32Array, word: number, by: number): void {
  Atomics.add(words, word, by);
  Atomics.add(words, WORD.change, 1);
  Atomics.notify(words, WORD.change);
}

/** True in a thread that this library started. */
export function isOwnThread(): boolean {
  return sharedWords() !== undefined;
}

/** The words shared with the thread that started this one; undefined where that is not a thread of this library. */
function sharedWords(): Int32Array | undefined {
  const data = workerData as Partial<ThreadStartData> | null | undefined;
  const shared = data?.tidemarkThreadStart;
  return shared instanceof SharedArrayBuffer ? new Int32Array(shared) : undefined;
}
