/** Copies of files and of parts of them. */
import { InvalidArgumentError, IoError, NotSupportedError } from '../../platform/errors.js';
import { EEXIST, inFile, ioError } from '../../platform/errno.js';
import type { ClonePrimitive } from '../../platform/interface/copy.js';
import type { FileStatus, Platform } from '../../platform/platform.js';
import type { Place, Target } from '../protocol/operation.js';
import type { OperationContext } from './context.js';
import { Copying, type CopyingOptions } from './copying.js';
import { inPieces, requireFile, requireOffsets, writeZeros, type Opened } from './pieces.js';
import { rename } from './names.js';
import { changeNames, type Entry } from './parents.js';
import { openPlace, withOpen } from './places.js';
import { copyMetadata, type CopiedParts } from './preserve.js';
import { locate, pause } from './replace.js';
import { discard, takeTemporary, type Temporary } from './temporary.js';

export type CopyMethod = 'auto' | 'reflink' | 'copy_file_range' | 'read_write';

export interface CopyFileRequest {
  readonly method: CopyMethod;
  readonly overwrite: boolean;
  readonly preserve: CopiedParts;
  readonly durable: boolean;
}

export interface CopyRangeRequest {
  readonly method: CopyMethod;
  readonly durable: boolean;
}

export interface Copied<Primitive> {
  readonly bytes: number;
  readonly copiedBytes: number;
  readonly holes: number;
  readonly primitive: Primitive;
}

export interface CopiedFile extends Copied<'FICLONE' | 'copy_file_range' | 'read_write'> {
  readonly sync: 'fsync' | 'none';
  readonly notPreserved: readonly string[];
}

export interface CopiedRange extends Copied<'FICLONERANGE' | 'copy_file_range' | 'read_write' | 'none'> {
  readonly sync: 'fdatasync' | 'none';
}

/** What one call punches: that changes the tree of extents alone. */
const PUNCHED_BYTES = 1024 ** 3;

/** Shares blocks where the method says so and it is possible; undefined where another method is to do it. */
function shared(method: CopyMethod, clone: () => ClonePrimitive): ClonePrimitive | undefined {
  if (method !== 'auto' && method !== 'reflink') return undefined;
  try {
    return clone();
  } catch (error) {
    if (method === 'reflink' || !(error instanceof NotSupportedError)) throw error;
    return undefined;
  }
}

function sameFile(one: FileStatus, other: FileStatus): boolean {
  return one.device === other.device && one.inode === other.inode;
}

/** Makes a range of the target a hole as far as it lies before `end`, where the target ended; zeros where that is not possible. */
function clear(context: OperationContext, opened: Opened, end: number, offset: number, bytes: number, before: number): void {
  const present = Math.min(bytes, end - offset);
  if (present <= 0) return;
  try {
    inPieces(context, offset, present, PUNCHED_BYTES, (at, part) => context.platform.space.punchHole(opened.descriptor, at, part), before);
  } catch (error) {
    if (!(error instanceof NotSupportedError)) throw error;
    writeZeros(context, opened, offset, present, before);
  }
}

/** The content of a file into a new one, by the first method that does it. */
export function copyContent(context: OperationContext, source: Opened, sizeBytes: number, target: Opened, { method, durable }: Pick<CopyFileRequest, 'method' | 'durable'>): Copied<CopiedFile['primitive']> {
  const { copy, files, space } = context.platform;
  if (shared(method, () => copy.clone(source.descriptor, target.descriptor)) !== undefined) {
    const bytes = files.status(target.descriptor).sizeBytes;
    context.progress(bytes);
    return { bytes, copiedBytes: 0, holes: 0, primitive: 'FICLONE' };
  }
  // Holes are made by writing nothing, and by the length at the end.
  const copying = new Copying(context, source, target, { method: method as CopyingOptions['method'], syncs: durable, hole: () => undefined });
  const bytes = sizeBytes === 0 ? copying.unsized() : copying.range(0, 0, sizeBytes);
  if (copying.holes > 0) space.truncate(target.descriptor, bytes);
  return { bytes, copiedBytes: copying.copiedBytes, holes: copying.holes, primitive: copying.primitive };
}

/** Refuses what is not to be replaced, before anything is copied; the rename at the end asks again. */
function requireReplaceable(platform: Platform, to: Place, from: Target, source: FileStatus, overwrite: boolean): void {
  let descriptor: number;
  try {
    descriptor = openPlace(platform, to, { write: false, pathOnly: true });
  } catch (error) {
    if (error instanceof IoError && error.code === 'TIDEMARK_NOT_FOUND') return;
    throw error;
  }
  try {
    if (sameFile(requireFile(platform, descriptor, to.path), source)) throw new InvalidArgumentError(`Expected \`to\` to be another file than \`from\`, got '${to.path}' and '${from.path}', which are one file`);
    if (!overwrite) throw ioError(EEXIST, 'copyFile', to.path);
  } finally {
    platform.files.close(descriptor);
  }
}

