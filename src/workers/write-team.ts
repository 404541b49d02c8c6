/**
 * The blocking writers of a scheduler as a team: a thread that has several writes to do at once offers them in shared
 * memory, and whoever is free claims one. That is how several writes of one journal are in flight without io_uring.
 *
 * A slot goes through free, filling, ready, claimed and done. Only its state is contended, and only by compare-exchange.
 */
import { EIO } from '../platform/errno.js';
import { assert, IoError } from '../platform/errors.js';
import type { Files, Threads } from '../platform/platform.js';

const SLOTS = 32;
const SLOT_BYTES = 64;
const STATE = { free: 0, filling: 1, ready: 2, claimed: 3, done: 4 } as const;

/** 32-bit words of a slot; three 64-bit words follow them. The first slot's place holds the bell alone. */
const WORD = { state: 0, kind: 1, descriptor: 2, result: 3, claimant: 4 } as const;
const LONG = { address: 4, bytes: 5, offset: 6 } as const;
const BELL = 0;

const KIND = { write: 0, sync: 1 } as const;

/** A claimed write is looked after this often: its thread may have ended. */
const LOOK_MS = 100;

export const TEAM_BYTES = (SLOTS + 1) * SLOT_BYTES;

assert(WORD.claimant * 4 < LONG.address * 8 && (LONG.offset + 1) * 8 <= SLOT_BYTES, 'the fields of a slot do not overlap');

/** A blocking call that any thread of the process can make. `bytes` and `address` mean nothing for a sync. */
export interface TeamJob {
  readonly kind: keyof typeof KIND;
  readonly descriptor: number;
  readonly address: number;
  readonly bytes: number;
  readonly offset: number;
}

export class WriteTeam {
  readonly #files: Files;
  readonly #threads: Threads;
  readonly #words: Int32Array;
  readonly #longs: BigInt64Array;
  #listening = false;
  #ended = false;

  constructor(memory: SharedArrayBuffer, files: Files, threads: Threads) {
    assert(memory.byteLength === TEAM_BYTES, 'a team has its exact size');
    this.#files = files;
    this.#threads = threads;
    this.#words = new Int32Array(memory);
    this.#longs = new BigInt64Array(memory);
  }

  /** Does all jobs, with the others' help; answers bytes written (0 for a sync) or a negative error number for each. */
  run(jobs: readonly TeamJob[]): number[] {
    const [own, ...others] = jobs;
    if (own === undefined) return [];
    const offered = others.map((job) => this.#offer(job));
    const results = [this.#perform(own)];
    offered.forEach((slot, i) => {
      const job = others[i];
      assert(job !== undefined, 'every offer belongs to a job');
      results.push(slot === undefined ? this.#perform(job) : this.#collect(slot, job));
    });
    return results;
  }

  /** Helps whoever offers something, from now on. */
  listen(): void {
    if (this.#listening || this.#ended) return;
    // The bell's value before looking: an offer in between changes it, and the wait answers at once.
    const seen = Atomics.load(this.#words, BELL);
    for (let slot = 1; slot <= SLOTS; slot++) this.#help(slot);
    this.#listening = true;
    const wait = Atomics.waitAsync(this.#words, BELL, seen);
    void Promise.resolve(wait.async ? wait.value : undefined).then(() => {
      this.#listening = false;
      setImmediate(() => {
        this.listen();
      });
    });
  }

  end(): void {
    this.#ended = true;
    // A wait that nobody ends would hold this memory for as long as the thread lives.
    Atomics.add(this.#words, BELL, 1);
    Atomics.notify(this.#words, BELL);
  }

  /** Puts a job where others find it; undefined when there is no free slot. */
  #offer(job: TeamJob): number | undefined {
    for (let slot = 1; slot <= SLOTS; slot++) {
      const at = this.#word(slot, WORD.state);
      if (Atomics.compareExchange(this.#words, at, STATE.free, STATE.filling) !== STATE.free) continue;
      this.#words[this.#word(slot, WORD.kind)] = KIND[job.kind];
      this.#words[this.#word(slot, WORD.descriptor)] = job.descriptor;
      this.#longs[this.#long(slot, LONG.address)] = BigInt(job.address);
      this.#longs[this.#long(slot, LONG.bytes)] = BigInt(job.bytes);
      this.#longs[this.#long(slot, LONG.offset)] = BigInt(job.offset);
      // The fields before the state that lets others read them; the state before the bell that makes them look.
      Atomics.store(this.#words, at, STATE.ready);
      Atomics.add(this.#words, BELL, 1);
      Atomics.notify(this.#words, BELL);
      return slot;
    }
    return undefined;
  }

  /** The result of an offered job: done here if nobody has claimed it yet. */
  #collect(slot: number, job: TeamJob): number {
    const at = this.#word(slot, WORD.state);
    let result: number;
    if (Atomics.compareExchange(this.#words, at, STATE.ready, STATE.claimed) === STATE.ready) {
      result = this.#perform(job);
    } else {
      while (Atomics.load(this.#words, at) === STATE.claimed) {
        Atomics.wait(this.#words, at, STATE.claimed, LOOK_MS);
        const claimant = Atomics.load(this.#words, this.#word(slot, WORD.claimant));
        // What a thread that has ended wrote is unknown. Its slot is never used again: it may not be quite over.
        if (Atomics.load(this.#words, at) === STATE.claimed && claimant !== 0 && !this.#threads.isAlive(claimant)) return -EIO;
      }
      result = Atomics.load(this.#words, this.#word(slot, WORD.result));
    }
    Atomics.store(this.#words, this.#word(slot, WORD.claimant), 0);
    Atomics.store(this.#words, at, STATE.free);
    return result;
  }

  #help(slot: number): void {
    const at = this.#word(slot, WORD.state);
    if (Atomics.compareExchange(this.#words, at, STATE.ready, STATE.claimed) !== STATE.ready) return;
    Atomics.store(this.#words, this.#word(slot, WORD.claimant), this.#threads.currentId());
    const result = this.#perform({
      kind: this.#words[this.#word(slot, WORD.kind)] === KIND.sync ? 'sync' : 'write',
      descriptor: this.#words[this.#word(slot, WORD.descriptor)] ?? -1,
      address: Number(this.#longs[this.#long(slot, LONG.address)]),
      bytes: Number(this.#longs[this.#long(slot, LONG.bytes)]),
      offset: Number(this.#longs[this.#long(slot, LONG.offset)]),
    });
    Atomics.store(this.#words, this.#word(slot, WORD.result), result);
    // The result before the state that says it is there.
    Atomics.store(this.#words, at, STATE.done);
    Atomics.notify(this.#words, at);
  }

  #perform({ kind, descriptor, offset, ...piece }: TeamJob): number {
    try {
      if (kind === 'sync') this.#files.syncData(descriptor);
      else this.#files.writePiece(descriptor, piece, offset);
      return kind === 'sync' ? 0 : piece.bytes;
    } catch (error) {
      if (error instanceof IoError) return -error.errno;
      throw error;
    }
  }

  #word(slot: number, field: number): number {
    return slot * (SLOT_BYTES / 4) + field;
  }

  #long(slot: number, field: number): number {
    return slot * (SLOT_BYTES / 8) + field;
  }
}
