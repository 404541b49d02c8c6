/**
 * One io_uring instance: set-up, submission, completion and its registered files and buffers.
 *
 * Ownership: one thread creates a ring and only that thread touches it (SINGLE_ISSUER).
 * Whoever queues an operation keeps the memory at `address` alive and unmoved until `done` runs.
 *
 * A worker waits for completions inside `io_uring_enter`, never without a bound. An event loop is woken through a pipe
 * that a linked operation writes to. koffi could watch the ring's descriptor from libuv, but its callback aborts the
 * process when it comes while a thread is being terminated.
 */
import { assert, NotSupportedError, InternalError } from '../errors.js';
import { EAGAIN, EBUSY, EINTR, EINVAL, ENOMEM, ENOSYS, EOPNOTSUPP, EPERM, ETIME, errnoName, ioError } from '../errno.js';
import { addressOf, lastErrno, native, NativeMemory, viewOf, whileHeld } from '../ffi.js';
import type { Completion, Link, MemoryPiece, Ring, RingAbilities, RingFile, RingOptions, RingRemains } from '../platform.js';
import * as abi from './io-uring-abi.js';

const PROT_READ_WRITE = 0x1 | 0x2;
const MAP_SHARED_POPULATE = 0x01 | 0x8000;

const setup = native('syscall', 'long', ['long', 'uint32_t', 'void *']);
const enter = native('syscall', 'long', ['long', 'uint32_t', 'uint32_t', 'uint32_t', 'uint32_t', 'uintptr_t', 'size_t']);
const register = native('syscall', 'long', ['long', 'uint32_t', 'uint32_t', 'void *', 'uint32_t']);
const mmap = native('mmap', 'intptr_t', ['uintptr_t', 'size_t', 'int', 'int', 'int', 'int64_t']);
const munmap = native('munmap', 'int', ['uintptr_t', 'size_t']);
const close = native('close', 'int', ['int']);

const FILE_SLOTS = 16;
const BUFFER_SLOTS = 64;
const ENTRIES_DEFAULT = 128;
const SQPOLL_IDLE_MS = 50;
/** Pieces of memory that one write may gather. */
const VECTOR_PIECES_MAX = 4;
const RETRIES_MAX = 100;
const TWO_POW_32 = 2 ** 32;

/** Why io_uring_setup may refuse; each means that another backend has to serve. */
const REFUSALS: Readonly<Record<number, string>> = {
  [ENOSYS]: 'the kernel has no io_uring, or a filter hides it',
  [EPERM]: 'not permitted: sysctl kernel.io_uring_disabled, or a seccomp filter such as a container\'s',
  [EOPNOTSUPP]: 'the kernel or its sandbox refuses it',
  [ENOMEM]: 'not enough lockable memory (RLIMIT_MEMLOCK)',
};

const LINK_FLAG: Readonly<Record<Link, number>> = { none: 0, success: abi.SQE_FLAG.IO_LINK, always: abi.SQE_FLAG.IO_HARDLINK };

interface Mapping {
  readonly address: number;
  readonly bytes: number;
}

interface Instance {
  readonly descriptor: number;
  readonly params: Uint32Array;
  readonly flagNames: readonly string[];
}

/** Set-up flags from the best to none; older kernels answer EINVAL to those they do not know. */
function flagChoices({ sqpoll, reaping }: RingOptions): readonly (readonly (keyof typeof abi.SETUP)[])[] {
  if (sqpoll === true) return [['SQPOLL', 'SINGLE_ISSUER'], ['SQPOLL']];
  const cooperative = [['COOP_TASKRUN', 'TASKRUN_FLAG', 'SINGLE_ISSUER'], ['COOP_TASKRUN', 'TASKRUN_FLAG'], []] as const;
  // Completions appear only while this thread waits for them: no interruption elsewhere, but nothing for an event loop.
  return reaping === 'eventLoop' ? cooperative : [['DEFER_TASKRUN', 'SINGLE_ISSUER'], ...cooperative];
}

