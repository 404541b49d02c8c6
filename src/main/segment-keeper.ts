/**
 * Keeps a segment journal supplied with segments, and trims it: decides what is prepared when, and has file workers do it.
 *
 * A trimmed segment is the best next one: overwriting it costs nothing but its header. Without one, a new file is written
 * with zeros as long as there is time, and handed over as it is when the log comes near. In a burst, when segments fill
 * faster than zeros could be written, there are none: the file has its space reserved and grows plainly.
 */
import { EDQUOT, EFBIG, ENOSPC } from '../platform/errno.js';
import { assert, IoError } from '../platform/errors.js';
import { selectPlatform } from '../platform/select.js';
import { POISON, type ControlBlock } from '../workers/protocol/control-block.js';
import {
  PACE, type CloseDescriptorTask, type FilledSegment, type OpenedSegments, type PreparedSegment, type PrepareSegmentTask, type SegmentFile,
  type SegmentMaking, type SegmentOrigin, type TrimSegmentsTask, type WriterNews,
} from '../workers/protocol/messages.js';
import { report } from './diagnostics.js';
import type { SupplyOptions } from './journal-options.js';
import type { SegmentStats } from './journal-types.js';
import type { IoScheduler } from './scheduler.js';
import type { Seat } from './storage.js';

/** Segments that fill within this time are a burst: zeros would take the bandwidth that the log needs. */
const BURST_MS = 1000;

/** While the disk is full, a segment is tried for this often. */
const RETRY_MS = 250;

/** Segments in place behind the one that is written: more of them where they fill quickly. */
const AHEAD = 1;
const AHEAD_IN_BURST = 2;

export class SegmentKeeper {
  readonly #scheduler: IoScheduler;
  readonly #control: ControlBlock;
  readonly #making: SegmentMaking;
  readonly #options: SupplyOptions;
  #seat: Seat | undefined;
  /** Full segments, oldest first. */
  readonly #filled: FilledSegment[];
  /** The segment that is written and those behind it. */
  readonly #inPlace: SegmentFile[];
  /** Base of the last segment that was put in place: it may be full already. */
  #lastBase: number;
  readonly #spares: string[];
  readonly #pace = new SharedArrayBuffer(4);
  readonly #made: Record<SegmentOrigin, number> = { recycled: 0, zeroed: 0, plain: 0 };
  #trimmed = 0;
  #enteredBase: number;
  #enteredMs = performance.now();
  #lifetimeMs = Infinity;
  #half = false;
  /** An append waits. */
  #wanted = false;
  #preparing: Promise<boolean> | undefined;
  #trimming: Promise<void> = Promise.resolve();
  /** Trimming in the background has failed, and not succeeded since. */
  #trimFails = false;
  /** File tasks whose end nobody else awaits. */
  readonly #closing = new Set<Promise<unknown>>();
  #retry: NodeJS.Timeout | undefined;
  readonly #ageCheck: NodeJS.Timeout | undefined;
  #stopped = false;

  constructor(scheduler: IoScheduler, control: ControlBlock, opened: OpenedSegments, options: SupplyOptions, making: SegmentMaking) {
    this.#scheduler = scheduler;
    this.#control = control;
    this.#making = making;
    this.#options = options;
    this.#filled = [...opened.filled];
    this.#inPlace = [...opened.segments];
    this.#lastBase = opened.segments.at(-1)?.base ?? 0;
    this.#enteredBase = opened.segments[0]?.base ?? 0;
    this.#spares = [...opened.spares];
    if (options.retainMs !== undefined) {
      this.#ageCheck = setInterval(() => void this.#retain(), Math.min(Math.max(options.retainMs / 4, 100), 60_000));
      this.#ageCheck.unref();
    }
  }

  get inPlace(): readonly SegmentFile[] {
    return this.#inPlace;
  }

  /** Base of the oldest segment. */
  get firstBase(): number {
    return this.#filled[0]?.base ?? this.#inPlace[0]?.base ?? this.#lastBase + this.#making.segmentBytes;
  }

  /** End of the last segment that was handed to the writer. */
  get spaceEnd(): number {
    return this.#lastBase + this.#making.segmentBytes;
  }

  start(seat: Seat): void {
    this.#seat = seat;
    void this.#retain();
    this.#supply();
  }

