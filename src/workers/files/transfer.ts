/** Reads and writes of whole files, of ranges and of vectors, at their end; and how what was written becomes durable. */
import { inFile } from '../../platform/errno.js';
import { NotSupportedError, OperationError } from '../../platform/errors.js';
import type { TransferPrimitive } from '../../platform/interface/transfer.js';
import { outcomeOf, type Outcome } from '../protocol/messages.js';
import { isOpen, type Place, type Target } from '../protocol/operation.js';
import type { OperationContext } from './context.js';
import { flushBelow, flushDeviceOf } from './device.js';
import { alignDown, alignUp, misalignment, Moving, newMemory, STEP_BYTES } from './moving.js';
import { createNew, goDirect, NOT_ASKED, openOrCreate, openRegular, type Creation } from './open.js';

/** How a write becomes durable, as it was asked for. */
export type WriteMethod = 'none' | 'sync' | 'data' | 'direct' | 'auto';
/** What one range takes besides: the caller vouches for its blocks. */
export type OverwriteMethod = WriteMethod | 'overwrite';
/** How it did. `RWF_DSYNC`: each write call was durable when it returned. */
export type WriteSync = 'none' | 'fdatasync' | 'fsync' | 'RWF_DSYNC' | 'nvme flush';

/** What direct IO an operation had. `reason`: why not; empty where it was direct. */
export interface DirectUse {
  readonly direct: boolean;
  readonly directReason: string;
}

/** Of a handle its owner knows: nothing is said then, since messages of many short transfers have their price. */
type KnownUse = Partial<DirectUse>;

export interface ReadAnswer extends KnownUse {
  /** How many bytes, where memory of the caller was filled. */
  readonly data: Uint8Array | number;
  readonly primitive: TransferPrimitive;
}

export interface VectorAnswer extends KnownUse {
  readonly bytesRead: number;
  /** None where memory of the caller was filled. */
  readonly data: Uint8Array[];
  readonly primitive: TransferPrimitive;
}

export interface WriteAnswer extends KnownUse {
  readonly bytesWritten: number;
  readonly primitive: TransferPrimitive;
  readonly sync: WriteSync;
}

/** A file of unknown length, such as those of procfs, is read in pieces of this. */
const UNKNOWN_BYTES = 64 * 1024;
/** Reads of up to this many bytes that one task does have their results in one piece of memory. */
const TOGETHER_BYTES_MAX = 16 * 1024;

type Use<T> = (moving: Moving, used: KnownUse) => T;

/** Uses what is open, or opens a file for the time of `use`; `direct`: with direct IO where there is any. */
function withFile<T>(context: OperationContext, target: Target, direct: boolean, open: (place: Place) => number, use: Use<T>): T {
  const { platform } = context;
  return inFile(target.path, () => {
    if (isOpen(target)) return use(new Moving(context, target.descriptor, target.directAlignment), {});
    const descriptor = open(target);
    try {
      const { alignment, reason } = direct ? goDirect(platform, descriptor) : { reason: NOT_ASKED };
      return use(new Moving(context, descriptor, alignment), { direct: alignment !== undefined, directReason: reason });
    } finally {
      platform.files.close(descriptor);
    }
  });
}

function withReadable<T>(context: OperationContext, target: Target, direct: boolean, use: Use<T>): T {
  return withFile(context, target, direct, (place) => openRegular(context.platform, place, { write: false }), use);
}

// ---- reads ---------------------------------------------------------------------------------------------------------

/** Reads into new memory that the caller gets: as wide as alignment wants, so that nothing is copied. */
function readOwn(moving: Moving, offset: number, length: number, allocate: (bytes: number, alignment: number) => Uint8Array): Uint8Array {
  const start = alignDown(offset, moving.alignment);
  const memory = allocate(alignUp(offset + length, moving.alignment) - start, moving.alignment);
  const skip = offset - start;
  const count = moving.read(memory, start);
  return memory.subarray(skip, Math.max(skip, Math.min(count, skip + length)));
}

