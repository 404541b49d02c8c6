/** Reads and writes of whole files, of ranges and of vectors, and at the end of a file. */
import { constants } from 'node:buffer';
import { InvalidArgumentError } from '../../platform/errors.js';
import { NativeMemory } from '../../platform/ffi.js';
import type { TransferPrimitive } from '../../platform/interface/transfer.js';
import { selectPlatform } from '../../platform/select.js';
import type { DirectUse, OverwriteMethod, ReadAnswer, WriteMethod, WriteSync } from '../../workers/files/transfer.js';
import { LOG_BUFFER_ALIGNMENT } from '../../workers/protocol/log-buffer.js';
import * as check from '../options.js';
import type { Caller, OperationOptions } from './caller.js';
import { FileHandle } from './file-handle.js';
import { creationOf } from './open.js';

/** Bytes to write: a string is written as UTF-8. */
export type FileBytes = string | Uint8Array;

export type { OverwriteMethod, TransferPrimitive, WriteMethod, WriteSync };

/** Of operations that may take long. */
export interface TransferOptions extends OperationOptions {
  /** Told the bytes that are transferred so far, about every 100 ms, and at the end. */
  readonly onProgress?: (bytes: number) => void;
}

export interface ReadOptions extends TransferOptions {
  /**
   * By path: reads past the page cache where the filesystem allows it; the result tells whether it did, and why not. A handle
   * reads as it was opened. Default false.
   */
  readonly direct?: boolean;
}

export interface ReadRangeOptions extends ReadOptions {
  /**
   * Memory to read into, as many bytes as asked for at least, over a `SharedArrayBuffer`: nothing is copied between threads. The
   * result's `data` is a part of it. With direct IO nothing is copied at all where memory, offset and length are aligned: see
   * {@link alignedBuffer}.
   */
  readonly into?: Uint8Array;
}

export interface ReadAllOptions extends ReadOptions {
  /** A longer file rejects with `TIDEMARK_TOO_LARGE`, unread. Bytes, up to the longest `Buffer`, which is the default. */
  readonly maxBytes?: number;
}

export interface ReadResult extends DirectUse {
  /**
   * What was read: shorter than asked for only where the file ended. Reads of up to 16 KiB that were done together share memory:
   * copy what you keep for long.
   */
  readonly data: Buffer;
  readonly primitive: TransferPrimitive;
}

export interface ReadVectorResult extends DirectUse {
  /** One for each length or buffer; where the file ended, the last ones are shorter, or empty. */
  readonly data: Buffer[];
  readonly bytesRead: number;
  readonly primitive: TransferPrimitive;
}

export interface WriteOptions extends TransferOptions {
  /**
   * How the bytes become durable before the operation resolves:
   * - `none`: not at all; a crash of the system may lose them.
   * - `sync`: fsync(2) after the last write: data and all metadata.
   * - `data`: fdatasync(2) after the last write: data, and what is needed to read it back.
   * - `direct`: direct writes, then the device's cache is flushed: with the last and only write call (`RWF_DSYNC`), else by
   *   fdatasync(2). `TIDEMARK_NOT_SUPPORTED` where there is no direct IO.
   * - `auto`: `RWF_DSYNC` where one call writes all and the filesystem is known to honour it, else fdatasync(2). Direct where the
   *   handle is.
   *
   * Default: `auto` by path, `none` through a handle. The result's `sync` tells what was done.
   */
  readonly method?: WriteMethod;
  /** By path: writes past the page cache where the filesystem allows it. A handle writes as it was opened. Default false. */
  readonly direct?: boolean;
}

export interface WriteAtOptions extends Omit<WriteOptions, 'method'> {
  /**
   * As for other writes, and besides:
   * - `overwrite`: as `direct`, for bytes that replace ones which *were written and synced before*, and whose blocks no other file
   *   shares (no reflink). You vouch for that; blocks that are only reserved (`fallocate`) or not yet synced may be lost with the
   *   power all the same. Where ext4 or xfs lies on an NVMe namespace that may be flushed, the writes are followed by an NVMe
   *   flush (`sync` is `nvme flush`), which makes data durable and no metadata. Elsewhere, and where the file would grow, it is
   *   `direct`. Not together with `atomic`.
   */
  readonly method?: OverwriteMethod;
  /**
   * All or nothing, even through a power loss (`RWF_ATOMIC`, Linux 6.11): direct IO, a power of two bytes within what the file
   * offers, at a multiple of that. `TIDEMARK_NOT_SUPPORTED`, with the reason, where it cannot be. Default false.
   */
  readonly atomic?: boolean;
  /** By path: makes the file where there is none. Default false. */
  readonly create?: boolean;
  /** Permission bits of a file that is made, less the umask. Default 0o600. */
  readonly mode?: number;
}

