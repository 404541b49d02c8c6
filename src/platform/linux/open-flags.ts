/** Flags of open(2) and of the calls that name files by a directory (`*at`). */
import type { OpenFlags } from '../platform.js';

const O_RDONLY = 0o0;
const O_WRONLY = 0o1;
const O_RDWR = 0o2;
const O_CREAT = 0o100;
const O_EXCL = 0o200;
const O_TRUNC = 0o1000;
const O_APPEND = 0o2000;
const O_NONBLOCK = 0o4000;
const O_DSYNC = 0o10000;
const O_CLOEXEC = 0o2000000;
const O_PATH = 0o10000000;
/** These differ between processor families (asm-generic/fcntl.h, arch/arm*). */
const armFlags = process.arch === 'arm' || process.arch === 'arm64';
export const O_DIRECT = armFlags ? 0o200000 : 0o40000;
export const O_DIRECTORY = armFlags ? 0o40000 : 0o200000;
export const O_NOFOLLOW = armFlags ? 0o100000 : 0o400000;

/** In place of a directory's descriptor: the working directory, for relative paths; nothing for absolute ones. */
export const AT_FDCWD = -100;
export const AT_SYMLINK_NOFOLLOW = 0x100;
export const AT_REMOVEDIR = 0x200;
export const AT_EMPTY_PATH = 0x1000;

export function openBits(flags: OpenFlags): number {
  // The kernel knows no other flags beside these three, and refuses them in openat2.
  if (flags.pathOnly === true) return O_PATH | O_CLOEXEC | (flags.noFollow === true ? O_NOFOLLOW : 0) | (flags.directory === true ? O_DIRECTORY : 0);
  const access = flags.write ? (flags.writeOnly === true ? O_WRONLY : O_RDWR) : O_RDONLY;
  // O_NONBLOCK: opening a FIFO must not wait for a peer; it means nothing for a regular file.
  return access | O_CLOEXEC | O_NONBLOCK
    | (flags.create === true ? O_CREAT : 0) | (flags.exclusive === true ? O_EXCL : 0)
    | (flags.truncate === true ? O_TRUNC : 0) | (flags.append === true ? O_APPEND : 0)
    | (flags.direct === true ? O_DIRECT : 0) | (flags.dsync === true ? O_DSYNC : 0)
    | (flags.noFollow === true ? O_NOFOLLOW : 0) | (flags.directory === true ? O_DIRECTORY : 0);
}
