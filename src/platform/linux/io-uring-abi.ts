/**
 * The kernel's binary interface of io_uring: numbers and offsets from include/uapi/linux/io_uring.h.
 *
 * The system call numbers are the same on every architecture. Offsets are in bytes unless a name says words (32 bits).
 */
import { assert } from '../errors.js';

export const SYS_IO_URING_SETUP = 425;
export const SYS_IO_URING_ENTER = 426;
export const SYS_IO_URING_REGISTER = 427;

export const SETUP = {
  SQPOLL: 1 << 1,
  CLAMP: 1 << 4,
  COOP_TASKRUN: 1 << 8,
  TASKRUN_FLAG: 1 << 9,
  SINGLE_ISSUER: 1 << 12,
  DEFER_TASKRUN: 1 << 13,
} as const;

export const FEATURE = {
  SINGLE_MMAP: 1 << 0,
  NODROP: 1 << 1,
  EXT_ARG: 1 << 8,
} as const;

export const ENTER = { GETEVENTS: 1 << 0, SQ_WAKEUP: 1 << 1, EXT_ARG: 1 << 3 } as const;

/** struct io_uring_getevents_arg: sigmask u64, sigmask_sz u32, pad u32, ts u64. */
export const GETEVENTS_ARG = { timespec: 16, bytes: 8 + 4 + 4 + 8 } as const;

/** Flags that the kernel keeps in the submission ring. */
export const SQ_FLAG = { NEED_WAKEUP: 1 << 0, CQ_OVERFLOW: 1 << 1, TASKRUN: 1 << 2 } as const;

export const OP = { WRITEV: 2, FSYNC: 3, READ_FIXED: 4, WRITE_FIXED: 5, FALLOCATE: 17, READ: 22, WRITE: 23 } as const;

export const SQE_FLAG = { FIXED_FILE: 1 << 0, IO_LINK: 1 << 2, IO_HARDLINK: 1 << 3 } as const;

export const FSYNC_DATASYNC = 1;
/** preadv2(2): the write is durable at completion, as with O_DSYNC. */
export const RWF_DSYNC = 2;

export const REGISTER = {
  FILES: 2,
  FILES_UPDATE: 6,
  PROBE: 8,
  BUFFERS2: 15,
  BUFFERS_UPDATE: 16,
} as const;
/** struct io_uring_probe: last_op u8, ops_len u8, 14 bytes, then per operation: op u8, resv u8, flags u16, resv u32. */
export const PROBE = { count: 1, operations: 16, operationBytes: 8, operationFlags: 2, supported: 1 << 0, operationsMax: 256 } as const;

/** IORING_FEAT_* by bit. */
export const FEATURE_NAMES: readonly string[] = [
  'SINGLE_MMAP', 'NODROP', 'SUBMIT_STABLE', 'RW_CUR_POS', 'CUR_PERSONALITY', 'FAST_POLL', 'POLL_32BITS', 'SQPOLL_NONFIXED', 'EXT_ARG',
  'NATIVE_WORKERS', 'RSRC_TAGS', 'CQE_SKIP', 'LINKED_FILE', 'REG_REG_RING', 'RECVSEND_BUNDLE', 'MIN_TIMEOUT', 'RW_ATTR', 'NO_IOWAIT',
];