export interface AppendOptions extends TransferOptions {
  /** As for `writeAt`, without direct IO: an append begins where the file ends, which need not be aligned. */
  readonly method?: Exclude<WriteMethod, 'direct'>;
  /** By path: makes the file where there is none. Default true. */
  readonly create?: boolean;
  /** Permission bits of a file that is made, less the umask. Default 0o600. */
  readonly mode?: number;
}

export interface WriteAllOptions extends WriteOptions {
  /** Makes the file where there is none. Default true. */
  readonly create?: boolean;
  /** Rejects with `TIDEMARK_EXISTS` where the name is taken. Default false. */
  readonly exclusive?: boolean;
  /** Permission bits of a file that is made, less the umask. Default 0o600. */
  readonly mode?: number;
}

export interface WriteResult extends DirectUse {
  readonly bytesWritten: number;
  readonly primitive: TransferPrimitive;
  /** How the bytes were made durable. */
  readonly sync: WriteSync;
}

export interface WriteAllResult extends WriteResult {
  /** The file is new. Unless `method` is `none`, its directory was synced as well. */
  readonly created: boolean;
}

/**
 * Offsets and lengths are bytes. Transfers go in steps of at most 1 MiB: between two of them an operation can be aborted, and what
 * it has written by then stays. Short transfers are continued, interrupted ones repeated with a bound. An `IoError` of a write has `bytesDone`: how much had been
 * written when it failed.
 *
 * Bytes to write must not be changed before the operation has settled. Those over a `SharedArrayBuffer` travel without a copy.
 *
 * **Direct IO** takes any offset, length and memory. Where a write starts or ends inside a sector, the rest of that sector is
 * read and written back, so other writers of it must not write at the same time; one that ends behind the old end of the file
 * fills its last sector with zeros and then cuts the file to its exact length (`ftruncate`). A crash between the two leaves the
 * zeros.
 */
export interface TransferOperations {
  /** The whole content of a file, as long as it is when the read begins. pread(2). */
  readAll(target: string | FileHandle, options?: ReadAllOptions): Promise<ReadResult>;
  /** `length` bytes from `offset` on. pread(2). */
  readRange(target: string | FileHandle, offset: number, length: number, options?: ReadRangeOptions): Promise<ReadResult>;
  /**
   * Consecutive bytes, in pieces: of these lengths, or into these buffers, which are over `SharedArrayBuffer`s. Any number of them.
   * preadv2(2); pread(2) where one piece of memory takes all.
   */
  readVector(target: string | FileHandle, pieces: readonly number[] | readonly Uint8Array[], offset: number, options?: TransferOptions): Promise<ReadVectorResult>;
  /**
   * Makes a file, or empties it, and writes all of it. *Not atomic*: whoever looks meanwhile, or after a crash, may find nothing or
   * a part, and what the file held is gone at once. `replaceFile` is atomic.
   */
  writeAll(path: string, data: FileBytes, options?: WriteAllOptions): Promise<WriteAllResult>;
  /** Writes at an offset; behind the end of the file it leaves a hole. pwrite(2). */
  writeAt(target: string | FileHandle, data: FileBytes, offset: number, options?: WriteAtOptions): Promise<WriteResult>;
  /** Writes the buffers one behind the other, from an offset on. Any number of them. pwritev2(2). */
  writeVector(target: string | FileHandle, buffers: readonly FileBytes[], offset: number, options?: WriteOptions): Promise<WriteResult>;
  /**
   * Writes at the end of the file, wherever that is by then (`RWF_APPEND`). Up to 1 MiB stay together whoever else appends; where a
   * call writes less than it was given, and beyond 1 MiB, bytes of others may come between.
   */
  append(target: string | FileHandle, data: FileBytes, options?: AppendOptions): Promise<WriteResult>;
}

/** The longest piece of memory that a `Buffer` can show. */
const BYTES_MAX = constants.MAX_LENGTH;
/** Transfers of up to this many bytes go to a thread together with others. */
const SHORT_BYTES_MAX = 64 * 1024;
const SHORT = { word: 'short', least: 32, most: 64 } as const;
const METHODS = ['none', 'sync', 'data', 'direct', 'auto'] as const;
const OVERWRITE_METHODS = [...METHODS, 'overwrite'] as const;
const APPEND_METHODS = ['none', 'sync', 'data', 'auto'] as const;

/**
 * Zeros in shared memory at an address that is a multiple of 4096: what direct IO reads into and writes from without a copy.
 * `bytes` from 0 to 2^32. From 2 MiB on it lies in large pages where the system gives some (madvise(2) `MADV_HUGEPAGE`), which
 * takes half of the processor's time out of direct IO.
 */
