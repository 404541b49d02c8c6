/** What operations on ranges of regular files share: pieces of bounded size, and memory that any file can be read or written by. */
import { EISDIR, inFile, ioError, notAFile } from '../../platform/errno.js';
import { InvalidArgumentError, NotSupportedError } from '../../platform/errors.js';
import { NativeMemory } from '../../platform/ffi.js';
import type { FileStatus, Platform } from '../../platform/platform.js';
import { isOpen, type Target } from '../protocol/operation.js';
import type { OperationContext } from './context.js';

/** What one call reads or writes. */
export const TRANSFER_BYTES = 1024 ** 2;
/** Enough for direct IO on every disk in use. */
const MEMORY_ALIGNMENT = 4096;

/** A target, and the descriptor that it has or got. */
export interface Opened {
  readonly target: Target;
  readonly descriptor: number;
}

/** Refuses directories, devices and the like. */
export function requireFile({ files }: Platform, descriptor: number, path: string): FileStatus {
  const status = files.status(descriptor, path);
  if (status.kind === 'directory') throw ioError(EISDIR, 'open', path);
  if (status.kind !== 'file') throw notAFile(path);
  return status;
}

/**
 * Does a range, of a byte at least, piece by piece, and answers what the last one did. In between the caller may give up, and
 * learns how far it is. `before`: bytes of the operation that were done before.
 */
export function inPieces<T>(context: OperationContext, offset: number, length: number, most: number, work: (offset: number, bytes: number) => T, before = 0): T {
  for (let done = 0; ;) {
    context.checkAborted();
    const bytes = Math.min(most, length - done);
    const result = work(offset + done, bytes);
    done += bytes;
    context.progress(before + done);
    if (done >= length) return result;
  }
}

/** Memory for the pieces of a transfer. */
export function transferMemory(length: number): Uint8Array {
  return new NativeMemory(Math.max(1, Math.min(length, TRANSFER_BYTES)), MEMORY_ALIGNMENT).bytes;
}

/** Refuses what is open for appending: nothing can be written at an offset of it. */
export function requireOffsets(target: Target): void {
  if (!isOpen(target) || target.only !== 'append') return;
  throw new InvalidArgumentError(`Expected \`target\` to be a file that is written at any offset, got the handle of '${target.path}', which is open for appending`);
}

/** Throws where a file that is open for direct IO cannot be read or written like that. */
export function requireAligned(operation: string, target: Target, ...positions: readonly number[]): void {
  const alignment = isOpen(target) ? (target.directAlignment ?? 1) : 1;
  if (positions.every((position) => position % alignment === 0)) return;
  throw new NotSupportedError(operation, `'${target.path}' is open for direct IO, which reads and writes multiples of ${alignment} bytes only`);
}

/** Writes zeros, piece by piece. */
export function writeZeros(context: OperationContext, { target, descriptor }: Opened, offset: number, length: number, before = 0): void {
  requireOffsets(target);
  requireAligned('pwrite', target, offset, length);
  const zeros = transferMemory(length);
  inFile(target.path, () => {
    inPieces(context, offset, length, TRANSFER_BYTES, (at, bytes) => {
      context.platform.files.writeFully(descriptor, zeros.subarray(0, bytes), at);
    }, before);
  });
}
