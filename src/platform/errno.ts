/**
 * Error numbers of system calls, and what each means here.
 *
 * Numbers come from Node's own table of the running system, so they are right on every platform.
 */
import { constants } from 'node:os';
import { IoError, type IoErrorCode } from './errors.js';

const NAMES = new Map<number, string>();
for (const [name, number] of Object.entries(constants.errno)) {
  // Some numbers have two names; these are the lesser used ones.
  if (name !== 'EWOULDBLOCK' && name !== 'ENOTSUP') NAMES.set(number, name);
}

export const {
  EACCES, EAGAIN, EBUSY, ECANCELED, EDQUOT, EEXIST, EFBIG, EINTR, EINVAL, EIO, EISDIR, ELOOP, ENODATA, ENODEV, ENOENT, ENOMEM, ENOSPC, ENOSYS, ENOTDIR, ENOTEMPTY, ENOTTY, ENXIO, EOPNOTSUPP, EPERM, ESRCH, ETIME, EXDEV,
} = constants.errno;

interface Meaning {
  readonly code: IoErrorCode;
  readonly explanation: string;
}

const MEANINGS: Readonly<Record<string, Meaning>> = {
  ENOENT: { code: 'TIDEMARK_NOT_FOUND', explanation: 'no such file or directory, or none on the way there' },
  ENOTDIR: { code: 'TIDEMARK_NOT_FOUND', explanation: 'a part of the path is not a directory' },
  EACCES: { code: 'TIDEMARK_PERMISSION', explanation: 'permission denied' },
  EPERM: { code: 'TIDEMARK_PERMISSION', explanation: 'operation not permitted' },
  EISDIR: { code: 'TIDEMARK_IS_DIRECTORY', explanation: 'is a directory, expected a regular file' },
  EEXIST: { code: 'TIDEMARK_EXISTS', explanation: 'exists already' },
  ENOTEMPTY: { code: 'TIDEMARK_NOT_EMPTY', explanation: 'the directory is not empty' },
  EXDEV: { code: 'TIDEMARK_CROSS_DEVICE', explanation: 'the two names are on different filesystems or mounts' },
  ENOSPC: { code: 'TIDEMARK_NO_SPACE', explanation: 'no space left on the device' },
  EDQUOT: { code: 'TIDEMARK_NO_SPACE', explanation: 'the disk quota is used up' },
  EFBIG: { code: 'TIDEMARK_NO_SPACE', explanation: 'the file would exceed the size limit' },
  EROFS: { code: 'TIDEMARK_READ_ONLY', explanation: 'the filesystem is read-only' },
  EMFILE: { code: 'TIDEMARK_TOO_MANY_FILES', explanation: 'this process has too many open files' },
  ENFILE: { code: 'TIDEMARK_TOO_MANY_FILES', explanation: 'the system has too many open files' },
  ENAMETOOLONG: { code: 'TIDEMARK_INVALID_PATH', explanation: 'the path or a part of it is too long' },
  ELOOP: { code: 'TIDEMARK_INVALID_PATH', explanation: 'too many symbolic links, or one where none is followed' },
  EIO: { code: 'TIDEMARK_IO', explanation: 'the device reported an input or output error' },
};

/** The symbol of an error number, such as `ENOENT`; `errno <n>` for one the system does not name. */
export function errnoName(errno: number): string {
  return NAMES.get(errno) ?? `errno ${errno}`;
}

/**
 * Builds the error of a system call that failed with `errno` (positive). `special`: what it means for this call alone, and how
 * many bytes it had transferred by then.
 */
export function ioError(errno: number, syscall: string, path?: string, special: Partial<Meaning> & Pick<Partial<IoError>, 'bytesDone'> = {}): IoError {
  const name = errnoName(errno);
  const meaning: Meaning = { ...(MEANINGS[name] ?? { code: 'TIDEMARK_IO', explanation: 'failed' }), ...special };
  return new IoError(meaning.code, { errno, errnoName: name, syscall, path, explanation: meaning.explanation, bytesDone: special.bytesDone });
}

/** Runs file calls that know no more than a descriptor, and names the file in what they throw. */
export function inFile<T>(path: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (error instanceof IoError && error.path === undefined) throw ioError(error.errno, error.syscall, path, error);
    throw error;
  }
}

/** Something else than a regular file has the name of one. */
export function notAFile(path: string): IoError {
  return new IoError('TIDEMARK_NOT_A_FILE', {
    errno: EINVAL, errnoName: 'EINVAL', syscall: 'open', path, explanation: 'expected a regular file, got a device, socket, FIFO or link',
  });
}

/** Turns an error of `node:fs` into this library's family, anything else is returned as it is. */
export function fromNodeError(error: unknown, path?: string): unknown {
  if (!(error instanceof Error) || !('errno' in error) || typeof error.errno !== 'number') return error;
  const syscall = 'syscall' in error && typeof error.syscall === 'string' ? error.syscall : 'unknown';
  return ioError(Math.abs(error.errno), syscall, path);
}
