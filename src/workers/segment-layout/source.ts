/** Reads segments with blocking calls: the bytes that recovery asks for. */
import { join } from 'node:path';
import type { Files } from '../../platform/platform.js';
import type { SegmentRead } from '../protocol/segment-walk.js';
import { segmentName } from '../protocol/segment.js';

export class SegmentSource {
  readonly #files: Files;
  readonly #directory: string;
  #open: { readonly base: number; readonly descriptor: number } | undefined;

  constructor(files: Files, directory: string) {
    this.#files = files;
    this.#directory = directory;
  }

  read({ base, offset, bytes }: SegmentRead): Uint8Array {
    const target = Buffer.allocUnsafeSlow(bytes);
    return target.subarray(0, this.#files.readFully(this.#descriptorOf(base), target, offset));
  }

  close(): void {
    if (this.#open !== undefined) this.#files.close(this.#open.descriptor);
    this.#open = undefined;
  }

  /** One segment is open at a time. */
  #descriptorOf(base: number): number {
    if (this.#open?.base !== base) {
      this.close();
      this.#open = { base, descriptor: this.#files.open(join(this.#directory, segmentName(base)), { write: false, noFollow: true }) };
    }
    return this.#open.descriptor;
  }
}
