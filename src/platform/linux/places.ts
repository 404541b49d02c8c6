/** Names in the file tree, and directories that nothing leads out of (openat2(2), Linux 5.6). */
import { existsSync } from 'node:fs';
import { EAGAIN, EINTR, ELOOP, ENOSYS, ENOTDIR, EPERM, EXDEV, ioError, notAFile } from '../errno.js';
import { OperationError } from '../errors.js';
import { lastErrno, native } from '../ffi.js';
import type { PlaceCalls } from '../interface/places.js';
import type { OpenFlags } from '../platform.js';
import { RETRIES_MAX } from './calls.js';
import { openBits } from './open-flags.js';

/** The same on every architecture that Linux has (asm-generic/unistd.h). */
const SYS_OPENAT2 = 437;
/** struct open_how (include/uapi/linux/openat2.h): three 64-bit words. */
const HOW = { flags: 0, mode: 1, resolve: 2, words: 3, bytes: 24 } as const;
const RESOLVE_NO_MAGICLINKS = 0x02;
const RESOLVE_NO_SYMLINKS = 0x04;
const RESOLVE_BENEATH = 0x08;

const c = {
  openat: native('openat', 'int', ['int', 'str', 'int', 'uint32_t']),
  readlinkat: native('readlinkat', 'int64_t', ['int', 'str', 'void *', 'size_t']),
  openat2: native('syscall', 'long', ['long', 'long', 'str', 'void *', 'size_t']),
  close: native('close', 'int', ['int']),
};

let kernelHasOpenat2 = true;

function openBeneath(root: number, path: string, flags: OpenFlags): number {
  if (path.startsWith('/')) throw outside(path);
  if (!kernelHasOpenat2) return walkBeneath(root, path, flags);
  const how = new BigUint64Array(new SharedArrayBuffer(128), 0, HOW.words);
  how[HOW.flags] = BigInt(openBits(flags));
  how[HOW.mode] = BigInt(flags.create === true ? (flags.mode ?? 0o600) : 0);
  how[HOW.resolve] = BigInt(RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | (flags.noLinks === true ? RESOLVE_NO_SYMLINKS : 0));
  for (let attempt = 0; ; attempt++) {
    const descriptor = c.openat2(SYS_OPENAT2, root, path, how, HOW.bytes);
    if (descriptor >= 0) return descriptor;
    const errno = lastErrno();
    if (errno === EXDEV) throw outside(path);
    if (errno === ELOOP && (flags.noFollow === true || flags.noLinks === true)) throw notAFile(path);
    // EPERM: a seccomp profile that is older than the call, or a file that may not be opened so, which then fails below too.
    // The walk allows nothing that openat2 would refuse, so nobody gains by bringing it about.
    if (errno === ENOSYS || errno === EPERM) {
      kernelHasOpenat2 = errno === EPERM;
      return walkBeneath(root, path, flags);
    }
    // EAGAIN: a rename or mount happened meanwhile, so that the kernel could not be sure.
    if ((errno !== EAGAIN && errno !== EINTR) || attempt >= RETRIES_MAX) throw ioError(errno, 'openat2');
  }
}

/** Step by step, where there is no openat2: no step may be a link or `..`, so nothing leads out either. */
function walkBeneath(root: number, path: string, flags: OpenFlags): number {
  const names = path.split('/').filter((name) => name !== '' && name !== '.');
  if (names.includes('..')) throw outside(path);
  const last = names.pop() ?? '.';
  let directory = root;
  try {
    for (const name of names) {
      const next = openStep(directory, name, { write: false, pathOnly: true, directory: true }, path);
      if (directory !== root) c.close(directory);
      directory = next;
    }
    return openStep(directory, last, flags, path);
  } finally {
    if (directory !== root) c.close(directory);
  }
}

function openStep(directory: number, name: string, flags: OpenFlags, path: string): number {
  for (let attempt = 0; ; attempt++) {
    const descriptor = c.openat(directory, name, openBits({ ...flags, noFollow: true }), flags.mode ?? 0o600);
    if (descriptor >= 0) {
      if (flags.pathOnly !== true || flags.noFollow === true || !isLink(descriptor, '')) return descriptor;
      // A descriptor of the link itself: whoever uses it would take it for what the link leads to.
      c.close(descriptor);
      throw outside(path);
    }
    const errno = lastErrno();
    if (errno === ELOOP && flags.noFollow === true) throw notAFile(path);
    // Where a directory was wanted, a link is none.
    if (errno === ELOOP || (errno === ENOTDIR && flags.noFollow !== true && isLink(directory, name))) throw outside(path);
    if (errno !== EINTR || attempt >= RETRIES_MAX) throw ioError(errno, 'openat');
  }
}

/** Only for the choice of an error, or about a descriptor: what a name stands for may have changed by the next call. */
function isLink(directory: number, name: string): boolean {
  return c.readlinkat(directory, name, new Uint8Array(new SharedArrayBuffer(64)), 1) >= 0;
}

function outside(path: string): OperationError {
  return new OperationError('TIDEMARK_OUTSIDE_ROOT', `'${path}' leads out of the directory that it has to stay in`, { path });
}

let proc: boolean | undefined;

export const places: PlaceCalls = {
  openBeneath,
  namesDescriptors: () => (proc ??= existsSync('/proc/self/fd')),
  pathOfDescriptor: (descriptor) => `/proc/self/fd/${descriptor}`,
};
