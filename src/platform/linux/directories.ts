/** Reading of directories: getdents64(2). By its number, because not every C library has a function of that name. */
import { ENOENT, ioError } from '../errno.js';
import { NotSupportedError } from '../errors.js';
import { lastErrno, native } from '../ffi.js';
import type { DirectoryCalls, DirectoryEntry, EntryKind } from '../interface/directories.js';
import { check } from './calls.js';
import { AT_SYMLINK_NOFOLLOW } from './open-flags.js';
import { STATX } from './statx.js';

/** By `process.arch` (asm-generic/unistd.h and the tables in arch/). */
const SYS_GETDENTS64: Readonly<Record<string, number>> = {
  x64: 217, arm64: 61, riscv64: 61, loong64: 61, arm: 217, ia32: 220, ppc64: 202, s390x: 220,
};
/** struct linux_dirent64 (include/linux/dirent.h): inode, position, length of the entry, type, name with a NUL. */
const ENTRY = { inode: 0, length: 16, type: 18, name: 19 } as const;
/** DT_* (dirent.h), which is S_IFMT shifted. */
const KINDS: ReadonlyMap<number, EntryKind> = new Map([
  [1, 'fifo'], [2, 'character'], [4, 'directory'], [6, 'block'], [8, 'file'], [10, 'symlink'], [12, 'socket'],
]);
const DT_UNKNOWN = 0;
const STATX_TYPE = 0x1;
const STATX_SIZE = 0x200;
const BUFFER_BYTES = 32 * 1024;
/** Where every entry costs a call of its own, which may wait for the disk: fewer at a time. An entry has 280 bytes at most. */
const SIZED_BUFFER_BYTES = 2048;

const c = {
  getdents64: native('syscall', 'long', ['long', 'long', 'void *', 'long']),
  statx: native('statx', 'int', ['int', 'void *', 'int', 'uint32_t', 'void *']),
};

const memory = new Uint8Array(new SharedArrayBuffer(BUFFER_BYTES));
const view = new DataView(memory.buffer);
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function readEntries(descriptor: number, sizes = false): DirectoryEntry[] | undefined {
  const number = SYS_GETDENTS64[process.arch];
  if (number === undefined) throw new NotSupportedError('getdents64', `its number is not known on ${process.arch}`);
  const bytes = check(c.getdents64(number, descriptor, memory, sizes ? SIZED_BUFFER_BYTES : BUFFER_BYTES), 'getdents64');
  if (bytes === 0) return undefined;
  const entries: DirectoryEntry[] = [];
  for (let at = 0; at < bytes; at += view.getUint16(at + ENTRY.length, true)) {
    const start = at + ENTRY.name;
    const name = memory.subarray(start, memory.indexOf(0, start) + 1);
    if (isDots(name)) continue;
    const found = look(descriptor, name, view.getUint8(at + ENTRY.type), sizes);
    if (found !== undefined) entries.push({ ...named(name.slice(0, -1)), ...found, inode: view.getBigUint64(at + ENTRY.inode, true) });
  }
  return entries;
}

/** `.` or `..`, with a NUL. */
function isDots(name: Uint8Array): boolean {
  const dot = 0x2e;
  return name[0] === dot && (name.length === 2 || (name.length === 3 && name[1] === dot));
}

function named(bytes: Uint8Array): Pick<DirectoryEntry, 'name' | 'nameBytes'> {
  try {
    return { name: utf8.decode(bytes) };
  } catch {
    return { name: new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes), nameBytes: bytes };
  }
}

/** Some filesystems do not tell the type with the name. Undefined: it is gone. `name` ends with a NUL. */
function look(directory: number, name: Uint8Array, type: number, size: boolean): Pick<DirectoryEntry, 'kind' | 'sizeBytes'> | undefined {
  const told = KINDS.get(type) ?? 'other';
  if (type !== DT_UNKNOWN && !(size && told === 'file')) return { kind: told };
  const stat = new DataView(new SharedArrayBuffer(STATX.bytes));
  if (c.statx(directory, name, AT_SYMLINK_NOFOLLOW, STATX_TYPE | (size ? STATX_SIZE : 0), stat) < 0) {
    const errno = lastErrno();
    if (errno === ENOENT) return undefined;
    throw ioError(errno, 'statx');
  }
  const kind = KINDS.get(stat.getUint16(STATX.mode, true) >> 12) ?? 'other';
  return size && kind === 'file' ? { kind, sizeBytes: Number(stat.getBigUint64(STATX.size, true)) } : { kind };
}

export const directories: DirectoryCalls = { readEntries };
