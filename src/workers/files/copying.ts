/** Copies the data of a range from one open file to another one, and passes over its holes. */
import { NotSupportedError } from '../../platform/errors.js';
import { inFile } from '../../platform/errno.js';
import type { OperationContext } from './context.js';
import { requireAligned, TRANSFER_BYTES, transferMemory, type Opened } from './pieces.js';

/** What one `copy_file_range` is asked for. */
const KERNEL_BYTES = 16 * 1024 ** 2;
/** A durable copy syncs this often, so that no single sync holds the thread for long. */
const SYNC_BYTES = 64 * 1024 ** 2;
/** What is read of a file that says it is empty. */
const UNSIZED_BYTES_MAX = 64 * 1024 ** 2;

export interface CopyingOptions {
  /** `auto`: the kernel as long as it can. */
  readonly method: 'auto' | 'copy_file_range' | 'read_write';
  /** Syncs the target's data now and then. */
  readonly syncs: boolean;
  /** Called for each hole, by its place in the target. `before`: bytes that were done before it. */
  readonly hole: (offset: number, bytes: number, before: number) => void;
}

export class Copying {
  /** The one that moved the last bytes. */
  primitive: 'copy_file_range' | 'read_write';
  copiedBytes = 0;
  holes = 0;
  readonly #context: OperationContext;
  readonly #source: Opened;
  readonly #target: Opened;
  readonly #options: CopyingOptions;
  #memory: Uint8Array | undefined;
  #unsynced = 0;

  constructor(context: OperationContext, source: Opened, target: Opened, options: CopyingOptions) {
    this.#context = context;
    this.#source = source;
    this.#target = target;
    this.#options = options;
    this.primitive = options.method === 'read_write' ? 'read_write' : 'copy_file_range';
  }

  /** Answers how many bytes that were: fewer where the source ends, or is cut meanwhile. */
  range(sourceOffset: number, targetOffset: number, length: number): number {
    const { copy, files } = this.#context.platform;
    const source = this.#source.descriptor;
    const ahead = targetOffset - sourceOffset;
    let end = sourceOffset + length;
    for (let at = sourceOffset; at < end;) {
      const data = copy.nextData(source, at);
      // No data: a hole up to the end, or the file was cut.
      if (data === undefined) end = Math.min(end, Math.max(at, files.status(source).sizeBytes));
      const start = Math.min(data ?? end, end);
      this.#hole(at + ahead, start - at);
      if (start === end) break;
      // One byte at least: holes may come and go meanwhile.
      const until = Math.min(Math.max(copy.nextHole(source, start), start + 1), end);
      const copied = this.#data(start, start + ahead, until - start);
      if (copied < until - start) return start + copied - sourceOffset;
      at = until;
    }
    return end - sourceOffset;
  }

  /** Copies a file that does not tell its length, from its start to wherever it ends. */
  unsized(): number {
    const bytes = this.#data(0, 0, UNSIZED_BYTES_MAX);
    if (bytes < UNSIZED_BYTES_MAX) return bytes;
    throw new NotSupportedError('copyFile', `'${this.#source.target.path}' says that it is empty, and holds ${UNSIZED_BYTES_MAX} bytes or more`);
  }

  #hole(offset: number, bytes: number): void {
    if (bytes === 0) return;
    this.#context.checkAborted();
    this.#options.hole(offset, bytes, this.#done);
    this.holes += bytes;
    this.#context.progress(this.#done);
  }

  #data(sourceOffset: number, targetOffset: number, length: number): number {
    let done = 0;
    while (done < length) {
      this.#context.checkAborted();
      const count = this.#piece(sourceOffset + done, targetOffset + done, length - done);
      if (count === 0) break;
      done += count;
      this.copiedBytes += count;
      this.#syncNowAndThen(count);
      this.#context.progress(this.#done);
    }
    return done;
  }

  get #done(): number {
    return this.copiedBytes + this.holes;
  }

  /** Copies some bytes; 0 at the end of the source. */
  #piece(sourceOffset: number, targetOffset: number, bytes: number): number {
    if (this.primitive === 'copy_file_range') {
      const count = this.#inKernel(sourceOffset, targetOffset, Math.min(bytes, KERNEL_BYTES));
      if (count > 0) return count;
    }
    // The kernel answers 0 for files of /proc and the like, however much they hold: reading tells.
    const count = this.#options.method === 'copy_file_range' ? 0 : this.#throughMemory(sourceOffset, targetOffset, Math.min(bytes, TRANSFER_BYTES));
    if (count > 0) this.primitive = 'read_write';
    return count;
  }

  #inKernel(sourceOffset: number, targetOffset: number, bytes: number): number {
    const source = this.#source.descriptor;
    const { copy, files } = this.#context.platform;
    try {
      const count = copy.copyRange(source, sourceOffset, this.#target.descriptor, targetOffset, bytes);
      if (count === 0 && this.#options.method === 'copy_file_range' && files.status(source).sizeBytes > sourceOffset) {
        throw new NotSupportedError('copy_file_range', `the kernel copies nothing of '${this.#source.target.path}'`);
      }
      return count;
    } catch (error) {
      if (!(error instanceof NotSupportedError) || this.#options.method !== 'auto') throw error;
      this.primitive = 'read_write';
      return 0;
    }
  }

  #throughMemory(sourceOffset: number, targetOffset: number, bytes: number): number {
    requireAligned('read_write', this.#source.target, sourceOffset, bytes);
    requireAligned('read_write', this.#target.target, targetOffset, bytes);
    const { files } = this.#context.platform;
    const memory = (this.#memory ??= transferMemory(TRANSFER_BYTES));
    const count = inFile(this.#source.target.path, () => files.readFully(this.#source.descriptor, memory.subarray(0, bytes), sourceOffset));
    if (count > 0) files.writeFully(this.#target.descriptor, memory.subarray(0, count), targetOffset);
    return count;
  }

  #syncNowAndThen(bytes: number): void {
    this.#unsynced += bytes;
    if (!this.#options.syncs || this.#unsynced < SYNC_BYTES) return;
    this.#context.platform.files.syncData(this.#target.descriptor);
    this.#unsynced = 0;
  }
}