function setUp(options: RingOptions): Instance {
  const choices = flagChoices(options);
  for (const names of choices) {
    const params = new Uint32Array(new SharedArrayBuffer(abi.PARAMS_WORDS * 4));
    params[abi.PARAMS.flags] = names.reduce((flags, name) => flags | abi.SETUP[name], abi.SETUP.CLAMP);
    params[abi.PARAMS.sqThreadIdle] = SQPOLL_IDLE_MS;
    const descriptor = setup(abi.SYS_IO_URING_SETUP, options.entries ?? ENTRIES_DEFAULT, params);
    if (descriptor >= 0) return { descriptor, params, flagNames: names };
    const errno = lastErrno();
    if (errno === EINVAL) continue;
    throw new NotSupportedError('io_uring', `io_uring_setup answered ${errnoName(errno)}: ${REFUSALS[errno] ?? 'refused'}`);
  }
  throw new NotSupportedError('io_uring', 'io_uring_setup answered EINVAL to every set of flags');
}

/** Features come with a ring, the list of operations from IORING_REGISTER_PROBE (Linux 5.6). */
export function probeRing(): RingAbilities {
  let instance: Instance;
  try {
    instance = setUp({ entries: 1 });
  } catch (error) {
    if (error instanceof NotSupportedError) return { available: false, reason: error.reason };
    throw error;
  }
  const { descriptor, params, flagNames } = instance;
  try {
    const bits = word(params, abi.PARAMS.features);
    const features = Array.from({ length: 32 }, (_, bit) => bit).filter((bit) => (bits & (1 << bit)) !== 0).map((bit) => abi.FEATURE_NAMES[bit] ?? `${bit}`);
    const operations = supportedOperations(descriptor);
    if (typeof operations === 'number') return { available: false, reason: `io_uring_register answered ${errnoName(operations)} to IORING_REGISTER_PROBE` };
    return { available: true, features, operations, setupFlags: flagNames };
  } finally {
    close(descriptor);
  }
}

/** Their names, or the error number of the call. */
function supportedOperations(descriptor: number): readonly string[] | number {
  const { operations, operationBytes, operationFlags, operationsMax, supported, count } = abi.PROBE;
  const probe = new Uint8Array(new SharedArrayBuffer(operations + operationsMax * operationBytes));
  if (register(abi.SYS_IO_URING_REGISTER, descriptor, abi.REGISTER.PROBE, probe, operationsMax) < 0) return lastErrno();
  return Array.from({ length: probe[count] ?? 0 }, (_, index) => operations + index * operationBytes)
    .filter((at) => ((probe[at + operationFlags] ?? 0) & supported) !== 0)
    .map((at) => abi.OPERATION_NAMES[probe[at] ?? 0] ?? `${probe[at]}`);
}

function word(array: Uint32Array | Int32Array, index: number): number {
  const value = array[index];
  assert(value !== undefined, 'a ring index lies inside its mapping');
  return value;
}

export class IoUringRing implements Ring {
  readonly remains: RingRemains;
  readonly capacity: number;
  readonly setupFlags: readonly string[];
  readonly fileSlots = FILE_SLOTS;
  readonly bufferSlots: number;

  readonly #descriptor: number;
  readonly #sqpoll: boolean;
  /** Word indices of the hot fields inside the ring mapping. */
  readonly #at: { sqTail: number; sqFlags: number; cqHead: number; cqTail: number; cqes: number };
  readonly #sqMask: number;
  readonly #cqMask: number;

  /** Views over memory that the kernel maps; emptied at close, for touching them later would crash the process. */
  #ring: Int32Array;
  #sqes: Uint32Array;
  #tail: number;
  #queued = 0;
  #inFlight = 0;
  #closed = false;
  /** Argument of a bounded wait; native code reads it during the call only. */
  readonly #waitArgument = new BigUint64Array(new SharedArrayBuffer(128));
  readonly #waitTime = new BigInt64Array(new SharedArrayBuffer(128));
  readonly #waitAddress: number;

