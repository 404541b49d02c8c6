/** The bytes of a task's calls, as they travel to a worker. */
import { InvalidArgumentError } from '../../platform/errors.js';
import { DETACHED, isDetached } from '../../workers/protocol/log-buffer.js';
import type { Call } from './call.js';

/** Bytes as they travel: those in shared memory as they are, the others of a task in one copy that moves. */
export class Luggage {
  readonly transfer: ArrayBuffer[] = [];
  readonly #copy: Uint8Array | undefined;
  #packed = 0;

  constructor(calls: readonly Call[]) {
    const bytes = calls.reduce((sum, { args }) => sum + args.reduce<number>((inCall, value) => inCall + copiedBytes(value), 0), 0);
    if (bytes === 0) return;
    const buffer = new ArrayBuffer(bytes);
    this.transfer.push(buffer);
    this.#copy = new Uint8Array(buffer);
  }

  pack(value: unknown): unknown {
    if (isListOfBytes(value)) return value.map((item) => this.pack(item));
    if (isDetached(value)) throw new InvalidArgumentError(DETACHED);
    if (!isCopied(value)) return value;
    const at = this.#packed;
    this.#packed += value.byteLength;
    this.#copy?.set(value, at);
    return this.#copy?.subarray(at, this.#packed) ?? value;
  }
}

function isCopied(value: unknown): value is Uint8Array {
  return value instanceof Uint8Array && !(value.buffer instanceof SharedArrayBuffer);
}

function isListOfBytes(value: unknown): value is readonly unknown[] {
  return Array.isArray(value) && value[0] instanceof Uint8Array;
}

function copiedBytes(value: unknown): number {
  if (isListOfBytes(value)) return value.reduce<number>((sum, item) => sum + copiedBytes(item), 0);
  return isCopied(value) ? value.byteLength : 0;
}
