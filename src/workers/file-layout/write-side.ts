/**
 * The write side of one journal, apart from how bytes reach the disk: what is published becomes a sealed batch, a batch
 * becomes extents, a finished batch moves the watermarks. Both backends use it, each from the one thread that owns it.
 *
 * Only one batch of a journal is in flight at a time. In the file layout the end of one batch and the start of the next
 * share a sector, and two writes to one sector may land in either order.
 */
import { assert } from '../../platform/errors.js';
import { addressOf, NativeMemory } from '../../platform/ffi.js';
import type { MemoryPiece } from '../../platform/platform.js';
import { ControlBlock, POISON, type PoisonSyscall } from '../protocol/control-block.js';
import { FILE_BATCH_BYTES_MAX, frameBytes } from '../protocol/frame.js';
import { LOG_BUFFER_ALIGNMENT, LogBuffer } from '../protocol/log-buffer.js';
import type { FileWriteSideRequest, JournalFile } from '../protocol/messages.js';
import { createSealer, type Sealer } from '../sealer.js';

/** A larger write is split: the kernel would do so anyway, and parts can be in flight together. */
export const WRITE_BYTES_MAX = 1024 * 1024;

/** A direct batch up to this size is copied next to its zero padding and takes one write instead of two. */
const COPY_BYTES_MAX = 64 * 1024;

/** Sealed log range that is written and synced together. */
export interface Batch {
  readonly start: number;
  readonly end: number;
  /** End of the last whole frame in it: as far as `durableLsn` may move. */
  readonly frameEnd: number;
}

/** Memory of a batch: in the log buffer, or in a copy beside it. */
interface LocatedPiece extends MemoryPiece {
  readonly inLogBuffer: boolean;
}

/** One contiguous write of a batch, from one piece of memory or a few. */
export interface Extent {
  readonly pieces: readonly LocatedPiece[];
  readonly bytes: number;
  readonly offset: number;
}

export class WriteSide {
  readonly id: number;
  readonly control: ControlBlock;
  readonly log: LogBuffer;
  readonly file: JournalFile;
  readonly preallocateBytes: number;
  readonly groupCommitWindowUs: number;
  readonly logAddress: number;

  /** Everything below it belongs to a batch taken before. */
  #taken: number;
  /** The greatest published LSN seen: a producer that enters with an old bound must not move it back. */
  #published: number;
  readonly #sealer: Sealer;
  /** The end of the frame that the last batch has divided. */
  #dividedEnd = Infinity;
  /** Copies of the last, partial sector, or of a whole small batch. Only in direct mode. */
  readonly #copy: NativeMemory | undefined;

  constructor(request: FileWriteSideRequest) {
    this.id = request.id;
    this.control = new ControlBlock(request.shared.control);
    this.log = new LogBuffer(request.shared.log);
    this.file = request.file;
    this.preallocateBytes = request.preallocateBytes;
    this.groupCommitWindowUs = request.groupCommitWindowUs;
    this.logAddress = addressOf(this.log.bytes);
    this.#taken = this.control.writtenLsn;
    this.#published = this.#taken;
    this.#sealer = createSealer(this.log, this.#taken);
    const { sectorBytes } = request.file;
    if (this.direct) {
      assert(sectorBytes <= LOG_BUFFER_ALIGNMENT && this.logAddress % sectorBytes === 0, 'the log buffer is aligned to sectors');
      this.#copy = new NativeMemory(COPY_BYTES_MAX + sectorBytes, LOG_BUFFER_ALIGNMENT);
    }
  }

  get direct(): boolean {
    return this.file.direct;
  }

  get descriptor(): number {
    return this.file.descriptor;
  }

  get taken(): number {
    return this.#taken;
  }

  /** Log alone makes it run. */
  readonly isCalled = false;

  get published(): number {
    return this.#published;
  }

  /** Published and not yet taken, in bytes. */
  pendingBytes(): number {
    this.#published = Math.max(this.#published, this.control.publishedLsn());
    return this.#published - this.#taken;
  }

  /** True while a thread has reserved log that it has not published. */
  get hasUnpublished(): boolean {
    return this.control.reservedLsn > this.#published;
  }

