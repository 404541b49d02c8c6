/**
 * A journal's segments as they would be after changes that are not made yet: so that a repair can be planned to its end, and
 * examined, before it touches anything.
 */
import { assert } from '../../platform/errors.js';
import type { SegmentRead } from '../protocol/segment-walk.js';
import type { SegmentEntry } from './verdict.js';

export interface Patch {
  readonly offset: number;
  readonly bytes: Uint8Array;
}

/** What becomes of one segment's file. */
export interface PlannedSegment {
  readonly base: number;
  /** Size of the file as it is; undefined when there is none. */
  readonly foundBytes: number | undefined;
  readonly sizeBytes: number;
  /** In the order in which they were planned. */
  readonly patches: readonly Patch[];
}

export class Overlay {
  readonly #segments = new Map<number, PlannedSegment>();
  readonly #source: (request: SegmentRead) => Uint8Array;

  constructor(listing: readonly SegmentEntry[], source: (request: SegmentRead) => Uint8Array) {
    for (const { base, sizeBytes } of listing) this.#segments.set(base, { base, foundBytes: sizeBytes, sizeBytes, patches: [] });
    this.#source = source;
  }

  get listing(): SegmentEntry[] {
    return [...this.#segments.values()].sort((a, b) => a.base - b.base);
  }

  /** The segments that are changed or new, in order. */
  get changed(): PlannedSegment[] {
    return [...this.#segments.values()].filter(({ foundBytes, sizeBytes, patches }) => foundBytes !== sizeBytes || patches.length > 0).sort((a, b) => a.base - b.base);
  }

  foundBytes(base: number): number | undefined {
    return this.#segments.get(base)?.foundBytes;
  }

  /** Gives a segment this size: zeros at its end, or a whole new file of them, or less than there was. */
  resize(base: number, sizeBytes: number): void {
    const { foundBytes, patches } = this.#segments.get(base) ?? { foundBytes: undefined, patches: [] };
    this.#segments.set(base, { base, foundBytes, sizeBytes, patches });
  }

  patch(base: number, offset: number, bytes: Uint8Array): void {
    const segment = this.#segments.get(base);
    assert(segment !== undefined && offset + bytes.length <= segment.sizeBytes, 'a patch lies within its segment');
    this.#segments.set(base, { ...segment, patches: [...segment.patches, { offset, bytes }] });
  }

  readonly read = (request: SegmentRead): Uint8Array => {
    const { base, offset } = request;
    const segment = this.#segments.get(base);
    assert(segment !== undefined, 'only segments that there are can be read');
    const { foundBytes = 0, sizeBytes, patches } = segment;
    if (foundBytes === sizeBytes && patches.length === 0) return this.#source(request);
    const target = new Uint8Array(Math.max(0, Math.min(request.bytes, sizeBytes - offset)));
    const found = Math.min(target.length, foundBytes - offset);
    if (found > 0) target.set(this.#source({ base, offset, bytes: found }));
    for (const patch of patches) {
      const from = Math.max(offset, patch.offset);
      const to = Math.min(offset + target.length, patch.offset + patch.bytes.length);
      if (from < to) target.set(patch.bytes.subarray(from - patch.offset, to - patch.offset), from - offset);
    }
    return target;
  };
}
