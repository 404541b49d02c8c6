/** How results of system calls are read. */
import { EINTR, ioError } from '../errno.js';
import { lastErrno } from '../ffi.js';

/** A call that makes no progress this often in a row is an error (EINTR, EAGAIN, zero bytes). */
export const RETRIES_MAX = 100;

/** Throws what a call failed with; answers its result otherwise. */
export function check(result: number, syscall: string, path?: string): number {
  if (result < 0) throw ioError(lastErrno(), syscall, path);
  return result;
}

/** Repeats a call that signals interrupt, such as those of a profiler; answers the error number that is left, or 0. */
export function patiently(call: () => number): number {
  for (let attempt = 0; ; attempt++) {
    if (call() >= 0) return 0;
    const errno = lastErrno();
    if (errno !== EINTR || attempt >= RETRIES_MAX) return errno;
  }
}
