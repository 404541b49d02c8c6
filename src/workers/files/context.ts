/** What an operation gets from the thread that runs it, besides its arguments. */
import { OperationError } from '../../platform/errors.js';
import type { Platform } from '../../platform/platform.js';
import { CallControl, type OperationCall } from '../protocol/operation.js';

export class OperationContext {
  readonly platform: Platform;
  readonly #control: CallControl | undefined;
  readonly #moved: ArrayBuffer[];

  /** `moved` collects memory that goes to the caller without being copied. Throws when the caller wants nothing of it any more. */
  constructor(platform: Platform, call: OperationCall, moved: ArrayBuffer[]) {
    this.platform = platform;
    this.#control = call.control === undefined ? undefined : new CallControl(call.control);
    this.#moved = moved;
    this.#control?.begin();
    this.checkAborted();
  }

  /** Throws when the caller wants no more of it. Long operations call it where they can stop in good order. */
  checkAborted(): void {
    if (this.#control?.aborted === true) throw new OperationError('TIDEMARK_ABORTED', 'the operation was aborted');
  }

  /** Tells the caller how many bytes are done. */
  progress(bytes: number): void {
    if (this.#control !== undefined) this.#control.progress = bytes;
  }

  /** Hands the memory of a result to the caller instead of copying it. Nothing here may touch it any more. */
  move(memory: ArrayBuffer): void {
    if (memory.byteLength > 0 && !this.#moved.includes(memory)) this.#moved.push(memory);
  }
}
