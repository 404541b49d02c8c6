/** An open directory: whatever happens to the names that lead there, it stays the same one. */
import type { DirectoryEntry } from '../../platform/interface/directories.js';
import type { RenameMode } from '../../platform/interface/names.js';
import type { OpenFile } from '../../workers/protocol/operation.js';
import * as check from '../options.js';
import type { Caller, NamedPlace, OperationOptions } from './caller.js';
import type { FileHandle } from './file-handle.js';
import type { Statx, StatxOptions } from './metadata.js';
import { checkShared, OpenHandle, type SharedHandle } from './handle.js';
import { handleOf } from './open.js';
import { requireOperation } from './supports.js';

export interface MakeDirectoryAtOptions extends OperationOptions {
  /** Permission bits, 0 to 0o7777, less those of the process's umask. Default 0o777. */
  readonly mode?: number;
}

export interface OpenAtOptions extends OperationOptions {
  /** For reading and writing. Default false: for reading. */
  readonly write?: boolean;
  /** Makes the file where there is none. With `write`. Default false. */
  readonly create?: boolean;
  /** What exists already is refused (`TIDEMARK_EXISTS`), a link too. With `create`, not with `append`. Default false. */
  readonly exclusive?: boolean;
  /** For `append`, as `files.openAppend` opens. With `write`. Default false. */
  readonly append?: boolean;
  /** Every write is durable when it returns (`O_DSYNC`). With `write`. Default false. */
  readonly dsync?: boolean;
  /**
   * Transfers bypass the page cache where the filesystem allows it; `handle.direct` tells whether they do, and why not. With
   * `append` they never do. Default false.
   */
  readonly direct?: boolean;
  /** Permission bits of a file that is made, 0 to 0o7777, less those of the process's umask. Default 0o600. */
  readonly mode?: number;
}

export interface RenameAtOptions extends OperationOptions {
  /** Where the new name lies. Default: this directory. */
  readonly directory?: DirectoryHandle;
  /** `replace`, the default: what has the new name goes. `noReplace`: it is refused. `exchange`: both change places. */
  readonly mode?: RenameMode;
}

export interface LinkAtOptions extends OperationOptions {
  /** Where the new name lies. Default: this directory. */
  readonly directory?: DirectoryHandle;
}

/** What a method of a directory did, by the system call that did it. None of them is durable before {@link DirectoryHandle.sync}. */
export interface AtResult<Primitive extends string> {
  readonly primitive: Primitive;
}

export interface DirectoryListing extends AtResult<'getdents64'> {
  /** In the order of the filesystem, without `.` and `..`. */
  readonly entries: readonly DirectoryEntry[];
}

const OPEN_OPTIONS = ['write', 'create', 'exclusive', 'append', 'dsync', 'direct', 'mode'] as const;
const RENAME_MODES = ['replace', 'noReplace', 'exchange'] as const;
const MODE_MAX = 0o7777;

/**
 * Made by `files.openDirectory` and {@link openDirectoryAt}.
 *
 * The names that methods take are relative to the directory and may have several parts (`a/b`). None leads out of it: not by
 * `..`, not by being absolute, not by a link, not even when somebody swaps a part of it for a link meanwhile. One that would
 * rejects with `TIDEMARK_OUTSIDE_ROOT`. Links that stay inside are followed on the way (openat2(2) with `RESOLVE_BENEATH`,
 * Linux 5.6); where the kernel has no openat2, every link on the way and every `..` is refused instead.
 *
 * No method makes anything durable, but {@link sync}.
 */
export class DirectoryHandle extends OpenHandle {
  readonly #caller: Caller;

  /** @internal */
  constructor(caller: Caller, file: OpenFile, origin: ((handle: OpenHandle) => Promise<void>) | SharedArrayBuffer) {
    super('tidemark-directory', file, origin);
    this.#caller = caller;
  }

  /** @internal */
  static attach(caller: Caller, shared: SharedHandle): DirectoryHandle {
    const { file, uses } = checkShared(shared, 'tidemark-directory');
    return new DirectoryHandle(caller, file, uses);
  }