/** Large reads take no more memory than the file tells to have, and then as much as it turns out to have, as those of procfs do. */
function readWithin({ platform: { files } }: OperationContext, moving: Moving, offset: number, length: number, allocate: typeof newMemory): Uint8Array {
  const told = length <= STEP_BYTES ? length : Math.min(length, Math.max(STEP_BYTES, files.status(moving.descriptor).sizeBytes - offset));
  const first = readOwn(moving, offset, told, allocate);
  if (told === length || first.length < told) return first;
  const pieces = [first];
  let bytes = first.length;
  while (bytes < length) {
    const piece = readOwn(moving, offset + bytes, Math.min(STEP_BYTES, length - bytes), newMemory);
    if (piece.length === 0) break;
    pieces.push(piece);
    bytes += piece.length;
  }
  return pieces.length === 1 ? first : gathered(pieces, bytes);
}

function readRange(context: OperationContext, target: Target, offset: number, length: number, direct: boolean, into: Uint8Array | undefined, allocate = newMemory): ReadAnswer {
  const primitive = context.platform.transfer.primitives.read;
  return withReadable(context, target, direct, (moving, used) => {
    if (into !== undefined) return { data: moving.read(into.subarray(0, length), offset), primitive, ...used };
    const data = readWithin(context, moving, offset, length, allocate);
    context.move(data.buffer as ArrayBuffer);
    return { data, primitive, ...used };
  });
}

type ReadRangeArguments = readonly [target: Target, offset: number, length: number, direct: boolean, into: Uint8Array | undefined];

/** Several short reads: their results lie in one piece of memory, which travels as one. */
export async function readTogether(calls: readonly { readonly context: OperationContext; readonly args: readonly unknown[] }[]): Promise<Outcome<ReadAnswer>[]> {
  const wanted = calls.map(({ args }) => sharedBytes(args as ReadRangeArguments));
  const bytes = wanted.reduce((sum, each) => sum + each, 0);
  const shared = newMemory(bytes, 1);
  let taken = 0;
  const fromShared = (length: number, alignment: number): Uint8Array => {
    const at = taken + misalignment(shared.subarray(taken), alignment);
    if (at + length > bytes) return newMemory(length, alignment);
    taken = at + length;
    return shared.subarray(at, taken);
  };
  const outcomes: Outcome<ReadAnswer>[] = [];
  for (const [index, { context, args }] of calls.entries()) {
    outcomes.push(await outcomeOf(() => readRange(context, ...(args as ReadRangeArguments), wanted[index] === 0 ? newMemory : fromShared)));
  }
  return outcomes;
}

/** What a read may take of memory that several share. */
function sharedBytes([target, , length, , into]: ReadRangeArguments): number {
  if (length > TOGETHER_BYTES_MAX || into !== undefined) return 0;
  const alignment = isOpen(target) ? (target.directAlignment ?? 1) : 1;
  // Widened at both ends, from an aligned address on.
  return length + 3 * (alignment - 1);
}

function readAll(context: OperationContext, target: Target, direct: boolean, maxBytes: number): ReadAnswer {
  const { transfer, files } = context.platform;
  return withReadable(context, target, direct, (moving, used) => {
    const { sizeBytes } = files.status(moving.descriptor);
    checkSize(target, sizeBytes, maxBytes);
    const data = sizeBytes === 0 ? readUnknown(moving, target, maxBytes) : readOwn(moving, 0, sizeBytes, newMemory);
    context.move(data.buffer as ArrayBuffer);
    return { data, primitive: transfer.primitives.read, ...used };
  });
}

function readUnknown(moving: Moving, target: Target, maxBytes: number): Uint8Array {
  const pieces: Uint8Array[] = [];
  let bytes = 0;
  for (;;) {
    const piece = readOwn(moving, bytes, UNKNOWN_BYTES, newMemory);
    if (piece.length === 0) break;
    pieces.push(piece);
    bytes += piece.length;
    checkSize(target, bytes, maxBytes);
  }
  return gathered(pieces, bytes);
}

function checkSize({ path }: Target, bytes: number, maxBytes: number): void {
  if (bytes > maxBytes) throw new OperationError('TIDEMARK_TOO_LARGE', `'${path}' has ${bytes} bytes or more, which is above the limit of ${maxBytes} (\`maxBytes\`)`, { path });
}

function readVectorOwn(context: OperationContext, target: Target, lengths: readonly number[], offset: number): VectorAnswer {
  return withReadable(context, target, false, (moving, used) => {
    const whole = readOwn(moving, offset, lengths.reduce((sum, length) => sum + length, 0), newMemory);
    let at = 0;
    const data = lengths.map((length) => whole.subarray(at, (at += length)));
    context.move(whole.buffer as ArrayBuffer);
    return { data, bytesRead: whole.length, primitive: context.platform.transfer.primitives.read, ...used };
  });
}

