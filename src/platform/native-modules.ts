/**
 * Loads the native packages, each at its first use.
 *
 * A thread that is terminated while a native module initialises takes the whole process down (napi_throw is fatal then).
 * So worker threads of this library announce that they load, and whoever ends them lets them finish: see
 * {@link NativeLoading}.
 */
import { createRequire } from 'node:module';
import { workerData } from 'node:worker_threads';

type Koffi = typeof import('koffi');
type Crc32 = typeof import('@node-rs/crc32');

const require = createRequire(import.meta.url);

/**
 * What koffi keeps per thread for calls, and does not give back when a thread ends. Its defaults take 3 MiB; the calls
 * made here pass numbers, short strings and pointers to functions that need little stack.
 */
const CALL_STACK_BYTES = 256 * 1024;
const CALL_HEAP_BYTES = 64 * 1024;

let koffiModule: Koffi | undefined;
let crc32Module: Crc32 | undefined;

export function koffi(): Koffi {
  koffiModule ??= uninterrupted(() => {
    const loaded = require('koffi') as Koffi;
    // Only in threads of this library: elsewhere koffi may serve the application too, which has its own settings.
    if (sharedWords() !== undefined) loaded.config({ sync_stack_size: CALL_STACK_BYTES, sync_heap_size: CALL_HEAP_BYTES });
    return loaded;
  });
  return koffiModule;
}

export function crc32(): Crc32 {
  crc32Module ??= uninterrupted(() => require('@node-rs/crc32') as Crc32);
  return crc32Module;
}

/** Indices of the shared words. */
const WORD = { loading: 0, ending: 1, count: 2 } as const;
const EXIT_WAIT_MS = 1000;
const PARK_MS = 60_000;

/** What a thread and its workers share about loading; travels as `workerData`. */
export interface NativeLoadingData {
  readonly tidemarkNativeLoading: SharedArrayBuffer;
}

/** The side of the thread that starts and ends workers. */
export class NativeLoading {
  readonly data: NativeLoadingData = { tidemarkNativeLoading: new SharedArrayBuffer(WORD.count * 4) };
  readonly #words = new Int32Array(this.data.tidemarkNativeLoading);

  /** Keeps workers from loading from now on and waits for those that do. For the end of the process: it blocks, briefly. */
  endSync(): void {
    // The flag first: a worker announces itself before it looks at the flag, so one of the two sees the other.
    Atomics.store(this.#words, WORD.ending, 1);
    const until = performance.now() + EXIT_WAIT_MS;
    for (let loading = Atomics.load(this.#words, WORD.loading); loading > 0; loading = Atomics.load(this.#words, WORD.loading)) {
      if (performance.now() > until) return;
      Atomics.wait(this.#words, WORD.loading, loading, EXIT_WAIT_MS);
    }
  }
}

/**
 * Does native work that must not be cut short by the thread's end: loading, binding a function, mapping memory.
 * Plain calls need no such care.
 */
export function uninterrupted<T>(work: () => T): T {
  const words = sharedWords();
  if (words === undefined) return work();
  Atomics.add(words, WORD.loading, 1);
  // The process is ending: a thread that waits here is terminated in good order.
  if (Atomics.load(words, WORD.ending) === 1) {
    Atomics.sub(words, WORD.loading, 1);
    Atomics.notify(words, WORD.loading);
    Atomics.wait(words, WORD.ending, 1, PARK_MS);
    Atomics.add(words, WORD.loading, 1);
  }
  try {
    return work();
  } finally {
    Atomics.sub(words, WORD.loading, 1);
    Atomics.notify(words, WORD.loading);
  }
}

/** The words shared with the thread that started this one; undefined where that is not a thread of this library. */
function sharedWords(): Int32Array | undefined {
  const data = workerData as Partial<NativeLoadingData> | null | undefined;
  const shared = data?.tidemarkNativeLoading;
  return shared instanceof SharedArrayBuffer ? new Int32Array(shared) : undefined;
}
