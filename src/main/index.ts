/** Tidemark: a journal that a Node.js server can await, and the scheduler it runs on. */
export { Journal } from './journal.js';
export type { JournalBackend, JournalStats, OpenReport, SegmentStats, SharedJournalHandle, Submission } from './journal-types.js';
export type { AckLevel } from './appender.js';
export type { JournalOptions } from './journal-options.js';
export type { Layout, TrimOptions } from './storage.js';
export { JournalReader, type JournalReaderOptions, type JournalRecord } from './reader.js';
export type { FollowOptions } from './follow.js';
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
export type { TornTail } from '../workers/protocol/messages.js';
export type { RecordBytes } from '../workers/protocol/log-buffer.js';
export type { Advice } from '../platform/platform.js';