function readVectorInto(context: OperationContext, target: Target, views: readonly Uint8Array[], offset: number): VectorAnswer {
  const { primitives } = context.platform.transfer;
  return withReadable(context, target, false, (moving, used) => {
    if (isStraight(moving, views, offset)) return { data: [], bytesRead: moving.readPieces(views, offset), primitive: primitives.readVector, ...used };
    let done = 0;
    for (const view of views) {
      const count = moving.read(view, offset + done);
      done += count;
      if (count < view.length) break;
    }
    return { data: [], bytesRead: done, primitive: primitives.read, ...used };
  });
}

/** Every piece may go to or from the device as it is. */
function isStraight({ alignment }: Moving, views: readonly Uint8Array[], offset: number): boolean {
  return offset % alignment === 0 && views.every((view) => view.length % alignment === 0 && misalignment(view, alignment) === 0);
}

// ---- writes --------------------------------------------------------------------------------------------------------

/** Where it is decided how a write becomes durable. `oneCall`: there is a call, which writes all of it, and nothing is truncated after. */
function syncFor({ platform: { files } }: OperationContext, moving: Moving, used: KnownUse, method: WriteMethod, oneCall: boolean): WriteSync {
  if (method === 'direct' && !moving.direct) throw notDirect("the method 'direct'", used);
  switch (method) {
    case 'none': return 'none';
    case 'sync': return 'fsync';
    case 'data': return 'fdatasync';
    case 'direct':
    case 'auto':
      // Several calls with the flag would flush the device's cache several times.
      return oneCall && files.filesystem(moving.descriptor).dsyncWrites ? 'RWF_DSYNC' : 'fdatasync';
  }
}

function notDirect(what: string, { directReason = 'the handle is not direct' }: KnownUse): NotSupportedError {
  return new NotSupportedError(what, `it needs direct IO: ${directReason}`);
}

/** Makes durable what was written. `RWF_DSYNC`: it is. */
function settle({ platform: { files } }: OperationContext, { descriptor }: Moving, sync: WriteSync): void {
  if (sync === 'fsync') files.syncFull(descriptor);
  if (sync === 'fdatasync') files.syncData(descriptor);
}

function isOneCall({ alignment }: Moving, offset: number, length: number): boolean {
  return length > 0 && (offset + length) % alignment === 0 && offset + length - alignDown(offset, alignment) <= STEP_BYTES;
}

function writeData(context: OperationContext, moving: Moving, used: KnownUse, data: Uint8Array, offset: number, method: WriteMethod): WriteAnswer {
  const sync = syncFor(context, moving, used, method, isOneCall(moving, offset, data.length));
  const primitive = moving.write(data, offset, sync === 'RWF_DSYNC');
  settle(context, moving, sync);
  return { bytesWritten: data.length, primitive, sync, ...used };
}

function writeAtomic(context: OperationContext, moving: Moving, used: KnownUse, data: Uint8Array, offset: number, method: WriteMethod): WriteAnswer {
  const { transfer, files } = context.platform;
  const { length } = data;
  const refuse = (reason: string): never => {
    throw new NotSupportedError('an atomic write', reason);
  };
  if (!moving.direct) throw notDirect('an atomic write', used);
  const limits = transfer.atomicWrites(moving.descriptor) ?? refuse(`the filesystem ${files.filesystem(moving.descriptor).name} offers none for this file`);
  if (length < limits.min || length > limits.max || (length & (length - 1)) !== 0 || offset % length !== 0) {
    refuse(`the file takes a power of two from ${limits.min} to ${limits.max} bytes at a multiple of its length, not ${length} bytes at ${offset}`);
  }
  const sync = syncFor(context, moving, used, method, true);
  const memory = newMemory(length, moving.alignment);
  memory.set(data);
  // Atomic: one call takes all or nothing.
  transfer.writeVector(moving.descriptor, [memory], offset, { atomic: true, durable: sync === 'RWF_DSYNC' });
  settle(context, moving, sync);
  return { bytesWritten: length, primitive: transfer.primitives.writeVector, sync, ...used };
}

/**
 * Writes over blocks that were written and synced before, as the caller vouches: then no metadata has to become durable, and the
 * flush of an NVMe device does. Where there is none, or the file would grow, it is a direct write as any other.
 */
