/** Tidemark: a journal that a Node.js server can await, and the scheduler it runs on. */
export { Journal } from './journal.js';
export type { JournalBackend, JournalStats, OpenReport, SegmentStats, SharedJournalHandle, Submission } from './journal-types.js';
export type { AckLevel } from './appender.js';
export type { JournalOptions, NewSegments } from './journal-options.js';
export { JournalReader, type JournalReaderOptions, type JournalRecord, type ReaderFollowOptions } from './reader.js';
export type { JournalSegment } from './reading/source.js';
export type { Layout, TrimOptions } from './storage.js';
export type { FollowOptions } from './follow.js';
export type { RepairOptions } from './repair.js';
export { IoUring, type FixedRange, type IoUringOptions } from './io-uring.js';
export { defaultScheduler, IoScheduler, type Backend, type IoSchedulerOptions } from './scheduler.js';
export type { NvmeFlushed, NvmeIdentified, NvmeIdentity, PowerLossProtection, StorageProbe } from '../workers/files/device.js';
export type { BlockDevice, BlockDeviceKind, DeviceAtomicWrite, FileAtomicWrite, Mount, StorageDescription } from '../platform/interface/device.js';
export type { Fact } from '../platform/fact.js';
export type { NvmeAtomicBoundary, NvmeAtomicUnit, NvmeController, NvmeNamespace } from '../platform/nvme-identify.js';
export {
  InternalError,
  InvalidArgumentError,
  IoError,
  JournalError,
  NotSupportedError,
  TidemarkError,
  type IoErrorCode,
  type JournalErrorCode,
} from '../platform/errors.js';
export type { Tail, TailState } from '../workers/protocol/frame-walk.js';
export type { RepairedRange, RepairFinding, RepairReport, TornTail } from '../workers/protocol/messages.js';
export type { RecordBytes } from '../workers/protocol/log-buffer.js';
export type { Advice, DirectIo, RingAbilities } from '../platform/platform.js';
