/**
 * What is done when the process, or this thread of it, ends without waiting: by `process.exit()`, an uncaught exception or
 * an unhandled rejection. The event loop turns no more, but other threads run until the last `exit` handler has returned.
 *
 * First journals are drained, then threads are ended in good order: a thread that is about to be ended may not even bind a
 * function, so nothing can be drained after that, unless the threads are told to go on.
 */

/** A journal, as the end of the process sees it. */
export interface AtExit {
  /** From now on whoever appends calls `again`, for nothing else will look after the record. */
  begin(again: () => void): void;
  /** Goes on as far as that is possible now; true when there is nothing to wait for any more. */
  advance(tookMs: number): boolean;
  /** Sleeps until a watermark moves, for `boundMs` at most. */
  sleep(boundMs: number): void;
}

/** Threads that may be ended at any moment once {@link end} has returned. Both block. */
export interface EndingThreads {
  end(): void;
  /** Takes that back. */
  resume(): void;
}

/** Whether the writer's thread lives, and other journals, are looked at this often. */
const LOOK_MS = 10;

const journals = new Set<AtExit>();
const pools = new Set<EndingThreads>();
let running = false;

/** Has a journal drained at exit; answers how to take that back. */
export function drainAtExit(journal: AtExit): () => void {
  return join(journals, journal);
}

/** Has threads ended in good order at exit; answers how to take that back. */
export function endAtExit(threads: EndingThreads): () => void {
  return join(pools, threads);
}

/** One listener however many there are, and none for nobody. */
function join<T>(set: Set<T>, member: T): () => void {
  // Before other handlers: one of them may call process.exit() again, which calls none of those behind it.
  if (journals.size + pools.size === 0) process.prependListener('exit', run);
  set.add(member);
  return () => {
    set.delete(member);
    if (journals.size + pools.size === 0) process.off('exit', run);
  };
}

function run(): void {
  // Records that leave their queue while a journal is drained are appended like any other.
  if (running) return;
  running = true;
  try {
    for (const threads of pools) threads.resume();
    drain();
  } finally {
    for (const threads of pools) threads.end();
    running = false;
  }
}

/** All journals at a time: their writers write side by side. */
function drain(): void {
  const startedMs = performance.now();
  let left = [...journals];
  for (const journal of left) journal.begin(run);
  for (;;) {
    const tookMs = performance.now() - startedMs;
    left = left.filter((journal) => !journal.advance(tookMs));
    if (left[0] === undefined) return;
    left[0].sleep(LOOK_MS);
  }
}