  /** Completion of the operation whose user_data is the index. */
  readonly #completions: (Completion | undefined)[];
  readonly #freeTokens: number[];
  /** struct iovec, {@link VECTOR_PIECES_MAX} for each token. */
  readonly #vectorMemory: NativeMemory;
  readonly #vectors: BigUint64Array;

  static create(options: RingOptions = {}): IoUringRing {
    const instance = setUp(options);
    const ring = new IoUringRing(instance);
    try {
      ring.#registerEmptyFileTable();
    } catch (error) {
      ring.close();
      throw error;
    }
    return ring;
  }

  private constructor({ descriptor, params, flagNames }: Instance) {
    const p = (name: keyof typeof abi.PARAMS): number => word(params, abi.PARAMS[name]);
    this.#descriptor = descriptor;
    this.setupFlags = flagNames;
    this.#sqpoll = flagNames.includes('SQPOLL');
    const sqEntries = p('sqEntries');
    const cqEntries = p('cqEntries');
    const needed = abi.FEATURE.SINGLE_MMAP | abi.FEATURE.NODROP | abi.FEATURE.EXT_ARG;
    if ((p('features') & needed) !== needed) {
      close(descriptor);
      throw new NotSupportedError('io_uring', 'the kernel is older than 5.11 (no SINGLE_MMAP, NODROP or EXT_ARG)');
    }
    this.#waitArgument[abi.GETEVENTS_ARG.timespec / 8] = BigInt(addressOf(new Uint8Array(this.#waitTime.buffer)));
    this.#waitAddress = addressOf(new Uint8Array(this.#waitArgument.buffer));
    const ringBytes = Math.max(p('sqArray') + sqEntries * 4, p('cqCqes') + cqEntries * abi.CQE_BYTES);
    const sqeBytes = sqEntries * abi.SQE_BYTES;
    const ringMapping = mapRing(descriptor, ringBytes, abi.OFFSET_SQ_RING);
    const sqeMapping = mapRing(descriptor, sqeBytes, abi.OFFSET_SQES);
    this.remains = { descriptor, mappings: [ringMapping, sqeMapping] };
    this.#ring = new Int32Array(viewOf(ringMapping.address, ringBytes));
    this.#sqes = new Uint32Array(viewOf(sqeMapping.address, sqeBytes));
    this.#at = {
      sqTail: p('sqTail') / 4,
      sqFlags: p('sqFlags') / 4,
      cqHead: p('cqHead') / 4,
      cqTail: p('cqTail') / 4,
      cqes: p('cqCqes') / 4,
    };
    this.#sqMask = word(this.#ring, p('sqMask') / 4);
    this.#cqMask = word(this.#ring, p('cqMask') / 4);
    this.#tail = Atomics.load(this.#ring, this.#at.sqTail);
    // Slot i of the submission ring always names SQE i: they are filled in order.
    for (let i = 0; i < sqEntries; i++) this.#ring[p('sqArray') / 4 + i] = i;
    // Never more in flight than the submission ring holds: the completion ring is larger, so it cannot overflow.
    assert(cqEntries >= sqEntries, 'the completion ring is no smaller than the submission ring');
    this.capacity = sqEntries;
    this.#completions = new Array<Completion | undefined>(sqEntries).fill(undefined);
    this.#freeTokens = Array.from({ length: sqEntries }, (_, i) => sqEntries - 1 - i);
    this.#vectorMemory = new NativeMemory(sqEntries * VECTOR_PIECES_MAX * abi.IOVEC_BYTES, 64);
    this.#vectors = new BigUint64Array(this.#vectorMemory.buffer, this.#vectorMemory.bytes.byteOffset, sqEntries * VECTOR_PIECES_MAX * 2);
    this.bufferSlots = this.#registerEmptyBufferTable();
  }

  get inFlight(): number {
    return this.#inFlight;
  }

  write(file: RingFile, address: number, bytes: number, offset: number, bufferSlot: number, dsync: boolean, link: Link, done: Completion): void {
    const opcode = bufferSlot < 0 ? abi.OP.WRITE : abi.OP.WRITE_FIXED;
    this.#queue(opcode, link, file, offset, address, bytes, dsync ? abi.RWF_DSYNC : 0, bufferSlot, done);
  }

  writeVector(file: RingFile, pieces: readonly MemoryPiece[], offset: number, dsync: boolean, link: Link, done: Completion): void {
    assert(pieces.length > 0 && pieces.length <= VECTOR_PIECES_MAX, 'a vector has one to four pieces');
    // The vector lies in the place of the operation's token, which stays its own until the completion.
    const place = (this.#freeTokens.at(-1) ?? 0) * VECTOR_PIECES_MAX;
    pieces.forEach(({ address, bytes }, i) => {
      this.#vectors[(place + i) * 2] = BigInt(address);
      this.#vectors[(place + i) * 2 + 1] = BigInt(bytes);
    });
    const address = this.#vectorMemory.address + place * abi.IOVEC_BYTES;
    this.#queue(abi.OP.WRITEV, link, file, offset, address, pieces.length, dsync ? abi.RWF_DSYNC : 0, -1, done);
  }

  read(file: RingFile, address: number, bytes: number, offset: number, bufferSlot: number, link: Link, done: Completion): void {
    const opcode = bufferSlot < 0 ? abi.OP.READ : abi.OP.READ_FIXED;
    this.#queue(opcode, link, file, offset, address, bytes, 0, bufferSlot, done);
  }

  syncData(file: RingFile, link: Link, done: Completion): void {
    this.#queue(abi.OP.FSYNC, link, file, 0, 0, 0, abi.FSYNC_DATASYNC, -1, done);
  }

  syncFull(file: RingFile, link: Link, done: Completion): void {
    this.#queue(abi.OP.FSYNC, link, file, 0, 0, 0, 0, -1, done);
  }

  /** fallocate(2) with mode 0: reserves blocks and extends the size. */
  allocate(file: RingFile, offset: number, bytes: number, done: Completion): void {
    // IORING_OP_FALLOCATE carries the length in `addr` and the mode in `len`.
    this.#queue(abi.OP.FALLOCATE, 'none', file, offset, bytes, 0, 0, -1, done);
  }

  #queue(opcode: number, link: Link, file: RingFile, offset: number, address: number, length: number, flags: number, bufferSlot: number, done: Completion): void {
    assert(!this.#closed, 'a closed ring takes no operation');
    const token = this.#freeTokens.pop();
    assert(token !== undefined, 'no more operations than the ring holds are in flight');
    assert(length <= 0x7fffffff, 'a transfer fits its 32-bit result');
    this.#completions[token] = done;
    const fixed = file.slot >= 0;
    const sqes = this.#sqes;
    const at = (this.#tail & this.#sqMask) * abi.SQE_WORDS;
    sqes.fill(0, at, at + abi.SQE_WORDS);
    sqes[at + abi.SQE.opcodeAndFlags] = opcode | (((fixed ? abi.SQE_FLAG.FIXED_FILE : 0) | LINK_FLAG[link]) << 8);
    sqes[at + abi.SQE.descriptor] = fixed ? file.slot : file.descriptor;
    sqes[at + abi.SQE.offsetLow] = offset >>> 0;
    sqes[at + abi.SQE.offsetHigh] = Math.floor(offset / TWO_POW_32);
    sqes[at + abi.SQE.addressLow] = address >>> 0;
    sqes[at + abi.SQE.addressHigh] = Math.floor(address / TWO_POW_32);
    sqes[at + abi.SQE.length] = length;
    sqes[at + abi.SQE.operationFlags] = flags;
    sqes[at + abi.SQE.userDataLow] = token;
    if (bufferSlot >= 0) sqes[at + abi.SQE.bufferIndex] = bufferSlot;
    this.#tail = (this.#tail + 1) | 0;
    // The kernel must see the whole SQE before the tail that covers it.
    Atomics.store(this.#ring, this.#at.sqTail, this.#tail);
    this.#queued++;
    this.#inFlight++;
  }

  submit(): void {
    if (this.#sqpoll) {
      this.#queued = 0;
      // The flag must be read after the tail was stored: the kernel's thread sets it before it looks at the tail again.
      if ((Atomics.load(this.#ring, this.#at.sqFlags) & abi.SQ_FLAG.NEED_WAKEUP) !== 0) this.#enter(0, abi.ENTER.SQ_WAKEUP);
      return;
    }
    let idle = 0;
    while (this.#queued > 0) {
      const taken = this.#enter(this.#queued, 0);
      this.#queued -= taken;
      idle = taken > 0 ? 0 : idle + 1;
      if (idle > RETRIES_MAX) throw ioError(EAGAIN, 'io_uring_enter');
      // The kernel lacks resources until some completions are taken.
      if (taken === 0) this.reap();
    }
  }

  /** io_uring_enter(2); answers 0 where the call may simply be made again. */
  #enter(count: number, flags: number): number {
    const taken = enter(abi.SYS_IO_URING_ENTER, this.#descriptor, count, 0, flags, 0, 0);
    if (taken >= 0) return taken;
    const errno = lastErrno();
    if (errno === EINTR || errno === EAGAIN || errno === EBUSY) return 0;
    throw ioError(errno, 'io_uring_enter');
  }

  reap(): number {
    if (this.#closed) return 0;
    const pending = abi.SQ_FLAG.TASKRUN | abi.SQ_FLAG.CQ_OVERFLOW;
    // With TASKRUN_FLAG the kernel says when completions wait for this thread to enter it.
    if ((Atomics.load(this.#ring, this.#at.sqFlags) & pending) !== 0) this.#enter(0, abi.ENTER.GETEVENTS);
    let count = 0;
    let head = Atomics.load(this.#ring, this.#at.cqHead);
    // The tail must be read before the CQEs it covers; the kernel stores it after them.
    while (head !== Atomics.load(this.#ring, this.#at.cqTail)) {
      const at = this.#at.cqes + (head & this.#cqMask) * (abi.CQE_BYTES / 4);
      const token = word(this.#ring, at + abi.CQE.userDataLow);
      const result = word(this.#ring, at + abi.CQE.result);
      head = (head + 1) | 0;
      // Gives the slot back; both fields of the CQE were read before this store.
      Atomics.store(this.#ring, this.#at.cqHead, head);
      const done = this.#completions[token];
      assert(done !== undefined, 'every completion belongs to an operation in flight');
      this.#completions[token] = undefined;
      this.#freeTokens.push(token);
      this.#inFlight--;
      count++;
      done(result);
      // `done` may have closed the ring.
      if (this.#ring.length === 0) break;
    }
    return count;
  }

  wait(timeoutUs: number): void {
    this.#waitTime[0] = BigInt(Math.floor(timeoutUs / 1e6));
    this.#waitTime[1] = BigInt(Math.floor(timeoutUs % 1e6) * 1000);
    const flags = abi.ENTER.GETEVENTS | abi.ENTER.EXT_ARG;
    const result = enter(abi.SYS_IO_URING_ENTER, this.#descriptor, 0, 1, flags, this.#waitAddress, abi.GETEVENTS_ARG.bytes);
    if (result >= 0) return;
    const errno = lastErrno();
    if (errno !== ETIME && errno !== EINTR && errno !== EAGAIN && errno !== EBUSY) throw ioError(errno, 'io_uring_enter');
  }

  #registerEmptyFileTable(): void {
    const table = new Int32Array(new SharedArrayBuffer(FILE_SLOTS * 4)).fill(-1);
    const result = register(abi.SYS_IO_URING_REGISTER, this.#descriptor, abi.REGISTER.FILES, table, FILE_SLOTS);
    if (result < 0) throw ioError(lastErrno(), 'io_uring_register');
  }

  /** Answers the number of slots: 0 on kernels before 5.19, where plain writes serve. */
  #registerEmptyBufferTable(): number {
    const argument = new DataView(new SharedArrayBuffer(Math.max(abi.RSRC_REGISTER_BYTES, 128)));
    argument.setUint32(0, BUFFER_SLOTS, true);
    argument.setUint32(4, abi.RSRC_REGISTER_SPARSE, true);
    const bytes = new Uint8Array(argument.buffer);
    const result = register(abi.SYS_IO_URING_REGISTER, this.#descriptor, abi.REGISTER.BUFFERS2, bytes, abi.RSRC_REGISTER_BYTES);
    return result < 0 ? 0 : BUFFER_SLOTS;
  }

  setFile(slot: number, descriptor: number): void {
    assert(slot >= 0 && slot < FILE_SLOTS, 'a file slot exists');
    const value = new Int32Array(new SharedArrayBuffer(128));
    value[0] = descriptor;
    const argument = new DataView(new SharedArrayBuffer(128));
    argument.setUint32(0, slot, true);
    argument.setBigUint64(8, BigInt(addressOf(new Uint8Array(value.buffer))), true);
    const view = new Uint8Array(argument.buffer);
    const result = whileHeld(value, () => register(abi.SYS_IO_URING_REGISTER, this.#descriptor, abi.REGISTER.FILES_UPDATE, view, 1));
    if (result < 0) throw ioError(lastErrno(), 'io_uring_register');
  }

  setBuffer(slot: number, address: number, bytes: number): void {
    assert(slot >= 0 && slot < this.bufferSlots, 'a buffer slot exists');
    const iovec = new DataView(new SharedArrayBuffer(128));
    iovec.setBigUint64(0, BigInt(address), true);
    iovec.setBigUint64(8, BigInt(bytes), true);
    const argument = new DataView(new SharedArrayBuffer(128));
    argument.setUint32(0, slot, true);
    argument.setBigUint64(8, BigInt(addressOf(new Uint8Array(iovec.buffer))), true);
    argument.setUint32(24, 1, true);
    const view = new Uint8Array(argument.buffer);
    const result = whileHeld(iovec, () => register(abi.SYS_IO_URING_REGISTER, this.#descriptor, abi.REGISTER.BUFFERS_UPDATE, view, abi.RSRC_UPDATE2_BYTES));
    if (result < 0) throw ioError(lastErrno(), 'io_uring_register');
  }

  close(): void {
    if (this.#closed) return;
    assert(this.#inFlight === 0, 'nothing is in flight when a ring closes');
    this.#closed = true;
    this.#ring = new Int32Array(0);
    this.#sqes = new Uint32Array(0);
    releaseRing(this.remains);
  }
}

/** Unmaps and closes. Views over the mappings must be gone. */
export function releaseRing({ descriptor, mappings }: RingRemains): void {
  for (const mapping of mappings) munmap(mapping.address, mapping.bytes);
  if (close(descriptor) < 0) throw ioError(lastErrno(), 'close');
}

function mapRing(descriptor: number, bytes: number, offset: number): Mapping {
  const address = mmap(0, bytes, PROT_READ_WRITE, MAP_SHARED_POPULATE, descriptor, offset);
  if (address === -1) {
    const errno = lastErrno();
    close(descriptor);
    throw ioError(errno, 'mmap');
  }
  if (!Number.isSafeInteger(address)) throw new InternalError('a mapping has an address beyond 2^53');
  return { address, bytes };
}
