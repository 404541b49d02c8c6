/** Who a file belongs to. */
import * as check from '../options.js';
import type { Caller, OperationOptions } from './caller.js';
import type { DirectoryHandle } from './directory-handle.js';
import type { FileHandle } from './file-handle.js';

export interface ChownOptions extends OperationOptions {
  /** Syncs the file before it resolves. A link, FIFO, socket or device itself cannot be synced: `NotSupportedError`. Default false. */
  readonly durable?: boolean;
}

export interface OwnerSet {
  /** `fchown` for a handle or where it is durable. */
  readonly primitive: 'fchown' | 'fchownat';
  readonly sync: 'fsync' | 'none';
}

export interface OwnerPreserved extends OwnerSet {
  /** Whom the target belongs to now. */
  readonly uid: number;
  readonly gid: number;
  /** What this process was not permitted to set. */
  readonly missing: readonly ('uid' | 'gid')[];
}

/**
 * Ids are integers from 0 to 2^32 - 2; undefined or -1 leaves the user or the group as it is. Root (CAP_CHOWN) may set any; the
 * owner of a file may set a group that the process is in; all else is `TIDEMARK_PERMISSION`. The system clears the setuid and
 * setgid bits of a program whose owner is set, even to what it was: set the mode afterwards.
 */
export interface OwnershipOperations {
  /** Links are followed, fchownat(2). */
  chown(path: string, uid: number | undefined, gid: number | undefined, options?: ChownOptions): Promise<OwnerSet>;
  /** A symbolic link itself, fchownat(2) with `AT_SYMLINK_NOFOLLOW`; what is no link as {@link chown} does. */
  lchown(path: string, uid: number | undefined, gid: number | undefined, options?: ChownOptions): Promise<OwnerSet>;
  /** What is open, fchown(2). */
  fchown(handle: FileHandle | DirectoryHandle, uid: number | undefined, gid: number | undefined, options?: ChownOptions): Promise<OwnerSet>;
  /**
   * Gives `target` the user and the group of `source`, or the group alone where giving away is not permitted; `missing` says what
   * was left out. Links are followed.
   */
  preserveOwnershipFrom(source: string | FileHandle | DirectoryHandle, target: string | FileHandle | DirectoryHandle, options?: ChownOptions): Promise<OwnerPreserved>;
}

const ID_MAX = 2 ** 32 - 2;

export function ownershipOperations(caller: Caller): OwnershipOperations {
  const chown = async (target: Parameters<typeof caller.run<'chown'>>[1][0], uid: unknown, gid: unknown, followLink: boolean, options?: ChownOptions): Promise<OwnerSet> => {
    const { durable } = caller.options(options, ['durable']);
    const [user, group] = [id('uid', uid), id('gid', gid)];
    if (user === undefined && group === undefined) check.fail('uid', 'an id where `gid` is none', uid);
    return caller.run('chown', [target, user, group, { followLink, durable: check.boolean('durable', durable, false) }], options);
  };
  return {
    chown: async (path, uid, gid, options) => chown(caller.place('path', path), uid, gid, true, options),
    lchown: async (path, uid, gid, options) => chown(caller.place('path', path), uid, gid, false, options),
    fchown: async (handle, uid, gid, options) => chown(openTarget(caller, handle), uid, gid, true, options),

    async preserveOwnershipFrom(source, target, options) {
      const { durable } = caller.options(options, ['durable']);
      const args = [caller.target('source', source), caller.target('target', target), check.boolean('durable', durable, false)] as const;
      return caller.run('preserveOwnershipFrom', args, options);
    },
  };
}

function openTarget(caller: Caller, handle: unknown): ReturnType<Caller['target']> {
  if (typeof handle === 'string') check.fail('handle', 'a FileHandle or a DirectoryHandle', handle);
  return caller.target('handle', handle);
}

function id(name: string, value: unknown): number | undefined {
  if (value === undefined || value === -1) return undefined;
  return check.integer(name, value, 0, -1, ID_MAX);
}
