/** Blocking file calls on Linux. Worker threads only: each of them may wait for the disk. */
import { closeSync, existsSync, openSync, readSync, readFileSync } from 'node:fs';
import { assert } from '../errors.js';
import { EAGAIN, EINTR, EIO, ELOOP, fromNodeError, ioError, notAFile } from '../errno.js';
import { lastErrno, native, NativeMemory } from '../ffi.js';
import type { DirectIo, Files, FileStatus, LockHolder, MemoryPiece, OpenFlags } from '../platform.js';
import { check, patiently, RETRIES_MAX } from './calls.js';
import { filesystem } from './filesystem.js';
import { advise } from './hints.js';
import { O_DIRECT, openBits } from './open-flags.js';
import { allocate, truncate } from './space.js';
import { S_IFMT, STATX, STATX_MASK, statxOf } from './statx.js';

/** sync_file_range(2), linux/fs.h. */
const SYNC_FILE_RANGE_WRITE = 2;
const F_GETFL = 3;
const F_SETFL = 4;
const LOCK_EX = 2;
const LOCK_NB = 4;
const LOCK_UN = 8;

const c = {
  open: native('open', 'int', ['str', 'int', 'uint32_t']),
  close: native('close', 'int', ['int']),
  dup3: native('dup3', 'int', ['int', 'int', 'int']),
  pwrite: native('pwrite', 'int64_t', ['int', 'uintptr_t', 'size_t', 'int64_t']),
  fsync: native('fsync', 'int', ['int']),
  fdatasync: native('fdatasync', 'int', ['int']),
  syncFileRange: native('sync_file_range', 'int', ['int', 'int64_t', 'int64_t', 'uint32_t']),
  fcntl: native('fcntl', 'int', ['int', 'int', 'long']),
  flock: native('flock', 'int', ['int', 'int']),
  /** The same calls, which keep their memory alive. */
  pwriteView: native('pwrite', 'int64_t', ['int', 'void *', 'size_t', 'int64_t']),
  preadView: native('pread', 'int64_t', ['int', 'void *', 'size_t', 'int64_t']),
};

const O_CLOEXEC = 0o2000000;
const S_IFREG = 0o100000;
const S_IFDIR = 0o040000;

function open(path: string, flags: OpenFlags): number {
  const bits = openBits(flags);
  for (let attempt = 0; ; attempt++) {
    const descriptor = c.open(path, bits, flags.mode ?? 0o600);
    if (descriptor >= 0) return descriptor;
    const errno = lastErrno();
    if (errno === ELOOP && flags.noFollow === true) throw notAFile(path);
    if (errno !== EINTR || attempt >= RETRIES_MAX) throw ioError(errno, 'open', path);
  }
}

/**
 * Node.js closes what a thread has opened by node:fs when the thread ends (`trackUnmanagedFds` of its Worker), and knows it by
 * its number. So the file takes the place of something that was opened like that.
 */
function openOwn(open: () => number): number {
  let own: number;
  try {
    own = openSync('/', 'r');
  } catch (error) {
    throw fromNodeError(error, '/');
  }
  try {
    const descriptor = open();
    const errno = patiently(() => c.dup3(descriptor, own, O_CLOEXEC));
    c.close(descriptor);
    if (errno !== 0) throw ioError(errno, 'dup3');
    return own;
  } catch (error) {
    closeSync(own);
    throw error;
  }
}

function closeOwn(descriptor: number): void {
  try {
    closeSync(descriptor);
  } catch (error) {
    throw fromNodeError(error);
  }
}

function status(descriptor: number, path?: string): FileStatus {
  const stat = statxOf(descriptor, STATX_MASK.basic, path);
  const type = stat.getUint16(STATX.mode, true) & S_IFMT;
  return {
    kind: type === S_IFREG ? 'file' : type === S_IFDIR ? 'directory' : 'other',
    sizeBytes: Number(stat.getBigUint64(STATX.size, true)),
    device: `${stat.getUint32(STATX.deviceMajor, true)}:${stat.getUint32(STATX.deviceMinor, true)}`,
    inode: stat.getBigUint64(STATX.inode, true),
    mode: stat.getUint16(STATX.mode, true) & 0o7777,
  };
}

function readFully(descriptor: number, target: Uint8Array, offset: number): number {
  let done = 0;
  while (done < target.length) {
    const count = readSome(descriptor, target.subarray(done), offset + done);
    if (count === 0) break;
    done += count;
  }
  return done;
}

/** By node:fs, whose memory may lie on V8's heap. It gives reads that are interrupted back to its caller. */
function readSome(descriptor: number, target: Uint8Array, offset: number): number {
  for (let attempt = 0; ; attempt++) {
    try {
      return readSync(descriptor, target, 0, target.length, offset);
    } catch (error) {
      const { errno } = error as NodeJS.ErrnoException;
      if (errno === undefined) throw error;
      if ((-errno !== EINTR && -errno !== EAGAIN) || attempt >= RETRIES_MAX) throw ioError(-errno, 'pread');
    }
  }
}

function writeFully(descriptor: number, source: Uint8Array, offset: number): void {
  writeAll(source.length, (done) => c.pwriteView(descriptor, done === 0 ? source : source.subarray(done), source.length - done, offset + done));
}

function writePiece(descriptor: number, { address, bytes }: MemoryPiece, offset: number): void {
  writeAll(bytes, (done) => c.pwrite(descriptor, address + done, bytes - done, offset + done));
}

function writeAll(bytes: number, write: (done: number) => number): void {
  let done = 0;
  let idle = 0;
  while (done < bytes) {
    const count = write(done);
    if (count > 0) {
      done += count;
      idle = 0;
      continue;
    }
    const errno = count < 0 ? lastErrno() : EIO;
    const retry = count === 0 || errno === EINTR || errno === EAGAIN;
    if (!retry || ++idle > RETRIES_MAX) throw ioError(errno, 'pwrite');
  }
}

