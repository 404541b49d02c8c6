/** Hints about files: posix_fadvise(2), F_SET_RW_HINT and F_GET_RW_HINT (fcntl(2)). */
import { assert, NotSupportedError } from '../errors.js';
import { EINVAL, errnoName, ioError } from '../errno.js';
import { lastErrno, native } from '../ffi.js';
import type { HintCalls, WriteLifetime } from '../interface/hints.js';
import type { Advice } from '../platform.js';
import { filesystem } from './filesystem.js';

const c = {
  posixFadvise: native('posix_fadvise', 'int', ['int', 'int64_t', 'int64_t', 'int']),
  fcntl: native('fcntl', 'int', ['int', 'int', 'void *']),
};

/** POSIX_FADV_* (posix_fadvise(2)); the same on every architecture node supports but s390. */
const ADVICE: Readonly<Record<Advice, number>> = {
  normal: 0,
  random: 1,
  sequential: 2,
  willNeed: 3,
  dontNeed: 4,
  noReuse: 5,
};

/** F_LINUX_SPECIFIC_BASE + 11 and + 12 (include/uapi/linux/fcntl.h), Linux 4.13. */
const F_GET_RW_HINT = 1035;
const F_SET_RW_HINT = 1036;
/** RWH_WRITE_LIFE_* by their numbers. */
const LIFETIMES: readonly WriteLifetime[] = ['notSet', 'none', 'short', 'medium', 'long', 'extreme'];

export function advise(descriptor: number, offset: number, bytes: number, advice: Advice): void {
  // posix_fadvise returns the error number instead of setting errno.
  const errno = c.posixFadvise(descriptor, offset, bytes, ADVICE[advice]);
  if (errno !== 0) throw ioError(errno, 'posix_fadvise');
}

/** Files that live in the page cache alone: the kernel answers that it took the advice, and drops it (mm/fadvise.c). */
function adviceIgnored(descriptor: number): string | undefined {
  const { name } = filesystem(descriptor);
  return name === 'tmpfs' ? 'files of tmpfs live in the page cache, and the kernel ignores advice about them' : undefined;
}

/** Both calls take the address of a 64-bit word. */
function lifetimeCall(command: number, descriptor: number, value: number): number {
  const word = new BigUint64Array(new SharedArrayBuffer(128), 0, 1);
  word[0] = BigInt(value);
  if (c.fcntl(descriptor, command, word) >= 0) return Number(word[0]);
  const errno = lastErrno();
  if (errno === EINVAL) throw new NotSupportedError('fcntl', `the kernel knows no write lifetime hints for this file of ${filesystem(descriptor).name} (${errnoName(errno)})`);
  throw ioError(errno, 'fcntl');
}

export const hints: HintCalls = {
  advise,
  adviceIgnored,
  setWriteLifetime: (descriptor, lifetime) => void lifetimeCall(F_SET_RW_HINT, descriptor, LIFETIMES.indexOf(lifetime)),
  writeLifetime: (descriptor) => {
    const lifetime = LIFETIMES[lifetimeCall(F_GET_RW_HINT, descriptor, 0)];
    assert(lifetime !== undefined, 'a write lifetime hint has a name');
    return lifetime;
  },
};