  /** Takes and seals what is published, up to `limit`; undefined when that is nothing. */
  take(limit: number): Batch | undefined {
    this.pendingBytes();
    const start = this.#taken;
    const cap = Math.min(this.#published, start + FILE_BATCH_BYTES_MAX, limit, this.#dividedEnd);
    // Sealing may be ahead already, inside a frame that the last batch left out.
    const sealed = this.#sealer.position < cap ? this.#sealer.seal(cap) : cap;
    const { frameEnd } = this.#sealer;
    // Only a frame that has a batch for itself is divided, so that whole frames behind damage prove what recovery
    // concludes from them: that the batch of the damaged bytes was durable before theirs began.
    const end = frameEnd > start ? frameEnd : sealed;
    if (end <= start) return undefined;
    if (end === frameEnd) this.#dividedEnd = Infinity;
    else if (frameEnd === start) this.#dividedEnd = start + frameBytes(this.log.header(start).recordBytes);
    this.#taken = end;
    const batch = { start, end, frameEnd };
    assert(batch.frameEnd <= end && start < end && end <= cap, 'a batch covers log, up to its limit');
    this.control.countBatch(end - start);
    return batch;
  }

  /** Cuts a batch into writes. In direct mode they cover whole sectors; the last one is padded with zeros. */
  extents(batch: Batch): Extent[] {
    if (this.#copy === undefined) return cut(this.#inWindow(batch.start, batch.end), batch.start);
    const { sectorBytes } = this.file;
    // The bytes before the batch in its first sector are durable already; they stay in the window and are written again.
    const start = batch.start - (batch.start % sectorBytes);
    if (batch.end - start <= COPY_BYTES_MAX) return cut([this.#padded(this.#copy, start, batch.end)], start);
    const wholeEnd = batch.end - (batch.end % sectorBytes);
    const pieces = this.#inWindow(start, wholeEnd);
    if (wholeEnd < batch.end) pieces.push(this.#padded(this.#copy, wholeEnd, batch.end));
    return cut(pieces, start);
  }

  #inWindow(start: number, end: number): LocatedPiece[] {
    return this.log.pieces(start, end).map(({ byteOffset, length }) => ({
      address: this.logAddress + byteOffset - this.log.bytes.byteOffset, bytes: length, inLogBuffer: true,
    }));
  }

  /** The log buffer beyond the batch holds older log or half-written frames: they must not reach the disk. */
  #padded(copy: NativeMemory, start: number, end: number): LocatedPiece {
    const { sectorBytes } = this.file;
    let at = 0;
    for (const piece of this.log.pieces(start, end)) {
      copy.bytes.set(piece, at);
      at += piece.length;
    }
    const bytes = Math.ceil(at / sectorBytes) * sectorBytes;
    copy.bytes.fill(0, at, bytes);
    return { address: copy.address, bytes, inLogBuffer: false };
  }

  /** The batch has reached the kernel. */
  written(batch: Batch): void {
    this.control.advance({ written: batch.frameEnd });
  }

  /** The batch is on stable storage: its frames are durable, and its part of the window may be reused. */
  durable(batch: Batch): void {
    const released = batch.end - (this.direct ? batch.end % this.file.sectorBytes : 0);
    this.control.advance({ written: batch.frameEnd, durable: batch.frameEnd, released });
  }

  /** A write or sync failed: nothing of this journal is written any more. */
  poison(errno: number, syscall: PoisonSyscall): void {
    this.control.poison(POISON.io, errno, syscall);
  }

  get poisoned(): boolean {
    return this.control.poisonKind !== POISON.none;
  }
}

/** Divides memory that follows each other in the file from `offset` on into writes of at most {@link WRITE_BYTES_MAX}. */
function cut(pieces: readonly LocatedPiece[], offset: number): Extent[] {
  const extents: Extent[] = [];
  let rest: Extent = { pieces, bytes: pieces.reduce((sum, { bytes }) => sum + bytes, 0), offset };
  while (rest.bytes > WRITE_BYTES_MAX) {
    extents.push(upTo(rest, WRITE_BYTES_MAX));
    rest = after(rest, WRITE_BYTES_MAX);
  }
  return [...extents, rest];
}

function upTo({ pieces, offset }: Extent, bytes: number): Extent {
  const kept: LocatedPiece[] = [];
  let left = bytes;
  for (const piece of pieces) {
    if (left === 0) break;
    kept.push({ ...piece, bytes: Math.min(piece.bytes, left) });
    left -= Math.min(piece.bytes, left);
  }
  return { pieces: kept, bytes, offset };
}

/** What is left of an extent when its first `bytes` are written. */
export function after({ pieces, bytes: total, offset }: Extent, bytes: number): Extent {
  let skip = bytes;
  const left: LocatedPiece[] = [];
  for (const piece of pieces) {
    const skipped = Math.min(piece.bytes, skip);
    skip -= skipped;
    if (skipped < piece.bytes) left.push({ ...piece, address: piece.address + skipped, bytes: piece.bytes - skipped });
  }
  return { pieces: left, bytes: total - bytes, offset: offset + bytes };
}
