/** Opens and reads the files of journals. */
import { constants } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { EISDIR, ELOOP, ENXIO, fromNodeError, ioError, notAFile } from '../../platform/errno.js';
import { IoError } from '../../platform/errors.js';

/** Rejects with an {@link IoError} when the file cannot be opened or is not a regular file. */
export async function openRegularFile(path: string, flags = 0): Promise<FileHandle> {
  let handle: FileHandle;
  try {
    // O_NONBLOCK: opening a FIFO must not wait for somebody to write to it.
    handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK | flags);
  } catch (error) {
    const failure = fromNodeError(error, path);
    // A socket cannot be opened at all, and a link where none is followed says the same.
    const isOther = failure instanceof IoError && (failure.errno === ENXIO || (failure.errno === ELOOP && (flags & constants.O_NOFOLLOW) !== 0));
    throw isOther ? notAFile(path) : failure;
  }
  const status = await handle.stat().catch(async (error: unknown) => {
    await handle.close();
    throw fromNodeError(error, path);
  });
  if (status.isFile()) return handle;
  await handle.close();
  if (status.isDirectory()) throw ioError(EISDIR, 'open', path);
  throw notAFile(path);
}

/** Reads `bytes` bytes of the file at `path` into fresh memory; fewer only where it ends. */
export async function readFully(handle: FileHandle, path: string, offset: number, bytes: number): Promise<Uint8Array> {
  const target = Buffer.allocUnsafeSlow(bytes);
  let done = 0;
  try {
    while (done < bytes) {
      const { bytesRead } = await handle.read(target, done, bytes - done, offset + done);
      if (bytesRead === 0) break;
      done += bytesRead;
    }
  } catch (error) {
    throw fromNodeError(error, path);
  }
  return target.subarray(0, done);
}
