/** Length and blocks of files: reserving, giving back, zeroing, and moving what follows. */
import { statfsSync } from 'node:fs';
import { ENOSPC, ioError } from '../../platform/errno.js';
import { NotSupportedError } from '../../platform/errors.js';
import type { SpaceCalls, SpacePrimitive } from '../../platform/interface/space.js';
import type { Target } from '../protocol/operation.js';
import type { OperationContext } from './context.js';
import { inPieces, requireFile, writeZeros } from './pieces.js';
import { withOpen } from './places.js';

export interface SpaceChanged {
  readonly primitive: SpacePrimitive;
  readonly size: number;
  readonly sync: 'fsync' | 'none';
}

/** What stat(2) counts blocks in. */
const BLOCK_BYTES = 512;
/** What one call reserves or frees: that changes the tree of extents alone. */
const MAPPED_BYTES = 1024 ** 3;
/** What one call has the device zero. */
const ZEROED_BYTES = 64 * 1024 ** 2;

/** Runs one change of an open file, syncs it where that is asked for, and tells how long the file is then. */
function change(
  { platform }: OperationContext, target: Target, durable: boolean, work: (space: SpaceCalls, descriptor: number) => SpacePrimitive,
): SpaceChanged {
  const { files, space } = platform;
  return withOpen(platform, target, { write: true }, (descriptor) => {
    requireFile(platform, descriptor, target.path);
    const primitive = work(space, descriptor);
    if (durable) files.syncFull(descriptor);
    return { primitive, size: files.status(descriptor).sizeBytes, sync: durable ? 'fsync' : 'none' };
  });
}

/**
 * Pieces of a range that may reach past the end. The last one lengthens the file where that is wanted: until then its readers
 * see no change, and a file that grows meanwhile is never cut.
 */
function mapped(context: OperationContext, offset: number, length: number, extend: boolean, work: (offset: number, bytes: number, keepSize: boolean) => SpacePrimitive): SpacePrimitive {
  return inPieces(context, offset, length, MAPPED_BYTES, (at, bytes) => work(at, bytes, !extend || at + bytes < offset + length));
}

/** Refuses what cannot succeed: a reservation that fails half-way keeps what it has, which may be all that was free. */
function requireFree({ platform }: OperationContext, target: Target, descriptor: number, length: number): void {
  if (!platform.places.namesDescriptors()) return;
  const { blocks, bfree, bsize } = statfsSync(platform.places.pathOfDescriptor(descriptor));
  const needed = length - platform.metadata.stat(descriptor).metadata.blocks * BLOCK_BYTES;
  // Without a number of blocks there is no limit, as in a tmpfs of any size.
  if (blocks === 0 || needed <= bfree * bsize) return;
  throw ioError(ENOSPC, 'fallocate', target.path, { explanation: `${needed} bytes are missing at least, and the filesystem has ${bfree * bsize}; nothing was reserved` });
}

export const spaceOperations = {
  preallocate(context: OperationContext, target: Target, offset: number, length: number, extend: boolean, durable: boolean): SpaceChanged {
    return change(context, target, durable, (space, descriptor) => {
      requireFree(context, target, descriptor, length);
      return mapped(context, offset, length, extend, (at, bytes, keepSize) => space.allocate(descriptor, at, bytes, keepSize));
    });
  },

  punchHole(context: OperationContext, target: Target, offset: number, length: number, durable: boolean): SpaceChanged {
    return change(context, target, durable, (space, descriptor) =>
      mapped(context, offset, length, false, (at, bytes) => space.punchHole(descriptor, at, bytes)));
  },

  zeroRange(context: OperationContext, target: Target, offset: number, length: number, keepSize: boolean, durable: boolean): SpaceChanged {
    return change(context, target, durable, (space, descriptor) =>
      mapped(context, offset, length, !keepSize, (at, bytes, keep) => space.zeroRange(descriptor, at, bytes, keep)));
  },

  // One call: what a part of it leaves behind would be another file.
  collapseRange(context: OperationContext, target: Target, offset: number, length: number, durable: boolean): SpaceChanged {
    return change(context, target, durable, (space, descriptor) => space.collapseRange(descriptor, offset, length));
  },

  insertRange(context: OperationContext, target: Target, offset: number, length: number, durable: boolean): SpaceChanged {
    return change(context, target, durable, (space, descriptor) => space.insertRange(descriptor, offset, length));
  },

  writeZeroes(context: OperationContext, target: Target, offset: number, length: number, durable: boolean): SpaceChanged {
    return change(context, target, durable, (space, descriptor) => {
      try {
        return inPieces(context, offset, length, ZEROED_BYTES, (at, bytes) => space.writeZeroes(descriptor, at, bytes));
      } catch (error) {
        if (!(error instanceof NotSupportedError)) throw error;
        writeZeros(context, { target, descriptor }, offset, length);
        return 'pwrite';
      }
    });
  },

  truncate(context: OperationContext, target: Target, length: number, durable: boolean): SpaceChanged {
    return change(context, target, durable, (space, descriptor) => space.truncate(descriptor, length));
  },
};
