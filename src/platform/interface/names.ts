import type { At } from './places.js';

/** `replace`: a target that exists is replaced. `noReplace`: it is refused (EEXIST). `exchange`: both exist and change places. */
export type RenameMode = 'replace' | 'noReplace' | 'exchange';

/**
 * Calls that make, move and remove names, each of them atomic to whoever looks. None that changes something follows a
 * link that is the last part of a name, but for {@link NameCalls.link} where it is asked to. None of them syncs anything. Errors carry no path: the
 * caller knows which name it gave.
 */
export interface NameCalls {
  /** False where nothing has the name; a link that leads nowhere has it. The quickest of all questions. */
  isTaken(at: At): boolean;
  /** Throws `NotSupportedError` where the filesystem or the kernel has `replace` alone. */
  rename(from: At, to: At, mode: RenameMode): void;
  /** A second name for a file. `follow`: where `from` is a link, for what it leads to; else for the link itself. */
  link(from: At, to: At, options: { readonly follow: boolean }): void;
  /** `target` is kept as it is, whether anything lies there or not. */
  symlink(target: string, at: At): void;
  /** What a symbolic link holds. */
  readlink(at: At): string;
  /** Removes a name that is no directory's. */
  unlink(at: At): void;
  /** Removes a directory that is empty. */
  removeDirectory(at: At): void;
  /** `mode`: permission bits, less those of the process's umask. */
  makeDirectory(at: At, mode: number): void;
}
