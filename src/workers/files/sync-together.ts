/**
 * Syncs of several files at the same time. Each sync ends with a flush of the device's cache, and flushes that wait together are
 * done as one: one after the other they would take as many flushes as there are files.
 */
import { ioError } from '../../platform/errno.js';
import type { Platform, Ring } from '../../platform/platform.js';

export type FileSync = 'fsync' | 'IORING_OP_FSYNC';

/** Below this a ring costs more than it gives. */
const RING_FILES_MIN = 4;
/** Also the most files that are synced at a time. */
const RING_ENTRIES = 64;
/** One wait: a thread inside the kernel holds up the end of the process. */
const WAIT_US = 100_000;

/** Why there is no ring does not matter here: the plain calls do the same. */
let ringMissing = false;

/** Makes all files durable. Answers for each what it failed with, or by which call it was done. */
export function syncTogether(platform: Platform, descriptors: readonly number[]): (Error | FileSync)[] {
  const ring = descriptors.length < RING_FILES_MIN ? undefined : ringOf(platform);
  if (ring === undefined) return descriptors.map((descriptor) => syncOne(platform, descriptor));
  try {
    const results: (Error | FileSync)[] = [];
    for (let first = 0; first < descriptors.length; first += RING_ENTRIES) results.push(...syncInRing(ring, descriptors.slice(first, first + RING_ENTRIES)));
    return results;
  } finally {
    ring.close();
  }
}

/** A ring for one group: kept longer, it would outlive a thread that is ended from outside. */
function ringOf(platform: Platform): Ring | undefined {
  if (ringMissing || !platform.supports.ioUring) return undefined;
  try {
    return platform.createRing({ entries: RING_ENTRIES });
  } catch {
    ringMissing = true;
    return undefined;
  }
}

function syncInRing(ring: Ring, descriptors: readonly number[]): (Error | FileSync)[] {
  const results = new Array<Error | FileSync>(descriptors.length);
  let pending = descriptors.length;
  for (const [index, descriptor] of descriptors.entries()) {
    ring.syncFull({ descriptor, slot: -1 }, 'none', (result) => {
      results[index] = result < 0 ? ioError(-result, 'fsync') : 'IORING_OP_FSYNC';
      pending--;
    });
  }
  ring.submit();
  while (pending > 0) {
    ring.wait(WAIT_US);
    ring.reap();
  }
  return results;
}

function syncOne({ files }: Platform, descriptor: number): Error | 'fsync' {
  try {
    files.syncFull(descriptor);
    return 'fsync';
  } catch (error) {
    return error as Error;
  }
}