export function alignedBuffer(bytes: number): Uint8Array<SharedArrayBuffer> {
  const { memory } = selectPlatform();
  const length = check.integer('bytes', bytes, -1, 0, 2 ** 32);
  const isLarge = length >= memory.largePageBytes;
  const { buffer, bytes: view } = new NativeMemory(length, isLarge ? memory.largePageBytes : LOG_BUFFER_ALIGNMENT);
  if (isLarge) memory.preferLargePages(view);
  return new Uint8Array(buffer, view.byteOffset, view.length);
}

function bytesOf(argument: string, value: unknown): Uint8Array {
  if (typeof value === 'string') return Buffer.from(value, 'utf8');
  if (!(value instanceof Uint8Array)) check.fail(argument, 'a string or a Uint8Array', value);
  return value;
}

function sharedBytes(argument: string, value: unknown): Uint8Array {
  if (!(value instanceof Uint8Array) || !(value.buffer instanceof SharedArrayBuffer)) {
    check.fail(argument, 'a Uint8Array over a SharedArrayBuffer, such as alignedBuffer() makes', value);
  }
  return value;
}

function position(argument: string, value: unknown): number {
  check.required(argument, value, 'an integer');
  return check.integer(argument, value, 0, 0, Number.MAX_SAFE_INTEGER);
}

function count(argument: string, value: unknown): number {
  check.required(argument, value, 'an integer');
  return check.integer(argument, value, 0, 0, BYTES_MAX);
}

function callback(value: unknown): ((bytes: number) => void) | undefined {
  if (value !== undefined && typeof value !== 'function') check.fail('onProgress', 'a function', value);
  return value as ((bytes: number) => void) | undefined;
}

/** What an answer leaves unsaid because the handle knows it. */
function directOf(target: unknown, { direct, directReason }: Partial<DirectUse>): DirectUse {
  if (target instanceof FileHandle) return { direct: target.direct.active, directReason: target.direct.reason };
  return { direct: direct === true, directReason: directReason ?? '' };
}

/** The bytes as a Buffer, without a copy. */
function bufferOf(data: Uint8Array): Buffer {
  return Buffer.from(data.buffer, data.byteOffset, data.byteLength);
}

function readResult(target: unknown, { data, primitive, ...used }: ReadAnswer, into: Uint8Array | undefined): ReadResult {
  const read = typeof data === 'number' ? into?.subarray(0, data) : data;
  const { direct, directReason } = directOf(target, used);
  return { data: bufferOf(read ?? new Uint8Array(0)), primitive, direct, directReason };
}

function readOperations(caller: Caller): Pick<TransferOperations, 'readAll' | 'readRange' | 'readVector'> {
  return {
    async readAll(target, options) {
      const { direct, maxBytes, onProgress }: ReadAllOptions = caller.options(options, ['direct', 'maxBytes', 'onProgress']);
      const most = check.integer('maxBytes', maxBytes, BYTES_MAX, 0, BYTES_MAX);
      const args = [caller.fileTarget('target', target), check.boolean('direct', direct, false), most] as const;
      const answer = await caller.run('readAll', args, options, { onProgress: callback(onProgress) });
      return readResult(target, answer, undefined);
    },

    async readRange(target, offset, length, options) {
      const { direct, into, onProgress }: ReadRangeOptions = caller.options(options, ['direct', 'into', 'onProgress']);
      const bytes = count('length', length);
      const memory = into === undefined ? undefined : sharedBytes('into', into);
      if (memory !== undefined && memory.length < bytes) check.fail('into', `as long as \`length\`, ${bytes} bytes`, memory.length);
      const args = [caller.fileTarget('target', target), position('offset', offset), bytes, check.boolean('direct', direct, false), memory] as const;
      const how = { onProgress: callback(onProgress), together: bytes <= SHORT_BYTES_MAX ? SHORT : undefined };
      return readResult(target, await caller.run('readRange', args, options, how), memory);
    },

    async readVector(target, pieces, offset, options) {
      const { onProgress }: TransferOptions = caller.options(options, ['onProgress']);
      check.list('pieces', pieces);
      const file = caller.fileTarget('target', target);
      const at = position('offset', offset);
      const how = { onProgress: callback(onProgress) };
      if (pieces.some((piece) => typeof piece !== 'number')) {
        const buffers = pieces.map((piece, index) => sharedBytes(`pieces[${index}]`, piece));
        const answer = await caller.run('readVectorInto', [file, buffers, at], options, how);
        let left = answer.bytesRead;
        const data = buffers.map((buffer) => {
          const length = Math.min(left, buffer.length);
          left -= length;
          return bufferOf(buffer.subarray(0, length));
        });
        return { ...answer, data, ...directOf(target, answer) };
      }
      const lengths = pieces.map((piece, index) => count(`pieces[${index}]`, piece));
      count('the sum of `pieces`', lengths.reduce((sum, length) => sum + length, 0));
      const answer = await caller.run('readVectorOwn', [file, lengths, at], options, how);
      return { ...answer, data: answer.data.map(bufferOf), ...directOf(target, answer) };
    },
  };
}