function overwrite(context: OperationContext, moving: Moving, used: KnownUse, data: Uint8Array, offset: number): WriteAnswer {
  const { platform } = context;
  const { descriptor, alignment, direct } = moving;
  const inside = direct && alignUp(offset + data.length, alignment) <= platform.files.status(descriptor).sizeBytes;
  if (!inside || flushDeviceOf(platform, descriptor) === undefined) return writeData(context, moving, used, data, offset, 'direct');
  const primitive = moving.write(data, offset, false);
  flushBelow(platform, descriptor);
  return { bytesWritten: data.length, primitive, sync: 'nvme flush', ...used };
}

function writeAt(context: OperationContext, target: Target, data: Uint8Array, offset: number, method: OverwriteMethod, direct: boolean, creation: Creation | undefined, atomic: boolean): WriteAnswer {
  const open = (place: Place): number => openOrCreate(context.platform, place, { write: true }, creation).descriptor;
  return withFile(context, target, direct || method === 'direct' || method === 'overwrite' || atomic, open, (moving, used) => {
    if (method === 'overwrite') return overwrite(context, moving, used, data, offset);
    return (atomic ? writeAtomic : writeData)(context, moving, used, data, offset, method);
  });
}

function writeAll(context: OperationContext, place: Place, data: Uint8Array, method: WriteMethod, direct: boolean, creation: Creation | undefined, exclusive: boolean): WriteAnswer & { created: boolean } {
  const { platform } = context;
  let created = false;
  const open = (): number => {
    if (exclusive && creation !== undefined) {
      created = true;
      return createNew(platform, place, { write: true }, creation);
    }
    const opened = openOrCreate(platform, place, { write: true }, creation);
    ({ created } = opened);
    return opened.descriptor;
  };
  return withFile(context, place, direct || method === 'direct', open, (moving, used) => {
    if (method === 'direct' && !moving.direct) throw notDirect("the method 'direct'", used);
    if (!created) platform.files.truncate(moving.descriptor, 0);
    return { ...writeData(context, moving, used, data, 0, method), created };
  });
}

function append(context: OperationContext, target: Target, data: Uint8Array, method: WriteMethod, creation: Creation | undefined): WriteAnswer {
  const open = (place: Place): number => openOrCreate(context.platform, place, { write: true, append: true }, creation).descriptor;
  return withFile(context, target, false, open, (moving, used) => {
    if (moving.direct) throw new NotSupportedError('append', 'a direct handle writes whole sectors, and the file need not end with one: open it with openAppend');
    const sync = syncFor(context, moving, used, method, data.length > 0 && data.length <= STEP_BYTES);
    moving.append(data, sync === 'RWF_DSYNC');
    settle(context, moving, sync);
    return { bytesWritten: data.length, primitive: context.platform.transfer.primitives.writeVector, sync, ...used };
  });
}

function writeVector(context: OperationContext, target: Target, views: readonly Uint8Array[], offset: number, method: WriteMethod, direct: boolean): WriteAnswer {
  const { piecesMax, primitives } = context.platform.transfer;
  const open = (place: Place): number => openRegular(context.platform, place, { write: true });
  return withFile(context, target, direct || method === 'direct', open, (moving, used) => {
    const bytesWritten = views.reduce((sum, { length }) => sum + length, 0);
    if (!isStraight(moving, views, offset)) return writeData(context, moving, used, gathered(views, bytesWritten), offset, method);
    const sync = syncFor(context, moving, used, method, bytesWritten > 0 && bytesWritten <= STEP_BYTES && views.length <= piecesMax);
    moving.writePieces(views, offset, sync === 'RWF_DSYNC');
    settle(context, moving, sync);
    return { bytesWritten, primitive: primitives.writeVector, sync, ...used };
  });
}

/** Pieces in one. */
function gathered(views: readonly Uint8Array[], bytes: number): Uint8Array {
  const whole = newMemory(bytes, 1);
  let at = 0;
  for (const view of views) {
    whole.set(view, at);
    at += view.length;
  }
  return whole;
}

export const transferOperations = {
  readRange: (context: OperationContext, ...args: ReadRangeArguments): ReadAnswer => readRange(context, ...args),
  readAll,
  readVectorOwn,
  readVectorInto,
  writeAll,
  writeAt,
  writeVector,
  append,
};
