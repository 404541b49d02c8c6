/**
 * Moves bytes between memory and an open file, in steps of bounded size, with the alignment that direct IO wants.
 *
 * Aligned memory at an aligned offset goes straight to and from the device. Everything else passes through a buffer of this
 * thread: reads are widened to sectors and cut, writes fill the rest of their edge sectors with what the file holds there.
 */
import { EIO, ioError } from '../../platform/errno.js';
import { IoError } from '../../platform/errors.js';
import { addressOf, NativeMemory } from '../../platform/ffi.js';
import { selectPlatform } from '../../platform/select.js';
import type { TransferPrimitive } from '../../platform/interface/transfer.js';
import { LOG_BUFFER_ALIGNMENT } from '../protocol/log-buffer.js';
import type { OperationContext } from './context.js';

/** One call moves no more: between two of them an operation can be stopped, and its thread be ended. */
export const STEP_BYTES = 1024 * 1024;
/** From this size on malloc maps memory for itself alone (M_MMAP_THRESHOLD never exceeds it): nobody else gets its pages later. */
const OWN_MAPPING_BYTES = 32 * 1024 * 1024;

export function alignDown(value: number, alignment: number): number {
  return value - (value % alignment);
}

export function alignUp(value: number, alignment: number): number {
  return alignDown(value + alignment - 1, alignment);
}

/** New memory for a result, aligned; it belongs to whoever gets the result. What is not read into it stays as malloc left it. */
export function newMemory(bytes: number, alignment: number): Uint8Array {
  const { buffer } = Buffer.allocUnsafeSlow(bytes + alignment - 1);
  if (bytes === 0) return new Uint8Array(buffer, 0, 0);
  if (bytes >= OWN_MAPPING_BYTES) selectPlatform().memory.preferLargePages(new Uint8Array(buffer));
  return new Uint8Array(buffer, misalignment(new Uint8Array(buffer), alignment), bytes);
}

/** How far the next aligned address is from the first byte of a view: 0 where it is aligned. */
export function misalignment(view: Uint8Array, alignment: number): number {
  if (alignment === 1 || view.length === 0) return 0;
  const address = addressOf(view);
  return alignUp(address, alignment) - address;
}

let bounce: Uint8Array | undefined;

/** What cannot go straight goes through here. Operations of a thread run one at a time. */
function bounceMemory(): Uint8Array {
  bounce ??= new NativeMemory(STEP_BYTES, LOG_BUFFER_ALIGNMENT).bytes;
  return bounce;
}

/** The next pieces of a list, of bounded number and size. */
class PieceCursor {
  readonly #pieces: readonly Uint8Array[];
  readonly #most: number;
  #index = 0;
  /** Bytes of the piece at `index` that are done. */
  #done = 0;

  constructor(pieces: readonly Uint8Array[], most: number) {
    this.#pieces = pieces;
    this.#most = most;
  }

  next(bytesMax: number): Uint8Array[] {
    const batch: Uint8Array[] = [];
    let room = bytesMax;
    let skip = this.#done;
    for (let index = this.#index; index < this.#pieces.length && batch.length < this.#most && room > 0; index++) {
      const piece = this.#pieces[index];
      if (piece === undefined) break;
      const part = piece.subarray(skip, skip + room);
      if (part.length > 0) batch.push(part);
      room -= part.length;
      skip = 0;
    }
    return batch;
  }

  advance(bytes: number): void {
    let left = bytes;
    for (;;) {
      const piece = this.#pieces[this.#index];
      if (piece === undefined) return;
      const rest = piece.length - this.#done;
      if (left < rest) break;
      left -= rest;
      this.#index++;
      this.#done = 0;
    }
    this.#done += left;
  }
}

/** An open file while an operation moves bytes. */
export class Moving {
  readonly descriptor: number;
  /** 1: through the page cache, at any offset. */
  readonly alignment: number;
  readonly #context: OperationContext;
  #done = 0;

  constructor(context: OperationContext, descriptor: number, directAlignment: number | undefined) {
    this.#context = context;
    this.descriptor = descriptor;
    this.alignment = directAlignment ?? 1;
  }

  get direct(): boolean {
    return this.alignment > 1;
  }

  /** Fills the memory from `offset` on; fewer bytes only at the end of the file. */
  read(target: Uint8Array, offset: number): number {
    const { transfer } = this.#context.platform;
    const { alignment } = this;
    const shift = misalignment(target, alignment);
    let done = 0;
    while (done < target.length) {
      this.#context.checkAborted();
      const left = target.length - done;
      const skip = (offset + done) % alignment;
      let count: number;
      let got: number;
      if (skip === 0 && left >= alignment && done % alignment === shift) {
        got = count = transfer.read(this.descriptor, target.subarray(done, done + Math.min(alignDown(left, alignment), STEP_BYTES)), offset + done);
      } else {
        const memory = bounceMemory();
        count = transfer.read(this.descriptor, memory.subarray(0, Math.min(alignUp(skip + left, alignment), STEP_BYTES)), offset + done - skip);
        got = Math.max(0, Math.min(count - skip, left));
        target.set(memory.subarray(skip, skip + got), done);
      }
      done += got;
      this.#tell(got);
      // Direct reads end inside a sector only where the file does.
      if (got === 0 || count % alignment !== 0) break;
    }
    return done;
  }

