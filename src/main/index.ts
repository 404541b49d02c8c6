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
export type { Files } from './files/files.js';
export type { SupportedOperations } from './files/supports.js';
export type { OperationOptions } from './files/caller.js';
export { FileHandle, type DirectState } from './files/file-handle.js';
export type { SharedHandle } from './files/handle.js';
export type { DurabilityOperations, SyncBarrierResult, SyncDataResult, SyncFullResult } from './files/durability.js';
export type { OpenOperations, OpenOrCreateOptions, OpenReadOptions, OpenWriteOptions } from './files/open.js';
export {
  alignedBuffer,
  type AppendOptions,
  type FileBytes,
  type OverwriteMethod,
  type ReadAllOptions,
  type ReadOptions,
  type ReadRangeOptions,
  type ReadResult,
  type ReadVectorResult,
  type TransferOperations,
  type TransferOptions,
  type TransferPrimitive,
  type WriteAllOptions,
  type WriteAllResult,
  type WriteAtOptions,
  type WriteMethod,
  type WriteOptions,
  type WriteResult,
  type WriteSync,
} from './files/transfer.js';
export type { NvmeFlushed, NvmeIdentified, NvmeIdentity, PowerLossProtection, StorageProbe } from '../workers/files/device.js';
export type { BlockDevice, BlockDeviceKind, DeviceAtomicWrite, FileAtomicWrite, Mount, StorageDescription } from '../platform/interface/device.js';
export type { Fact } from '../platform/fact.js';
export type { NvmeAtomicBoundary, NvmeAtomicUnit, NvmeController, NvmeNamespace } from '../platform/nvme-identify.js';
export {
  BatchError,
  InternalError,
  InvalidArgumentError,
  IoError,
  JournalError,
  NotSupportedError,
  OperationError,
  TidemarkError,
  type BatchKind,
  type IoErrorCode,
  type JournalErrorCode,
  type OperationErrorCode,
} from '../platform/errors.js';
export type { Tail, TailState } from '../workers/protocol/frame-walk.js';
export type { RepairedRange, RepairFinding, RepairReport, TornTail } from '../workers/protocol/messages.js';
export type { RecordBytes } from '../workers/protocol/log-buffer.js';
export type { Advice, DirectIo, RingAbilities } from '../platform/platform.js';
export type { CopyFileOptions, CopyFileResult, CopyMethod, CopyRangeOptions, CopyRangeResult, CopyTally } from './files/copy.js';
export type { AdviseOptions, WriteLifetime } from './files/hints.js';
export type { FileRange, PreallocateOptions, SpaceOptions, SpacePrimitive, SpaceResult, ZeroRangeOptions } from './files/space.js';
export type { AttributeMode, SetXattrOptions, XattrChangeOptions, XattrNames, XattrOptions, XattrRemoved, XattrSet, XattrValue } from './files/attributes.js';
export type {
  ChmodOptions, DeviceNumber, FileAttribute, FileKind, ModeSet, NewTimes, SetTimesOptions, Statx, StatxOptions, TimeInput, TimesSet,
} from './files/metadata.js';
export type { ChownOptions, OwnerPreserved, OwnerSet } from './files/ownership.js';
export type { MkfifoOptions, MknodOptions, NodeMade, SpecialKind } from './files/special.js';
export type { Batch, BatchResult, BatchStepResult, CommitOptions } from './files/batch.js';
export type { MakeDirectoryOptions, MakeDirectoryResult, NameOptions, NameResult, ReadlinkResult, RenameResult } from './files/names.js';
export type { Preserve, RemoveLeftoversResult, ReplaceOptions, ReplaceResult } from './files/replace.js';
export type { CountOptions, CountResult, FindOptions, ScanEntry, ScanOptions, WalkOptions } from './files/scan.js';
export type {
  AtResult, DirectoryHandle, DirectoryListing, LinkAtOptions, MakeDirectoryAtOptions, OpenAtOptions, RenameAtOptions,
} from './files/directory-handle.js';
export type { DirectoryEntry, EntryKind } from '../platform/interface/directories.js';
export type { RenameMode } from '../platform/interface/names.js';
export type { ScopedFiles } from './files/scoped.js';
