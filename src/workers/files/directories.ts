/** Directories that are held open, and what is done to the names in them. Nothing here syncs but {@link directoryOperations.syncDirectory}. */
import { inFile } from '../../platform/errno.js';
import type { DirectoryEntry } from '../../platform/interface/directories.js';
import type { RenameMode } from '../../platform/interface/names.js';
import type { OpenFile, Place } from '../protocol/operation.js';
import type { OperationContext } from './context.js';
import { atEntry, openPlace, withOpen } from './places.js';

export const directoryOperations = {
  /** `pathOnly`: names are looked up in it, no more; then no permission to read it is needed. */
  openDirectory({ platform }: OperationContext, place: Place, pathOnly: boolean): OpenFile {
    const descriptor = openPlace(platform, place, { write: false, directory: true, pathOnly });
    return { descriptor, path: place.path, directAlignment: undefined };
  },

  makeDirectoryAt({ platform }: OperationContext, place: Place, mode: number): void {
    atEntry(platform, place, (at) => {
      platform.names.makeDirectory(at, mode);
    });
  },

  unlinkAt({ platform }: OperationContext, place: Place): void {
    atEntry(platform, place, (at) => {
      platform.names.unlink(at);
    });
  },

  removeDirectoryAt({ platform }: OperationContext, place: Place): void {
    atEntry(platform, place, (at) => {
      platform.names.removeDirectory(at);
    });
  },

  renameAt({ platform }: OperationContext, from: Place, to: Place, mode: RenameMode): void {
    atEntry(platform, to, (toAt) => {
      atEntry(platform, from, (fromAt) => {
        platform.names.rename(fromAt, toAt, mode);
      });
    });
  },

  linkAt({ platform }: OperationContext, from: Place, to: Place): void {
    atEntry(platform, to, (toAt) => {
      atEntry(platform, from, (fromAt) => {
        platform.names.link(fromAt, toAt, { follow: false });
      });
    });
  },

  symlinkAt({ platform }: OperationContext, target: string, place: Place): void {
    atEntry(platform, place, (at) => {
      platform.names.symlink(target, at);
    });
  },

  readlinkAt({ platform }: OperationContext, place: Place): string {
    return atEntry(platform, place, (at) => platform.names.readlink(at));
  },

  listDirectory(context: OperationContext, place: Place): DirectoryEntry[] {
    const { platform } = context;
    return withOpen(platform, place, { write: false, directory: true }, (descriptor) => {
      const entries: DirectoryEntry[] = [];
      for (let some = platform.directories.readEntries(descriptor); some !== undefined; some = platform.directories.readEntries(descriptor)) {
        context.checkAborted();
        for (const entry of some) entries.push(entry);
      }
      return entries;
    });
  },

  syncDirectory({ platform: { files } }: OperationContext, directory: OpenFile): void {
    inFile(directory.path, () => {
      files.syncFull(directory.descriptor);
    });
  },
};
