import type { At } from './places.js';

/** What carries metadata: something open, what a name leads to, or, where no link is followed, what lies under the name itself. */
export type Subject = number | (At & { readonly followLink: boolean });

export type FileKind = 'file' | 'directory' | 'symlink' | 'fifo' | 'socket' | 'block' | 'character';

/** Properties that a filesystem may give to a file. */
export type FileAttribute =
  | 'compressed' | 'immutable' | 'appendOnly' | 'noDump' | 'encrypted' | 'automount' | 'mountRoot' | 'verity' | 'dax' | 'atomicWrites';

export interface DeviceNumber {
  readonly major: number;
  readonly minor: number;
}

/** What is known of a file. Times are nanoseconds since 1970, negative before. */
export interface Metadata {
  readonly kind: FileKind;
  /** Bytes; of a link, those of the path that it holds. */
  readonly size: number;
  /** Allocated, in units of 512 bytes whatever {@link blockSize} is. */
  readonly blocks: number;
  /** Bytes that the filesystem prefers to transfer at a time. */
  readonly blockSize: number;
  /** Names of the file. */
  readonly links: number;
  readonly uid: number;
  readonly gid: number;
  /** Permission bits with setuid, setgid and sticky, 0 to 0o7777. */
  readonly mode: number;
  /** Together with {@link device} it identifies the file. */
  readonly inode: bigint;
  /** Of the filesystem. */
  readonly device: DeviceNumber;
  /** Of the device that the file stands for; undefined where it is none. */
  readonly specialDevice: DeviceNumber | undefined;
  /** Of the last access, as far as the mount keeps it. */
  readonly atimeNs: bigint;
  /** Of the last change of content. */
  readonly mtimeNs: bigint;
  /** Of the last change of content or metadata. */
  readonly ctimeNs: bigint;
  /** Undefined where the filesystem keeps none. */
  readonly birthtimeNs: bigint | undefined;
  /** As in `/proc/self/mountinfo`. Undefined before Linux 5.8. */
  readonly mountId: number | undefined;
  /** Undefined where the filesystem has none, or before Linux 6.10. */
  readonly subvolume: bigint | undefined;
  /** Whether each holds; undefined where the filesystem does not know it. */
  readonly attributes: Readonly<Record<FileAttribute, boolean | undefined>>;
  /**
   * Bytes that memory and offset of direct IO are multiples of, both 0 where there is none. Undefined where the kernel does not
   * tell: before Linux 6.1, and for what is no file.
   */
  readonly directIo: { readonly memoryAlignment: number; readonly offsetAlignment: number } | undefined;
  /**
   * Sizes in bytes, and pieces of memory, of a write that is done in whole or not at all; all 0 where there is none. Undefined
   * where the kernel does not tell: before Linux 6.11.
   */
  readonly atomicWrite: { readonly sizeMin: number; readonly sizeMax: number; readonly segmentsMax: number } | undefined;
}

/** Nanoseconds since 1970; `now`, by the clock of the system; undefined leaves the time as it is. */
export type NewTime = bigint | 'now' | undefined;

/** Blocking. */
export interface MetadataCalls {
  stat(subject: Subject): { readonly primitive: 'statx'; readonly metadata: Metadata };
  setTimes(subject: Subject, atime: NewTime, mtime: NewTime): { readonly primitive: 'utimensat' };
  /** Links are followed. */
  chmod(subject: Subject, mode: number): { readonly primitive: 'fchmod' | 'fchmodat' };
}
