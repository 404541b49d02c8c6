/**
 * What both writers share: one loop per journal, woken by its doorbell, and the watch over producers that ended while
 * they held a reservation.
 */
import { InternalError, IoError } from '../platform/errors.js';
import type { Threads } from '../platform/platform.js';
import { POISON, POISON_SYSCALLS, type ControlBlock, type PoisonSyscall } from './protocol/control-block.js';

/** A reservation that stays unpublished this long has its thread looked after. */
const PRODUCER_CHECK_MS = 50;

/** What the loop needs to know of a journal's write side, whatever its layout. */
export interface LoopSide {
  readonly control: ControlBlock;
  readonly groupCommitWindowUs: number;
  readonly poisoned: boolean;
  /** The greatest published LSN that was seen. */
  readonly published: number;
  /** True while a thread has reserved log that it has not published. */
  readonly hasUnpublished: boolean;
  /** Published and not yet taken, in bytes. */
  pendingBytes(): number;
  /** Something else than log wants the loop to run. */
  readonly isCalled: boolean;
  poison(errno: number, syscall: PoisonSyscall): void;
}

export class JournalLoop {
  readonly #side: LoopSide;
  readonly #threads: Threads;
  /** Starts a batch if it can; true when it did, or when one is in flight, so that the bell need not be armed. */
  readonly #step: () => boolean;
  #asleep = false;
  #ended = false;
  #windowSince: number | undefined;
  #producerCheck: NodeJS.Timeout | undefined;

  constructor(side: LoopSide, threads: Threads, step: () => boolean) {
    this.#side = side;
    this.#threads = threads;
    this.#step = step;
    side.control.setWriterThread(threads.currentId());
  }

  /** Does what there is to do; when that is nothing, arms the doorbell. */
  run(): void {
    if (this.#ended || this.#side.poisoned) return;
    try {
      if (this.#collecting() || this.#step()) return;
      this.#side.control.armDoorbell();
      // Look again after arming: a producer that published before saw no armed bell.
      if (this.#side.pendingBytes() > 0 || this.#side.isCalled) {
        this.#side.control.disarmDoorbell();
        this.runSoon();
        return;
      }
      if (this.#side.hasUnpublished) this.#watchProducers();
      this.#sleep();
    } catch (error) {
      this.fail(error);
    }
  }

  /** Runs again after the event loop has had its turn, so that control messages are served under load. */
  runSoon(): void {
    setImmediate(() => {
      this.run();
    });
  }

  end(): void {
    this.#ended = true;
    clearTimeout(this.#producerCheck);
    // A wait that nobody ends would hold this journal's memory for as long as the thread lives.
    this.#side.control.armDoorbell();
    this.#side.control.ringDoorbell();
  }

  fail(error: unknown): void {
    if (error instanceof IoError) {
      const known = POISON_SYSCALLS.find((name) => name === error.syscall) satisfies PoisonSyscall | undefined;
      this.#side.poison(error.errno, known ?? 'unknown');
      return;
    }
    this.#side.control.poison(POISON.internal);
    // Somebody must see where the promise was broken; the journal is poisoned, the other journals go on.
    process.emitWarning(error instanceof Error ? error : new InternalError(String(error)));
  }

  #sleep(): void {
    // One wait at a time: an earlier one that nobody has notified serves this sleep too.
    if (this.#asleep) return;
    const rung = this.#side.control.awaitDoorbell();
    if (rung === undefined) {
      this.runSoon();
      return;
    }
    this.#asleep = true;
    void rung.then(() => {
      this.#asleep = false;
      this.run();
    });
  }

  /** Holds a batch back while the group commit window is open. */
  #collecting(): boolean {
    const windowUs = this.#side.groupCommitWindowUs;
    if (windowUs === 0) return false;
    if (this.#side.pendingBytes() === 0) {
      this.#windowSince = undefined;
      return false;
    }
    const now = performance.now();
    this.#windowSince ??= now;
    if ((now - this.#windowSince) * 1000 >= windowUs) {
      this.#windowSince = undefined;
      return false;
    }
    // Timers count whole milliseconds; the rest is waited for turn by turn.
    const leftMs = windowUs / 1000 - (now - this.#windowSince);
    if (leftMs > 2) setTimeout(() => this.run(), leftMs - 1);
    else this.runSoon();
    return true;
  }

  #watchProducers(): void {
    if (this.#producerCheck !== undefined) return;
    this.#producerCheck = setTimeout(() => {
      this.#producerCheck = undefined;
      if (this.#ended || this.#side.poisoned || !this.#side.hasUnpublished) return;
      const holders = this.#side.control.producersHolding(this.#side.published);
      if (holders.some((thread) => !this.#threads.isAlive(thread))) {
        this.#side.control.poison(POISON.producerDied);
        return;
      }
      // Who held it may have published it, and ended before it rang.
      if (this.#side.pendingBytes() > 0) this.run();
      else this.#watchProducers();
    }, PRODUCER_CHECK_MS);
  }
}
