/** Several changes of files, done in order by one thread, with each directory synced once at the end. */
import { inFile } from '../../platform/errno.js';
import { BatchError, IoError, type BatchKind } from '../../platform/errors.js';
import type { Platform } from '../../platform/platform.js';
import type { Place } from '../protocol/operation.js';
import type { OperationContext } from './context.js';
import { copyContent, type CopiedFile } from './copy.js';
import { renameEntry, syncOf, type NameSync } from './names.js';
import { Parents } from './parents.js';
import { copyMetadata, MODE_ALONE } from './preserve.js';
import { locate, pause, prepare, prepareWith, putInPlace, syncOne, type Prepared, type ReplaceTarget } from './replace.js';

/** A step as it travels: its places and its content stand in lists beside it. */
export interface BatchStep {
  readonly kind: Exclude<BatchKind, 'sync'>;
  /** Of what is written. */
  readonly mode: number;
}

export interface BatchStepDone {
  readonly kind: BatchStep['kind'];
  readonly path: string;
  /** Of writes and copies, the call that put the new content in place. */
  readonly primitive: 'renameat' | 'unlinkat';
  /** Of copies, how the content got there. */
  readonly content?: CopiedFile['primitive'];
  /** Written; 0 for other steps. */
  readonly bytes: number;
}

export interface BatchDone {
  readonly steps: readonly BatchStepDone[];
  /** How the names became durable, and before them the contents. */
  readonly sync: NameSync;
}

export const batchOperations = {
  /** `places`: one for each step, two for those that lead from one to another. `contents`: one for each write. */
  runBatch(context: OperationContext, steps: readonly BatchStep[], places: readonly (readonly Place[])[], contents: readonly Uint8Array[], durable: boolean): BatchDone {
    return new Batch(context, durable).run(steps, places, contents);
  },
};

class Batch {
  readonly #context: OperationContext;
  readonly #platform: Platform;
  readonly #durable: boolean;
  readonly #parents: Parents;
  readonly #done: BatchStepDone[] = [];

  constructor(context: OperationContext, durable: boolean) {
    this.#context = context;
    this.#platform = context.platform;
    this.#durable = durable;
    this.#parents = new Parents(context.platform, durable);
  }

  run(steps: readonly BatchStep[], places: readonly (readonly Place[])[], contents: readonly Uint8Array[]): BatchDone {
    let failure: BatchError | undefined;
    let content = 0;
    try {
      for (const [index, step] of steps.entries()) {
        const [place, second] = places[index] as readonly [Place, Place];
        try {
          this.#context.checkAborted();
          this.#done.push(this.#step(step, place, second, contents[content] ?? new Uint8Array()));
        } catch (error) {
          failure = new BatchError({ kind: step.kind, path: place.path, step: index, completed: index, cause: error });
          break;
        }
        if (step.kind === 'write') content++;
      }
      // What was done before a failing step stays, so it is made durable as well.
      this.#sync(failure?.step ?? steps.length);
    } finally {
      this.#parents.close();
    }
    if (failure !== undefined) throw failure;
    return { steps: this.#done, sync: syncOf(this.#durable) };
  }

  #step({ kind, mode }: BatchStep, place: Place, second: Place, content: Uint8Array): BatchStepDone {
    switch (kind) {
      case 'write':
        return this.#replace(place, place, (target) => prepare(this.#context, target, content, { preserve: MODE_ALONE, mode }), kind);
      case 'copy':
        return this.#copy(place, second);
      case 'rename':
        renameEntry(this.#platform, this.#parents, place, second, 'replace');
        break;
      case 'delete':
        this.#delete(place);
        break;
    }
    // The same path may lead elsewhere now.
    this.#parents.forget();
    return { kind, path: place.path, primitive: kind === 'rename' ? 'renameat' : 'unlinkat', bytes: 0 };
  }

  #delete(place: Place): void {
    const entry = this.#parents.entryOf(place);
    inFile(place.path, () => {
      this.#platform.names.unlink(entry.at);
    });
    this.#parents.changed(entry);
  }

  #copy(from: Place, to: Place): BatchStepDone {
    const { places, files } = this.#platform;
    const source = locate(this.#platform, this.#parents, from);
    const descriptor = inFile(from.path, () => places.openBeneath(source.entry.parent.descriptor, source.entry.name, { write: false, noFollow: true }));
    try {
      const { sizeBytes } = files.status(descriptor, from.path);
      let content: CopiedFile['primitive'] | undefined;
      const done = this.#replace(from, to, (replaced) => prepareWith(this.#context, replaced, (temporary) => {
        const target = { target: to, descriptor: temporary.descriptor };
        const copied = copyContent(this.#context, { target: from, descriptor }, sizeBytes, target, { method: 'auto', durable: this.#durable });
        content = copied.primitive;
        // As with copyFile, what may not be taken over is left out.
        copyMetadata(this.#platform, descriptor, temporary.descriptor, MODE_ALONE);
        return copied.bytes;
      }), 'copy');
      return { ...done, ...(content !== undefined && { content }) };
    } finally {
      files.close(descriptor);
    }
  }

  #replace(named: Place, place: Place, make: (target: ReplaceTarget) => Prepared | undefined, kind: 'write' | 'copy'): BatchStepDone {
    let prepared: Prepared | undefined;
    while ((prepared = make(locate(this.#platform, this.#parents, place))) === undefined) pause();
    putInPlace(this.#context, this.#parents, this.#durable ? syncOne(this.#platform, prepared) : prepared);
    return { kind, path: named.path, primitive: 'renameat', bytes: prepared.bytes };
  }

  #sync(step: number): void {
    const [cause] = this.#parents.sync().values();
    if (cause === undefined) return;
    const path = cause instanceof IoError ? (cause.path ?? '') : '';
    throw new BatchError({ kind: 'sync', path, step, completed: this.#done.length, cause });
  }
}