/** Fills a temporary file, and gives it the name: whoever looks finds nothing of it before it is complete. */
function replacing<T extends object>(context: OperationContext, to: Place, { overwrite, durable }: CopyFileRequest, work: (descriptor: number) => T): T & { readonly sync: CopiedFile['sync'] } {
  const { platform } = context;
  const { files } = platform;
  return changeNames(platform, durable, (parents) => {
    // As with replaceFile, a link stays, and what it leads to is replaced.
    const entry = overwrite ? locate(platform, parents, to).entry : parents.entryOf(to);
    const temporary = waitForTemporary(context, entry);
    let result: T;
    try {
      result = work(temporary.descriptor);
      if (durable) files.syncFull(temporary.descriptor);
      context.checkAborted();
      rename(platform, temporary, entry, overwrite ? 'replace' : 'noReplace');
    } catch (error) {
      discard(platform, temporary);
      throw error;
    }
    files.closeOwn(temporary.descriptor);
    parents.changed(entry);
    return { ...result, sync: durable ? 'fsync' : 'none' };
  });
}

/** Others may be making files of this name, as many as there are temporary names. */
function waitForTemporary(context: OperationContext, entry: Entry): Temporary {
  for (;;) {
    context.checkAborted();
    const temporary = takeTemporary(context.platform, entry);
    if (temporary !== undefined) return temporary;
    pause();
  }
}

/** A part of a file over a part of another one, of which `end` bytes were there before. */
function copyPart(
  context: OperationContext, source: Opened, sourceOffset: number, target: Opened, targetOffset: number, length: number, end: number, { method, durable }: CopyRangeRequest,
): Copied<CopiedRange['primitive']> {
  const { copy, files, space } = context.platform;
  if (shared(method, () => copy.cloneRange(source.descriptor, sourceOffset, target.descriptor, targetOffset, length)) !== undefined) {
    context.progress(length);
    return { bytes: length, copiedBytes: 0, holes: 0, primitive: 'FICLONERANGE' };
  }
  const copying = new Copying(context, source, target, {
    method: method as CopyingOptions['method'],
    syncs: durable,
    hole: (offset, bytes, before) => {
      clear(context, target, end, offset, bytes, before);
    },
  });
  const bytes = copying.range(sourceOffset, targetOffset, length);
  if (files.status(target.descriptor).sizeBytes < targetOffset + bytes) space.truncate(target.descriptor, targetOffset + bytes);
  return { bytes, copiedBytes: copying.copiedBytes, holes: copying.holes, primitive: copying.primitive };
}

export const copyOperations = {
  copyFile(context: OperationContext, from: Target, to: Place, request: CopyFileRequest): CopiedFile {
    const { platform } = context;
    return withOpen(platform, from, { write: false }, (descriptor) => {
      const status = requireFile(platform, descriptor, from.path);
      return inFile(to.path, () => {
        requireReplaceable(platform, to, from, status, request.overwrite);
        return replacing(context, to, request, (temporary) => {
          const copied = copyContent(context, { target: from, descriptor }, status.sizeBytes, { target: to, descriptor: temporary }, request);
          return { ...copied, notPreserved: copyMetadata(platform, descriptor, temporary, request.preserve) };
        });
      });
    });
  },

  copyRange(context: OperationContext, from: Target, sourceOffset: number, to: Target, targetOffset: number, length: number, request: CopyRangeRequest): CopiedRange {
    const { platform } = context;
    requireOffsets(to);
    return withOpen(platform, from, { write: false }, (sourceDescriptor) => withOpen(platform, to, { write: true }, (descriptor) => {
      const source = requireFile(platform, sourceDescriptor, from.path);
      const target = requireFile(platform, descriptor, to.path);
      const bytes = Math.min(length, Math.max(0, source.sizeBytes - sourceOffset));
      if (sameFile(source, target) && Math.abs(sourceOffset - targetOffset) < bytes) {
        throw new InvalidArgumentError(`Expected the ranges of '${to.path}' not to overlap, got ${bytes} bytes from ${sourceOffset} to ${targetOffset}`);
      }
      const copied: Copied<CopiedRange['primitive']> = bytes === 0 ? { bytes: 0, copiedBytes: 0, holes: 0, primitive: 'none' }
        : copyPart(context, { target: from, descriptor: sourceDescriptor }, sourceOffset, { target: to, descriptor }, targetOffset, bytes, target.sizeBytes, request);
      if (request.durable) platform.files.syncData(descriptor);
      return { ...copied, sync: request.durable ? 'fdatasync' : 'none' };
    }));
  },
};
