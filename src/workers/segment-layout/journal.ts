/** One segment-layout journal on a writer thread: extents in flight, the order in which they finish, marks when idle. */
import type { MessagePort } from 'node:worker_threads';
import { assert } from '../../platform/errors.js';
import { EAGAIN, EINTR, EIO } from '../../platform/errno.js';
import type { Threads } from '../../platform/platform.js';
import type { PoisonSyscall } from '../protocol/control-block.js';
import type { LogPosition, SegmentFile, WriterNews } from '../protocol/messages.js';
import { JournalLoop } from '../writer-loop.js';
import type { Extent, SegmentsWriteSide } from './write-side.js';

/** A write that makes no progress this often in a row has failed. */
const RETRIES_MAX = 100;

/** What is waited for before a write, and for how long: in parts of the last round, and in milliseconds. */
const GATHER_PART = 0.9;
const GATHER_MS_MAX = 0.1;
const QUIET_MS = 0.01;

/** An idle log gets a mark of its own after this long, so that its last batch is proven durable too. */
const PROVE_AFTER_MS = 20;

/** Parts of a segment that are full when its opener is told so. */
const HALF = 1 / 2;
const NEAR = 7 / 8;

/** How bytes reach the disk. Every operation calls back once, in any order. */
export interface WriteEngine {
  /** Names of the system calls, for what poisons a journal. */
  readonly writeCall: PoisonSyscall;
  /** Answers bytes written, or a negative error number. `dsync`: durable at completion. */
  write(descriptor: number, address: number, bytes: number, offset: number, inLogBuffer: boolean, dsync: boolean, done: (result: number) => void): void;
  syncData(descriptor: number, done: (result: number) => void): void;
  /** Runs `turn` after a completion: at once, or once the thread has had time for other things. */
  resume(turn: () => void): void;
}

interface Flight {
  readonly extent: Extent;
  readonly startedMs: number;
  written: boolean;
}

export class SegmentsJournal {
  readonly loop: JournalLoop;
  readonly #side: SegmentsWriteSide;
  readonly #engine: WriteEngine;
  readonly #news: MessagePort;
  readonly #threads: Threads;
  /** In the order of the log. */
  readonly #flights: Flight[] = [];
  #writes = 0;
  /** What was pending when a write was begun with nothing else in flight, the last time. */
  #roundBytes = 0;
  #syncing = false;
  /** Operations whose completion has not come. */
  #operations = 0;
  #onIdle: (() => void) | undefined;
  #enteredBase = -1;
  /** What the opener is told next of the segment that is written, and from which offset on. */
  #milestone: 'half' | 'near' | undefined;
  #proofTimer: NodeJS.Timeout | undefined;

