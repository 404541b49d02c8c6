/**
 * The shared control block of one journal: watermarks, wake words, poison, statistics and producer slots.
 *
 * It is a `SharedArrayBuffer` that every thread of the journal sees; this file is the only definition of its layout.
 * Hot words have a cache line of their own (128 bytes: two lines, because processors prefetch in pairs).
 *
 * Invariant: reserved >= published >= written >= durable >= 0, and durable >= released - (what was written since).
 *
 * All accesses are `Atomics`, which are sequentially consistent; the comments say which order matters.
 */
import { assert } from '../../platform/errors.js';

const LINE_BYTES = 128;
const WORDS64_PER_LINE = LINE_BYTES / 8;
const WORDS32_PER_LINE = LINE_BYTES / 4;

export const PRODUCER_SLOTS = 64;

const LINE = {
  reserved: 0,
  written: 1,
  durable: 2,
  released: 3,
  doorbell: 4,
  wake: 5,
  state: 6,
  statistics: 7,
  producers: 9,
} as const;

const LINES = LINE.producers + PRODUCER_SLOTS;
export const CONTROL_BYTES = LINES * LINE_BYTES;

/** Indices into the 64-bit view. */
const W64 = {
  reserved: LINE.reserved * WORDS64_PER_LINE,
  written: LINE.written * WORDS64_PER_LINE,
  durable: LINE.durable * WORDS64_PER_LINE,
  released: LINE.released * WORDS64_PER_LINE,
  /** Behind the 32-bit words of its line; it changes with each segment, not with each append. */
  spaceEnd: LINE.state * WORDS64_PER_LINE + 4,
  statistics: LINE.statistics * WORDS64_PER_LINE,
  slot: (slot: number): number => (LINE.producers + slot) * WORDS64_PER_LINE,
  /** Behind the slot's own word and its owner: where the thread's rearmost follower reads. */
  follower: (slot: number): number => (LINE.producers + slot) * WORDS64_PER_LINE + 2,
} as const;

/** Indices into the 32-bit view. */
const W32 = {
  /** 1 while the writer sleeps and wants its bell rung. */
  doorbell: LINE.doorbell * WORDS32_PER_LINE,
  /** Changes whenever sleeping waiters are woken. */
  wake: LINE.wake * WORDS32_PER_LINE,
  /** How many threads sleep on `wake`. */
  sleepers: LINE.wake * WORDS32_PER_LINE + 1,
  /** A {@link Poison}, packed into one word; set once. */
  poison: LINE.state * WORDS32_PER_LINE,
  closed: LINE.state * WORDS32_PER_LINE + 1,
  /** 1 while no room for a further segment can be had. */
  diskFull: LINE.state * WORDS32_PER_LINE + 2,
  /** 1 once a producer found no segment to append to; the writer tells the opener and clears it. */
  segmentWanted: LINE.state * WORDS32_PER_LINE + 3,
  /** Thread id of the writer, 0 before it has the journal. Behind the 64-bit word of its line. */
  writer: LINE.state * WORDS32_PER_LINE + 10,
  /** Thread id of a slot's owner, 0 when free. It stands behind the slot's 64-bit word. */
  owner: (slot: number): number => (LINE.producers + slot) * WORDS32_PER_LINE + 2,
} as const;

/** Counters that the writer keeps, one 64-bit word each. */
export const STATISTICS = [
  'batches',
  'writes',
  'syncs',
  'bytesWritten',
  'bytesPrepared',
  'batchesBeyondPrepared',
  'batchBytesMax',
  'syncLatencyNsTotal',
  'syncLatencyNsMax',
  'syncLatencyNsLast',
  'marks',
  'rotationStalls',
  'blockingWrites',
] as const;
export type Statistic = (typeof STATISTICS)[number];
const STATISTIC_INDEX = Object.fromEntries(STATISTICS.map((name, i) => [name, W64.statistics + i])) as Record<Statistic, number>;

