/** Syncs. One that failed is never repeated: the second may report success falsely. */
import { inFile, notAFile } from '../../platform/errno.js';
import type { BarrierPrimitive, Platform } from '../../platform/platform.js';
import type { Place, Target } from '../protocol/operation.js';
import type { OperationContext } from './context.js';
import { openPlace, partsOf, withOpen } from './places.js';

/** Uses a file or directory that can be synced. */
function withSyncable<T>(platform: Platform, target: Target, use: (descriptor: number) => T): T {
  return withOpen(platform, target, { write: false }, (descriptor) => {
    if (platform.files.status(descriptor).kind === 'other') throw notAFile(target.path);
    return use(descriptor);
  });
}

/** Makes the entries of the directory durable that holds the name. */
export function syncParent(platform: Platform, place: Place): void {
  const path = partsOf(place).parent;
  inFile(path, () => {
    const descriptor = openPlace(platform, { path, root: place.root }, { write: false, directory: true });
    try {
      platform.files.syncFull(descriptor);
    } finally {
      platform.files.close(descriptor);
    }
  });
}

export const durabilityOperations = {
  syncData({ platform }: OperationContext, target: Target): { primitive: 'fdatasync' } {
    withSyncable(platform, target, (descriptor) => {
      platform.files.syncData(descriptor);
    });
    return { primitive: 'fdatasync' };
  },

  syncFull({ platform }: OperationContext, target: Target): { primitive: 'fsync' } {
    withSyncable(platform, target, (descriptor) => {
      platform.files.syncFull(descriptor);
    });
    return { primitive: 'fsync' };
  },

  syncBarrier({ platform }: OperationContext, target: Target): { primitive: BarrierPrimitive } {
    return { primitive: withSyncable(platform, target, (descriptor) => platform.files.syncBarrier(descriptor)) };
  },

  syncParentDir({ platform }: OperationContext, place: Place): { primitive: 'fsync' } {
    syncParent(platform, place);
    return { primitive: 'fsync' };
  },
};
