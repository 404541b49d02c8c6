/** Opening of files. */
import type { Caller, OperationOptions } from './caller.js';
import { FileHandle } from './file-handle.js';

export interface OpenOperations {
  /** Opens a file for reading. */
  openRead(path: string, options?: OperationOptions): Promise<FileHandle>;
}

export function openOperations(caller: Caller): OpenOperations {
  return {
    async openRead(path, options) {
      const opened = await caller.run('openRead', [caller.place('path', path)], options, {
        discard: ({ file }) => void caller.release({ file } as FileHandle),
      });
      return caller.remember(new FileHandle(opened.file, opened.directReason, caller.release));
    },
  };
}
