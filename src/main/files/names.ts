/** Names of files: renaming, links, directories. */
import type { Changed, DirectoryMade, RenamePrimitive } from '../../workers/files/names.js';
import * as check from '../options.js';
import type { Caller, OperationOptions } from './caller.js';

/** Options of what changes names. */
export interface NameOptions extends OperationOptions {
  /**
   * The directories that hold the names are synced (fsync(2)) before it resolves, each once; for that they must be readable.
   * Without, the change is atomic all the same, but may be undone by a loss of power. Default true.
   */
  readonly durable?: boolean;
}

export interface MakeDirectoryOptions extends NameOptions {
  /** Permission bits, 0 to 0o7777, less those of the process's umask. Default 0o777. */
  readonly mode?: number;
  /** Directories on the way are made too, and one that is there already is no error. Default false. */
  readonly recursive?: boolean;
}

/** Which system call changed the name, and which sync followed. */
export type NameResult<Primitive extends string> = Changed<Primitive>;
export type RenameResult = Changed<RenamePrimitive>;
export type MakeDirectoryResult = DirectoryMade;

export interface ReadlinkResult {
  readonly primitive: 'readlinkat';
  /** What the link holds: absolute, or relative to the link's directory. */
  readonly target: string;
}

/**
 * Links are not followed where they are the last part of a path. Where a sync fails the change may have happened, and may be
 * lost: the sync is not tried again.
 */
export interface NameOperations {
  /**
   * Renames a file, link or directory (`renameat`, rename(2)); a file or empty directory of the new name is replaced in the same
   * step. Nobody ever finds the new name missing if it was there. The content of a file is not synced: `replaceFile` does that.
   * After a loss of power while it runs there is the old name, the new one, or between two directories both.
   */
  rename(from: string, to: string, options?: NameOptions): Promise<RenameResult>;

  /**
   * Renames only where the new name is free (`renameat2` with RENAME_NOREPLACE, rename(2)); `TIDEMARK_EXISTS` else. Where the
   * kernel or filesystem has no such flag, a file gets the second name and then loses the first (`linkat+unlinkat`): as atomic
   * for the new name, but for a moment there are both. Directories then reject with `NotSupportedError`.
   */
  renameNoReplace(from: string, to: string, options?: NameOptions): Promise<RenameResult>;

  /**
   * Two names change places in one step (`renameat2` with RENAME_EXCHANGE, rename(2)), whatever they name. Both must exist.
   * `NotSupportedError` where the kernel or filesystem has no such flag: there is no other way to do it.
   */
  exchange(a: string, b: string, options?: NameOptions): Promise<RenameResult>;

  /** Makes a symbolic link (symlink(2)). `target` is kept as it is: it need not exist, and is not confined by `scoped`; following it is. */
  symlink(target: string, path: string, options?: NameOptions): Promise<NameResult<'symlinkat'>>;

  /** Reads what a symbolic link holds (readlink(2)). `TIDEMARK_IO` with EINVAL where the path is none. */
  readlink(path: string, options?: OperationOptions): Promise<ReadlinkResult>;

  /** Gives a file a second name on the same filesystem (link(2)); a symbolic link gets one itself. `TIDEMARK_EXISTS` where it is taken. */
  hardlink(existing: string, path: string, options?: NameOptions): Promise<NameResult<'linkat'>>;

  /** Removes a name that is no directory's (unlink(2)). The content goes with its last name, once nobody has it open. */
  unlink(path: string, options?: NameOptions): Promise<NameResult<'unlinkat'>>;

  /** Makes a directory (mkdir(2)). */
  makeDirectory(path: string, options?: MakeDirectoryOptions): Promise<MakeDirectoryResult>;

  /** Removes an empty directory (rmdir(2)); `TIDEMARK_NOT_EMPTY` otherwise. */
  removeDirectory(path: string, options?: NameOptions): Promise<NameResult<'unlinkat'>>;
}

const DURABLE = ['durable'] as const;

export function nameOperations(caller: Caller): NameOperations {
  const isDurable = (options: NameOptions | undefined): boolean => check.boolean('durable', caller.options(options, DURABLE).durable, true);
  const renaming = (mode: 'replace' | 'noReplace' | 'exchange', [first, second]: readonly [string, string]) =>
    async (from: string, to: string, options?: NameOptions): Promise<RenameResult> => {
      const durable = isDurable(options);
      return caller.run('renameName', [caller.place(first, from), caller.place(second, to), mode, durable], options);
    };
  return {
    rename: renaming('replace', ['from', 'to']),
    renameNoReplace: renaming('noReplace', ['from', 'to']),
    exchange: renaming('exchange', ['a', 'b']),
    async symlink(target, path, options) {
      const durable = isDurable(options);
      return caller.run('makeSymlink', [check.path('target', target), caller.place('path', path), durable], options);
    },
    async readlink(path, options) {
      caller.options(options, []);
      return caller.run('readSymlink', [caller.place('path', path)], options);
    },
    async hardlink(existing, path, options) {
      const durable = isDurable(options);
      return caller.run('makeHardlink', [caller.place('existing', existing), caller.place('path', path), durable], options);
    },
    async unlink(path, options) {
      const durable = isDurable(options);
      return caller.run('unlinkName', [caller.place('path', path), durable], options);
    },
    async makeDirectory(path, options) {
      const { mode, recursive, durable } = caller.options(options, ['mode', 'recursive', ...DURABLE]);
      return caller.run('makeDirectory', [
        caller.place('path', path),
        check.integer('mode', mode, 0o777, 0, 0o7777),
        check.boolean('recursive', recursive, false),
        check.boolean('durable', durable, true),
      ], options);
    },
    async removeDirectory(path, options) {
      const durable = isDurable(options);
      return caller.run('removeDirectory', [caller.place('path', path), durable], options);
    },
  };
}
