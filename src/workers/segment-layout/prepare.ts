/**
 * Makes a segment ready: space, zeros where there is time for them, header, sync, rename into place, directory sync.
 * Runs in a file worker, ahead of need.
 *
 * Overwriting written blocks syncs two to eight times faster than growing a file, but zeros cost the disk a second write
 * of everything. So a trimmed segment is used again where there is one; a new one is written with zeros while nobody
 * waits for it; and as soon as somebody does, what is left of it stays reserved space.
 */
import { join } from 'node:path';
import { ENOENT, inFile } from '../../platform/errno.js';
import { assert, IoError, JournalError, NotSupportedError } from '../../platform/errors.js';
import { NativeMemory } from '../../platform/ffi.js';
import type { Platform } from '../../platform/platform.js';
import { ControlBlock } from '../protocol/control-block.js';
import { LOG_BUFFER_ALIGNMENT } from '../protocol/log-buffer.js';
import { PACE, type PreparedSegment, type PrepareSegmentTask, type SegmentMaking } from '../protocol/messages.js';
import { decodeSegmentHeader, encodeSegmentHeader, segmentName, SEGMENT_HEADER_BYTES, SPARE_SUFFIX } from '../protocol/segment.js';
import { discard, lockPatiently, removeIfThere, renameFile } from '../opening.js';
import { checkDirectory } from './directory.js';

/** Zeros are written in steps of this size: whoever is in a hurry waits for no more. */
const STEP_BYTES = 1024 * 1024;

export function prepareSegment(platform: Platform, task: PrepareSegmentTask): PreparedSegment {
  const { making, base } = task;
  checkDirectory(platform, making.directory, making.lockDescriptor);
  const file = join(making.directory, task.spare ?? `${segmentName(base)}${SPARE_SUFFIX}`);
  try {
    return inFile(file, () => prepareFile(platform, task, file));
  } catch (error) {
    // How much of it has reached the disk is unknown, and no second sync would tell: the next attempt begins with a new file.
    discard(platform, file);
    throw error;
  }
}

function prepareFile(platform: Platform, task: PrepareSegmentTask, file: string): PreparedSegment {
  const { making, base } = task;
  if (task.spare !== undefined && recycle(platform, task, file)) {
    return { segment: putInPlace(platform, making, base, file), origin: 'recycled', zeroedBytes: 0 };
  }
  const zeroedBytes = make(platform, task, file);
  const whole = zeroedBytes === making.segmentBytes - SEGMENT_HEADER_BYTES;
  return { segment: putInPlace(platform, making, base, file), origin: whole ? 'zeroed' : 'plain', zeroedBytes };
}

/** Gives a spare its new header; false when it cannot serve, and was removed. */
function recycle(platform: Platform, { making, base }: PrepareSegmentTask, file: string): boolean {
  let descriptor: number;
  try {
    descriptor = platform.files.open(file, { write: true, noFollow: true });
  } catch (error) {
    if (error instanceof IoError && error.errno === ENOENT) return false;
    throw error;
  }
  try {
    const status = platform.files.status(descriptor, file);
    // Nobody may still write to it: not even the kernel, on behalf of a process that was killed.
    if (status.kind === 'file' && status.sizeBytes === making.segmentBytes && lockPatiently(platform, descriptor, () => true) === undefined) {
      const before = Buffer.alloc(SEGMENT_HEADER_BYTES);
      platform.files.readFully(descriptor, before, 0);
      const verdict = decodeSegmentHeader(before);
      // What an unreadable header leaves behind is unknown, so it counts as an earlier life too.
      writeHeader(platform, descriptor, making, base, verdict.ok ? verdict.header.base : 0);
      platform.files.syncFull(descriptor);
      return true;
    }
  } finally {
    platform.files.close(descriptor);
  }
  removeIfThere(platform, file);
  return false;
}

/** Makes a new file of a segment's size; answers how much of its body is written with zeros. */
function make(platform: Platform, task: PrepareSegmentTask, file: string): number {
  const { making } = task;
  removeIfThere(platform, file);
  const descriptor = platform.files.open(file, { write: true, create: true, exclusive: true, mode: making.mode });
  try {
    try {
      platform.files.allocate(descriptor, 0, making.segmentBytes);
    } catch (error) {
      if (!(error instanceof NotSupportedError)) throw error;
      platform.files.truncate(descriptor, making.segmentBytes);
    }
    writeHeader(platform, descriptor, making, task.base, undefined);
    if (making.direct) platform.files.setDirect(descriptor);
    const zeroed = writeZeros(platform, descriptor, task);
    platform.files.syncFull(descriptor);
    return zeroed;
  } finally {
    platform.files.close(descriptor);
  }
}

function writeZeros(platform: Platform, descriptor: number, task: PrepareSegmentTask): number {
  const pace = new Int32Array(task.pace);
  const control = new ControlBlock(task.control);
  const limit = Math.min(task.zeroBytes, task.making.segmentBytes - SEGMENT_HEADER_BYTES);
  const { bytes: zeros } = new NativeMemory(Math.min(STEP_BYTES, Math.max(limit, LOG_BUFFER_ALIGNMENT)), LOG_BUFFER_ALIGNMENT);
  let done = 0;
  let reserved = control.reservedLsn;
  while (done < limit) {
    const wish = Atomics.load(pace, 0);
    if (wish === PACE.hurry) break;
    if (wish === PACE.abandon) throw new JournalError('TIDEMARK_CLOSED', 'the journal is being closed', { path: task.making.directory });
    const startedMs = performance.now();
    const bytes = Math.min(zeros.length, limit - done);
    platform.files.writeFully(descriptor, zeros.subarray(0, bytes), SEGMENT_HEADER_BYTES + done);
    done += bytes;
    const now = control.reservedLsn;
    // While the log grows, the disk is its own for as long as a step took, three times over.
    if (now !== reserved) Atomics.wait(pace, 0, PACE.calm, 3 * (performance.now() - startedMs));
    reserved = now;
  }
  return done;
}

/** The segment that a finished file becomes, opened to be written, and locked. */
function putInPlace(platform: Platform, making: SegmentMaking, base: number, file: string): { base: number; descriptor: number } {
  const name = join(making.directory, segmentName(base));
  const descriptor = platform.files.open(file, { write: true, noFollow: true, dsync: making.dsync });
  try {
    const holder = lockPatiently(platform, descriptor, () => true);
    if (holder !== undefined) throw new JournalError('TIDEMARK_LOCKED', `segment '${file}' is being written in ${holder.description}`, { path: file });
    if (making.direct) platform.files.setDirect(descriptor);
    // Zeros took their time.
    checkDirectory(platform, making.directory, making.lockDescriptor);
    renameFile(platform, file, name);
    inFile(making.directory, () => {
      platform.files.syncFull(making.lockDescriptor);
    });
    return { base, descriptor };
  } catch (error) {
    platform.files.close(descriptor);
    throw error;
  }
}

function writeHeader(platform: Platform, descriptor: number, making: SegmentMaking, base: number, earlierBase: number | undefined): void {
  const { journalId, segmentBytes, windowBytes } = making;
  const header = encodeSegmentHeader({ journalId, base, segmentBytes, preparedMs: Date.now(), earlierBase, windowBytes });
  assert(header.length === SEGMENT_HEADER_BYTES, 'a header fills its block');
  platform.files.writeFully(descriptor, header, 0);
}
