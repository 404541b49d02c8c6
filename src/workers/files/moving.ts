/**
 * Moves bytes between memory and an open file, in steps of bounded size, with the alignment that direct IO wants.
 *
 * Aligned memory at an aligned offset goes straight to and from the device. Everything else passes through a buffer of this
 * thread: reads are widened to sectors and cut, writes fill the rest of their edge sectors with what the file holds there.
 */
import { EIO, ioError } from '../../platform/errno.js';
import { IoError } from '../../platform/errors.js';
import { addressOf, NativeMemory } from '../../platform/ffi.js';
import type { TransferPrimitive } from '../../platform/interface/transfer.js';
import type { MemoryPiece } from '../../platform/platform.js';
import { LOG_BUFFER_ALIGNMENT } from '../protocol/log-buffer.js';
import type { OperationContext } from './context.js';

/** One call moves no more: between two of them an operation can be stopped, and its thread be ended. */
export const STEP_BYTES = 1024 * 1024;

/** Memory and its native address. */
export interface Memory {
  readonly bytes: Uint8Array;
  readonly address: number;
}

export function alignDown(value: number, alignment: number): number {
  return value - (value % alignment);
}

export function alignUp(value: number, alignment: number): number {
  return alignDown(value + alignment - 1, alignment);
}

/** Memory of views, most of which share a few buffers: one native call each. */
export function memoriesOf(views: readonly Uint8Array[]): Memory[] {
  const bases = new Map<ArrayBufferLike, number>();
  return views.map((bytes) => {
    let base = bases.get(bytes.buffer);
    // The address of a buffer without a byte means nothing, and is not used.
    if (base === undefined) bases.set(bytes.buffer, (base = bytes.buffer.byteLength === 0 ? 0 : addressOf(new Uint8Array(bytes.buffer))));
    return { bytes, address: base + bytes.byteOffset };
  });
}

/** New memory for a result, aligned; it belongs to whoever gets the result. What is not read into it stays as malloc left it. */
export function newMemory(bytes: number, alignment: number): Memory {
  const { buffer } = Buffer.allocUnsafeSlow(bytes + alignment - 1);
  if (bytes === 0) return { bytes: new Uint8Array(buffer, 0, 0), address: 0 };
  const base = addressOf(new Uint8Array(buffer));
  const address = alignUp(base, alignment);
  return { bytes: new Uint8Array(buffer, address - base, bytes), address };
}

let bounce: NativeMemory | undefined;

/** What cannot go straight goes through here. Operations of a thread run one at a time. */
function bounceMemory(): NativeMemory {
  bounce ??= new NativeMemory(STEP_BYTES, LOG_BUFFER_ALIGNMENT);
  return bounce;
}

/** The next pieces of a list, of bounded number and size. */
class PieceCursor {
  readonly #pieces: readonly MemoryPiece[];
  readonly #most: number;
  #index = 0;
  /** Bytes of the piece at `index` that are done. */
  #done = 0;

  constructor(pieces: readonly MemoryPiece[], most: number) {
    this.#pieces = pieces;
    this.#most = most;
  }

  next(bytesMax: number): MemoryPiece[] {
    const batch: MemoryPiece[] = [];
    let room = bytesMax;
    let skip = this.#done;
    for (let index = this.#index; index < this.#pieces.length && batch.length < this.#most && room > 0; index++) {
      const piece = this.#pieces[index];
      if (piece === undefined) break;
      const bytes = Math.min(piece.bytes - skip, room);
      if (bytes > 0) batch.push({ address: piece.address + skip, bytes });
      room -= bytes;
      skip = 0;
    }
    return batch;
  }