  /** Makes a directory (mkdirat(2)). `TIDEMARK_EXISTS` where the name is taken. */
  async mkdirAt(name: string, options?: MakeDirectoryAtOptions): Promise<AtResult<'mkdirat'>> {
    requireOperation('mkdirAt');
    const { mode } = this.#caller.options(options, ['mode']);
    await this.#caller.run('makeDirectoryAt', [this.#at('name', name), check.integer('mode', mode, 0o777, 0, MODE_MAX)], options);
    return { primitive: 'mkdirat' };
  }

  /**
   * Opens a regular file (openat2(2)), under the rules of `files.openRead` and its kin: a directory is refused with
   * `TIDEMARK_IS_DIRECTORY` (see {@link openDirectoryAt}), a device, FIFO or socket with `TIDEMARK_NOT_A_FILE`. A link that is the
   * last part of the name is followed as far as it stays inside; one that leads nowhere is not, where a file is made.
   */
  async openAt(name: string, options?: OpenAtOptions): Promise<FileHandle> {
    requireOperation('openAt');
    const caller = this.#caller;
    const { discard } = caller;
    const { write, create, exclusive, append, dsync, direct, mode } = openFlags(caller.options(options, OPEN_OPTIONS));
    const place = this.#at('name', name);
    const creation = { mode, durable: false };
    if (!write) return handleOf(caller, await caller.run('openRead', [place, direct], options, { discard }));
    if (exclusive) return handleOf(caller, await caller.run('openWriteNew', [place, direct, dsync, creation], options, { discard }));
    return handleOf(caller, await caller.run(append ? 'openAppend' : 'openWriteAt', [place, direct, dsync, create ? creation : undefined], options, { discard }));
  }

  /** Opens a directory below this one, which is then one of its own: nothing leads from it back to this one. */
  async openDirectoryAt(name: string, options?: OperationOptions): Promise<DirectoryHandle> {
    requireOperation('openDirectoryAt');
    this.#caller.options(options, []);
    return openDirectory(this.#caller, this.#at('name', name), options);
  }

  /** Removes a name that is no directory's, a link itself (unlinkat(2)). Of a directory: `TIDEMARK_IS_DIRECTORY`. */
  async unlinkAt(name: string, options?: OperationOptions): Promise<AtResult<'unlinkat'>> {
    requireOperation('unlinkAt');
    this.#caller.options(options, []);
    await this.#caller.run('unlinkAt', [this.#at('name', name)], options);
    return { primitive: 'unlinkat' };
  }

  /** Removes a directory that is empty (unlinkat(2) with `AT_REMOVEDIR`). */
  async rmdirAt(name: string, options?: OperationOptions): Promise<AtResult<'unlinkat'>> {
    requireOperation('rmdirAt');
    this.#caller.options(options, []);
    await this.#caller.run('removeDirectoryAt', [this.#at('name', name)], options);
    return { primitive: 'unlinkat' };
  }

  /**
   * Gives a file or directory another name, in this directory or in another one of the same filesystem, in one step for whoever
   * looks (renameat(2); renameat2(2) for `noReplace` and `exchange`, which reject with `TIDEMARK_NOT_SUPPORTED` where the
   * filesystem has no such thing). Links are renamed themselves.
   */
  async renameAt(oldName: string, newName: string, options?: RenameAtOptions): Promise<AtResult<'renameat' | 'renameat2'>> {
    requireOperation('renameAt');
    const { directory, mode: wanted } = this.#caller.options(options, ['directory', 'mode']);
    const mode = check.oneOf('mode', wanted, 'replace', RENAME_MODES);
    await this.#caller.run('renameAt', [this.#at('oldName', oldName), this.#other(directory).#at('newName', newName), mode], options);
    return { primitive: mode === 'replace' ? 'renameat' : 'renameat2' };
  }

  /** Gives a file a second name (linkat(2)); of a link, the link itself gets it. */
  async linkAt(name: string, newName: string, options?: LinkAtOptions): Promise<AtResult<'linkat'>> {
    requireOperation('linkAt');
    const { directory } = this.#caller.options(options, ['directory']);
    await this.#caller.run('linkAt', [this.#at('name', name), this.#other(directory).#at('newName', newName)], options);
    return { primitive: 'linkat' };
  }

  /** Makes a symbolic link (symlinkat(2)). It may hold any path, one that leads out too: that is refused when it is followed. */
  async symlinkAt(target: string, name: string, options?: OperationOptions): Promise<AtResult<'symlinkat'>> {
    requireOperation('symlinkAt');
    this.#caller.options(options, []);
    await this.#caller.run('symlinkAt', [check.path('target', target), this.#at('name', name)], options);
    return { primitive: 'symlinkat' };
  }

  /** What a symbolic link holds (readlinkat(2)). */
  async readlinkAt(name: string, options?: OperationOptions): Promise<AtResult<'readlinkat'> & { readonly target: string }> {
    requireOperation('readlinkAt');
    this.#caller.options(options, []);
    const target = await this.#caller.run('readlinkAt', [this.#at('name', name)], options);
    return { primitive: 'readlinkat', target };
  }

  /** What is known of a file or directory (statx(2)). Without `followLink`, of a link itself. */
  async statAt(name: string, options?: StatxOptions): Promise<Statx> {
    requireOperation('statAt');
    const { followLink } = this.#caller.options(options, ['followLink']);
    return this.#caller.run('statx', [this.#at('name', name), check.boolean('followLink', followLink, true)], options);
  }

  /**
   * All names in the directory (getdents64(2)). An entry that is made or removed meanwhile may be among them or not. They are
   * all in memory at once: where there may be millions, see `files.scan`.
   */
  async list(options?: OperationOptions): Promise<DirectoryListing> {
    requireOperation('list');
    this.#caller.options(options, []);
    return { primitive: 'getdents64', entries: await this.#caller.run('listDirectory', [{ path: '.', root: this }], options) };
  }

  /**
   * Makes the names in the directory durable: what was made, renamed and removed in it, not the content of files (fsync(2)).
   * One that fails is final: another one may succeed without having written what the first one lost.
   */
  async sync(options?: OperationOptions): Promise<AtResult<'fsync'>> {
    requireOperation('sync');
    this.#caller.options(options, []);
    await this.#caller.run('syncDirectory', [this], options);
    return { primitive: 'fsync' };
  }

  #at(argument: string, name: unknown): NamedPlace {
    return { path: check.path(argument, name), root: this };
  }

  #other(directory: unknown): DirectoryHandle {
    if (directory === undefined) return this;
    if (!(directory instanceof DirectoryHandle)) check.fail('directory', 'a DirectoryHandle', directory);
    return directory;
  }
}

