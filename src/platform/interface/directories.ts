import type { FileKind } from './metadata.js';

/** What lies behind a name, as the directory tells; a link is not followed. `other`: the system has a word of its own for it. */
export type EntryKind = FileKind | 'other';

/** A name in a directory. */
export interface DirectoryEntry {
  /** Where the bytes are not UTF-8, with U+FFFD for those that are wrong: to show, not to open. */
  readonly name: string;
  /** The name's bytes, where they are not UTF-8. */
  readonly nameBytes?: Uint8Array;
  readonly kind: EntryKind;
  /** The file's number within its filesystem. Of a mount point: that of the directory below the mount. */
  readonly inode: bigint;
  /** Of a file, where it was asked for. */
  readonly sizeBytes?: number;
}

export interface DirectoryCalls {
  /**
   * The entries that come next, some hundreds at a time, without `.` and `..`; undefined at the end. How far it has come belongs
   * to the open directory. An entry that is there all the time comes exactly once, one that is made or removed meanwhile may come.
   * `sizes`: with the size of each file, which takes a call more for each.
   */
  readEntries(descriptor: number, sizes?: boolean): DirectoryEntry[] | undefined;
}
