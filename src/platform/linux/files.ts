/** Blocking file calls on Linux. Worker threads only: each of them may wait for the disk. */
import { existsSync, readSync, readFileSync } from 'node:fs';
import { assert, NotSupportedError } from '../errors.js';
import { EAGAIN, EINTR, EIO, ELOOP, ENOSYS, EOPNOTSUPP, fromNodeError, ioError, notAFile } from '../errno.js';
import { lastErrno, native, NativeMemory } from '../ffi.js';
import type { Advice, DirectIo, Files, FileStatus, Filesystem, LockHolder, OpenFlags } from '../platform.js';
import { check, patiently, RETRIES_MAX } from './calls.js';
import { AT_EMPTY_PATH, O_DIRECT, openBits } from './open-flags.js';
import { S_IFMT, STATX, STATX_MASK, statx } from './statx.js';

const F_GETFL = 3;
const F_SETFL = 4;
const LOCK_EX = 2;
const LOCK_NB = 4;
const LOCK_UN = 8;

const c = {
  open: native('open', 'int', ['str', 'int', 'uint32_t']),
  close: native('close', 'int', ['int']),
  pwrite: native('pwrite', 'int64_t', ['int', 'uintptr_t', 'size_t', 'int64_t']),
  fsync: native('fsync', 'int', ['int']),
  fdatasync: native('fdatasync', 'int', ['int']),
  ftruncate: native('ftruncate', 'int', ['int', 'int64_t']),
  fallocate: native('fallocate', 'int', ['int', 'int', 'int64_t', 'int64_t']),
  posixFadvise: native('posix_fadvise', 'int', ['int', 'int64_t', 'int64_t', 'int']),
  fcntl: native('fcntl', 'int', ['int', 'int', 'long']),
  flock: native('flock', 'int', ['int', 'int']),
  fstatfs: native('fstatfs', 'int', ['int', 'void *']),
  pread: native('pread', 'int64_t', ['int', 'uintptr_t', 'size_t', 'int64_t']),
};

const S_IFREG = 0o100000;
const S_IFDIR = 0o040000;

/**
 * Filesystems by magic number (statfs(2)). `dsyncWrites`: a write with `RWF_DSYNC` was tested, or is documented, to be
 * durable at completion. Others get a write and then `fdatasync`, which is defined everywhere.
 */
const FILESYSTEMS: ReadonlyMap<number, Filesystem> = new Map([
  [0xef53, { name: 'ext4', dsyncWrites: true }],
  [0x58465342, { name: 'xfs', dsyncWrites: true }],
  [0x9123683e, { name: 'btrfs', dsyncWrites: true }],
  [0xf2f52010, { name: 'f2fs', dsyncWrites: true }],
  [0x01021994, { name: 'tmpfs', dsyncWrites: false }],
  [0x794c7630, { name: 'overlay', dsyncWrites: false }],
  [0x65735546, { name: 'fuse', dsyncWrites: false }],
  [0x6969, { name: 'nfs', dsyncWrites: false }],
  [0x01021997, { name: '9p', dsyncWrites: false }],
  [0xff534d42, { name: 'cifs', dsyncWrites: false }],
  [0x2fc12fc1, { name: 'zfs', dsyncWrites: false }],
]);

/** POSIX_FADV_* (posix_fadvise(2)); the same on every architecture node supports but s390. */
const ADVICE: Readonly<Record<Advice, number>> = {
  normal: 0,
  random: 1,
  sequential: 2,
  willNeed: 3,
  dontNeed: 4,
  noReuse: 5,
};

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

function status(descriptor: number, path?: string): FileStatus {
  const stat = statx(descriptor, '', AT_EMPTY_PATH, STATX_MASK.basic, path);
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
  try {
    while (done < target.length) {
      // node:fs does this as well as a native call would.
      const count = readSync(descriptor, target, done, target.length - done, offset + done);
      if (count === 0) break;
      done += count;
    }
  } catch (error) {
    throw fromNodeError(error);
  }
  return done;
}

