/** Opening of directories. */
import type { Caller, OperationOptions } from './caller.js';
import { DirectoryHandle, openDirectory } from './directory-handle.js';
import type { SharedHandle } from './handle.js';

export interface DirectoryOperations {
  /**
   * Opens a directory: what is then done through the handle stays inside it, whatever becomes of the names that lead there
   * (open(2) with `O_DIRECTORY`). Permission to read it is needed. Rejects with `TIDEMARK_NOT_FOUND` where the path names
   * something else.
   */
  openDirectory(path: string, options?: OperationOptions): Promise<DirectoryHandle>;

  /** The directory of a handle that another thread of this process shared (`handle.share()`). Closing it is left to that thread. */
  attachDirectory(shared: SharedHandle): DirectoryHandle;
}

export function directoryOperations(caller: Caller): DirectoryOperations {
  return {
    async openDirectory(path, options) {
      caller.options(options, []);
      return openDirectory(caller, caller.place('path', path), options);
    },

    attachDirectory: (shared) => DirectoryHandle.attach(caller, shared),
  };
}
