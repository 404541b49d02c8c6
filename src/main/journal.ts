/** The journal: what a program appends to. See docs/architecture.md for the way of a record. */
import { isMainThread } from 'node:worker_threads';
import { JournalError, NotSupportedError } from '../platform/errors.js';
import { alignmentSkip } from '../platform/ffi.js';
import type { Advice } from '../platform/platform.js';
import { selectPlatform } from '../platform/select.js';
import { ControlBlock, POISON, STATISTICS, type Statistic } from '../workers/protocol/control-block.js';
import { LOG_BUFFER_ALIGNMENT, LogBuffer, type RecordBytes, type SharedLogBuffer } from '../workers/protocol/log-buffer.js';
import type { Detached, RepairReport } from '../workers/protocol/messages.js';
import { Appender, type AckLevel } from './appender.js';
import { report } from './diagnostics.js';
import { ExitDrain } from './exit-drain.js';
import { Followers, followJournal, type FollowOptions } from './follow.js';
import { JournalFailure } from './journal-failure.js';
import { ADVICE, journalOptions, type JournalOptions, type ResolvedJournalOptions } from './journal-options.js';
import type { JournalBackend, JournalStats, OpenReport, SharedJournalHandle, Submission } from './journal-types.js';
import * as check from './options.js';
import { plainPath } from './paths.js';
import type { JournalRecord } from './reader.js';
import { repairJournal, type RepairOptions } from './repair.js';
import { defaultScheduler, type IoScheduler, type WriterSeat } from './scheduler.js';
import { openStorage, type JournalStorage, type Layout, type TrimOptions } from './storage.js';

/** What the thread that opened the journal has and attached threads have not. */
interface Owner {
  readonly seat: WriterSeat;
  readonly id: number;
  readonly storage: JournalStorage;
}

let nextId = 1;

/**
 * A log of records, in one of two layouts: a directory of segments, or one file. Made by {@link Journal.open}, and in other
 * threads by {@link Journal.attach}.
 */
export class Journal {
  /** Absolute path of the journal. */
  readonly path: string;
  /** The level at which `append` and `appendBatch` resolve. */
  readonly ack: AckLevel;
  #backend: JournalBackend;
  /** True when writes go past the page cache (`O_DIRECT`). */
  readonly directActive: boolean;
  /** Why direct IO is active or not. */
  readonly directReason: string;

  readonly #control: ControlBlock;
  readonly #appender: Appender;
  readonly #slot: number;
  readonly #failure: JournalFailure;
  readonly #followers: Followers;
  readonly #exitDrain: ExitDrain;
  #handle: SharedJournalHandle;
  readonly #owner: Owner | undefined;
  #closing: Promise<void> | undefined;
  #ended = false;

  /**
   * Opens a journal for appending, and creates it if need be. Takes its exclusive lock, recovers its end, sets a torn tail
   * aside (kept as `.torn-<lsn>`, beside a file or in the directory of segments), and syncs what it reports as durable.
   *
   * Rejects with `TIDEMARK_LOCKED`, `TIDEMARK_NOT_A_JOURNAL` or `TIDEMARK_CORRUPT` ({@link JournalError}),
   * `TIDEMARK_NOT_SUPPORTED` for a newer format, or `TIDEMARK_INVALID_ARGUMENT`: then nothing has changed on disk. Or with
   * an {@link IoError} such as `TIDEMARK_NOT_FOUND` or `TIDEMARK_PERMISSION`.
   */
  static async open(path: string, options: JournalOptions = {}): Promise<Journal> {
    check.path('path', path);
    const resolved = journalOptions(options);
    const scheduler = options.scheduler ?? defaultScheduler();
    return scheduler.opening(() => Journal.#open(path, resolved, scheduler));
  }

  static async #open(path: string, resolved: ResolvedJournalOptions, scheduler: IoScheduler): Promise<Journal> {
    const absolute = await plainPath(path);
    await scheduler.backend();
    const control = ControlBlock.create();
    const storage = await openStorage({ scheduler, path: absolute, options: resolved, control, log: createLogBuffer(resolved.logBufferBytes) });
    const id = nextId++;
    let journal: Journal | undefined;
    let seat: WriterSeat | undefined;
    try {
      seat = await scheduler.takeSeat({
        workerDied: (cause) => {
          if (journal === undefined) control.poison(POISON.workerDied);
          else journal.#failure.workerDied(cause);
        },
        close: () => journal?.close() ?? Promise.resolve(),
      }, storage.layout === 'segments');
      journal = new Journal(absolute, resolved, control, storage.log, { seat, id, storage });
      const { request, transfer } = storage.writeSide(id, resolved.groupCommitWindow);
      const { registered } = await seat.worker.attach(request, transfer);
      journal.#backend = { ...seat.backend, registeredBuffer: registered };
      journal.#handle = { ...journal.#handle, backend: journal.#backend };
      storage.attached({ writer: seat, id });
    } catch (error) {
      if (journal !== undefined) journal.#exitDrain.end();
      seat?.leave();
      await storage.close(undefined, undefined);
      throw error;
    }
    report('open', { path: absolute, end: storage.opened.end, ...journal.openReport, directActive: journal.directActive });
    return journal;
  }

