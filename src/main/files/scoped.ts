/** File operations that cannot leave a directory. */
import type { Caller } from './caller.js';
import { openRoot, type DirectoryHandle } from './directory-handle.js';
import type { Files } from './files.js';

/** Made by `files.scoped`. */
export interface ScopedFiles extends Files {
  /**
   * Waits for the operations that use the directory, then closes it; later ones reject with `TIDEMARK_CLOSED`. Handles and
   * scopes that were opened through it stay open. Without it, the scheduler closes the directory with itself.
   */
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

export interface ScopeOperations {
  /**
   * All file operations, with every path relative to a directory and confined below it: one that leads out, by `..`, by being
   * absolute or by a link, rejects with `TIDEMARK_OUTSIDE_ROOT`, also when somebody swaps a part of it for a link meanwhile.
   * Links that stay inside are followed (openat2(2) with `RESOLVE_BENEATH`, Linux 5.6); where the kernel has no openat2, every
   * link on the way and every `..` is refused instead. Mount points below the directory belong to it. Handles that operations
   * are given are used as they are, wherever they were opened.
   *
   * The directory is opened at once (`O_PATH`), and operations wait for that: where it fails they all reject with its error.
   * From then on the scope stays with that directory, whatever gets its name. Within a scope, `dir` is relative to it.
   */
  scoped(dir: string): ScopedFiles;
}

export function scopeOperations(caller: Caller, filesOf: (caller: Caller) => Files): ScopeOperations {
  return {
    scoped(dir) {
      const root = openRoot(caller, caller.place('dir', dir), { lane: 'urgent' });
      // Whoever uses the scope learns of it.
      root.catch(() => undefined);
      return { ...filesOf(caller.below(root)), ...closing(root) };
    },
  };
}

function closing(root: Promise<DirectoryHandle>): Pick<ScopedFiles, 'close' | typeof Symbol.asyncDispose> {
  const close = (): Promise<void> => root.then((directory) => directory.close(), () => undefined);
  return { close, [Symbol.asyncDispose]: close };
}
