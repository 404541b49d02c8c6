/** Syncs on demand: what was written before is durable when they resolve. */
import type { BarrierPrimitive } from '../../platform/platform.js';
import type { Caller, OperationOptions } from './caller.js';
import type { DirectoryHandle } from './directory-handle.js';
import type { FileHandle } from './file-handle.js';

export interface SyncDataResult {
  readonly primitive: 'fdatasync';
}

export interface SyncFullResult {
  readonly primitive: 'fsync';
}

export interface SyncBarrierResult {
  /** What it took. `fdatasync`: there is no cheaper call for programs here, and the data is durable as well. */
  readonly primitive: BarrierPrimitive;
}

/**
 * A path is opened for reading for the time of the sync, which needs permission to read it. A sync covers what was written
 * through any descriptor of the file, by any process. One that rejects is final: the kernel may have dropped what it could not
 * write, so another sync proves nothing.
 */
export interface DurabilityOperations {
  /**
   * Makes the content of a file durable, with its length and what else is needed to read it back; times and permissions may
   * stay behind. fdatasync(2).
   */
  syncData(target: string | FileHandle | DirectoryHandle, options?: OperationOptions): Promise<SyncDataResult>;
  /** Makes the content and all metadata of a file durable. Its name is its directory's: see `syncParentDir`. fsync(2). */
  syncFull(target: string | FileHandle | DirectoryHandle, options?: OperationOptions): Promise<SyncFullResult>;
  /**
   * Orders writes: what was written before reaches the device before anything that is written later. That promises less than
   * `syncData`, and costs less where the system has a call for it; elsewhere it *is* `syncData`, as `primitive` tells.
   */
  syncBarrier(target: string | FileHandle | DirectoryHandle, options?: OperationOptions): Promise<SyncBarrierResult>;
  /** Makes the name at `path` durable, or its absence: syncs the directory that holds it. The file need not exist. fsync(2). */
  syncParentDir(path: string, options?: OperationOptions): Promise<SyncFullResult>;
}

export function durabilityOperations(caller: Caller): DurabilityOperations {
  return {
    async syncData(target, options) {
      caller.options(options, []);
      return caller.run('syncData', [caller.target('target', target)], options);
    },
    async syncFull(target, options) {
      caller.options(options, []);
      return caller.run('syncFull', [caller.target('target', target)], options);
    },
    async syncBarrier(target, options) {
      caller.options(options, []);
      return caller.run('syncBarrier', [caller.target('target', target)], options);
    },
    async syncParentDir(path, options) {
      caller.options(options, []);
      return caller.run('syncParentDir', [caller.place('path', path)], options);
    },
  };
}
