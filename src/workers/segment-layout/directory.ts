/** The directory of a segment journal: what lies in it, trimming, closing. Runs in a file worker. */
import { lstatSync, readdirSync, type Dirent, type Stats } from 'node:fs';
import { join } from 'node:path';
import { EISDIR, ENOENT, fromNodeError, inFile, ioError, notAFile } from '../../platform/errno.js';
import { IoError } from '../../platform/errors.js';
import { NativeMemory } from '../../platform/ffi.js';
import type { Platform } from '../../platform/platform.js';
import { idChecksum } from '../protocol/frame.js';
import { LOG_BUFFER_ALIGNMENT } from '../protocol/log-buffer.js';
import type { CloseSegmentsTask, TrimSegmentsTask } from '../protocol/messages.js';
import { baseOfName, closingFrames, Geometry, MARK_FLAG, segmentName, SPARE_SUFFIX } from '../protocol/segment.js';
import { awaitRelease, removeFile, removeIfThere, renameFile } from '../opening.js';
import type { SegmentEntry } from './verdict.js';

export interface ListedSegment extends SegmentEntry {
  /** When it was last written, milliseconds since 1970. */
  readonly changedMs: number;
}

export interface DirectoryListing {
  readonly segments: readonly ListedSegment[];
  /** Names of spare files. */
  readonly spares: readonly string[];
  /** Other names. */
  readonly others: readonly string[];
}

/** What lies in a journal's directory. Throws where a segment's name leads to something else than a regular file. */
export function listDirectory(directory: string): DirectoryListing {
  const segments: ListedSegment[] = [];
  const spares: string[] = [];
  const others: string[] = [];
  for (const entry of readDirectory(directory)) {
    const base = baseOfName(entry.name);
    if (base !== undefined) {
      const file = join(directory, entry.name);
      if (entry.isDirectory()) throw ioError(EISDIR, 'open', file);
      // Not followed: a link would lead out of the journal.
      if (!entry.isFile()) throw notAFile(file);
      const { size, mtimeMs } = statusOf(file);
      segments.push({ base, sizeBytes: size, changedMs: mtimeMs });
    } else if (isSpare(entry.name) && entry.isFile()) spares.push(entry.name);
    else others.push(entry.name);
  }
  segments.sort((a, b) => a.base - b.base);
  return { segments, spares: spares.sort(), others };
}

/** Only what this library names so: a directory of somebody else's files is no journal. */
function isSpare(name: string): boolean {
  return name.endsWith(SPARE_SUFFIX) && baseOfName(name.slice(0, -SPARE_SUFFIX.length)) !== undefined;
}

function statusOf(file: string): Stats {
  try {
    return lstatSync(file);
  } catch (error) {
    throw fromNodeError(error, file);
  }
}

function readDirectory(directory: string): Dirent[] {
  try {
    return readdirSync(directory, { withFileTypes: true });
  } catch (error) {
    throw fromNodeError(error, directory);
  }
}

/**
 * Takes the oldest segments out of the journal; answers the names of those that became spares. Each step is durable
 * before the next: after a crash the journal may begin later, but never has a gap.
 */
export function trimSegments(platform: Platform, { directory, lockDescriptor, bases, keep }: TrimSegmentsTask): string[] {
  checkDirectory(platform, directory, lockDescriptor);
  const spares: string[] = [];
  for (const base of bases) {
    const file = join(directory, segmentName(base));
    const spare = `${segmentName(base)}${SPARE_SUFFIX}`;
    if (spares.length < keep) {
      renameFile(platform, file, join(directory, spare));
      spares.push(spare);
    } else {
      removeFile(platform, file);
    }
    // Its content may change as a spare: by then it must not be a segment any more, whatever happens.
    // Through the descriptor that has the lock: it needs no other, of which there may be none.
    inFile(directory, () => {
      platform.files.syncFull(lockDescriptor);
    });
  }
  return spares;
}

/**
 * Throws when the path leads to another directory than the one that is locked: somebody moved it away, and what is there now
 * is not this journal's.
 */
export function checkDirectory(platform: Platform, directory: string, lockDescriptor: number): void {
  try {
    const [named, locked] = inFile(directory, () => [platform.metadata.stat({ directory: undefined, path: directory, followLink: true }).metadata, platform.metadata.stat(lockDescriptor).metadata] as const);
    if (named.inode === locked.inode && named.device.major === locked.device.major && named.device.minor === locked.device.minor) return;
  } catch (error) {
    if (!(error instanceof IoError && error.errno === ENOENT)) throw error;
  }
  throw new IoError('TIDEMARK_NOT_FOUND', {
    errno: ENOENT, errnoName: 'ENOENT', syscall: 'open', path: directory, explanation: 'the directory of the journal was moved away',
  });
}

/** Removes spares that nobody needs. */
export function removeSpares(platform: Platform, directory: string, names: readonly string[]): void {
  for (const name of names) removeIfThere(platform, join(directory, name));
}

/** Writes the mark that says the journal was closed, where that is so; closes everything, the lock last. */
export function closeSegments(platform: Platform, task: CloseSegmentsTask): void {
  try {
    if (task.closing !== undefined) writeClosingMark(platform, task.closing);
  } finally {
    for (const descriptor of task.descriptors) {
      if (task.idle) closeUnlocked(platform, descriptor);
      else platform.files.close(descriptor);
    }
    if (!task.idle) {
      const { segments } = listDirectory(task.path);
      for (const { base } of segments.slice(segments.length - task.descriptors.length)) awaitRelease(platform, join(task.path, segmentName(base)), { noFollow: true });
    }
    platform.files.close(task.lockDescriptor);
  }
}

/** Closes a segment that nothing writes to any more: whoever opens it next finds it free at once. */
export function closeUnlocked(platform: Platform, descriptor: number): void {
  platform.files.unlock(descriptor);
  platform.files.close(descriptor);
}

function writeClosingMark(platform: Platform, { segment, end, writing, position, windowBytes, segmentBytes }: NonNullable<CloseSegmentsTask['closing']>): void {
  const mark = {
    durableLsn: end,
    number: position.markNumber + 1,
    clockMs: Date.now(),
    records: position.recordsEver,
    lastRecordLsn: position.lastRecordLsn,
    windowBytes,
    segmentRecords: position.segmentRecords,
    flags: MARK_FLAG.closed,
  };
  const bytes = closingFrames(mark, idChecksum(position.journalId), end, writing.sectorBytes);
  // Too close to the segment's end: the next opening takes the log for one that was not closed, and does a little more.
  if (!new Geometry(segmentBytes).fits(end, bytes.length)) return;
  // The segment may be open for direct IO.
  const memory = new NativeMemory(bytes.length, LOG_BUFFER_ALIGNMENT);
  memory.bytes.set(bytes);
  platform.files.writeFully(segment.descriptor, memory.bytes, end - segment.base);
  platform.files.syncFull(segment.descriptor);
}
