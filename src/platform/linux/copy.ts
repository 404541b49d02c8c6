/** Copying inside the kernel: FICLONE, FICLONERANGE (ioctl_ficlonerange(2)), copy_file_range(2), and SEEK_DATA, SEEK_HOLE (lseek(2)). */
import { constants } from 'node:os';
import { EAGAIN, EINTR, EINVAL, ENOSYS, ENXIO, EOPNOTSUPP, errnoName, ioError } from '../errno.js';
import { NotSupportedError } from '../errors.js';
import { lastErrno, native } from '../ffi.js';
import type { CopyCalls } from '../interface/copy.js';
import { RETRIES_MAX } from './calls.js';
import { files } from './files.js';
import { filesystem } from './filesystem.js';

const { EXDEV, ENOTTY } = constants.errno;

/** include/uapi/linux/fs.h; the numbers are those of x86, arm and riscv. */
const FICLONE = 0x40049409;
const FICLONERANGE = 0x4020940d;
/** struct file_clone_range: four 64-bit words. */
const RANGE = { source: 0, sourceOffset: 1, bytes: 2, targetOffset: 3, words: 4 } as const;
const SEEK_DATA = 3;
const SEEK_HOLE = 4;

const c = {
  clone: native('ioctl', 'int', ['int', 'unsigned long', 'long']),
  cloneRange: native('ioctl', 'int', ['int', 'unsigned long', 'void *']),
  copyFileRange: native('copy_file_range', 'int64_t', ['int', 'void *', 'int', 'void *', 'size_t', 'uint32_t']),
  lseek: native('lseek', 'int64_t', ['int', 'int64_t', 'int']),
};

/** What a call answers where these two files, or their filesystems, do not do it, while another way may. */
const NOT_POSSIBLE: Readonly<Record<number, string>> = {
  [EOPNOTSUPP]: 'the filesystem does not do that',
  [ENOTTY]: 'the filesystem does not do that',
  [ENOSYS]: 'the kernel does not do that',
  [EXDEV]: 'they lie on different filesystems',
  [EINVAL]: 'these two files, or these offsets, which may have to be those of blocks, do not allow it',
};

function fail(primitive: string, errno: number, source: number, target: number): Error {
  const why = NOT_POSSIBLE[errno];
  if (why === undefined) return ioError(errno, primitive);
  return new NotSupportedError(primitive, `from ${filesystem(source).name} to ${filesystem(target).name}: ${why} (${errnoName(errno)})`);
}

/** Repeats `call` while it is interrupted: it has done nothing then. A whole number of bytes, or what it failed with. */
function attempt(primitive: string, source: number, target: number, call: () => number): number {
  for (let tries = 0; ; tries++) {
    const result = call();
    if (result >= 0) return result;
    const errno = lastErrno();
    if ((errno !== EINTR && errno !== EAGAIN) || tries >= RETRIES_MAX) throw fail(primitive, errno, source, target);
  }
}

export const copy: CopyCalls = {
  clone: (source, target) => {
    attempt('FICLONE', source, target, () => c.clone(target, FICLONE, source));
    return 'FICLONE';
  },

  cloneRange: (source, sourceOffset, target, targetOffset, bytes) => {
    const range = new BigInt64Array(new SharedArrayBuffer(128), 0, RANGE.words);
    range[RANGE.source] = BigInt(source);
    range[RANGE.sourceOffset] = BigInt(sourceOffset);
    range[RANGE.bytes] = BigInt(bytes);
    range[RANGE.targetOffset] = BigInt(targetOffset);
    attempt('FICLONERANGE', source, target, () => c.cloneRange(target, FICLONERANGE, range));
    return 'FICLONERANGE';
  },

  copyRange: (source, sourceOffset, target, targetOffset, bytes) => {
    const offsets = new BigInt64Array(new SharedArrayBuffer(128));
    const [from, to] = [offsets.subarray(0, 1), offsets.subarray(1, 2)];
    from[0] = BigInt(sourceOffset);
    to[0] = BigInt(targetOffset);
    return attempt('copy_file_range', source, target, () => c.copyFileRange(source, from, target, to, bytes, 0));
  },

  nextData: (descriptor, offset) => {
    const start = c.lseek(descriptor, offset, SEEK_DATA);
    if (start >= 0) return start;
    const errno = lastErrno();
    if (errno === ENXIO) return undefined;
    // Filesystems that know no holes have data everywhere.
    if (errno === EINVAL) return offset;
    throw ioError(errno, 'lseek');
  },

  nextHole: (descriptor, offset) => {
    const start = c.lseek(descriptor, offset, SEEK_HOLE);
    if (start >= 0) return start;
    const errno = lastErrno();
    if (errno === EINVAL || errno === ENXIO) return Math.max(offset, files.status(descriptor).sizeBytes);
    throw ioError(errno, 'lseek');
  },
};
