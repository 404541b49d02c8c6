/** The call that made two files, or parts of them, share their blocks. */
export type ClonePrimitive = 'FICLONE' | 'FICLONERANGE';

/** Copying without a way through this process. Each throws `NotSupportedError` where it is not possible for these files. */
export interface CopyCalls {
  /** Makes all of `target` share the blocks of `source`, in one step. */
  clone(source: number, target: number): ClonePrimitive;
  /** The same for a range of whole blocks, which may end at the end of `source` instead. */
  cloneRange(source: number, sourceOffset: number, target: number, targetOffset: number, bytes: number): ClonePrimitive;
  /** Has the kernel copy; answers how many bytes, which may be fewer; 0 at the end, and where a file has no way to do it. */
  copyRange(source: number, sourceOffset: number, target: number, targetOffset: number, bytes: number): number;
  /** The start of the next data at `offset` or behind it; undefined where only a hole follows. */
  nextData(descriptor: number, offset: number): number | undefined;
  /** The start of the next hole behind data at `offset`: the end of the file where there is none. */
  nextHole(descriptor: number, offset: number): number;
}