/** Opens a directory for reading and for the names in it. */
export async function openDirectory(caller: Caller, place: NamedPlace, options?: OperationOptions): Promise<DirectoryHandle> {
  return opened(caller, place, false, options);
}

/** Opens a directory for the names in it alone: no permission to read it is needed. */
export async function openRoot(caller: Caller, place: NamedPlace, options?: OperationOptions): Promise<DirectoryHandle> {
  return opened(caller, place, true, options);
}

async function opened(caller: Caller, place: NamedPlace, pathOnly: boolean, options: OperationOptions | undefined): Promise<DirectoryHandle> {
  const file = await caller.run('openDirectory', [place, pathOnly], options, { discard: (file) => caller.discard({ file }) });
  return caller.remember(new DirectoryHandle(caller, file, caller.release));
}

function openFlags(options: Partial<OpenAtOptions>): Required<Omit<OpenAtOptions, keyof OperationOptions>> {
  const flag = (name: Exclude<(typeof OPEN_OPTIONS)[number], 'mode'>): boolean => check.boolean(name, options[name], false);
  const [write, create, exclusive, append, dsync, direct] = [flag('write'), flag('create'), flag('exclusive'), flag('append'), flag('dsync'), flag('direct')];
  if (create && !write) check.fail('create', 'false without `write`', create);
  if (exclusive && !create) check.fail('exclusive', 'false without `create`', exclusive);
  if (append && !write) check.fail('append', 'false without `write`', append);
  if (dsync && !write) check.fail('dsync', 'false without `write`', dsync);
  if (exclusive && append) check.fail('exclusive', 'false with `append`', exclusive);
  return { write, create, exclusive, append, dsync, direct, mode: check.integer('mode', options.mode, 0o600, 0, MODE_MAX) };
}
