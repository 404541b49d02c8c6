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
export type { Advice } from '../platform/platform.js';
export type { AttributeMode, SetXattrOptions, XattrChangeOptions, XattrNames, XattrOptions, XattrRemoved, XattrSet, XattrValue } from './files/attributes.js';
export type {
  ChmodOptions, DeviceNumber, FileAttribute, FileKind, ModeSet, NewTimes, SetTimesOptions, Statx, StatxOptions, TimeInput, TimesSet,
} from './files/metadata.js';
export type { ChownOptions, OwnerPreserved, OwnerSet } from './files/ownership.js';
export type { MkfifoOptions, MknodOptions, NodeMade, SpecialKind } from './files/special.js';
export type { CountOptions, CountResult, FindOptions, ScanEntry, ScanOptions, WalkOptions } from './files/scan.js';
export type {
  AtResult, DirectoryHandle, DirectoryListing, LinkAtOptions, MakeDirectoryAtOptions, OpenAtOptions, RenameAtOptions,
} from './files/directory-handle.js';
export type { DirectoryEntry, EntryKind } from '../platform/interface/directories.js';
export type { RenameMode } from '../platform/interface/names.js';
export type { Files } from './files/files.js';
export type { ScopedFiles } from './files/scoped.js';
