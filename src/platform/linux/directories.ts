/** Reading of directories: getdents64(2). By its number, because not every C library has a function of that name. */
import { ENOENT, ioError } from '../errno.js';
import { NotSupportedError } from '../errors.js';
import { lastErrno, native } from '../ffi.js';
import type { DirectoryCalls, DirectoryEntry, EntryKind } from '../interface/directories.js';
import { check } from './calls.js';
import { STATX } from './files.js';
import { AT_SYMLINK_NOFOLLOW } from './open-flags.js';

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
const BUFFER_BYTES = 32 * 1024;

const c = {
  getdents64: native('syscall', 'long', ['long', 'long', 'void *', 'long']),
  statx: native('statx', 'int', ['int', 'void *', 'int', 'uint32_t', 'void *']),
};

const memory = new Uint8Array(new SharedArrayBuffer(BUFFER_BYTES));
const view = new DataView(memory.buffer);
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function readEntries(descriptor: number): DirectoryEntry[] | undefined {
  const number = SYS_GETDENTS64[process.arch];
  if (number === undefined) throw new NotSupportedError('getdents64', `its number is not known on ${process.arch}`);
  const bytes = check(c.getdents64(number, descriptor, memory, BUFFER_BYTES), 'getdents64');
  if (bytes === 0) return undefined;
  const entries: DirectoryEntry[] = [];
  for (let at = 0; at < bytes; at += view.getUint16(at + ENTRY.length, true)) {
    const entry = entryAt(descriptor, at);
    if (entry !== undefined) entries.push(entry);
  }
  return entries;
}

function entryAt(descriptor: number, at: number): DirectoryEntry | undefined {
  const start = at + ENTRY.name;
  const end = memory.indexOf(0, start);
  const nameBytes = memory.slice(start, end);
  const [first, second] = nameBytes;
  const dot = 0x2e;
  if (first === dot && (nameBytes.length === 1 || (second === dot && nameBytes.length === 2))) return undefined;
  const type = view.getUint8(at + ENTRY.type);
  const kind = type === DT_UNKNOWN ? kindOf(descriptor, memory.subarray(start, end + 1)) : KINDS.get(type) ?? 'other';
  if (kind === undefined) return undefined;
  const inode = view.getBigUint64(at + ENTRY.inode, true);
  try {
    return { name: utf8.decode(nameBytes), kind, inode };
  } catch {
    return { name: new TextDecoder().decode(nameBytes), nameBytes, kind, inode };
  }
}

/** Some filesystems do not tell with the name. Undefined: it is gone. */
function kindOf(directory: number, name: Uint8Array): EntryKind | undefined {
  const stat = new Uint8Array(new SharedArrayBuffer(STATX.bytes));
  if (c.statx(directory, name, AT_SYMLINK_NOFOLLOW, STATX_TYPE, stat) < 0) {
    const errno = lastErrno();
    if (errno === ENOENT) return undefined;
    throw ioError(errno, 'statx');
  }
  return KINDS.get(new DataView(stat.buffer).getUint16(STATX.mode, true) >> 12) ?? 'other';
}

export const directories: DirectoryCalls = { readEntries };
