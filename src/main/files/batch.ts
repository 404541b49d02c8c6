/** Several changes of files in one call. */
import type { BatchDone, BatchStep, BatchStepDone } from '../../workers/files/batch.js';
import { BatchError, InvalidArgumentError, OperationError } from '../../platform/errors.js';
import * as check from '../options.js';
import type { Caller, NamedPlace, OperationOptions } from './caller.js';

export interface CommitOptions extends OperationOptions {
  /** Contents are synced before they are put in place, and all directories once at the end. Default true. */
  readonly durable?: boolean;
}

export type BatchResult = BatchDone;
export type BatchStepResult = BatchStepDone;

/**
 * Steps, in the order in which they are added. Nothing happens before {@link Batch.commit}.
 *
 * A batch is not a transaction: others see each step when it is done, and after a loss of power the effects of some steps may be
 * there and those of others not. What holds is that no file is ever half written, and that all is durable once it resolves.
 */
export interface Batch {
  /** Replaces a file or makes it, as `replaceFile` does. `mode`: permission bits of a file that is new, default 0o600. */
  write(path: string, data: string | Uint8Array, options?: { readonly mode?: number }): this;
  /** Removes a name that is no directory's (unlink(2)). */
  delete(path: string): this;
  /**
   * Replaces `to` by a copy of the content and the permission bits of `from`, links followed, as `copyFile` takes them over: setuid
   * and setgid stay with their owner and group.
   */
  copy(from: string, to: string): this;
  /** Renames a file, link or directory; what has the new name is replaced (rename(2)). The content is not synced. */
  rename(from: string, to: string): this;
  /**
   * Does the steps one after the other on one thread. A step that fails ends the batch: it rejects with a `BatchError`, which tells
   * the step and its cause; what was done before stays, and is synced. When it is aborted, the cause is that. A batch is committed
   * once. Bytes to write must stay as they are until it has settled.
   */
  commit(options?: CommitOptions): Promise<BatchResult>;
}

export interface BatchOperations {
  /** A batch of changes, to be filled and then committed. */
  batch(): Batch;
}

export function batchOperations(caller: Caller): BatchOperations {
  return { batch: () => new FileBatch(caller) };
}

class FileBatch implements Batch {
  readonly #caller: Caller;
  readonly #steps: BatchStep[] = [];
  readonly #places: NamedPlace[][] = [];
  readonly #contents: (string | Uint8Array)[] = [];
  #committed = false;

  constructor(caller: Caller) {
    this.#caller = caller;
  }

  write(path: string, data: string | Uint8Array, options: { readonly mode?: number } = {}): this {
    check.checkKeys('options', options, ['mode']);
    if (typeof data !== 'string' && !(data instanceof Uint8Array)) check.fail('data', 'a string or a Uint8Array', data);
    const mode = check.integer('mode', options.mode, 0o600, 0, 0o7777);
    const place = this.#caller.place('path', path);
    this.#contents.push(data);
    return this.#add({ kind: 'write', mode }, place);
  }

  delete(path: string): this {
    return this.#add({ kind: 'delete', mode: 0 }, this.#caller.place('path', path));
  }

  copy(from: string, to: string): this {
    return this.#add({ kind: 'copy', mode: 0 }, this.#caller.place('from', from), this.#caller.place('to', to));
  }

  rename(from: string, to: string): this {
    return this.#add({ kind: 'rename', mode: 0 }, this.#caller.place('from', from), this.#caller.place('to', to));
  }

  async commit(options?: CommitOptions): Promise<BatchResult> {
    const durable = check.boolean('durable', this.#caller.options(options, ['durable']).durable, true);
    this.#checkOpen();
    this.#committed = true;
    const contents = this.#contents.map((data) => (typeof data === 'string' ? new TextEncoder().encode(data) : data));
    return this.#caller.run('runBatch', [this.#steps, this.#places, contents, durable], options).catch((error: unknown) => {
      const isAborted = error instanceof BatchError && error.cause instanceof OperationError && error.cause.code === 'TIDEMARK_ABORTED';
      if (!isAborted || options?.signal === undefined) throw error;
      const { step, kind, path, completed } = error;
      throw new BatchError({ step, kind, path, completed, cause: options.signal.reason as unknown });
    });
  }

  #add(step: BatchStep, ...places: NamedPlace[]): this {
    this.#checkOpen();
    this.#steps.push(step);
    this.#places.push(places);
    return this;
  }

  #checkOpen(): void {
    if (this.#committed) throw new InvalidArgumentError('The batch has been committed: make a new one');
  }
}