  hear(news: WriterNews): void {
    if (news.kind === 'entered') this.#entered(news.base);
    else if (news.kind === 'filled') this.#filledUp(news.base);
    else if (news.kind === 'wanted') this.#wanted = true;
    else if (news.kind !== 'idle') this.#half = true;
    // Whoever prepares the next one has no more time for zeros.
    const needed = news.kind === 'wanted' || (news.kind === 'near' && this.#ahead === 0);
    if (needed && this.#options.newSegments === 'auto') this.#setPace(PACE.hurry);
    this.#supply();
    void this.#retain();
  }

  stats(): SegmentStats {
    return {
      segments: this.#filled.length + this.#inPlace.length,
      spareSegments: this.#spares.length,
      segmentsAhead: this.#ahead,
      segmentsRecycled: this.#made.recycled,
      segmentsZeroed: this.#made.zeroed,
      segmentsPlain: this.#made.plain,
      segmentsTrimmed: this.#trimmed,
      diskFull: this.#control.diskFull,
    };
  }

  // ---- supply ----------------------------------------------------------------------------------------------------

  #entered(base: number): void {
    if (base === this.#enteredBase) return;
    const now = performance.now();
    this.#lifetimeMs = now - this.#enteredMs;
    this.#enteredBase = base;
    this.#enteredMs = now;
    this.#half = false;
  }

  #filledUp(base: number): void {
    const [segment] = this.#inPlace;
    if (segment?.base !== base) return;
    this.#inPlace.shift();
    this.#filled.push({ base, filledMs: Date.now() });
    this.#run({ role: 'close-descriptor', descriptor: segment.descriptor });
  }

  /** In place behind the segment that is written, which may not have told yet that it is full. */
  get #ahead(): number {
    const base = this.#control.durableLsn - (this.#control.durableLsn % this.#making.segmentBytes);
    return this.#inPlace.filter((segment) => segment.base > base).length;
  }

  get #bursting(): boolean {
    return Math.min(this.#lifetimeMs, this.#half ? 2 * (performance.now() - this.#enteredMs) : Infinity) < BURST_MS;
  }

  /** Sees to it that the next segment is in place before it is needed. */
  #supply(): void {
    if (this.#ended || this.#seat === undefined || this.#retry !== undefined) return;
    if (this.#preparing !== undefined) return;
    if (!this.#needsNext) return;
    const { newSegments } = this.#options;
    const plain = newSegments === 'plain' || (newSegments === 'auto' && (this.#bursting || this.#wanted));
    void this.#putNext(plain ? 0 : this.#making.segmentBytes).then((done) => {
      if (done) this.#supply();
    });
  }

  get #needsNext(): boolean {
    if (this.#wanted) return true;
    if (this.#ahead >= (this.#bursting ? AHEAD_IN_BURST : AHEAD)) return false;
    // What is recycled costs next to nothing; a new file is made when the one before it is half full.
    return this.#half || this.#bursting || this.#spares.length > 0;
  }

  /** Puts one more segment in place; false when that could not be done. One at a time. */
  #putNext(zeroBytes: number): Promise<boolean> {
    assert(this.#preparing === undefined, 'segments are put in place one after the other');
    const preparing = this.#prepare(zeroBytes).then((done) => {
      this.#preparing = undefined;
      return done;
    });
    this.#preparing = preparing;
    return preparing;
  }

  #setPace(pace: number): void {
    const word = new Int32Array(this.#pace);
    Atomics.store(word, 0, pace);
    Atomics.notify(word, 0);
  }

  async #prepare(zeroBytes: number): Promise<boolean> {
    const seat = this.#seat;
    if (this.#ended || seat === undefined) return false;
    this.#setPace(PACE.calm);
    const base = this.#lastBase + this.#making.segmentBytes;
    const spare = this.#spares.shift();
    const task: PrepareSegmentTask = {
      role: 'prepare-segment', making: this.#making, base, spare, zeroBytes, pace: this.#pace, control: this.#control.buffer,
    };
    try {
      const { segment, origin, zeroedBytes } = await this.#scheduler.runFileTask<PreparedSegment>(task);
      this.#made[origin]++;
      this.#control.count('bytesPrepared', zeroedBytes);
      this.#lastBase = base;
      this.#wanted = false;
      this.#inPlace.push(segment);
      await seat.writer.worker.call('addSegment', seat.id, segment);
      report('segment', { path: this.#making.directory, base, origin });
      return true;
    } catch (error) {
      this.#failed(error);
      return false;
    }
  }

  /** A full disk loses nothing: the log goes on up to the end of the last segment, and further when there is room again. */
  #failed(error: unknown): void {
    if (this.#ended) return;
    if (error instanceof IoError && [ENOSPC, EDQUOT, EFBIG].includes(error.errno) && !this.#isOfNames(error)) {
      if (!this.#control.diskFull) report('space', { path: this.#making.directory, error });
      this.#control.setDiskFull(true);
      clearTimeout(this.#retry);
      this.#retry = setTimeout(() => {
        this.#retryNow();
      }, RETRY_MS);
      this.#retry.unref();
      return;
    }
    this.#poison(error);
  }

  /**
   * The directory could not be synced: which names are durable is unknown, and no later sync would tell. Or it was moved away. To
   * look whether it was, before anything is changed, may fail as well (`statx`), which says nothing.
   */
  #isOfNames(error: unknown): boolean {
    return error instanceof IoError && error.path === this.#making.directory && error.syscall !== 'statx';
  }

  #poison(error: unknown): void {
    if (error instanceof IoError) this.#control.poison(POISON.io, error.errno, 'segment');
    else this.#control.poison(POISON.internal);
    warn(error);
  }

  get #ended(): boolean {
    return this.#stopped || this.#control.poisonKind !== POISON.none;
  }

