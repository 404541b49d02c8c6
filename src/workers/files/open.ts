/** Opening and closing of files. */
import { inFile } from '../../platform/errno.js';
import type { OpenFile, Place } from '../protocol/operation.js';
import type { OperationContext } from './context.js';
import { openPlace } from './places.js';

/** What opening a file found. */
export interface Opened {
  readonly file: OpenFile;
  /** Why direct IO is not active although it was asked for; empty otherwise. */
  readonly directReason: string;
}

export const openOperations = {
  openRead({ platform }: OperationContext, place: Place): Opened {
    const descriptor = openPlace(platform, place, { write: false });
    return { file: { descriptor, path: place.path, directAlignment: undefined }, directReason: '' };
  },

  closeDescriptor({ platform: { files } }: OperationContext, file: OpenFile): void {
    inFile(file.path, () => {
      files.close(file.descriptor);
    });
  },
};
