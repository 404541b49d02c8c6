/** Space of files: fallocate(2), ftruncate(2). Never posix_fallocate, which writes where the filesystem cannot reserve. */
import { EINVAL, ENOSYS, EOPNOTSUPP, ioError } from '../errno.js';
import { InvalidArgumentError, IoError, NotSupportedError } from '../errors.js';
import { native } from '../ffi.js';
import type { SpaceCalls, SpacePrimitive } from '../interface/space.js';
import { patiently } from './calls.js';
import { filesystem } from './filesystem.js';

const c = {
  fallocate: native('fallocate', 'int', ['int', 'int', 'int64_t', 'int64_t']),
  ftruncate: native('ftruncate', 'int', ['int', 'int64_t']),
};

/** FALLOC_FL_* (include/uapi/linux/falloc.h). */
const KEEP_SIZE = 0x01;
const PUNCH_HOLE = 0x02;
const COLLAPSE_RANGE = 0x08;
const ZERO_RANGE = 0x10;
const INSERT_RANGE = 0x20;
/** Linux 6.17. */
const WRITE_ZEROES = 0x80;

function fallocate(primitive: SpacePrimitive, mode: number, descriptor: number, offset: number, bytes: number): SpacePrimitive {
  const errno = patiently(() => c.fallocate(descriptor, mode, offset, bytes));
  if (errno === 0) return primitive;
  if (errno === EOPNOTSUPP || errno === ENOSYS) {
    throw new NotSupportedError(primitive, `the filesystem ${filesystem(descriptor).name} or the kernel does not do that to this file`);
  }
  throw ioError(errno, 'fallocate');
}

/** For ranges that move what follows: those are refused with EINVAL where they are not made of whole blocks. */
function shift(primitive: SpacePrimitive, mode: number, descriptor: number, offset: number, bytes: number): SpacePrimitive {
  try {
    return fallocate(primitive, mode, descriptor, offset, bytes);
  } catch (error) {
    if (!(error instanceof IoError) || error.errno !== EINVAL) throw error;
    throw new InvalidArgumentError(
      `Expected \`offset\` and \`length\` to be multiples of the block size of ${filesystem(descriptor).name}, and to lie before the end of the file, got ${offset} and ${bytes} (${primitive}: EINVAL)`,
    );
  }
}

export function truncate(descriptor: number, bytes: number): SpacePrimitive {
  const errno = patiently(() => c.ftruncate(descriptor, bytes));
  if (errno !== 0) throw ioError(errno, 'ftruncate');
  return 'ftruncate';
}

export function allocate(descriptor: number, offset: number, bytes: number, keepSize = false): SpacePrimitive {
  return fallocate('fallocate', keepSize ? KEEP_SIZE : 0, descriptor, offset, bytes);
}

export const space: SpaceCalls = {
  truncate,
  allocate,
  punchHole: (descriptor, offset, bytes) => fallocate('FALLOC_FL_PUNCH_HOLE', PUNCH_HOLE | KEEP_SIZE, descriptor, offset, bytes),
  zeroRange: (descriptor, offset, bytes, keepSize) => fallocate('FALLOC_FL_ZERO_RANGE', ZERO_RANGE | (keepSize ? KEEP_SIZE : 0), descriptor, offset, bytes),
  collapseRange: (descriptor, offset, bytes) => shift('FALLOC_FL_COLLAPSE_RANGE', COLLAPSE_RANGE, descriptor, offset, bytes),
  insertRange: (descriptor, offset, bytes) => shift('FALLOC_FL_INSERT_RANGE', INSERT_RANGE, descriptor, offset, bytes),
  writeZeroes: (descriptor, offset, bytes) => fallocate('FALLOC_FL_WRITE_ZEROES', WRITE_ZEROES, descriptor, offset, bytes),
};
