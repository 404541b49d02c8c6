/** Length and blocks of files. */
import type { SpacePrimitive } from '../../platform/interface/space.js';
import type { Caller, OperationOptions } from './caller.js';
import type { FileHandle } from './file-handle.js';
import * as check from '../options.js';

export type { SpacePrimitive };

export interface SpaceOptions extends OperationOptions {
  /** Syncs the file (fsync(2)) before the call resolves. Default false. */
  readonly durable?: boolean;
}

export interface PreallocateOptions extends SpaceOptions {
  /**
   * `keepSize`: the file keeps its length, what lies behind its end is reserved for writes to come. `extend`: a file that is
   * shorter than the range gets its length. Default `keepSize`.
   */
  readonly mode?: 'keepSize' | 'extend';
}

export interface ZeroRangeOptions extends SpaceOptions {
  /** The file keeps its length where the range reaches past its end. Default false. */
  readonly keepSize?: boolean;
}

/** A range of a file, in bytes. */
export interface FileRange {
  /** From 0 to 2^53 - 1. */
  readonly offset: number;
  /** From 1 to 2^53 - 1. */
  readonly length: number;
}

export interface SpaceResult {
  /** What changed the file. */
  readonly primitive: SpacePrimitive;
  /** The file's length now, in bytes. */
  readonly size: number;
  readonly sync: 'fsync' | 'none';
}

/**
 * All of them take a path or a handle that is open for writing, and regular files only. Offsets and lengths are bytes. What is
 * done to a long range is done in parts: a call that is aborted, times out or fails (`TIDEMARK_NO_SPACE`) may have done the
 * first ones. Where the filesystem or the kernel lacks a call it rejects with `TIDEMARK_NOT_SUPPORTED`, and nothing changed.
 */
export interface SpaceOperations {
  /**
   * Reserves blocks for a range, from the start of the file where a number is given: later writes to it cannot run out of
   * space, and need not look for it. What is there stays as it is. The C library's replacement, which writes where the
   * filesystem cannot reserve, is never used. fallocate(2).
   */
  preallocate(target: string | FileHandle, space: number | FileRange, options?: PreallocateOptions): Promise<SpaceResult>;
  /**
   * Gives the blocks of a range back: it reads as zeros from then on. Parts of blocks at its ends are zeroed. The length
   * stays. `FALLOC_FL_PUNCH_HOLE`, fallocate(2).
   */
  punchHole(target: string | FileHandle, offset: number, length: number, options?: SpaceOptions): Promise<SpaceResult>;
  /**
   * Makes a range read as zeros and keeps its blocks, without writing them: they are marked as not written, so the first write
   * to each also has to change that mark. `FALLOC_FL_ZERO_RANGE`, fallocate(2).
   */
  zeroRange(target: string | FileHandle, offset: number, length: number, options?: ZeroRangeOptions): Promise<SpaceResult>;
  /**
   * Takes a range out of the file: what follows moves down to `offset`, without being copied. Both numbers must be multiples of
   * the filesystem's block size, and the range must end before the end of the file: `TIDEMARK_INVALID_ARGUMENT` otherwise. One
   * call, however long the range is. `FALLOC_FL_COLLAPSE_RANGE`, fallocate(2).
   */
  collapseRange(target: string | FileHandle, offset: number, length: number, options?: SpaceOptions): Promise<SpaceResult>;
  /**
   * Opens a hole at `offset`: what lies there and behind it moves up, without being copied. Limits as for
   * {@link collapseRange}; `offset` must lie before the end of the file. `FALLOC_FL_INSERT_RANGE`, fallocate(2).
   */
  insertRange(target: string | FileHandle, offset: number, length: number, options?: SpaceOptions): Promise<SpaceResult>;
  /**
   * Makes a range zeros that are written, so that overwriting them later changes no metadata and a sync of it is one write.
   * The device does it where it can (`FALLOC_FL_WRITE_ZEROES`, Linux 6.17), else zero bytes are written (`pwrite`): those are
   * in the page cache until the file is synced, so take `durable: true` to have them on disk. Lengthens the file.
   */
  writeZeroes(target: string | FileHandle, offset: number, length: number, options?: SpaceOptions): Promise<SpaceResult>;
  /** Cuts the file to `length` bytes, or lengthens it by a hole. ftruncate(2). */
  truncate(target: string | FileHandle, length: number, options?: SpaceOptions): Promise<SpaceResult>;
}

function rangeOf(space: unknown): FileRange {
  if (typeof space === 'number') return { offset: 0, length: check.position('space', space, 1) };
  check.checkKeys('space', space, ['offset', 'length']);
  const { offset, length } = space as Partial<FileRange>;
  return { offset: check.position('space.offset', offset), length: check.position('space.length', length, 1) };
}

export function spaceOperations(caller: Caller): SpaceOperations {
  /** The operations that take a range and say no more about it. */
  const ranged = (name: 'punchHole' | 'collapseRange' | 'insertRange' | 'writeZeroes'): SpaceOperations['punchHole'] =>
    async (target, offset, length, options) => {
      const { durable } = caller.options(options, ['durable']);
      return caller.run(name, [caller.writable('target', target), check.position('offset', offset), check.position('length', length, 1), check.boolean('durable', durable, false)], options);
    };
  return {
    async preallocate(target, space, options) {
      const { mode, durable } = caller.options(options, ['mode', 'durable']);
      const { offset, length } = rangeOf(space);
      const extend = check.oneOf('mode', mode, 'keepSize', ['keepSize', 'extend']) === 'extend';
      return caller.run('preallocate', [caller.writable('target', target), offset, length, extend, check.boolean('durable', durable, false)], options);
    },
    punchHole: ranged('punchHole'),
    async zeroRange(target, offset, length, options) {
      const { keepSize, durable } = caller.options(options, ['keepSize', 'durable']);
      return caller.run('zeroRange', [
        caller.writable('target', target), check.position('offset', offset), check.position('length', length, 1),
        check.boolean('keepSize', keepSize, false), check.boolean('durable', durable, false),
      ], options);
    },
    collapseRange: ranged('collapseRange'),
    insertRange: ranged('insertRange'),
    writeZeroes: ranged('writeZeroes'),
    async truncate(target, length, options) {
      const { durable } = caller.options(options, ['durable']);
      return caller.run('truncate', [caller.writable('target', target), check.position('length', length), check.boolean('durable', durable, false)], options);
    },
  };
}
