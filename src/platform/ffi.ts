/**
 * Native calls through koffi.
 *
 * Rules that keep this safe:
 * - Only synchronous calls, only from the thread that owns what they touch.
 * - An address keeps nothing alive, and V8 lets go of an object after its last use, also within a function. So a call is given
 *   the memory itself, as a view; where that cannot be, as for what a structure points to, it happens {@link whileHeld}.
 * - Memory that native code keeps after a call returns is a `SharedArrayBuffer` held in {@link NativeMemory}:
 *   a small typed array moves on the JavaScript heap and an unreferenced one is freed.
 * - Packages, libraries and functions are looked up on first use, so that importing this package never fails.
 */
import { assert } from './errors.js';
import { koffi } from './native-modules.js';
import { uninterrupted } from './thread-start.js';

/** Memory at a fixed native address for as long as this object is reachable. */
export class NativeMemory {
  readonly buffer: SharedArrayBuffer;
  readonly bytes: Uint8Array;
  readonly address: number;

  constructor(byteLength: number, alignment: number) {
    assert(alignment > 0 && (alignment & (alignment - 1)) === 0, 'the alignment is a power of two');
    this.buffer = new SharedArrayBuffer(byteLength + alignment);
    const skip = alignmentSkip(this.buffer, alignment);
    this.bytes = new Uint8Array(this.buffer, skip, byteLength);
    this.address = addressOf(this.bytes);
    assert(this.address % alignment === 0, 'native memory is aligned');
  }
}

/** Bytes to skip so that the rest of `buffer` starts at a multiple of `alignment`. */
export function alignmentSkip(buffer: SharedArrayBuffer, alignment: number): number {
  return (alignment - (addressOf(new Uint8Array(buffer)) % alignment)) % alignment;
}

/**
 * The native address of a view's first byte.
 * User-space addresses stay below 2^47 (x86-64) or 2^52 (arm64), so they are exact as numbers.
 */
export function addressOf(view: Uint8Array): number {
  const address = Number(koffi().address(view));
  assert(Number.isSafeInteger(address), 'a native address fits a number');
  return address;
}

let held: unknown;

/** Keeps memory alive whose address native code is given meanwhile. */
export function whileHeld<T>(memory: unknown, use: () => T): T {
  const before = held;
  held = memory;
  try {
    return use();
  } finally {
    held = before;
  }
}

type Argument = number | bigint | string | null | ArrayBufferView;
type Native = (...args: Argument[]) => number;
/** koffi answers a 64-bit result as a bigint where it exceeds 2^53. */
type Bound = (...args: Argument[]) => number | bigint;

/** A function of the C library, looked up at its first call. Its 64-bit results must fit a number. */
export function native(name: string, result: string, parameters: readonly string[]): Native {
  let bound: Bound | undefined;
  return (...args) => {
    bound ??= uninterrupted(() => library().func(name, result, [...parameters]) as Bound);
    return Number(bound(...args));
  };
}

type Library = ReturnType<ReturnType<typeof koffi>['load']>;

let loaded: Library | undefined;

function library(): Library {
  // The running process itself: its C library, whichever one node was linked with (glibc or musl).
  loaded ??= koffi().load(null);
  return loaded;
}

/** The mapped memory at `address` as an `ArrayBuffer`. Touching it after it was unmapped crashes the process. */
export function viewOf(address: number, byteLength: number): ArrayBuffer {
  return uninterrupted(() => koffi().view(BigInt(address), byteLength));
}

/** `errno` of the calling thread after the last native call. */
export function lastErrno(): number {
  return koffi().errno();
}