  constructor(side: SegmentsWriteSide, engine: WriteEngine, threads: Threads, news: MessagePort) {
    this.#side = side;
    this.#engine = engine;
    this.#news = news;
    this.#threads = threads;
    this.loop = new JournalLoop(side, threads, () => this.#step());
  }

  addSegment(segment: SegmentFile): void {
    this.#side.add(segment);
    this.loop.run();
  }

  /** Ends the loop; settles when nothing of this journal is in flight any more. */
  async end(): Promise<LogPosition> {
    this.loop.end();
    clearTimeout(this.#proofTimer);
    if (this.#operations > 0) {
      await new Promise<void>((resolve) => {
        this.#onIdle = resolve;
      });
    }
    this.#news.close();
    return this.#side.position;
  }

  #step(): boolean {
    const { queueDepth } = this.#side.writing;
    if (this.#side.control.takeSegmentWanted()) this.#tell({ kind: 'wanted' });
    if (this.#operations === 0) this.#gather();
    while (this.#writes < queueDepth) {
      const extent = this.#side.next(this.#writes + (this.#syncing ? 1 : 0));
      if (extent === undefined) break;
      this.#start(extent);
    }
    if (this.#operations > 0) return true;
    this.#proveLater();
    return false;
  }

  /**
   * Appenders that were acknowledged together append again together, one by one. A write that began with the first of
   * them would make the others wait for its end, so for as long as they come, and no longer than that, this waits for about
   * as much as was written the last time.
   */
  #gather(): void {
    const side = this.#side;
    let pending = side.pendingBytes();
    if (pending === 0) return;
    const goal = this.#roundBytes * GATHER_PART;
    this.#roundBytes = pending;
    if (pending >= goal) return;
    const started = performance.now();
    for (let grown = started, now = started; pending < goal && now - grown < QUIET_MS && now - started < GATHER_MS_MAX;) {
      this.#threads.yield();
      now = performance.now();
      const seen = pending;
      pending = side.pendingBytes();
      if (pending > seen) grown = now;
    }
    this.#roundBytes = pending;
  }

  #start(extent: Extent): void {
    const flight = { extent, startedMs: performance.now(), written: false };
    this.#flights.push(flight);
    this.#writes++;
    this.#tellProgress(extent);
    this.#write(flight, 0, 0);
  }

  #tellProgress({ segment, offset }: Extent): void {
    const { segmentBytes } = this.#side.geometry;
    if (segment.base !== this.#enteredBase) {
      this.#enteredBase = segment.base;
      this.#milestone = 'half';
      this.#tell({ kind: 'entered', base: segment.base });
    }
    if (this.#milestone === 'half' && offset >= segmentBytes * HALF) {
      this.#milestone = 'near';
      this.#tell({ kind: 'half' });
    }
    if (this.#milestone === 'near' && offset >= segmentBytes * NEAR) {
      this.#milestone = undefined;
      this.#tell({ kind: 'near' });
    }
  }

  #write(flight: Flight, written: number, retries: number): void {
    const { segment, address, bytes, offset, inLogBuffer } = flight.extent;
    this.#side.control.count('writes');
    const done = this.#operation((result) => {
      this.#wrote(flight, written, retries, result);
    });
    this.#engine.write(segment.descriptor, address + written, bytes - written, offset + written, inLogBuffer, this.#side.writing.dsyncWrites, done);
  }

  #wrote(flight: Flight, before: number, retries: number, result: number): void {
    // By another thread, perhaps: what is left of this extent is not written any more.
    if (this.#side.poisoned) return;
    const idle = result === 0 || result === -EAGAIN || result === -EINTR;
    if ((result < 0 && !idle) || (idle && retries === RETRIES_MAX)) {
      this.#side.poison(result === 0 ? EIO : -result, this.#engine.writeCall);
      return;
    }
    const written = before + Math.max(result, 0);
    this.#side.control.count('bytesWritten', Math.max(result, 0));
    if (written < flight.extent.bytes) {
      this.#write(flight, written, idle ? retries + 1 : 0);
      return;
    }
    assert(written === flight.extent.bytes, 'no more was written than asked for');
    flight.written = true;
    this.#writes--;
    if (this.#side.writing.dsyncWrites) this.#settle(Infinity);
    else this.#sync();
    this.#engine.resume(() => this.loop.run());
  }

  /** Syncs what was written without a gap. Only one sync at a time: what is written meanwhile has the next one. */
  #sync(): void {
    const count = this.#flights.findIndex(({ written }) => !written);
    const covered = this.#flights.slice(0, count < 0 ? this.#flights.length : count);
    const last = covered.at(-1);
    if (last === undefined) return;
    this.#side.written(last.extent);
    if (this.#syncing) return;
    this.#syncing = true;
    const descriptors = new Set(covered.map(({ extent }) => extent.segment.descriptor));
    let left = descriptors.size;
    for (const descriptor of descriptors) {
      const done = this.#operation((result) => {
        // Never retried: a second sync may report success for pages that the first one dropped.
        if (result < 0) {
          this.#side.poison(-result, 'fdatasync');
          return;
        }
        left--;
        // Whoever was told that the journal is poisoned was told how far it is durable.
        if (left > 0 || this.#side.poisoned) return;
        this.#syncing = false;
        this.#settle(covered.length);
        this.#sync();
        this.#engine.resume(() => this.loop.run());
      });
      this.#engine.syncData(descriptor, done);
    }
  }

  /** Moves the watermarks over what is durable without a gap: at most `count` extents. */
  #settle(count: number): void {
    let last: Extent | undefined;
    const now = performance.now();
    for (let i = 0; i < count; i++) {
      const flight = this.#flights[0];
      if (flight === undefined || !flight.written) break;
      this.#flights.shift();
      last = flight.extent;
      this.#side.control.countSync(Math.round((now - flight.startedMs) * 1e6));
      if (last.fills) this.#tell({ kind: 'filled', base: last.segment.base });
    }
    if (last !== undefined) this.#side.durable(last);
  }

  /** Once the log has been idle for a while, a mark proves its last batch. */
  #proveLater(): void {
    if (this.#proofTimer !== undefined || !this.#side.lacksProof) return;
    const { taken } = this.#side;
    this.#proofTimer = setTimeout(() => {
      this.#proofTimer = undefined;
      if (this.#side.poisoned || this.#operations > 0) return;
      if (taken === this.#side.taken) {
        if (this.#side.prove()) this.loop.run();
        this.#tell({ kind: 'idle' });
      } else {
        this.#proveLater();
      }
    }, PROVE_AFTER_MS);
  }

  #tell(news: WriterNews): void {
    this.#news.postMessage(news);
  }

  /** Counts an operation until it is complete; a failed assertion poisons this journal, not the thread. */
  #operation(done: (result: number) => void): (result: number) => void {
    this.#operations++;
    return (result) => {
      this.#operations--;
      try {
        done(result);
      } catch (error) {
        this.loop.fail(error);
      }
      if (this.#operations === 0) this.#onIdle?.();
    };
  }
}
