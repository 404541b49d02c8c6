/** Pipes (pipe2(2)). */
import { ioError } from '../errno.js';
import { lastErrno, native } from '../ffi.js';
import type { Pipe } from '../platform.js';

const O_NONBLOCK = 0o4000;
const O_CLOEXEC = 0o2000000;

const pipe2 = native('pipe2', 'int', ['void *', 'int']);

export function createPipe(): Pipe {
  const ends = new Int32Array(new SharedArrayBuffer(128));
  if (pipe2(ends, O_NONBLOCK | O_CLOEXEC) < 0) throw ioError(lastErrno(), 'pipe2');
  const [readEnd = -1, writeEnd = -1] = ends;
  return { readEnd, writeEnd };
}
