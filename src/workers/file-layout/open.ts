/**
 * Opens a file-layout journal for writing: lock, recover, set the torn tail aside, cut, sync. Runs in a file worker.
 *
 * Nothing on disk changes before the file is locked and known to be a journal. Nothing is called durable before it is synced.
 */
import { dirname } from 'node:path';
import { EEXIST, EISDIR, ENOENT, ioError, notAFile } from '../../platform/errno.js';
import { assert, IoError, JournalError } from '../../platform/errors.js';
import type { Platform } from '../../platform/platform.js';
import { awaitRelease, copyAside, lockPatiently, probeDirect, realPath, statOf } from '../opening.js';
import { ControlBlock } from '../protocol/control-block.js';
import { LogBuffer } from '../protocol/log-buffer.js';
import type { CloseFileTask, OpenedFile, OpenFileTask, TornTail } from '../protocol/messages.js';
import { recover, type Verdict } from './recovery.js';

export function openFileJournal(platform: Platform, task: OpenFileTask): OpenedFile {
  const { descriptor, created } = openLocked(platform, task);
  try {
    const verdict = recover(platform.files, descriptor);
    const torn = settle(platform, task.path, descriptor, verdict);
    const end = verdict.kind === 'not-a-journal' ? 0 : verdict.end;
    platform.files.syncFull(descriptor);
    platform.files.syncDirectory(dirname(realPath(task.path)));
    const direct = task.direct ? probeDirect(platform, task.path) : undefined;
    const sectorBytes = direct?.sectorBytes ?? 1;
    startWindow(platform, descriptor, task, end, sectorBytes);
    const filesystem = platform.files.filesystem(descriptor);
    const active = direct?.sectorBytes !== undefined;
    if (active) platform.files.setDirect(descriptor);
    return {
      layout: 'file',
      file: {
        descriptor,
        direct: active,
        sectorBytes,
        dsyncWrites: active && filesystem.dsyncWrites,
        spaceEnd: platform.files.status(descriptor).sizeBytes,
      },
      end,
      records: verdict.kind === 'clean' || verdict.kind === 'torn' ? verdict.records : 0,
      created,
      filesystem: filesystem.name,
      torn,
      directRefused: direct?.refused,
    };
  } catch (error) {
    platform.files.close(descriptor);
    throw error;
  }
}

/** Opens the file and takes its lock; both again if somebody replaced the file in between. */
export function openLocked(platform: Platform, task: Pick<OpenFileTask, 'path' | 'create' | 'mode'>): { descriptor: number; created: boolean } {
  for (let attempt = 0; attempt < 10; attempt++) {
    const { descriptor, created } = openFile(platform, task);
    try {
      const status = platform.files.status(descriptor, task.path);
      if (status.kind === 'directory') throw ioError(EISDIR, 'open', task.path);
      if (status.kind !== 'file') throw notAFile(task.path);
      const holder = lockPatiently(platform, descriptor, ({ alive }) => !alive);
      if (holder !== undefined) {
        throw new JournalError('TIDEMARK_LOCKED', `journal '${task.path}' is open for writing in ${holder.description}`, {
          path: task.path,
          holderPid: holder.pid,
        });
      }
      const named = statOf(task.path);
      if (named !== undefined && named.ino === status.inode) return { descriptor, created };
    } catch (error) {
      platform.files.close(descriptor);
      throw error;
    }
    platform.files.close(descriptor);
  }
  throw new JournalError('TIDEMARK_LOCKED', `journal '${task.path}' keeps being replaced by another process`, { path: task.path });
}

function openFile(platform: Platform, task: Pick<OpenFileTask, 'path' | 'create' | 'mode'>): { descriptor: number; created: boolean } {
  // Look before opening: opening a device or a FIFO may do something to it.
  const before = statOf(task.path);
  if (before !== undefined && !before.isFile() && !before.isDirectory()) throw notAFile(task.path);
  try {
    return { descriptor: platform.files.open(task.path, { write: true }), created: false };
  } catch (error) {
    if (!(error instanceof IoError) || error.errno !== ENOENT || !task.create) throw error;
  }
  try {
    return { descriptor: platform.files.open(task.path, { write: true, create: true, exclusive: true, mode: task.mode }), created: true };
  } catch (error) {
    // Somebody else created it just now.
    if (!(error instanceof IoError) || error.errno !== EEXIST) throw error;
    return { descriptor: platform.files.open(task.path, { write: true }), created: false };
  }
}

/** Acts on the verdict: refuses, or sets a torn tail aside and cuts it off. */
function settle(platform: Platform, path: string, descriptor: number, verdict: Verdict): TornTail | undefined {
  if (verdict.kind === 'not-a-journal') throw notAJournal(path, verdict.detail);
  if (verdict.kind === 'corrupt') {
    throw new JournalError(
      'TIDEMARK_CORRUPT',
      `journal '${path}' is corrupt at offset and LSN ${verdict.end}: ${verdict.tail.detail}; `
        + `${verdict.proof}. Nothing was changed`,
      { path, lsn: verdict.end },
    );
  }
  if (verdict.kind === 'clean') return undefined;
  const bytes = verdict.dataEnd - verdict.end;
  assert(bytes > 0, 'a torn tail holds something else than zeros');
  const keptAs = keepAside(platform, path, descriptor, verdict.end, bytes);
  platform.files.truncate(descriptor, verdict.end);
  return { lsn: verdict.end, state: verdict.tail.state, detail: verdict.tail.detail, bytes, keptAs };
}

export function notAJournal(path: string, detail: string): JournalError {
  return new JournalError('TIDEMARK_NOT_A_JOURNAL', `'${path}' is not a journal and was left untouched: ${detail}`, { path });
}

/** Copies the torn bytes into a new file beside the journal, durable before the journal is cut. */
function keepAside(platform: Platform, path: string, descriptor: number, start: number, bytes: number): string {
  const journal = realPath(path);
  const kept = copyAside(platform, { descriptor, offset: start, bytes }, `${journal}.torn-${start}`);
  assert(kept.bytes === bytes, 'a torn tail does not shrink while its journal is locked');
  platform.files.syncDirectory(dirname(journal));
  return kept.name;
}

/** Sets the watermarks to the journal's end and loads the partial sector before it, which direct writes write again. */
function startWindow(platform: Platform, descriptor: number, task: OpenFileTask, end: number, sectorBytes: number): void {
  const sectorStart = end - (end % sectorBytes);
  if (sectorStart < end) {
    const partial = new Uint8Array(end - sectorStart);
    const count = platform.files.readFully(descriptor, partial, sectorStart);
    assert(count === partial.length, 'the last sector of a locked journal can be read');
    new LogBuffer(task.shared.log).put(sectorStart, partial);
  }
  new ControlBlock(task.shared.control).start(end, sectorStart);
}

/** Cuts prepared space off, syncs and closes; the lock goes with the descriptor. */
export function closeFileJournal(platform: Platform, task: CloseFileTask): void {
  const { descriptor } = task.file;
  try {
    if (task.end !== undefined && platform.files.status(descriptor).sizeBytes > task.end) {
      platform.files.truncate(descriptor, task.end);
      platform.files.syncFull(descriptor);
    }
  } finally {
    // Nothing is in flight any more. Closing alone would give the lock back only when the ring lets go of the file too.
    if (task.end !== undefined) platform.files.unlock(descriptor);
    platform.files.close(descriptor);
    if (task.end === undefined) awaitRelease(platform, task.path);
  }
}