  /** Fills pieces that may all go straight, one after the other. */
  readPieces(pieces: readonly Uint8Array[], offset: number): number {
    const { transfer } = this.#context.platform;
    return this.#moveStraight(pieces, (batch, done) => transfer.readVector(this.descriptor, batch, offset + done));
  }

  /** Writes the memory at `offset`, and leaves the file as long as that makes it. `durable`: each call is, when it returns. */
  write(source: Uint8Array, offset: number, durable: boolean): TransferPrimitive {
    const { files, transfer } = this.#context.platform;
    const put = durable
      ? (piece: Uint8Array, at: number) => transfer.writeVector(this.descriptor, [piece], at, { durable })
      : (piece: Uint8Array, at: number) => transfer.write(this.descriptor, piece, at);
    if (source.length === 0) return transfer.primitives.write;
    const sizeBytes = this.direct ? Math.max(files.status(this.descriptor).sizeBytes, offset + source.length) : 0;
    const shift = misalignment(source, this.alignment);
    this.#telling(source.length, (done) => this.#putStep(put, source.subarray(done), done % this.alignment === shift, offset + done));
    if (alignUp(offset + source.length, this.alignment) > sizeBytes && this.direct) files.truncate(this.descriptor, sizeBytes);
    return transfer.primitives[durable ? 'writeVector' : 'write'];
  }

  /** Writes as much of the memory as one call takes; answers how many of its bytes are in the file. */
  #putStep(put: (piece: Uint8Array, offset: number) => number, source: Uint8Array, aligned: boolean, offset: number): number {
    const { alignment } = this;
    const skip = offset % alignment;
    if (skip === 0 && source.length >= alignment && aligned) {
      // A direct write that ends inside a sector is done again from its start.
      return alignDown(put(source.subarray(0, Math.min(alignDown(source.length, alignment), STEP_BYTES)), offset), alignment);
    }
    const length = Math.min(alignUp(skip + source.length, alignment), STEP_BYTES);
    const memory = bounceMemory().subarray(0, length);
    const own = Math.min(source.length, length - skip);
    if (skip > 0) this.#readSector(memory, 0, offset - skip);
    if (skip + own < length && (skip === 0 || length > alignment)) this.#readSector(memory, length - alignment, offset - skip);
    memory.set(source.subarray(0, own), skip);
    const count = alignDown(put(memory, offset - skip), alignment);
    return Math.max(0, Math.min(count - skip, own));
  }

  /** What the file holds in a sector, zeros behind its end. `at`: in the buffer, whose first byte stands for `offset`. */
  #readSector(memory: Uint8Array, at: number, offset: number): void {
    const sector = memory.subarray(at, at + this.alignment);
    const count = this.#context.platform.transfer.read(this.descriptor, sector, offset + at);
    sector.fill(0, count);
  }

  /** Writes pieces that may all go straight. */
  writePieces(pieces: readonly Uint8Array[], offset: number, durable: boolean): void {
    const { transfer } = this.#context.platform;
    this.#mustMove(pieces, (batch, done) => transfer.writeVector(this.descriptor, batch, offset + done, { durable }));
  }

  /** Appends, in as many calls as it takes. */
  append(source: Uint8Array, durable: boolean): void {
    const { transfer } = this.#context.platform;
    this.#mustMove([source], (batch) => transfer.writeVector(this.descriptor, batch, 0, { append: true, durable }));
  }

  #mustMove(pieces: readonly Uint8Array[], call: (batch: readonly Uint8Array[], done: number) => number): void {
    const cursor = new PieceCursor(pieces, this.#context.platform.transfer.piecesMax);
    this.#telling(pieces.reduce((sum, { length }) => sum + length, 0), (done) => {
      const count = call(cursor.next(STEP_BYTES), done);
      cursor.advance(count);
      return count;
    });
  }

  #moveStraight(pieces: readonly Uint8Array[], call: (batch: readonly Uint8Array[], done: number) => number): number {
    const cursor = new PieceCursor(pieces, this.#context.platform.transfer.piecesMax);
    let done = 0;
    for (let batch = cursor.next(STEP_BYTES); batch.length > 0; batch = cursor.next(STEP_BYTES)) {
      this.#context.checkAborted();
      const count = call(batch, done);
      done += count;
      this.#tell(count);
      cursor.advance(count);
      if (count === 0 || count % this.alignment !== 0) break;
    }
    return done;
  }

  /** Takes steps of a write until all is written. Tells in the error how much was, where one fails. */
  #telling(bytes: number, step: (done: number) => number): void {
    let done = 0;
    try {
      while (done < bytes) {
        this.#context.checkAborted();
        const count = step(done);
        if (count === 0) throw ioError(EIO, this.#context.platform.transfer.primitives.write);
        done += count;
        this.#tell(count);
      }
    } catch (error) {
      throw error instanceof IoError ? ioError(error.errno, error.syscall, error.path, { code: error.code, explanation: error.explanation, bytesDone: done }) : error;
    }
  }

  #tell(count: number): void {
    this.#done += count;
    this.#context.progress(this.#done);
  }
}