/** Reads the sync result once: after a failed sync a second one may report success falsely, so it is never retried. */
function syncOnce(call: (descriptor: number) => number, syscall: string): (descriptor: number) => void {
  return (descriptor) => {
    check(call(descriptor), syscall);
  };
}

function syncDirectory(path: string): void {
  const descriptor = open(path, { write: false, directory: true });
  try {
    // Not by node:fs, which would sync again after EINTR.
    check(c.fsync(descriptor), 'fsync', path);
  } finally {
    c.close(descriptor);
  }
}

/**
 * Which direct IO a file opened with `O_DIRECT` allows: what statx(2) says (Linux 6.1), or a trial read where it is silent.
 */
function probeDirect(descriptor: number): DirectIo {
  const stat = statxOf(descriptor, STATX_MASK.basic | STATX_MASK.directAlignment);
  if ((stat.getUint32(STATX.mask, true) & STATX_MASK.directAlignment) !== 0) {
    const offsetAlignment = stat.getUint32(STATX.directOffsetAlignment, true);
    const memoryAlignment = stat.getUint32(STATX.directMemoryAlignment, true);
    if (offsetAlignment === 0) return { available: false, reason: 'statx reports no direct IO for this file' };
    assert((offsetAlignment & (offsetAlignment - 1)) === 0, 'the direct IO alignment is a power of two');
    return { available: true, offsetAlignment, memoryAlignment };
  }
  // It takes O_DIRECT (Linux 6.6) and goes through the page cache all the same: there is nothing else.
  if (filesystem(descriptor).name === 'tmpfs') return { available: false, reason: 'tmpfs keeps files in the page cache and nowhere else' };
  const alignment = 4096;
  const memory = new NativeMemory(alignment, alignment);
  if (c.preadView(descriptor, memory.bytes, alignment, 0) < 0) {
    return { available: false, reason: `a direct read of ${alignment} bytes failed` };
  }
  return { available: true, offsetAlignment: alignment, memoryAlignment: alignment };
}

function setDirect(descriptor: number, on = true): void {
  const flags = check(c.fcntl(descriptor, F_GETFL, 0), 'fcntl');
  check(c.fcntl(descriptor, F_SETFL, on ? flags | O_DIRECT : flags & ~O_DIRECT), 'fcntl');
}

/**
 * Takes a flock(2) lock: it belongs to the open file description, so it holds against other processes, against this one,
 * and against every other path to the same file, and ends with the process however that ends.
 */
function tryLock(descriptor: number): boolean {
  const errno = patiently(() => c.flock(descriptor, LOCK_EX | LOCK_NB));
  if (errno !== 0 && errno !== EAGAIN) throw ioError(errno, 'flock');
  return errno === 0;
}

/** Looks the holder up in /proc/locks (proc_locks(5)), which names the file by device and inode. */
function findLockHolder(descriptor: number): LockHolder {
  const { device, inode } = status(descriptor);
  const [major = 0, minor = 0] = device.split(':').map(Number);
  const hex = (number: number): string => number.toString(16).padStart(2, '0');
  const file = `${hex(major)}:${hex(minor)}:${inode}`;
  let pid: number | undefined;
  let listed = false;
  try {
    for (const line of readFileSync('/proc/locks', 'latin1').split('\n')) {
      // "1: FLOCK  ADVISORY  WRITE 4711 08:01:1234 0 EOF"; waiting locks have "->" in the second column.
      const columns = line.split(/\s+/);
      if (columns[1] !== 'FLOCK' || !(Number(columns[4]) > 0)) continue;
      if (columns[5] === file) pid = Number(columns[4]);
      // btrfs and overlay tell stat(2) another device than this list: there the inode has to do.
      else if (columns[5]?.endsWith(`:${inode}`) === true) pid ??= Number(columns[4]);
    }
    listed = true;
  } catch {
    // No /proc here: the lock holds all the same, its holder stays unnamed.
  }
  // The list leaves out locks whose process has ended, or belongs to another PID namespace.
  if (pid === undefined) return { pid, description: 'another process, which the system does not name', alive: !listed };
  if (pid === process.pid) return { pid, description: `this process (${pid})`, alive: true };
  let command = '';
  try {
    command = ` (${readFileSync(`/proc/${pid}/comm`, 'utf8').trim()})`;
  } catch {
    // It has just ended, or belongs to somebody whose processes are hidden.
  }
  return { pid, description: `process ${pid}${command}`, alive: existsSync(`/proc/${pid}`) };
}

export const files: Files = {
  open,
  close: (descriptor) => {
    check(c.close(descriptor), 'close');
  },
  openOwn,
  closeOwn,
  status,
  readFully,
  writeFully,
  writePiece,
  syncData: syncOnce(c.fdatasync, 'fdatasync'),
  syncFull: syncOnce(c.fsync, 'fsync'),
  startWriteback: (descriptor) => {
    // It promises nothing, so that nothing is lost where it fails: the sync tells.
    c.syncFileRange(descriptor, 0, 0, SYNC_FILE_RANGE_WRITE);
  },
  syncBarrier: (descriptor) => {
    check(c.fdatasync(descriptor), 'fdatasync');
    return 'fdatasync';
  },
  syncDirectory,
  truncate,
  allocate,
  advise,
  probeDirect,
  setDirect,
  filesystem,
  tryLock,
  tryLockExclusive: (descriptor) => (tryLock(descriptor) ? undefined : findLockHolder(descriptor)),
  unlock: (descriptor) => {
    check(c.flock(descriptor, LOCK_UN), 'flock');
  },
};