  /**
   * Repairs a journal that opening refuses with `TIDEMARK_CORRUPT`. Takes the exclusive lock; whatever it changes is kept,
   * durable, in files beside the journal (`….damaged-<lsn>`) before. In the segment layout every record behind the damage
   * stays readable at its LSN; in the file layout the journal is cut where the damage begins.
   *
   * A journal that needs no repair is left as it is, a torn tail is left to `open`. Rejects with `TIDEMARK_LOCKED`,
   * `TIDEMARK_NOT_A_JOURNAL`, `TIDEMARK_NOT_SUPPORTED` (a newer version), and `TIDEMARK_CORRUPT` for what it cannot repair;
   * then nothing has changed.
   */
  static repair(path: string, options: RepairOptions = {}): Promise<RepairReport> {
    return repairJournal(path, options);
  }

  /**
   * Joins a journal that another thread has opened: `handle` is what its {@link share} gave. At most 64 threads append
   * to one journal. Closing it here detaches this thread only.
   */
  static attach(handle: SharedJournalHandle): Journal {
    const given = handle as Partial<SharedJournalHandle> | null | undefined;
    if (typeof given !== 'object' || given === null || given.kind !== 'tidemark-journal' || given.version !== 1) {
      check.fail('handle', 'what share() of an open journal returned', handle);
    }
    return new Journal(handle.path, handle, new ControlBlock(handle.control), handle.log, handle);
  }

