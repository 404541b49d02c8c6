/** Internals of the built package, which its exports do not show: tests of the data plane need them. */
import type * as ControlBlockModule from '../dist/workers/protocol/control-block.js';
import type * as FrameModule from '../dist/workers/protocol/frame.js';
import type * as FrameWalkModule from '../dist/workers/protocol/frame-walk.js';
import type * as LogBufferModule from '../dist/workers/protocol/log-buffer.js';
import type * as RecoveryModule from '../dist/workers/segment-layout/recovery.js';
import type * as SegmentModule from '../dist/workers/protocol/segment.js';
import type * as SegmentWalkModule from '../dist/workers/protocol/segment-walk.js';
import type * as DirectoryModule from '../dist/workers/segment-layout/directory.js';
import type * as WriteSideModule from '../dist/workers/file-layout/write-side.js';

function internal<T>(file: string): Promise<T> {
  return import(new URL(`../../dist/workers/${file}`, import.meta.url).href) as Promise<T>;
}

export const { ControlBlock, POISON, PRODUCER_SLOTS, STATISTICS } = await internal<typeof ControlBlockModule>('protocol/control-block.js');
export const { LogBuffer, Producer, recordLength } = await internal<typeof LogBufferModule>('protocol/log-buffer.js');
export const { dataLength, findData, walkFrames } = await internal<typeof FrameWalkModule>('protocol/frame-walk.js');

export const { FILE_BATCH_BYTES_MAX, idChecksum } = await internal<typeof FrameModule>('protocol/frame.js');
export const { WriteSide } = await internal<typeof WriteSideModule>('file-layout/write-side.js');

export const { examine, examineBlocking } = await internal<typeof RecoveryModule>('segment-layout/recovery.js');
export const { baseOfName, Geometry, MARK_FLAG, segmentName } = await internal<typeof SegmentModule>('protocol/segment.js');
export const { walkSegment } = await internal<typeof SegmentWalkModule>('protocol/segment-walk.js');
export const { listDirectory } = await internal<typeof DirectoryModule>('segment-layout/directory.js');

/** What NVMe devices tell, and what is made of it. */
export const nvme = {
  ...(await internal<typeof import('../dist/platform/nvme-identify.js')>('../platform/nvme-identify.js')),
  ...(await internal<typeof import('../dist/workers/files/device.js')>('files/device.js')),
};

export const { RingJournal } = await internal<typeof import('../dist/workers/file-layout/ring-journal.js')>('file-layout/ring-journal.js');
/** Native calls and the memory they are given. */
export const ffi = await internal<typeof import('../dist/platform/ffi.js')>('../platform/ffi.js');
/** What file workers do. */
export const { fileOperations } = await internal<typeof import('../dist/workers/files/operations.js')>('files/operations.js');
export const { runOperations } = await internal<typeof import('../dist/workers/operations.js')>('operations.js');
export const { mergeTables } = await internal<typeof import('../dist/workers/operation-tables.js')>('operation-tables.js');

/** The platform that the tests run on. */
export const { linux } = await internal<typeof import('../dist/platform/linux/linux.js')>('../platform/linux/linux.js');

/** Recovery of the file layout. */
export const fileRecovery = await internal<typeof import('../dist/workers/file-layout/recovery.js')>('file-layout/recovery.js');

export type ControlBlock = ControlBlockModule.ControlBlock;
export type SharedLogBuffer = LogBufferModule.SharedLogBuffer;
export type { ReadRequest, Tail, TailState } from '../dist/workers/protocol/frame-walk.js';

/** The segment layout's parts that run in workers, for tests that put them together differently. */
export const segments = {
  ...(await internal<typeof ControlBlockModule>('protocol/control-block.js')),
  ...(await internal<typeof LogBufferModule>('protocol/log-buffer.js')),
  ...(await internal<typeof FrameModule>('protocol/frame.js')),
  ...(await internal<typeof import('../dist/workers/protocol/segment.js')>('protocol/segment.js')),
  ...(await internal<typeof import('../dist/workers/protocol/segment-walk.js')>('protocol/segment-walk.js')),
  ...(await internal<typeof import('../dist/workers/segment-layout/write-side.js')>('segment-layout/write-side.js')),
  ...(await internal<typeof import('../dist/workers/segment-layout/open.js')>('segment-layout/open.js')),
  ...(await internal<typeof import('../dist/workers/segment-layout/prepare.js')>('segment-layout/prepare.js')),
  ...(await internal<typeof import('../dist/workers/segment-layout/directory.js')>('segment-layout/directory.js')),
  ...(await internal<typeof import('../dist/workers/segment-layout/recovery.js')>('segment-layout/recovery.js')),
  ...(await internal<typeof import('../dist/workers/segment-layout/repair-plan.js')>('segment-layout/repair-plan.js')),
  ...(await internal<typeof import('../dist/workers/segment-layout/overlay.js')>('segment-layout/overlay.js')),
  ...(await internal<typeof import('../dist/platform/ffi.js')>('../platform/ffi.js')),
  platform: (await internal<typeof import('../dist/platform/select.js')>('../platform/select.js')).selectPlatform(),
};
export type { Extent } from '../dist/workers/segment-layout/write-side.js';
export type { OpenedSegments } from '../dist/workers/protocol/messages.js';
export type { Finding, LogState, SegmentEntry, SegmentsVerdict } from '../dist/workers/segment-layout/verdict.js';
export type { CommitMark } from '../dist/workers/protocol/segment.js';
export type { SegmentFrame, SegmentRead } from '../dist/workers/protocol/segment-walk.js';
