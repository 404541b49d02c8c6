/** What a single write may promise beyond being written. */
export interface WritePromise {
  /** The bytes are durable when the call returns. */
  readonly durable?: boolean;
  /** They go to the end of the file, wherever that is by then; the offset is not looked at. */
  readonly append?: boolean;
  /** All or nothing, even through a power loss. Lengths and offsets as {@link TransferCalls.atomicWrites} tells. */
  readonly atomic?: boolean;
}

/** The calls by which bytes move. */
export type TransferPrimitive = 'pread' | 'preadv2' | 'pwrite' | 'pwritev2';

/**
 * Single transfers between memory and an open file. Each may move fewer bytes than asked for; at the end of the file a
 * read answers 0. Interrupted calls are repeated, with a bound.
 */
export interface TransferCalls {
  /** The most pieces of memory that a vectored call takes. */
  readonly piecesMax: number;
  /** What the methods below are, as results name them. */
  readonly primitives: Readonly<Record<'read' | 'readVector' | 'write' | 'writeVector', TransferPrimitive>>;
  read(descriptor: number, target: Uint8Array, offset: number): number;
  /** Fills the pieces one after the other. */
  readVector(descriptor: number, pieces: readonly Uint8Array[], offset: number): number;
  write(descriptor: number, source: Uint8Array, offset: number): number;
  /** Throws {@link NotSupportedError} where the file cannot keep the promise. */
  writeVector(descriptor: number, pieces: readonly Uint8Array[], offset: number, promise?: WritePromise): number;
  /** The shortest and longest atomic write of the file, in bytes; undefined where there are none. */
  atomicWrites(descriptor: number): { readonly min: number; readonly max: number } | undefined;
}