  private constructor(
    path: string,
    options: Pick<ResolvedJournalOptions, 'ack' | 'queueBytesMax' | 'whenQueueFull' | 'exitDrainMs'>,
    control: ControlBlock,
    log: SharedLogBuffer,
    from: Owner | SharedJournalHandle,
  ) {
    this.path = path;
    this.ack = options.ack;
    this.#control = control;
    this.#failure = new JournalFailure(control, path);
    this.#owner = 'seat' in from ? from : undefined;
    this.#backend = 'seat' in from ? { ...from.seat.backend, registeredBuffer: false } : from.backend;
    this.directActive = 'seat' in from ? from.storage.direct : from.directActive;
    this.directReason = 'seat' in from ? directReason(from.storage) : from.directReason;
    const { threads } = selectPlatform();
    this.#slot = control.claimSlot(threads.currentId(), (thread) => threads.isAlive(thread));
    if (this.#slot < 0) {
      throw new JournalError('TIDEMARK_TOO_MANY_PRODUCERS', `journal '${path}' has 64 threads appending, the most there can be`, { path });
    }
    this.#followers = new Followers(control, this.#slot, () => this.#owner?.storage.followersMoved());
    const { ack, queueBytesMax, whenQueueFull, exitDrainMs } = options;
    this.#handle = {
      kind: 'tidemark-journal', version: 1, path, control: control.buffer, log, ack, queueBytesMax, whenQueueFull, exitDrainMs,
      backend: this.#backend, directActive: this.directActive, directReason: this.directReason,
    };
    this.#appender = new Appender(control, new LogBuffer(log), {
      path, slot: this.#slot, threads, queueBytesMax, whenQueueFull, failure: () => this.#failure.any(), poisoned: () => this.#failure.poisoned(),
      // The opener hears of it by itself; where that is a thread that has ended too, nobody is left to tell.
      watchWriter: this.#owner === undefined ? () => { this.#failure.watchWriter(threads); } : undefined,
    });
    this.#exitDrain = new ExitDrain(control, this.#appender, {
      path, exitDrainMs, threads,
      untilDurable: isMainThread || this.#owner !== undefined,
      spaceEnd: () => this.#owner?.storage.spaceEnd ?? Infinity,
      poisoned: () => this.#failure.poisoned(),
    });
  }

  // ---- appending -------------------------------------------------------------------------------------------------

  /**
   * Appends one record (a string is written as UTF-8) and resolves with the LSN after it, at the journal's `ack` level.
   *
   * The record is copied before this returns, so its memory may be reused, unless more than `queueBytesMax` wait for room
   * already: then leave it unchanged until the promise settles. The next record need not begin at the LSN that this
   * resolves with: in the segment layout other frames may lie between.
   *
   * Rejects when the record is too large (`TIDEMARK_RECORD_TOO_LARGE`: beyond 268,435,455 bytes, or what a segment can
   * take), the journal is closed or poisoned, the queue is full and `whenQueueFull` is `throw`, or, in the segment layout,
   * no room for a further segment is to be had (`TIDEMARK_NO_SPACE`; appends succeed again once there is).
   */
  append(record: RecordBytes): Promise<number> {
    try {
      this.#checkUsable();
      return this.#appender.append(record, this.ack);
    } catch (error) {
      return Promise.reject(asError(error));
    }
  }

  /**
   * Appends records side by side, without another thread's between them: in the segment layout all in one segment. Resolves
   * with the LSN after the last.
   */
  appendBatch(records: readonly RecordBytes[]): Promise<number> {
    try {
      this.#checkUsable();
      check.list('records', records);
      return this.#appender.appendBatch(records, this.ack);
    } catch (error) {
      return Promise.reject(asError(error));
    }
  }

  /**
   * Appends without waiting: the LSN after the record, or undefined when there is no room at this moment. The record is
   * only `buffered` then; `syncThrough` tells when it is durable. Throws when the journal is closed or poisoned, and
   * `TIDEMARK_NO_SPACE` when it needs a further segment and the disk is full.
   */
  tryAppend(record: RecordBytes): number | undefined {
    this.#checkUsable();
    return this.#appender.tryAppend(record);
  }

  /** Appends and resolves as soon as the record has its place in the log, with a promise for each further level. */
  async submit(record: RecordBytes): Promise<Submission> {
    this.#checkUsable();
    const { start, end } = await this.#appender.reserve(record);
    const written = this.#appender.waiters.waitFor('written', end);
    const durable = this.#appender.waiters.waitFor('durable', end);
    // Whoever awaits one of them sees its failure; the other one must not end the process.
    written.catch(() => undefined);
    durable.catch(() => undefined);
    return { start, end, written, durable };
  }

  /**
   * Resolves when everything below `lsn` is durable. Rejects with `TIDEMARK_LSN_OUT_OF_RANGE` for an LSN beyond what was
   * reserved: that would be success for records which do not exist.
   */
  async syncThrough(lsn: number): Promise<void> {
    check.lsn('lsn', lsn);
    // In this order: what became durable before the failure is not denied.
    const failure = this.#failure.any();
    if (lsn <= this.durableLsn) return;
    if (failure !== undefined) throw failure;
    if (lsn > this.reservedLsn) {
      throw new JournalError('TIDEMARK_LSN_OUT_OF_RANGE', `LSN ${lsn} was never reserved, the log ends at ${this.reservedLsn}`, { path: this.path, lsn });
    }
    await this.#appender.waiters.waitFor('durable', lsn);
  }

  // ---- what it knows ---------------------------------------------------------------------------------------------

  /** The end of all reservations, in bytes: at least `durableLsn`. */
  get reservedLsn(): number {
    return this.#control.reservedLsn;
  }

  /** Everything below it survives power loss. Moves by whole frames. */
  get durableLsn(): number {
    return this.#control.durableLsn;
  }

  /** `segments`: a directory of them; `file`: one file. */
  get layout(): Layout {
    return this.#handle.log.segmentBytes === undefined ? 'file' : 'segments';
  }

  /**
   * LSN of the oldest record's place: 0, or behind the header of the oldest segment. Undefined in an attached thread.
   */
  get firstLsn(): number | undefined {
    return this.#owner?.storage.firstLsn;
  }

  /** Which backend writes, and why. */
  get backend(): JournalBackend {
    return this.#backend;
  }

  /** What opening found; undefined in an attached thread. */
  get openReport(): OpenReport | undefined {
    if (this.#owner === undefined) return undefined;
    const { created, records, filesystem, torn } = this.#owner.storage.opened;
    return { created, records, filesystem, torn };
  }

  /** Counters since the journal was opened, of all threads where not said otherwise. Latencies are in nanoseconds. */
  stats(): JournalStats {
    const counters = Object.fromEntries(STATISTICS.map((name) => [name, this.#control.statistic(name)])) as Record<Statistic, number>;
    const reservedLsn = this.reservedLsn;
    const durableLsn = this.durableLsn;
    const segments = this.#owner?.storage.stats();
    return {
      ...counters,
      ...(segments === undefined ? {} : { segments }),
      reservedLsn,
      writtenLsn: this.#control.writtenLsn,
      durableLsn,
      pendingBytes: Math.max(0, reservedLsn - durableLsn),
      waiters: this.#appender.waiters.pending,
      queuedRecords: this.#appender.queuedRecords,
      queuedBytes: this.#appender.queuedBytes,
    };
  }

  // ---- space and advice ------------------------------------------------------------------------------------------

  /**
   * Writes zeros until at least `bytes` of prepared space lie ahead of the log: in whole segments, where it has those.
   * Stops early on a full disk; appends go on, and `stats()` tells.
   */
  async preallocate(bytes: number): Promise<void> {
    check.required('bytes', bytes, 'a number of bytes');
    check.integer('bytes', bytes, 0, 1, Number.MAX_SAFE_INTEGER);
    await this.#ownerOnly('preallocate').storage.preallocate(bytes);
  }

  /**
   * Tells the kernel how a range of the file will be read (posix_fadvise(2)). `bytes` 0 means to the end. Rejects with
   * `TIDEMARK_NOT_SUPPORTED` in the segment layout.
   */
  async advise(advice: Advice, range: { readonly offset?: number; readonly bytes?: number } = {}): Promise<void> {
    check.required('advice', advice, 'a kind of advice');
    check.oneOf('advice', advice, 'normal', ADVICE);
    check.checkKeys('range', range, ['offset', 'bytes']);
    const offset = check.integer('range.offset', range.offset, 0, 0, Number.MAX_SAFE_INTEGER);
    const bytes = check.integer('range.bytes', range.bytes, 0, 0, Number.MAX_SAFE_INTEGER);
    await this.#ownerOnly('advise').storage.advise(advice, offset, bytes);
  }

  /**
   * Drops the oldest records: whole segments that lie below `lsn` and are full and durable. They are kept to be used again
   * (`spareSegments`) or deleted, one durable step after the other. What a follower in this process still reads is kept,
   * unless `force` is set. Rejects with `TIDEMARK_NOT_SUPPORTED` in the file layout.
   */
  async trimBefore(lsn: number, options: TrimOptions = {}): Promise<void> {
    check.lsn('lsn', lsn);
    check.checkKeys('options', options, ['force']);
    const force = check.boolean('options.force', options.force, false);
    await this.#ownerOnly('trimBefore').storage.trimBefore(lsn, { force });
  }

  // ---- other threads and followers -------------------------------------------------------------------------------

  /** This journal for another thread: pass it as `workerData` and call {@link Journal.attach} there. */
  share(): SharedJournalHandle {
    this.#checkUsable();
    return this.#handle;
  }

  /**
   * Every durable record from `from` on (a record's start, or the end of the last one seen; default: the oldest there is),
   * then each new one as soon as it is durable. Ends when the journal is closed; throws what poisoned it, the reason of
   * `signal`, or `TIDEMARK_TRIMMED` when what it reads next was trimmed. Keeps no process alive.
   */
  follow(options: FollowOptions = {}): AsyncGenerator<JournalRecord, void, void> {
    check.checkKeys('options', options, ['from', 'signal']);
    const from = options.from === undefined ? undefined : check.lsn('from', options.from);
    const signal = check.signal('signal', options.signal);
    this.#checkUsable();
    return followJournal(this.path, from, signal, {
      ...this.#followers.join(),
      durableLsn: () => this.durableLsn,
      onDurableBeyond: (lsn, notify) => this.#appender.waiters.onDurableBeyond(lsn, notify),
      ended: () => this.#ended || this.#control.sealed,
      failure: () => this.#failure.poisoned(),
    });
  }

  // ---- the end ---------------------------------------------------------------------------------------------------

  /**
   * Waits until everything appended is durable, ends the log (the file layout cuts prepared space off, the segment layout
   * writes a last mark), syncs, unlocks and closes. In an attached thread: waits for its own appends and detaches. A
   * poisoned journal closes too; what was pending has been rejected.
   */
  close(): Promise<void> {
    this.#closing ??= this.#owner === undefined ? this.#detach() : this.#shutDown(this.#owner);
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #detach(): Promise<void> {
    const { waiters } = this.#appender;
    await this.#drained(() => this.#appender.queuedRecords === 0 && waiters.pending === 0 && waiters.heldThrough <= this.durableLsn);
    this.#end();
  }

  #end(): void {
    this.#ended = true;
    this.#exitDrain.end();
    this.#followers.retire();
    this.#control.freeSlotIfIdle(this.#slot);
    this.#appender.waiters.dispose();
  }

  async #shutDown(owner: Owner): Promise<void> {
    await this.#drained(() => this.#appender.queuedRecords === 0);
    // No thread begins anything new; ranges that are reserved are finished, then the rest of the log is sealed off.
    this.#control.close();
    await this.#drained(() => this.#control.sealReservations(this.durableLsn));
    const end = this.durableLsn;
    await owner.storage.stop();
    // A writer thread that has ended has nothing left to detach; the files are closed all the same.
    const detached: Detached | Error = await owner.seat.worker.call('detach', owner.id).catch((error: unknown) => asError(error));
    owner.seat.leave();
    const poisoned = this.#failure.poisoned() !== undefined;
    try {
      await owner.storage.close(poisoned ? undefined : end, detached instanceof Error ? undefined : detached);
    } finally {
      this.#end();
    }
    report('close', { path: this.path, end });
    if (detached instanceof Error && !(detached instanceof JournalError)) throw detached;
  }

  /** Waits until `isDone`, looking again at each move of the durable watermark; gives up when the journal is poisoned. */
  async #drained(isDone: () => boolean): Promise<void> {
    while (!isDone() && this.#failure.poisoned() === undefined) {
      const { reservedLsn, durableLsn } = this;
      if (reservedLsn > durableLsn) await this.#appender.waiters.waitFor('durable', reservedLsn).catch(() => undefined);
      else await new Promise((resolve) => setImmediate(resolve));
    }
  }

  // ---- why nothing can be done -----------------------------------------------------------------------------------

  #checkUsable(): void {
    if (this.#closing !== undefined) throw this.#failure.closed();
  }

  #ownerOnly(operation: string): Owner {
    this.#checkUsable();
    const failure = this.#failure.any();
    if (failure !== undefined) throw failure;
    if (this.#owner === undefined) throw new NotSupportedError(operation, 'only the thread that opened the journal can do it');
    return this.#owner;
  }
}

function directReason({ direct, sectorBytes, opened }: JournalStorage): string {
  if (direct) return `direct IO with sectors of ${sectorBytes} bytes`;
  return opened.directRefused ?? 'direct IO was not asked for';
}

function createLogBuffer(capacity: number): SharedLogBuffer {
  const buffer = new SharedArrayBuffer(capacity + LOG_BUFFER_ALIGNMENT);
  return { buffer, skipBytes: alignmentSkip(buffer, LOG_BUFFER_ALIGNMENT), capacity };
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
