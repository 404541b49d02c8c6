/** Reads and writes at an offset (pread(2), preadv2(2)). */
import { EAGAIN, EINTR, EINVAL, EOPNOTSUPP, ioError } from '../errno.js';
import { assert, NotSupportedError } from '../errors.js';
import { addressOf, lastErrno, native, NativeMemory, whileHeld } from '../ffi.js';
import type { TransferCalls, WritePromise } from '../interface/transfer.js';
import { RETRIES_MAX } from './calls.js';
import { files } from './files.js';
import { STATX, STATX_MASK, statxOf } from './statx.js';

/** UIO_MAXIOV (include/uapi/linux/uio.h). */
const PIECES_MAX = 1024;
/** struct iovec: address and length, a machine word each. */
const IOVEC_BYTES = 16;
/** RWF_* (include/uapi/linux/fs.h): Linux 4.7, 4.16 and 6.11. */
const RWF_DSYNC = 0x02;
const RWF_APPEND = 0x10;
const RWF_ATOMIC = 0x40;
const c = {
  pread: native('pread', 'int64_t', ['int', 'void *', 'size_t', 'int64_t']),
  pwrite: native('pwrite', 'int64_t', ['int', 'void *', 'size_t', 'int64_t']),
  preadv2: native('preadv2', 'int64_t', ['int', 'uintptr_t', 'int', 'int64_t', 'int']),
  pwritev2: native('pwritev2', 'int64_t', ['int', 'uintptr_t', 'int', 'int64_t', 'int']),
};

let vector: { readonly memory: NativeMemory; readonly words: Uint32Array } | undefined;

/** Calls with the address of the pieces' vector. */
function withVector(pieces: readonly Uint8Array[], call: (vector: number) => number): number {
  return whileHeld(pieces, () => call(vectorOf(pieces)));
}

/** Lays the pieces out for the kernel; answers where. */
function vectorOf(pieces: readonly Uint8Array[]): number {
  assert(pieces.length <= PIECES_MAX, 'a vector has no more pieces than a call takes');
  if (vector === undefined) {
    const memory = new NativeMemory(PIECES_MAX * IOVEC_BYTES, 8);
    vector = { memory, words: new Uint32Array(memory.buffer, memory.bytes.byteOffset, PIECES_MAX * 4) };
  }
  const { memory, words } = vector;
  let at = 0;
  // Pieces often share a buffer: a native call for each buffer, not for each piece.
  let buffer: ArrayBufferLike | undefined;
  let base = 0;
  for (const piece of pieces) {
    if (piece.buffer !== buffer) {
      ({ buffer } = piece);
      // The address of a buffer without a byte means nothing, and is not used.
      base = buffer.byteLength === 0 ? 0 : addressOf(new Uint8Array(buffer));
    }
    for (const word of [base + piece.byteOffset, piece.length]) {
      words[at++] = word % 2 ** 32;
      words[at++] = Math.floor(word / 2 ** 32);
    }
  }
  return memory.address;
}

/** Repeats a call that moved nothing because it was interrupted. */
function patiently(call: () => number): number {
  for (let attempt = 0; ; attempt++) {
    const count = call();
    if (count >= 0) return count;
    const errno = lastErrno();
    if ((errno !== EINTR && errno !== EAGAIN) || attempt >= RETRIES_MAX) return -errno;
  }
}

function moved(count: number, syscall: string): number {
  if (count < 0) throw ioError(-count, syscall);
  return count;
}

function flagsOf({ durable, append, atomic }: WritePromise): number {
  return (durable === true ? RWF_DSYNC : 0) | (append === true ? RWF_APPEND : 0) | (atomic === true ? RWF_ATOMIC : 0);
}

function writeVector(descriptor: number, pieces: readonly Uint8Array[], offset: number, promise: WritePromise = {}): number {
  const flags = flagsOf(promise);
  const count = withVector(pieces, (address) => patiently(() => c.pwritev2(descriptor, address, pieces.length, offset, flags)));
  // pwritev2(2): a flag that the file or the kernel does not know. For an atomic write EINVAL means that the file has none after all.
  if (flags !== 0 && (count === -EOPNOTSUPP || (promise.atomic === true && count === -EINVAL))) {
    throw new NotSupportedError('pwritev2', `the filesystem ${files.filesystem(descriptor).name} or the kernel refuses the flags 0x${flags.toString(16)}`);
  }
  return moved(count, 'pwritev2');
}

function atomicWrites(descriptor: number): { min: number; max: number } | undefined {
  const stat = statxOf(descriptor, STATX_MASK.atomicWrites);
  if ((stat.getUint32(STATX.mask, true) & STATX_MASK.atomicWrites) === 0) return undefined;
  const min = stat.getUint32(STATX.atomicWriteMin, true);
  const max = stat.getUint32(STATX.atomicWriteMax, true);
  return min === 0 || max < min ? undefined : { min, max };
}

export const transfer: TransferCalls = {
  piecesMax: PIECES_MAX,
  primitives: { read: 'pread', readVector: 'preadv2', write: 'pwrite', writeVector: 'pwritev2' },
  read: (descriptor, target, offset) => moved(patiently(() => c.pread(descriptor, target, target.length, offset)), 'pread'),
  readVector: (descriptor, pieces, offset) => moved(withVector(pieces, (address) => patiently(() => c.preadv2(descriptor, address, pieces.length, offset, 0))), 'preadv2'),
  write: (descriptor, source, offset) => moved(patiently(() => c.pwrite(descriptor, source, source.length, offset)), 'pwrite'),
  writeVector,
  atomicWrites,
};