/** Where the end of the log stands after closing. */
export const SEALED_LSN = Number.MAX_SAFE_INTEGER;

/** A slot with this value holds no reservation, a thread with it has no follower. */
const IDLE = -1n;

/** Why a journal is poisoned. */
export const POISON = {
  none: 0,
  /** A write or sync failed: errno and system call say how. */
  io: 1,
  /** The worker that owned the write side ended. */
  workerDied: 2,
  /** A thread ended between reserving and publishing. */
  producerDied: 3,
  /** A broken invariant in the writer. */
  internal: 4,
} as const;
export type PoisonKind = (typeof POISON)[keyof typeof POISON];

/** System calls that a poisoning may name; the control block carries the index. */
export const POISON_SYSCALLS = ['unknown', 'write', 'fdatasync', 'pwrite', 'io_uring_enter', 'segment'] as const;
export type PoisonSyscall = (typeof POISON_SYSCALLS)[number];

export interface Poison {
  readonly kind: PoisonKind;
  readonly errno: number;
  readonly syscall: PoisonSyscall;
}

assert(LINE.statistics * WORDS64_PER_LINE + STATISTICS.length <= LINE.producers * WORDS64_PER_LINE, 'the statistics fit their lines');
assert(CONTROL_BYTES % LINE_BYTES === 0 && LINE_BYTES % 8 === 0, 'lines hold whole words');

export class ControlBlock {
  readonly buffer: SharedArrayBuffer;
  readonly #i64: BigInt64Array;
  readonly #i32: Int32Array;

  constructor(buffer: SharedArrayBuffer) {
    assert(buffer.byteLength === CONTROL_BYTES, 'a control block has its exact size');
    this.buffer = buffer;
    this.#i64 = new BigInt64Array(buffer);
    this.#i32 = new Int32Array(buffer);
  }