  #retryNow(): void {
    clearTimeout(this.#retry);
    this.#retry = undefined;
    this.#half = true;
    this.#supply();
  }

  /** Has `bytes` of segments, written with zeros, in place behind the one that is written. */
  async preallocate(bytes: number): Promise<void> {
    while (this.#control.spaceEnd - this.#control.reservedLsn < bytes) {
      // Another one may be under way, and a third waiting for it.
      if (this.#preparing !== undefined) await this.#preparing;
      else if (!(await this.#putNext(this.#making.segmentBytes))) return;
    }
  }

  // ---- trimming --------------------------------------------------------------------------------------------------

  /** A follower has gone on, or ended: more may be trimmed. */
  followersMoved(): void {
    void this.#retain();
  }

  /** Trims full segments that lie below `lsn` as a whole. */
  trimBefore(lsn: number, force: boolean): Promise<void> {
    const { segmentBytes } = this.#making;
    return this.#trim(() => {
      const floor = force ? lsn : Math.min(lsn, this.#followerFloor());
      return this.#filled.filter(({ base }) => base + segmentBytes <= floor).length;
    });
  }

  /** Trims what the options no longer retain. */
  #retain(): Promise<void> {
    const { retainBytes, retainMs, retainSegments } = this.#options;
    if (retainBytes === undefined && retainMs === undefined && retainSegments === undefined) return Promise.resolve();
    const { segmentBytes } = this.#making;
    return this.#trim(() => {
      const floor = this.#followerFloor();
      const oldest = Date.now() - (retainMs ?? Infinity);
      let count = 0;
      for (const { base, filledMs } of this.#filled) {
        const left = this.#filled.length - count;
        const tooMany = left > (retainSegments ?? Infinity);
        // What is left without it must still be enough.
        const tooMuch = this.#control.durableLsn - (base + segmentBytes) >= (retainBytes ?? Infinity);
        if ((!tooMany && !tooMuch && filledMs > oldest) || base + segmentBytes > floor) break;
        count++;
      }
      return count;
    }).catch((error: unknown) => {
      // Nobody awaits it. Nothing is lost: it is tried again with whatever happens next, and told once.
      if (this.#control.poisonKind === POISON.none && !this.#trimFails) warn(error);
      this.#trimFails = true;
    });
  }

  #followerFloor(): number {
    const { threads } = selectPlatform();
    return this.#control.followerFloor((thread) => threads.isAlive(thread));
  }

  /** Trims the oldest, one after the other, as long as `count` tells that there are some: a follower may come to hold them. */
  #trim(count: () => number): Promise<void> {
    const trimmed = this.#trimming.then(async () => {
      while (!this.#ended && count() > 0) await this.#trimOldest();
    });
    this.#trimming = trimmed.catch((error: unknown) => {
      // A segment without a durable name must not be used again, nor one behind it be taken away.
      if (this.#isOfNames(error) && !this.#ended) this.#poison(error);
    });
    return this.#trimming.then(() => trimmed);
  }

  /** One at a time: where it fails, the journal still begins with the oldest segment that is there. */
  async #trimOldest(): Promise<void> {
    const base = this.#filled[0]?.base;
    assert(base !== undefined, 'only what is there is trimmed');
    const keep = this.#spares.length < this.#options.spareSegments ? 1 : 0;
    const task: TrimSegmentsTask = { role: 'trim-segments', directory: this.#making.directory, lockDescriptor: this.#making.lockDescriptor, bases: [base], keep };
    this.#spares.push(...await this.#scheduler.runFileTask<string[]>(task));
    this.#filled.shift();
    this.#trimmed++;
    this.#trimFails = false;
    report('trim', { path: this.#making.directory, before: base + this.#making.segmentBytes });
    if (this.#retry !== undefined) this.#retryNow();
    else this.#supply();
  }

  // ---- the end ---------------------------------------------------------------------------------------------------

  /** Nothing new is begun; settles when nothing is under way. */
  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#retry);
    clearInterval(this.#ageCheck);
    this.#setPace(PACE.abandon);
    await this.#preparing;
    await this.#trimming;
    await Promise.allSettled(this.#closing);
  }

  #run(task: CloseDescriptorTask): void {
    const done = this.#scheduler.runFileTask(task).catch(() => undefined);
    this.#closing.add(done);
    void done.then(() => this.#closing.delete(done));
  }
}

function warn(error: unknown): void {
  process.emitWarning(error instanceof Error ? error : new Error(String(error)));
}