/** IORING_OP_* by number. */
export const OPERATION_NAMES: readonly string[] = [
  'NOP', 'READV', 'WRITEV', 'FSYNC', 'READ_FIXED', 'WRITE_FIXED', 'POLL_ADD', 'POLL_REMOVE', 'SYNC_FILE_RANGE', 'SENDMSG', 'RECVMSG',
  'TIMEOUT', 'TIMEOUT_REMOVE', 'ACCEPT', 'ASYNC_CANCEL', 'LINK_TIMEOUT', 'CONNECT', 'FALLOCATE', 'OPENAT', 'CLOSE', 'FILES_UPDATE',
  'STATX', 'READ', 'WRITE', 'FADVISE', 'MADVISE', 'SEND', 'RECV', 'OPENAT2', 'EPOLL_CTL', 'SPLICE', 'PROVIDE_BUFFERS', 'REMOVE_BUFFERS',
  'TEE', 'SHUTDOWN', 'RENAMEAT', 'UNLINKAT', 'MKDIRAT', 'SYMLINKAT', 'LINKAT', 'MSG_RING', 'FSETXATTR', 'SETXATTR', 'FGETXATTR',
  'GETXATTR', 'SOCKET', 'URING_CMD', 'SEND_ZC', 'SENDMSG_ZC', 'READ_MULTISHOT', 'WAITID', 'FUTEX_WAIT', 'FUTEX_WAKE', 'FUTEX_WAITV',
  'FIXED_FD_INSTALL', 'FTRUNCATE', 'BIND', 'LISTEN', 'RECV_ZC', 'EPOLL_WAIT', 'READV_FIXED', 'WRITEV_FIXED', 'PIPE',
];

export const RSRC_REGISTER_SPARSE = 1;

export const OFFSET_SQ_RING = 0;
export const OFFSET_SQES = 0x10000000;

/** struct io_uring_params as 32-bit words: 10 scalars, then the two offset tables of 10 words each. */
export const PARAMS_WORDS = 10 + 10 + 10;
export const PARAMS = {
  sqEntries: 0,
  cqEntries: 1,
  flags: 2,
  sqThreadCpu: 3,
  sqThreadIdle: 4,
  features: 5,
  sqHead: 10,
  sqTail: 11,
  sqMask: 12,
  sqEntriesOffset: 13,
  sqFlags: 14,
  sqDropped: 15,
  sqArray: 16,
  cqHead: 20,
  cqTail: 21,
  cqMask: 22,
  cqEntriesOffset: 23,
  cqOverflow: 24,
  cqCqes: 25,
} as const;

/** struct io_uring_sqe as 32-bit words. */
export const SQE = {
  /** opcode u8, flags u8, ioprio u16 */
  opcodeAndFlags: 0,
  descriptor: 1,
  offsetLow: 2,
  offsetHigh: 3,
  addressLow: 4,
  addressHigh: 5,
  length: 6,
  /** rw_flags or fsync_flags, by opcode */
  operationFlags: 7,
  userDataLow: 8,
  userDataHigh: 9,
  /** buf_index u16, personality u16 */
  bufferIndex: 10,
} as const;
export const SQE_BYTES = 64;
export const SQE_WORDS = SQE_BYTES / 4;

/** struct io_uring_cqe as 32-bit words: user_data u64, res s32, flags u32. */
export const CQE = { userDataLow: 0, userDataHigh: 1, result: 2, flags: 3 } as const;
export const CQE_BYTES = 8 + 4 + 4;

/** struct io_uring_rsrc_register, struct io_uring_rsrc_update2, struct io_uring_files_update, struct iovec. */
export const RSRC_REGISTER_BYTES = 4 + 4 + 8 + 8 + 8;
export const RSRC_UPDATE2_BYTES = 4 + 4 + 8 + 8 + 4 + 4;
export const FILES_UPDATE_BYTES = 4 + 4 + 8;
export const IOVEC_BYTES = 8 + 8;

assert(PARAMS_WORDS * 4 === 120, 'struct io_uring_params has 120 bytes');
assert(SQE_WORDS === 16, 'struct io_uring_sqe has 64 bytes');
assert(OPERATION_NAMES[OP.WRITE] === 'WRITE' && OPERATION_NAMES[OP.FALLOCATE] === 'FALLOCATE', 'operations are named by their number');
assert(FEATURE_NAMES[Math.log2(FEATURE.EXT_ARG)] === 'EXT_ARG', 'features are named by their bit');
assert(CQE_BYTES === 16, 'struct io_uring_cqe has 16 bytes');
assert(RSRC_REGISTER_BYTES === 32 && RSRC_UPDATE2_BYTES === 32, 'the resource structures have 32 bytes');