function writeOperations(caller: Caller): Omit<TransferOperations, 'readAll' | 'readRange' | 'readVector'> {
  /** Where a write may go. One at an offset has no place in a file that is written at its end. */
  const writable = (target: unknown, atOffset: boolean): ReturnType<Caller['fileTarget']> => {
    const file = caller.writableFile('target', target);
    if ('file' in file && file.file.only === 'append' && atOffset) throw new InvalidArgumentError('Expected `target` to be open for writing at any offset, got a handle from openAppend');
    return file;
  };
  const byDefault = (target: unknown): WriteMethod => (typeof target === 'string' ? 'auto' : 'none');
  const methodOf = (target: unknown, method: unknown): WriteMethod => check.oneOf('method', method, byDefault(target), METHODS);
  const creation = (method: OverwriteMethod, create: unknown, createDefault: boolean, mode: number | undefined): ReturnType<typeof creationOf> | undefined => {
    const made = creationOf({ ...(mode !== undefined && { mode }), durable: method !== 'none' });
    return check.boolean('create', create, createDefault) ? made : undefined;
  };
  const together = (bytes: number, method: OverwriteMethod): typeof SHORT | undefined => (bytes <= SHORT_BYTES_MAX && method === 'none' ? SHORT : undefined);

  return {
    async writeAll(path, data, options) {
      const given: WriteAllOptions = caller.options(options, ['method', 'direct', 'mode', 'create', 'exclusive', 'onProgress']);
      const method = methodOf(path, given.method);
      const made = creation(method, given.create, true, given.mode);
      const exclusive = check.boolean('exclusive', given.exclusive, false);
      if (exclusive && made === undefined) check.fail('exclusive', 'false without `create`', exclusive);
      const args = [caller.place('path', path), bytesOf('data', data), method, check.boolean('direct', given.direct, false), made, exclusive] as const;
      const answer = await caller.run('writeAll', args, options, { onProgress: callback(given.onProgress) });
      return { ...answer, ...directOf(path, answer) };
    },

    async writeAt(target, data, offset, options) {
      const given: WriteAtOptions = caller.options(options, ['method', 'direct', 'atomic', 'create', 'mode', 'onProgress']);
      const method = check.oneOf<OverwriteMethod>('method', given.method, byDefault(target), OVERWRITE_METHODS);
      if (method === 'overwrite' && given.atomic === true) check.fail('method', "another one than 'overwrite' for an atomic write", method);
      const bytes = bytesOf('data', data);
      const args = [
        writable(target, true), bytes, position('offset', offset), method, check.boolean('direct', given.direct, false),
        creation(method, given.create, false, given.mode), check.boolean('atomic', given.atomic, false),
      ] as const;
      const answer = await caller.run('writeAt', args, options, { onProgress: callback(given.onProgress), together: together(bytes.length, method) });
      return { ...answer, ...directOf(target, answer) };
    },

    async writeVector(target, buffers, offset, options) {
      const given: WriteOptions = caller.options(options, ['method', 'direct', 'onProgress']);
      check.list('buffers', buffers);
      const method = methodOf(target, given.method);
      const pieces = buffers.map((buffer, index) => bytesOf(`buffers[${index}]`, buffer));
      // They travel in one copy, those in shared memory excepted.
      count('the sum of `buffers`', pieces.reduce((sum, piece) => (piece.buffer instanceof SharedArrayBuffer ? sum : sum + piece.length), 0));
      const args = [writable(target, true), pieces, position('offset', offset), method, check.boolean('direct', given.direct, false)] as const;
      const answer = await caller.run('writeVector', args, options, { onProgress: callback(given.onProgress) });
      return { ...answer, ...directOf(target, answer) };
    },

    async append(target, data, options) {
      const given: AppendOptions = caller.options(options, ['method', 'create', 'mode', 'onProgress']);
      const method = check.oneOf<WriteMethod>('method', given.method, byDefault(target), APPEND_METHODS);
      const bytes = bytesOf('data', data);
      const args = [writable(target, false), bytes, method, creation(method, given.create, true, given.mode)] as const;
      const answer = await caller.run('append', args, options, { onProgress: callback(given.onProgress), together: together(bytes.length, method) });
      return { ...answer, ...directOf(target, answer) };
    },
  };
}

export function transferOperations(caller: Caller): TransferOperations {
  return { ...readOperations(caller), ...writeOperations(caller) };
}
