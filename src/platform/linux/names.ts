/** Names: rename(2), link(2), symlink(2), readlink(2), unlink(2), rmdir(2), mkdir(2), access(2), relative to a directory. */
import { realpathSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { EEXIST, EINVAL, ENOENT, ENOSYS, ENOTEMPTY, ioError } from '../errno.js';
import { IoError, NotSupportedError } from '../errors.js';
import { lastErrno, native } from '../ffi.js';
import type { NameCalls, RenameMode } from '../interface/names.js';
import type { At } from '../interface/places.js';
import { check } from './calls.js';
import { files } from './files.js';
import { AT_FDCWD, AT_REMOVEDIR, AT_SYMLINK_NOFOLLOW } from './open-flags.js';

const AT_SYMLINK_FOLLOW = 0x400;
/** Flags of renameat2 (include/uapi/linux/fs.h). */
const RENAME = { noReplace: 1, exchange: 2 } as const;
/**
 * renameat2's number by `process.arch` (asm-generic/unistd.h and the tables in arch/). By number, because musl and glibc before
 * 2.28 have no function of that name.
 */
const SYS_RENAMEAT2: Readonly<Record<string, number>> = {
  x64: 316, arm64: 276, riscv64: 276, loong64: 276, arm: 382, ia32: 353, ppc64: 357, s390x: 347,
};
/** PATH_MAX (linux/limits.h), with its NUL: no link holds more. */
const TARGET_BYTES_MAX = 4096;

const F_OK = 0;

const c = {
  faccessat: native('faccessat', 'int', ['int', 'str', 'int', 'int']),
  renameat: native('renameat', 'int', ['int', 'str', 'int', 'str']),
  renameat2: native('syscall', 'long', ['long', 'long', 'str', 'long', 'str', 'long']),
  linkat: native('linkat', 'int', ['int', 'str', 'int', 'str', 'int']),
  symlinkat: native('symlinkat', 'int', ['str', 'int', 'str']),
  readlinkat: native('readlinkat', 'int64_t', ['int', 'str', 'void *', 'size_t']),
  unlinkat: native('unlinkat', 'int', ['int', 'str', 'int']),
  mkdirat: native('mkdirat', 'int', ['int', 'str', 'uint32_t']),
};

const directoryOf = (at: At): number => at.directory ?? AT_FDCWD;

function rename(from: At, to: At, mode: RenameMode): void {
  if (mode === 'replace') {
    orNotEmpty(c.renameat(directoryOf(from), from.path, directoryOf(to), to.path), 'renameat');
    return;
  }
  const number = SYS_RENAMEAT2[process.arch];
  if (number === undefined) throw new NotSupportedError(nameOf(mode), `the number of renameat2 is not known on ${process.arch}`);
  if (c.renameat2(number, directoryOf(from), from.path, directoryOf(to), to.path, RENAME[mode]) >= 0) return;
  const errno = lastErrno();
  if (errno === ENOSYS) throw new NotSupportedError(nameOf(mode), 'the kernel has no renameat2');
  // EINVAL also means that a directory was to go below itself, which no filesystem does.
  if (errno === EINVAL && !isBelow(to, from) && !(mode === 'exchange' && isBelow(from, to))) {
    throw new NotSupportedError(nameOf(mode), `the filesystem ${filesystemOf(to)} refuses the flag (EINVAL)`);
  }
  throw ioError(errno, 'renameat2');
}

/** Of a directory that is not empty, xfs says that it exists: POSIX leaves the choice. */
function orNotEmpty(result: number, syscall: string): void {
  if (result >= 0) return;
  const errno = lastErrno();
  throw ioError(errno === EEXIST ? ENOTEMPTY : errno, syscall);
}

function nameOf(mode: 'noReplace' | 'exchange'): string {
  return mode === 'noReplace' ? 'RENAME_NOREPLACE' : 'RENAME_EXCHANGE';
}

/** Where an entry is, with no link on the way to it. */
function located(at: At): string {
  const path = at.directory === undefined ? at.path : `/proc/self/fd/${at.directory}/${at.path}`;
  return join(realpathSync(dirname(path)), basename(path));
}

function isBelow(at: At, ancestor: At): boolean {
  try {
    return located(at).startsWith(`${located(ancestor)}/`);
  } catch {
    return false;
  }
}

function filesystemOf(at: At): string {
  if (at.directory !== undefined) return files.filesystem(at.directory).name;
  const directory = files.open(dirname(at.path), { write: false, pathOnly: true, directory: true });
  try {
    return files.filesystem(directory).name;
  } finally {
    files.close(directory);
  }
}

function readlink(at: At): string {
  const memory = new Uint8Array(new SharedArrayBuffer(TARGET_BYTES_MAX));
  const bytes = check(c.readlinkat(directoryOf(at), at.path, memory, memory.length), 'readlinkat');
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(memory.slice(0, bytes));
  } catch {
    // Replacement characters would make another path of it.
    throw new IoError('TIDEMARK_INVALID_PATH', { errno: EINVAL, errnoName: 'EINVAL', syscall: 'readlinkat', explanation: 'the link holds bytes that are not UTF-8' });
  }
}

/** faccessat2(2), Linux 5.8, or what the C library does instead. Where neither can tell, whoever looks closer finds out. */
function isTaken(at: At): boolean {
  return c.faccessat(directoryOf(at), at.path, F_OK, AT_SYMLINK_NOFOLLOW) >= 0 || lastErrno() !== ENOENT;
}

export const names: NameCalls = {
  isTaken,
  rename,
  link: (from, to, { follow }) => {
    check(c.linkat(directoryOf(from), from.path, directoryOf(to), to.path, follow ? AT_SYMLINK_FOLLOW : 0), 'linkat');
  },
  symlink: (target, at) => {
    check(c.symlinkat(target, directoryOf(at), at.path), 'symlinkat');
  },
  readlink,
  unlink: (at) => {
    check(c.unlinkat(directoryOf(at), at.path, 0), 'unlinkat');
  },
  removeDirectory: (at) => {
    orNotEmpty(c.unlinkat(directoryOf(at), at.path, AT_REMOVEDIR), 'unlinkat');
  },
  makeDirectory: (at, mode) => {
    check(c.mkdirat(directoryOf(at), at.path, mode), 'mkdirat');
  },
};
