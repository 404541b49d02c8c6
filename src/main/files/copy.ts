/** Copies of files and of parts of them: shared blocks where there can be, holes kept. */
import type { CopiedFile, CopiedRange, CopyMethod } from '../../workers/files/copy.js';
import * as check from '../options.js';
import type { Caller, OperationOptions } from './caller.js';
import type { FileHandle } from './file-handle.js';
import { preserved, type Preserve } from './replace.js';

export type { CopyMethod };

/** How bytes were copied, and how far that is from being done. */
export interface CopyTally {
  /** The copy's length, in bytes. */
  readonly bytes: number;
  /**
   * Bytes that were moved: 0 where blocks are shared by one of the `FICLONE` calls. xfs and btrfs may share blocks within
   * `copy_file_range` as well, which it does not tell.
   */
  readonly copiedBytes: number;
  /** Bytes of holes, which are holes in the copy. 0 with `FICLONE` and `FICLONERANGE`, which share them with all the rest. */
  readonly holes: number;
}

export interface CopyFileOptions extends OperationOptions {
  /**
   * `reflink`: both files share their blocks until one is written (xfs, btrfs). `copy_file_range`: the kernel copies.
   * `read_write`: through memory. One that is not possible rejects with `TIDEMARK_NOT_SUPPORTED`. `auto`, the default, takes the
   * first of them that is.
   */
  readonly method?: CopyMethod;
  /** A file that lies at `to` is replaced, at once and as a whole. Default false: `TIDEMARK_EXISTS`. */
  readonly overwrite?: boolean;
  /**
   * What the copy takes over besides the content; true and false stand for all. Default: the mode. A copy that does not take the
   * mode over is its owner's alone (0o600). {@link CopyFileResult.notPreserved} names what this process was not allowed to set,
   * or the filesystem does not know.
   */
  readonly preserve?: Preserve | boolean;
  /** Syncs the copy, then, once it has its name, its directory. Default true. */
  readonly durable?: boolean;
  /** Told how many bytes of the source are done, now and then and at the end. */
  readonly onProgress?: (bytes: number) => void;
}

export interface CopyFileResult extends CopyTally {
  /** What copied. Where one gave up in the middle, the one that did the rest. */
  readonly primitive: 'FICLONE' | 'copy_file_range' | 'read_write';
  /** Of the copy and, after it, of the directory. */
  readonly sync: 'fsync' | 'none';
  /** Of what was to be preserved: `uid`, `gid`, `setuid`, `setgid`, names of attributes. */
  readonly notPreserved: readonly string[];
}

export interface CopyRangeOptions extends OperationOptions {
  /** As for `copyFile`; sharing blocks needs offsets and a length of whole blocks, or a range that ends with the source. */
  readonly method?: CopyMethod;
  /** Syncs the target (fdatasync(2)). Default false. */
  readonly durable?: boolean;
  /** Told how many bytes are done, now and then and at the end. */
  readonly onProgress?: (bytes: number) => void;
}

export interface CopyRangeResult extends CopyTally {
  /** `none`: the source ends before the range begins. */
  readonly primitive: 'FICLONERANGE' | 'copy_file_range' | 'read_write' | 'none';
  readonly sync: 'fdatasync' | 'none';
}

export interface CopyOperations {
  /**
   * Copies a regular file. The copy is built beside `to` under a temporary name and gets its own when it is complete (and
   * synced, where durable): whoever looks finds no copy or the whole one, also after a kill or a power loss. One that fails, is
   * aborted or times out leaves nothing. With `overwrite`, a link at `to` stays, and the file that it leads to is replaced.
   *
   * The copy ends where the source ended at the start, or earlier if the source is cut meanwhile. One that is written
   * meanwhile may be copied in parts old and new; with `reflink` the copy is as of one moment. Files that say that they are empty,
   * as those of /proc do, are read to their end, up to 64 MiB.
   *
   * FICLONE, copy_file_range(2), pread(2) and pwrite(2), lseek(2) with SEEK_DATA, fsync(2), renameat2(2). Rejects with
   * `TIDEMARK_EXISTS`, `TIDEMARK_IS_DIRECTORY`, `TIDEMARK_NOT_A_FILE`, with `TIDEMARK_NO_SPACE`, and with
   * `TIDEMARK_INVALID_ARGUMENT` where both names lead to one file.
   */
  copyFile(from: string | FileHandle, to: string, options?: CopyFileOptions): Promise<CopyFileResult>;
  /**
   * Copies `length` bytes of one file over those of another one that exists, or over another part of the same one; less where
   * the source ends within them: `bytes` tells. Holes become holes (`FALLOC_FL_PUNCH_HOLE`), or zeros where the filesystem has
   * no way to make them. What is behind the end of the target is added; nobody else may lengthen it meanwhile. Not atomic: one
   * that fails or is aborted has copied some of it. Ranges of one file that overlap: `TIDEMARK_INVALID_ARGUMENT`.
   *
   * FICLONERANGE, copy_file_range(2), pread(2) and pwrite(2), in this order.
   */
  copyRange(
    source: string | FileHandle, sourceOffset: number, target: string | FileHandle, targetOffset: number, length: number, options?: CopyRangeOptions,
  ): Promise<CopyRangeResult>;
}

const METHODS: readonly CopyMethod[] = ['auto', 'reflink', 'copy_file_range', 'read_write'];
export function copyOperations(caller: Caller): CopyOperations {
  return {
    async copyFile(from, to, options) {
      const { method, overwrite, preserve, durable, onProgress } = caller.options(options, ['method', 'overwrite', 'preserve', 'durable', 'onProgress']);
      return caller.run('copyFile', [caller.target('from', from), caller.place('to', to), {
        method: check.oneOf('method', method, 'auto', METHODS),
        overwrite: check.boolean('overwrite', overwrite, false),
        preserve: preserved(preserve),
        durable: check.boolean('durable', durable, true),
      }], options, { onProgress: check.callback('onProgress', onProgress) }) satisfies Promise<CopiedFile>;
    },
    async copyRange(source, sourceOffset, target, targetOffset, length, options) {
      const { method, durable, onProgress } = caller.options(options, ['method', 'durable', 'onProgress']);
      return caller.run('copyRange', [
        caller.target('source', source), check.position('sourceOffset', sourceOffset),
        caller.writable('target', target), check.position('targetOffset', targetOffset),
        check.position('length', length, 1),
        { method: check.oneOf('method', method, 'auto', METHODS), durable: check.boolean('durable', durable, false) },
      ], options, { onProgress: check.callback('onProgress', onProgress) }) satisfies Promise<CopiedRange>;
    },
  };
}
