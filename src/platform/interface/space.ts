/** The call that changed a file's space; `pwrite` where zeros were written one by one. */
export type SpacePrimitive =
  | 'fallocate'
  | 'FALLOC_FL_PUNCH_HOLE'
  | 'FALLOC_FL_ZERO_RANGE'
  | 'FALLOC_FL_COLLAPSE_RANGE'
  | 'FALLOC_FL_INSERT_RANGE'
  | 'FALLOC_FL_WRITE_ZEROES'
  | 'ftruncate'
  | 'pwrite';

/**
 * Length and blocks of an open file. Each throws `NotSupportedError` where the filesystem or the kernel lacks it, and nothing
 * changed then. None of them writes zeros where the filesystem cannot do better, and none syncs.
 */
export interface SpaceCalls {
  /** Cuts the file, or lengthens it by a hole. */
  truncate(descriptor: number, bytes: number): SpacePrimitive;
  /** Reserves blocks, which read as zeros, and keeps what is there. Lengthens the file, unless `keepSize`. */
  allocate(descriptor: number, offset: number, bytes: number, keepSize?: boolean): SpacePrimitive;
  /** Gives blocks back; the range reads as zeros. Never changes the length. */
  punchHole(descriptor: number, offset: number, bytes: number): SpacePrimitive;
  /** The range reads as zeros and has blocks, which are marked as not written. Lengthens the file, unless `keepSize`. */
  zeroRange(descriptor: number, offset: number, bytes: number, keepSize: boolean): SpacePrimitive;
  /** Takes the range out: what follows moves to its start. Throws `InvalidArgumentError` where it is not made of whole blocks. */
  collapseRange(descriptor: number, offset: number, bytes: number): SpacePrimitive;
  /** Moves what lies at `offset` and behind it up, and leaves a hole. Throws like {@link collapseRange}. */
  insertRange(descriptor: number, offset: number, bytes: number): SpacePrimitive;
  /** Has the device write zeros, so that the blocks count as written. Lengthens the file. */
  writeZeroes(descriptor: number, offset: number, bytes: number): SpacePrimitive;
}
