import type { OpenFlags } from '../platform.js';

/** A name for the calls that take a directory: relative to it where there is one, else absolute. */
export interface At {
  readonly directory: number | undefined;
  readonly path: string;
}

export interface PlaceCalls {
  /**
   * Opens a path that must not lead out of `root`: neither by `..`, nor by a link, nor by being absolute. Throws
   * `TIDEMARK_OUTSIDE_ROOT` where it does. Where the kernel cannot tell, every link on the way is refused. What the
   * system answers is thrown without a path: `path` may be a name of this library's own.
   */
  openBeneath(root: number, path: string, flags: OpenFlags): number;
  /** Whether what is open has a path of its own here, see {@link pathOfDescriptor}. */
  readonly namesDescriptors: () => boolean;
  /** A path that names what is open, for calls that take no descriptor. */
  pathOfDescriptor(descriptor: number): string;
}