  advance(bytes: number): void {
    let left = bytes;
    for (;;) {
      const piece = this.#pieces[this.#index];
      if (piece === undefined) return;
      const rest = piece.bytes - this.#done;
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
  read({ bytes, address }: Memory, offset: number): number {
    const { transfer } = this.#context.platform;
    const { alignment } = this;
    let done = 0;
    while (done < bytes.length) {
      this.#context.checkAborted();
      const left = bytes.length - done;
      const skip = (offset + done) % alignment;
      let count: number;
      let got: number;
      if (skip === 0 && left >= alignment && (address + done) % alignment === 0) {
        got = count = transfer.read(this.descriptor, address + done, Math.min(alignDown(left, alignment), STEP_BYTES), offset + done);
      } else {
        const memory = bounceMemory();
        count = transfer.read(this.descriptor, memory.address, Math.min(alignUp(skip + left, alignment), STEP_BYTES), offset + done - skip);
        got = Math.max(0, Math.min(count - skip, left));
        bytes.set(memory.bytes.subarray(skip, skip + got), done);
      }
      done += got;
      this.#tell(got);
      // Direct reads end inside a sector only where the file does.
      if (got === 0 || count % alignment !== 0) break;
    }
    return done;
  }

  /** Fills pieces that may all go straight, one after the other. */
  readPieces(pieces: readonly MemoryPiece[], offset: number): number {
    const { transfer } = this.#context.platform;
    return this.#moveStraight(pieces, (batch, done) => transfer.readVector(this.descriptor, batch, offset + done));
  }

  /** Writes the memory at `offset`, and leaves the file as long as that makes it. `durable`: each call is, when it returns. */
  write({ bytes, address }: Memory, offset: number, durable: boolean): TransferPrimitive {
    const { files, transfer } = this.#context.platform;
    const put = durable
      ? (from: number, length: number, at: number) => transfer.writeVector(this.descriptor, [{ address: from, bytes: length }], at, { durable })
      : (from: number, length: number, at: number) => transfer.write(this.descriptor, from, length, at);
    if (bytes.length === 0) return transfer.primitives.write;
    const sizeBytes = this.direct ? Math.max(files.status(this.descriptor).sizeBytes, offset + bytes.length) : 0;
    this.#telling(bytes.length, (done) => this.#putStep(put, { bytes: bytes.subarray(done), address: address + done }, offset + done));
    if (alignUp(offset + bytes.length, this.alignment) > sizeBytes && this.direct) files.truncate(this.descriptor, sizeBytes);
    return transfer.primitives[durable ? 'writeVector' : 'write'];
  }

  /** Writes as much of the memory as one call takes; answers how many of its bytes are in the file. */
  #putStep(put: (address: number, length: number, offset: number) => number, { bytes, address }: Memory, offset: number): number {
    const { alignment } = this;
    const skip = offset % alignment;
    if (skip === 0 && bytes.length >= alignment && address % alignment === 0) {
      // A direct write that ends inside a sector is done again from its start.
      return alignDown(put(address, Math.min(alignDown(bytes.length, alignment), STEP_BYTES), offset), alignment);
    }
    const memory = bounceMemory();
    const length = Math.min(alignUp(skip + bytes.length, alignment), STEP_BYTES);
    const own = Math.min(bytes.length, length - skip);
    if (skip > 0) this.#readSector(memory, 0, offset - skip);
    if (skip + own < length && (skip === 0 || length > alignment)) this.#readSector(memory, length - alignment, offset - skip);
    memory.bytes.set(bytes.subarray(0, own), skip);
    const count = alignDown(put(memory.address, length, offset - skip), alignment);
    return Math.max(0, Math.min(count - skip, own));
  }

  /** What the file holds in a sector, zeros behind its end. `at`: in the buffer, whose first byte stands for `offset`. */
  #readSector(memory: NativeMemory, at: number, offset: number): void {
    const { alignment } = this;
    const count = this.#context.platform.transfer.read(this.descriptor, memory.address + at, alignment, offset + at);
    memory.bytes.fill(0, at + count, at + alignment);
  }

  /** Writes pieces that may all go straight. */
  writePieces(pieces: readonly MemoryPiece[], offset: number, durable: boolean): void {
    const { transfer } = this.#context.platform;
    this.#mustMove(pieces, (batch, done) => transfer.writeVector(this.descriptor, batch, offset + done, { durable }));
  }

  /** Appends, in as many calls as it takes. */
  append({ bytes, address }: Memory, durable: boolean): void {
    const { transfer } = this.#context.platform;
    this.#mustMove([{ address, bytes: bytes.length }], (batch) => transfer.writeVector(this.descriptor, batch, 0, { append: true, durable }));
  }

  #mustMove(pieces: readonly MemoryPiece[], call: (batch: readonly MemoryPiece[], done: number) => number): void {
    const cursor = new PieceCursor(pieces, this.#context.platform.transfer.piecesMax);
    this.#telling(pieces.reduce((sum, { bytes }) => sum + bytes, 0), (done) => {
      const count = call(cursor.next(STEP_BYTES), done);
      cursor.advance(count);
      return count;
    });
  }

  #moveStraight(pieces: readonly MemoryPiece[], call: (batch: readonly MemoryPiece[], done: number) => number): number {
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
