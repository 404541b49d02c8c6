/** What opening a journal takes whatever its layout: locks, what direct IO there is, files that keep what was cut off. */
import { realpathSync, statSync, type BigIntStats } from 'node:fs';
import { EEXIST, ENOENT, fromNodeError, inFile } from '../platform/errno.js';
import { IoError } from '../platform/errors.js';
import { NativeMemory } from '../platform/ffi.js';
import type { Platform, LockHolder, OpenFlags } from '../platform/platform.js';
import { LOG_BUFFER_ALIGNMENT } from './protocol/log-buffer.js';

const LOCK_WAIT_MS = 3000;
const LOCK_RETRY_MS = 5;

/**
 * Takes the lock. The kernel frees the ring of a killed process some time after the process, and the lock with it, once
 * no write is in hand any more: while `isGoing` says that of the holder, this waits for it.
 */
export function lockPatiently(platform: Platform, descriptor: number, isGoing: (holder: LockHolder) => boolean): LockHolder | undefined {
  const pause = new Int32Array(new SharedArrayBuffer(4));
  const until = performance.now() + LOCK_WAIT_MS;
  for (;;) {
    const holder = platform.files.tryLockExclusive(descriptor);
    if (holder === undefined || !isGoing(holder) || performance.now() > until) return holder;
    Atomics.wait(pause, 0, 0, LOCK_RETRY_MS);
  }
}

/** Waits until no write of this process holds the file's lock any more: whoever opens it next must not meet one. */
export function awaitRelease(platform: Platform, path: string, flags: Pick<OpenFlags, 'noFollow'> = {}): void {
  let descriptor: number;
  try {
    descriptor = platform.files.open(path, { write: false, ...flags });
  } catch {
    // It was moved or may not be read: then nobody can open it here either.
    return;
  }
  try {
    lockPatiently(platform, descriptor, (holder) => holder.pid === process.pid);
  } finally {
    platform.files.close(descriptor);
  }
}

export function statOf(path: string): BigIntStats | undefined {
  try {
    return statSync(path, { bigint: true, throwIfNoEntry: false });
  } catch (error) {
    throw fromNodeError(error, path);
  }
}

export function realPath(path: string): string {
  try {
    return realpathSync(path);
  } catch (error) {
    throw fromNodeError(error, path);
  }
}

function createAside(platform: Platform, base: string, mode: number): { name: string; target: number } {
  for (let number = 0; ; number++) {
    const name = number === 0 ? base : `${base}.${number}`;
    try {
      return { name, target: platform.files.open(name, { write: true, create: true, exclusive: true, mode }) };
    } catch (error) {
      if (!(error instanceof IoError) || error.errno !== EEXIST || number === 1000) throw error;
    }
  }
}

/**
 * Makes a new file beside the journal, whose content is what `fill` writes: durable but for its name. Answers the name. Half
 * a copy is removed: a full disk would get one more of them with each attempt to open the journal.
 */
export function keepAside(platform: Platform, base: string, mode: number, fill: (target: number) => void): string {
  const { name, target } = createAside(platform, base, mode);
  try {
    inFile(name, () => {
      fill(target);
      platform.files.syncFull(target);
    });
    return name;
  } catch (error) {
    discard(platform, name);
    throw error;
  } finally {
    platform.files.close(target);
  }
}

/** Gives a file its name in the journal, in place of what had it. */
export function renameFile({ names }: Platform, from: string, to: string): void {
  inFile(to, () => {
    names.rename({ directory: undefined, path: from }, { directory: undefined, path: to }, 'replace');
  });
}

export function removeFile({ names }: Platform, file: string): void {
  inFile(file, () => {
    names.unlink({ directory: undefined, path: file });
  });
}

/** Removes a file that may have gone. */
export function removeIfThere(platform: Platform, file: string): void {
  try {
    removeFile(platform, file);
  } catch (error) {
    if (!(error instanceof IoError) || error.errno !== ENOENT) throw error;
  }
}

/** Removes a file that could not be finished. What told so comes first: that it cannot be removed either is no news. */
export function discard(platform: Platform, file: string): void {
  try {
    removeFile(platform, file);
  } catch {
    // It is never taken for anything else than a left-over.
  }
}

const COPY_BYTES = 1024 * 1024;

/**
 * Copies `bytes` of an open file into a new one beside the journal, durable but for its name; answers the name and how many
 * bytes there were.
 */
export function copyAside(platform: Platform, source: { readonly descriptor: number; readonly offset: number; readonly bytes: number }, base: string): { name: string; bytes: number } {
  let done = 0;
  const name = keepAside(platform, base, platform.files.status(source.descriptor).mode, (target) => {
    const { bytes: memory } = new NativeMemory(COPY_BYTES, LOG_BUFFER_ALIGNMENT);
    while (done < source.bytes) {
      const count = platform.files.readFully(source.descriptor, memory.subarray(0, Math.min(COPY_BYTES, source.bytes - done)), source.offset + done);
      if (count === 0) break;
      platform.files.writeFully(target, memory.subarray(0, count), done);
      done += count;
    }
  });
  return { name, bytes: done };
}

/** Which direct IO the file allows, tried on a descriptor of its own: the sector size, or why there is none. */
export function probeDirect(platform: Platform, path: string, flags: Pick<OpenFlags, 'noFollow'> = {}): { sectorBytes?: number; refused?: string } {
  let descriptor: number;
  try {
    descriptor = platform.files.open(path, { write: true, direct: true, ...flags });
  } catch (error) {
    if (!(error instanceof IoError)) throw error;
    return { refused: `opening '${path}' with O_DIRECT failed: ${error.errnoName}` };
  }
  try {
    const probed = platform.files.probeDirect(descriptor);
    if (!probed.available) return { refused: probed.reason };
    const alignment = Math.max(probed.offsetAlignment, probed.memoryAlignment);
    if (alignment > LOG_BUFFER_ALIGNMENT) return { refused: `direct IO needs an alignment of ${alignment} bytes` };
    return { sectorBytes: Math.max(probed.offsetAlignment, 512) };
  } finally {
    platform.files.close(descriptor);
  }
}