function writeFully(descriptor: number, address: number, bytes: number, offset: number): void {
  let done = 0;
  let idle = 0;
  while (done < bytes) {
    const count = c.pwrite(descriptor, address + done, bytes - done, offset + done);
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

function truncate(descriptor: number, bytes: number): void {
  const errno = patiently(() => c.ftruncate(descriptor, bytes));
  if (errno !== 0) throw ioError(errno, 'ftruncate');
}

function allocate(descriptor: number, offset: number, bytes: number): void {
  const errno = patiently(() => c.fallocate(descriptor, 0, offset, bytes));
  if (errno === 0) return;
  if (errno === EOPNOTSUPP || errno === ENOSYS) {
    throw new NotSupportedError('fallocate', `the filesystem ${filesystem(descriptor).name} cannot reserve blocks`);
  }
  throw ioError(errno, 'fallocate');
}

function advise(descriptor: number, offset: number, bytes: number, advice: Advice): void {
  // posix_fadvise returns the error number instead of setting errno.
  const errno = c.posixFadvise(descriptor, offset, bytes, ADVICE[advice]);
  if (errno !== 0) throw ioError(errno, 'posix_fadvise');
}

/**
 * Which direct IO a file opened with `O_DIRECT` allows: what statx(2) says (Linux 6.1), or a trial read where it is silent.
 */
function probeDirect(descriptor: number): DirectIo {
  const stat = statx(descriptor, '', AT_EMPTY_PATH, STATX_MASK.basic | STATX_MASK.directAlignment);
  if ((stat.getUint32(STATX.mask, true) & STATX_MASK.directAlignment) !== 0) {
    const offsetAlignment = stat.getUint32(STATX.directOffsetAlignment, true);
    const memoryAlignment = stat.getUint32(STATX.directMemoryAlignment, true);
    if (offsetAlignment === 0) return { available: false, reason: 'statx reports no direct IO for this file' };
    assert((offsetAlignment & (offsetAlignment - 1)) === 0, 'the direct IO alignment is a power of two');
    return { available: true, offsetAlignment, memoryAlignment };
  }
  const alignment = 4096;
  const memory = new NativeMemory(alignment, alignment);
  if (c.pread(descriptor, memory.address, alignment, 0) < 0) {
    return { available: false, reason: `a direct read of ${alignment} bytes failed` };
  }
  return { available: true, offsetAlignment: alignment, memoryAlignment: alignment };
}

function setDirect(descriptor: number): void {
  const flags = check(c.fcntl(descriptor, F_GETFL, 0), 'fcntl');
  check(c.fcntl(descriptor, F_SETFL, flags | O_DIRECT), 'fcntl');
}

function filesystem(descriptor: number): Filesystem {
  const memory = new SharedArrayBuffer(256);
  check(c.fstatfs(descriptor, new Uint8Array(memory)), 'fstatfs');
  // f_type is the first member, a machine word; every known magic number fits 32 bits.
  const magic = new DataView(memory).getUint32(0, true);
  return FILESYSTEMS.get(magic) ?? { name: `0x${magic.toString(16)}`, dsyncWrites: false };
}

/**
 * Takes a flock(2) lock: it belongs to the open file description, so it holds against other processes, against this one,
 * and against every other path to the same file, and ends with the process however that ends.
 */
function tryLockExclusive(descriptor: number): LockHolder | undefined {
  for (let attempt = 0; ; attempt++) {
    if (c.flock(descriptor, LOCK_EX | LOCK_NB) === 0) return undefined;
    const errno = lastErrno();
    if (errno === EINTR && attempt < RETRIES_MAX) continue;
    if (errno !== EAGAIN) throw ioError(errno, 'flock');
    return findLockHolder(descriptor);
  }
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
  status,
  readFully,
  writeFully,
  syncData: syncOnce(c.fdatasync, 'fdatasync'),
  syncFull: syncOnce(c.fsync, 'fsync'),
  syncDirectory,
  truncate,
  allocate,
  advise,
  probeDirect,
  setDirect,
  filesystem,
  tryLockExclusive,
  unlock: (descriptor) => {
    check(c.flock(descriptor, LOCK_UN), 'flock');
  },
};
