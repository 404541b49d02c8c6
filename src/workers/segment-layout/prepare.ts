/**
 * Makes a segment ready: space, zeros where there is time for them, header, sync, rename into place, directory sync.
 * Runs in a file worker, ahead of need.
 *
 * Overwriting written blocks syncs two to eight times faster than growing a file, but zeros cost the disk a second write
 * of everything. So a trimmed segment is used again where there is one; a new one is written with zeros while nobody
 * waits for it; and as soon as somebody does, what is left of it stays reserved space.
 */
import { renameSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { ENOENT, fromNodeError, inFile } from '../../platform/errno.js';
import { assert, IoError, JournalError, NotSupportedError } from '../../platform/errors.js';
import { NativeMemory } from '../../platform/ffi.js';
import type { Files } from '../../platform/platform.js';
import { ControlBlock } from '../protocol/control-block.js';
import { LOG_BUFFER_ALIGNMENT } from '../protocol/log-buffer.js';
import { PACE, type PreparedSegment, type PrepareSegmentTask, type SegmentMaking } from '../protocol/messages.js';
import { decodeSegmentHeader, encodeSegmentHeader, segmentName, SEGMENT_HEADER_BYTES, SPARE_SUFFIX } from '../protocol/segment.js';
import { discard, lockPatiently } from '../opening.js';
import { checkDirectory } from './directory.js';

/** Zeros are written in steps of this size: whoever is in a hurry waits for no more. */
const STEP_BYTES = 1024 * 1024;

export function prepareSegment(files: Files, task: PrepareSegmentTask): PreparedSegment {
  const { making, base } = task;
  checkDirectory(files, making.directory, making.lockDescriptor);
  const file = join(making.directory, task.spare ?? `${segmentName(base)}${SPARE_SUFFIX}`);
  try {
    return inFile(file, () => prepareFile(files, task, file));
  } catch (error) {
    // How much of it has reached the disk is unknown, and no second sync would tell: the next attempt begins with a new file.
    discard(file);
    throw error;
  }
}

function prepareFile(files: Files, task: PrepareSegmentTask, file: string): PreparedSegment {
  const { making, base } = task;
  if (task.spare !== undefined && recycle(files, task, file)) {
    return { segment: putInPlace(files, making, base, file), origin: 'recycled', zeroedBytes: 0 };
  }
  const zeroedBytes = make(files, task, file);
  const whole = zeroedBytes === making.segmentBytes - SEGMENT_HEADER_BYTES;
  return { segment: putInPlace(files, making, base, file), origin: whole ? 'zeroed' : 'plain', zeroedBytes };
}

/** Gives a spare its new header; false when it cannot serve, and was removed. */
function recycle(files: Files, { making, base }: PrepareSegmentTask, file: string): boolean {
  let descriptor: number;
  try {
    descriptor = files.open(file, { write: true, noFollow: true });
  } catch (error) {
    if (error instanceof IoError && error.errno === ENOENT) return false;
    throw error;
  }
  try {
    const status = files.status(descriptor, file);
    // Nobody may still write to it: not even the kernel, on behalf of a process that was killed.
    if (status.kind === 'file' && status.sizeBytes === making.segmentBytes && lockPatiently(files, descriptor, () => true) === undefined) {
      const before = Buffer.alloc(SEGMENT_HEADER_BYTES);
      files.readFully(descriptor, before, 0);
      const verdict = decodeSegmentHeader(before);
      // What an unreadable header leaves behind is unknown, so it counts as an earlier life too.
      writeHeader(files, descriptor, making, base, verdict.ok ? verdict.header.base : 0);
      files.syncFull(descriptor);
      return true;
    }
  } finally {
    files.close(descriptor);
  }
  removeFile(file);
  return false;
}

/** Makes a new file of a segment's size; answers how much of its body is written with zeros. */
function make(files: Files, task: PrepareSegmentTask, file: string): number {
  const { making } = task;
  removeFile(file);
  const descriptor = files.open(file, { write: true, create: true, exclusive: true, mode: making.mode });
  try {
    try {
      files.allocate(descriptor, 0, making.segmentBytes);
    } catch (error) {
      if (!(error instanceof NotSupportedError)) throw error;
      files.truncate(descriptor, making.segmentBytes);
    }
    writeHeader(files, descriptor, making, task.base, undefined);
    if (making.direct) files.setDirect(descriptor);
    const zeroed = writeZeros(files, descriptor, task);
    files.syncFull(descriptor);
    return zeroed;
  } finally {
    files.close(descriptor);
  }
}

function writeZeros(files: Files, descriptor: number, task: PrepareSegmentTask): number {
  const pace = new Int32Array(task.pace);
  const control = new ControlBlock(task.control);
  const limit = Math.min(task.zeroBytes, task.making.segmentBytes - SEGMENT_HEADER_BYTES);
  const zeros = new NativeMemory(Math.min(STEP_BYTES, Math.max(limit, LOG_BUFFER_ALIGNMENT)), LOG_BUFFER_ALIGNMENT);
  let done = 0;
  let reserved = control.reservedLsn;
  while (done < limit) {
    const wish = Atomics.load(pace, 0);
    if (wish === PACE.hurry) break;
    if (wish === PACE.abandon) throw new JournalError('TIDEMARK_CLOSED', 'the journal is being closed', { path: task.making.directory });
    const startedMs = performance.now();
    const bytes = Math.min(zeros.bytes.length, limit - done);
    files.writeFully(descriptor, zeros.address, bytes, SEGMENT_HEADER_BYTES + done);
    done += bytes;
    const now = control.reservedLsn;
    // While the log grows, the disk is its own for as long as a step took, three times over.
    if (now !== reserved) Atomics.wait(pace, 0, PACE.calm, 3 * (performance.now() - startedMs));
    reserved = now;
  }
  return done;
}

/** The segment that a finished file becomes, opened to be written, and locked. */
function putInPlace(files: Files, making: SegmentMaking, base: number, file: string): { base: number; descriptor: number } {
  const name = join(making.directory, segmentName(base));
  const descriptor = files.open(file, { write: true, noFollow: true, dsync: making.dsync });
  try {
    const holder = lockPatiently(files, descriptor, () => true);
    if (holder !== undefined) throw new JournalError('TIDEMARK_LOCKED', `segment '${file}' is being written in ${holder.description}`, { path: file });
    if (making.direct) files.setDirect(descriptor);
    // Zeros took their time.
    checkDirectory(files, making.directory, making.lockDescriptor);
    try {
      renameSync(file, name);
    } catch (error) {
      throw fromNodeError(error, name);
    }
    files.syncDirectory(making.directory);
    return { base, descriptor };
  } catch (error) {
    files.close(descriptor);
    throw error;
  }
}

function writeHeader(files: Files, descriptor: number, making: SegmentMaking, base: number, earlierBase: number | undefined): void {
  const { journalId, segmentBytes, windowBytes } = making;
  const header = encodeSegmentHeader({ journalId, base, segmentBytes, preparedMs: Date.now(), earlierBase, windowBytes });
  const memory = new NativeMemory(SEGMENT_HEADER_BYTES, LOG_BUFFER_ALIGNMENT);
  assert(header.length === memory.bytes.length, 'a header fills its block');
  memory.bytes.set(header);
  files.writeFully(descriptor, memory.address, header.length, 0);
}

function removeFile(file: string): void {
  try {
    unlinkSync(file);
  } catch (error) {
    const failure = fromNodeError(error, file);
    if (!(failure instanceof IoError) || failure.errno !== ENOENT) throw failure;
  }
}
