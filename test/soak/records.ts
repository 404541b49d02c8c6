/** The records of a soak: who appended them, which one they are, and their size follow from a seed. */
import { mix, nameOf, recordOf } from '../programs/records.js';

/** Threads that append: the one that opened the journal, and one that attached. */
export const THREADS = 2;
export const FRAME_OVERHEAD_BYTES = 12;
/** How late a record may come, once it is known that there is one. */
const CATCH_UP_BOUND_MS = 30_000;

/** Mostly small ones; one in a hundred has up to 32 KiB. */
function bytesOf(seed: number, thread: number, sequence: number): number {
  const random = mix(seed ^ mix(thread ^ mix(sequence)));
  const spread = random % 100 === 0 ? 32 * 1024 : 400;
  return FRAME_OVERHEAD_BYTES + (mix(random) % spread);
}

export function soakRecord(seed: number, thread: number, sequence: number): Buffer {
  return recordOf({ life: seed, thread, sequence }, bytesOf(seed, thread, sequence));
}

/** The thread and the number of an intact record of this soak; undefined for anything else. */
export function soakName(seed: number, record: Uint8Array): { thread: number; sequence: number } | undefined {
  const name = nameOf(record, record.length);
  if (name?.life !== seed || name.thread >= THREADS || record.length !== bytesOf(seed, name.thread, name.sequence)) return undefined;
  return name;
}

/** What a follower saw: each thread's records, which have to come once each, in order. */
export class Tally {
  /** Resolves when all records came, or something is wrong. */
  readonly done: Promise<void>;
  readonly #seed: number;
  readonly #next = Array.from({ length: THREADS }, () => 0);
  #problem: string | undefined;
  #totals: readonly number[] | undefined;
  #resolve: () => void = () => undefined;

  constructor(seed: number) {
    this.#seed = seed;
    this.done = new Promise((resolve) => {
      this.#resolve = resolve;
    });
  }

  see(record: Uint8Array, start: number): void {
    const name = soakName(this.#seed, record);
    if (name === undefined) this.fail(`the record at LSN ${start} is not intact`);
    else if (name.sequence !== this.#next[name.thread]) {
      this.fail(`at LSN ${start} came record ${name.sequence} of thread ${name.thread}, not ${this.#next[name.thread]}`);
    } else this.#next[name.thread] = name.sequence + 1;
    this.#look();
  }

  /** So many records were appended by each thread: `done` resolves once they all came, or too many seconds later. */
  expect(totals: readonly number[]): void {
    this.#totals = totals;
    const bound = setTimeout(() => {
      this.fail(`${this.#next.join(' and ')} records came, of ${totals.join(' and ')}`);
    }, CATCH_UP_BOUND_MS);
    void this.done.then(() => {
      clearTimeout(bound);
    });
    this.#look();
  }

  fail(problem: string): void {
    this.#problem ??= problem;
    this.#resolve();
  }

  /** What is wrong. */
  get problem(): string | undefined {
    return this.#problem;
  }

  #look(): void {
    if (this.#totals?.every((total, thread) => total === this.#next[thread]) === true) this.#resolve();
  }
}