  /** A new block, all of it zero but the slots. {@link start} sets its watermarks. */
  static create(): ControlBlock {
    const control = new ControlBlock(new SharedArrayBuffer(CONTROL_BYTES));
    for (let slot = 0; slot < PRODUCER_SLOTS; slot++) {
      Atomics.store(control.#i64, W64.slot(slot), IDLE);
      Atomics.store(control.#i64, W64.follower(slot), IDLE);
    }
    return control;
  }

  /** Sets all watermarks; before any other thread uses the block. */
  start(lsn: number, releasedLsn: number): void {
    assert(releasedLsn <= lsn && releasedLsn >= 0, 'the window begins at or before the end of the log');
    for (const index of [W64.reserved, W64.written, W64.durable]) Atomics.store(this.#i64, index, BigInt(lsn));
    Atomics.store(this.#i64, W64.released, BigInt(releasedLsn));
    Atomics.store(this.#i64, W64.spaceEnd, BigInt(SEALED_LSN));
  }

  /** The end of all reservations. After {@link sealReservations} the durable end, where they all ended. */
  get reservedLsn(): number {
    const reserved = Number(Atomics.load(this.#i64, W64.reserved));
    return reserved === SEALED_LSN ? this.durableLsn : reserved;
  }

  get writtenLsn(): number {
    return Number(Atomics.load(this.#i64, W64.written));
  }

  get durableLsn(): number {
    return Number(Atomics.load(this.#i64, W64.durable));
  }

  get releasedLsn(): number {
    return Number(Atomics.load(this.#i64, W64.released));
  }

  /**
   * Nothing beyond it may be reserved by producers: the end of the segments that are in place. Without a limit in the file
   * layout.
   */
  get spaceEnd(): number {
    return Number(Atomics.load(this.#i64, W64.spaceEnd));
  }

  /** Room for the log up to `lsn` is there. Whoever waits for it is woken. */
  setSpaceEnd(lsn: number): void {
    Atomics.store(this.#i64, W64.spaceEnd, BigInt(lsn));
    Atomics.store(this.#i32, W32.diskFull, 0);
    this.wakeWaiters();
  }

  /** A producer waits for a segment that is not in place. The writer may sleep: nothing is published that would wake it. */
  wantSegment(): void {
    if (Atomics.exchange(this.#i32, W32.segmentWanted, 1) === 0) this.ringDoorbell();
  }

  get segmentWanted(): boolean {
    return Atomics.load(this.#i32, W32.segmentWanted) === 1;
  }

  /** Whether somebody waits for a segment; from now on somebody else has to say so. */
  takeSegmentWanted(): boolean {
    return Atomics.exchange(this.#i32, W32.segmentWanted, 0) === 1;
  }

  /** No room for a further segment can be had at present: appends that need it fail instead of waiting. */
  get diskFull(): boolean {
    return Atomics.load(this.#i32, W32.diskFull) === 1;
  }

  setDiskFull(full: boolean): void {
    Atomics.store(this.#i32, W32.diskFull, full ? 1 : 0);
    this.wakeWaiters();
  }

  // ---- producers -------------------------------------------------------------------------------------------------

  /** Takes a free slot for the thread `threadId`; -1 when all are taken. `isAlive` frees the slots of ended threads. */
  claimSlot(threadId: number, isAlive: (threadId: number) => boolean): number {
    for (let slot = 0; slot < PRODUCER_SLOTS; slot++) {
      const owner = Atomics.load(this.#i32, W32.owner(slot));
      // An ended thread's slot may be taken over only when it holds no reservation; otherwise the journal is lost anyway.
      // Whether it has ended comes first: a thread that still runs may reserve behind a look at its slot, and end then.
      const free = owner === 0 || (!isAlive(owner) && Atomics.load(this.#i64, W64.slot(slot)) === IDLE);
      if (!free || Atomics.compareExchange(this.#i32, W32.owner(slot), owner, threadId) !== owner) continue;
      this.setFollower(slot, undefined);
      return slot;
    }
    return -1;
  }

  /** Gives a slot back, unless it holds a reservation that never will be published. */
  freeSlotIfIdle(slot: number): void {
    if (Atomics.load(this.#i64, W64.slot(slot)) === IDLE) Atomics.store(this.#i32, W32.owner(slot), 0);
  }

  /**
   * First step of a reservation: nothing at or above `lowerBound` counts as published until {@link publish}.
   * It must be visible before the reservation is, so that whoever sees the reservation sees the bound.
   */
  enter(slot: number, lowerBound: number): void {
    Atomics.store(this.#i64, W64.slot(slot), BigInt(lowerBound));
  }

  /**
   * Second step: moves the end of the log from `expected` to `expected + bytes`.
   * Answers the end that was found; the reservation is made exactly when that is `expected`.
   */
  reserve(expected: number, bytes: number): number {
    return Number(Atomics.compareExchange(this.#i64, W64.reserved, BigInt(expected), BigInt(expected + bytes)));
  }

  /**
   * Reserves all that is left, if the log still ends at `end`: no producer finds room after that.
   * Closing needs it, for a thread that has looked at {@link closed} just before may reserve just after.
   */
  sealReservations(end: number): boolean {
    if (this.reserve(end, SEALED_LSN - end) !== end) return false;
    this.wakeWaiters();
    return true;
  }

  /** Nothing will be reserved any more, and all that was is durable. */
  get sealed(): boolean {
    return Number(Atomics.load(this.#i64, W64.reserved)) === SEALED_LSN;
  }

  /** Last step: the reserved bytes are copied. Storing releases them to the writer. */
  publish(slot: number): void {
    Atomics.store(this.#i64, W64.slot(slot), IDLE);
  }

  /** The end of the prefix that is completely copied: the least of the reservation's end and every slot. */
  publishedLsn(): number {
    // The end first: a reservation that it covers stored its slot before, so its bound is seen below.
    let published = BigInt(this.reservedLsn);
    for (let slot = 0; slot < PRODUCER_SLOTS; slot++) {
      if (Atomics.load(this.#i32, W32.owner(slot)) === 0) continue;
      const bound = Atomics.load(this.#i64, W64.slot(slot));
      if (bound !== IDLE && bound < published) published = bound;
    }
    return Number(published);
  }

  /** The threads that hold a reservation at or below `lsn`. */
  producersHolding(lsn: number): number[] {
    const threads: number[] = [];
    for (let slot = 0; slot < PRODUCER_SLOTS; slot++) {
      const bound = Atomics.load(this.#i64, W64.slot(slot));
      if (bound !== IDLE && Number(bound) <= lsn) threads.push(Atomics.load(this.#i32, W32.owner(slot)));
    }
    return threads;
  }

  /** Where the rearmost follower of a thread reads; undefined when it has none. */
  setFollower(slot: number, lsn: number | undefined): void {
    Atomics.store(this.#i64, W64.follower(slot), lsn === undefined ? IDLE : BigInt(lsn));
  }

  /** Nothing at or above it may be trimmed: where the rearmost follower of all threads that live reads. */
  followerFloor(isAlive: (threadId: number) => boolean): number {
    let floor = Infinity;
    for (let slot = 0; slot < PRODUCER_SLOTS; slot++) {
      const owner = Atomics.load(this.#i32, W32.owner(slot));
      const lsn = Atomics.load(this.#i64, W64.follower(slot));
      if (owner !== 0 && lsn !== IDLE && Number(lsn) < floor && isAlive(owner)) floor = Number(lsn);
    }
    return floor;
  }

  // ---- the writer ------------------------------------------------------------------------------------------------

  /** Thread id of the writer, 0 before it has the journal. */
  get writerThread(): number {
    return Atomics.load(this.#i32, W32.writer);
  }

  setWriterThread(threadId: number): void {
    Atomics.store(this.#i32, W32.writer, threadId);
  }

  // ---- the writer's doorbell -------------------------------------------------------------------------------------

  /** Wakes the writer if it sleeps. After publishing: the writer looks at what is published after it has armed the bell. */
  ringDoorbell(): void {
    if (Atomics.load(this.#i32, W32.doorbell) === 1 && Atomics.compareExchange(this.#i32, W32.doorbell, 1, 0) === 1) {
      Atomics.notify(this.#i32, W32.doorbell);
    }
  }

  armDoorbell(): void {
    Atomics.store(this.#i32, W32.doorbell, 1);
  }

  disarmDoorbell(): void {
    Atomics.store(this.#i32, W32.doorbell, 0);
  }

  /** Resolves when an armed bell is rung; undefined when it was rung already. At most one wait per thread. */
  awaitDoorbell(): Promise<unknown> | undefined {
    const wait = Atomics.waitAsync(this.#i32, W32.doorbell, 1);
    return wait.async ? wait.value : undefined;
  }

  // ---- watermarks, moved by the writer ---------------------------------------------------------------------------

  /** Moves watermarks forward and wakes who sleeps on them. */
  advance(watermarks: { written?: number; durable?: number; released?: number }): void {
    this.#raise(W64.written, watermarks.written);
    this.#raise(W64.durable, watermarks.durable);
    this.#raise(W64.released, watermarks.released);
    this.wakeWaiters();
  }

  #raise(index: number, lsn: number | undefined): void {
    if (lsn === undefined) return;
    const next = BigInt(lsn);
    assert(next >= Atomics.load(this.#i64, index), 'a watermark never moves back');
    Atomics.store(this.#i64, index, next);
  }

  // ---- waiters ---------------------------------------------------------------------------------------------------

  /** Wakes all sleeping waiters. After the watermark moved: a waiter looks at it again after it has registered. */
  wakeWaiters(): void {
    if (Atomics.load(this.#i32, W32.sleepers) === 0) return;
    Atomics.add(this.#i32, W32.wake, 1);
    Atomics.notify(this.#i32, W32.wake);
  }

  /**
   * Sleeps until {@link wakeWaiters}; undefined when `isDone` came true meanwhile.
   * The caller stays registered until the promise resolves. At most one sleep per thread and block.
   */
  sleep(isDone: () => boolean): Promise<void> | undefined {
    // Read the word before registering and looking: a wake in between changes it, and the wait answers at once.
    const seen = Atomics.load(this.#i32, W32.wake);
    Atomics.add(this.#i32, W32.sleepers, 1);
    const wait = isDone() ? undefined : Atomics.waitAsync(this.#i32, W32.wake, seen);
    if (wait === undefined || !wait.async) {
      Atomics.sub(this.#i32, W32.sleepers, 1);
      return undefined;
    }
    return wait.value.then(() => {
      Atomics.sub(this.#i32, W32.sleepers, 1);
    });
  }

  /**
   * The same for a thread that has no event loop any more: blocks until {@link wakeWaiters}, `boundMs` at most.
   */
  sleepBlocking(isDone: () => boolean, boundMs: number): void {
    const seen = Atomics.load(this.#i32, W32.wake);
    Atomics.add(this.#i32, W32.sleepers, 1);
    if (!isDone()) Atomics.wait(this.#i32, W32.wake, seen, boundMs);
    Atomics.sub(this.#i32, W32.sleepers, 1);
  }

  // ---- poison and end --------------------------------------------------------------------------------------------

  /** Poisons the journal for good; the first cause stays. */
  poison(kind: PoisonKind, errno = 0, syscall: PoisonSyscall = 'unknown'): void {
    // One word, so that two threads that poison at once cannot mix their causes.
    const packed = kind | (POISON_SYSCALLS.indexOf(syscall) << 8) | (errno << 16);
    Atomics.compareExchange(this.#i32, W32.poison, POISON.none, packed);
    this.wakeWaiters();
  }

  get poisonKind(): PoisonKind {
    return (Atomics.load(this.#i32, W32.poison) & 0xff) as PoisonKind;
  }

  get poisonCause(): Poison {
    const packed = Atomics.load(this.#i32, W32.poison);
    return { kind: (packed & 0xff) as PoisonKind, syscall: POISON_SYSCALLS[(packed >>> 8) & 0xff] ?? 'unknown', errno: packed >>> 16 };
  }

  /** Set when the owner closes the journal: no thread may append any more. */
  get closed(): boolean {
    return Atomics.load(this.#i32, W32.closed) === 1;
  }

  close(): void {
    Atomics.store(this.#i32, W32.closed, 1);
    this.wakeWaiters();
  }

  // ---- statistics ------------------------------------------------------------------------------------------------

  count(statistic: Statistic, by = 1): void {
    Atomics.add(this.#i64, STATISTIC_INDEX[statistic], BigInt(by));
  }

  countSync(latencyNs: number): void {
    this.count('syncs');
    this.count('syncLatencyNsTotal', latencyNs);
    Atomics.store(this.#i64, STATISTIC_INDEX.syncLatencyNsLast, BigInt(latencyNs));
    this.#countMax('syncLatencyNsMax', latencyNs);
  }

  countBatch(bytes: number): void {
    this.count('batches');
    this.#countMax('batchBytesMax', bytes);
  }

  #countMax(statistic: Statistic, value: number): void {
    const index = STATISTIC_INDEX[statistic];
    // One writer thread keeps the statistics, so a load and a store suffice.
    if (BigInt(value) > Atomics.load(this.#i64, index)) Atomics.store(this.#i64, index, BigInt(value));
  }

  statistic(statistic: Statistic): number {
    return Number(Atomics.load(this.#i64, STATISTIC_INDEX[statistic]));
  }
}
