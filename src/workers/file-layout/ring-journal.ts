/** One journal's writes on the ring: a batch and a step of preparation may be in flight, one of each. */
import { assert } from '../../platform/errors.js';
import { EAGAIN, ECANCELED, EINTR, EIO, ENOSYS, EOPNOTSUPP } from '../../platform/errno.js';
import type { Ring, RingFile, Threads } from '../../platform/platform.js';
import { SpaceAhead, zeroMemory, type Range } from './space-ahead.js';
import { after, type Batch, type Extent, type WriteSide } from './write-side.js';
import { JournalLoop } from '../writer-loop.js';

/** A write that makes no progress this often in a row has failed. */
const RETRIES_MAX = 100;

/** From batches of this size on, preparing space beside them costs more than it saves. */
const BURST_BATCH_BYTES = 256 * 1024;

/** The shared ring as a journal sees it: operations queued together are submitted together. */
export interface RingQueue {
  enqueue(count: number, queue: (ring: Ring) => void): void;
}

export class RingJournal {
  readonly loop: JournalLoop;
  readonly file: RingFile;
  readonly bufferSlot: number;
  readonly #side: WriteSide;
  readonly #queue: RingQueue;
  readonly #space: SpaceAhead;
  /** Operations that the kernel has, or that wait for room in the ring. */
  #operations = 0;
  #batch: Batch | undefined;
  #writesLeft = 0;
  #batchStartedMs = 0;
  #preparing: Range | undefined;
  #onIdle: (() => void) | undefined;
  #onPrepared: (() => void)[] = [];

  constructor(side: WriteSide, queue: RingQueue, file: RingFile, bufferSlot: number, threads: Threads) {
    this.#side = side;
    this.#queue = queue;
    this.file = file;
    this.bufferSlot = bufferSlot;
    this.#space = new SpaceAhead(side.file.spaceEnd, side.preallocateBytes);
    this.loop = new JournalLoop(side, threads, () => this.#step());
  }

  async prepare(bytes: number): Promise<void> {
    this.#space.request(this.#side.taken + bytes);
    const prepared = new Promise<void>((resolve) => {
      this.#onPrepared.push(resolve);
    });
    this.#prepareMore();
    await prepared;
  }

  /** Ends the loop; settles when nothing of this journal is in flight any more. */
  async end(): Promise<undefined> {
    this.loop.end();
    this.#stopPreparing();
    if (this.#operations === 0) return undefined;
    await new Promise<void>((resolve) => {
      this.#onIdle = resolve;
    });
    return undefined;
  }

  #step(): boolean {
    if (this.#batch !== undefined) return true;
    // Zeros in flight must not land on records: log that reaches into them waits for the step, which is short.
    const batch = this.#side.take(this.#preparing?.start ?? Infinity);
    if (batch !== undefined) this.#start(batch);
    this.#prepareMore();
    return batch !== undefined || (this.#preparing !== undefined && this.#side.pendingBytes() > 0);
  }

  // ---- a batch ---------------------------------------------------------------------------------------------------

  #start(batch: Batch): void {
    const extents = this.#side.extents(batch);
    this.#batch = batch;
    this.#batchStartedMs = performance.now();
    this.#writesLeft = extents.length;
    if (this.#space.passed(batch.end)) this.#side.control.count('batchesBeyondPrepared');
    // A single write carries its sync behind it in one chain; several writes are all awaited first.
    const linked = !this.#side.file.dsyncWrites && extents.length === 1;
    this.#enqueue(extents.length + 1, (ring) => {
      for (const extent of extents) this.#write(ring, batch, extent, linked, 0);
      if (linked) this.#sync(ring, batch);
    });
  }

  #write(ring: Ring, batch: Batch, extent: Extent, linked: boolean, retries: number): void {
    const { control, file } = this.#side;
    control.count('writes');
    const done = this.#operation((result) => {
      this.#wrote(batch, extent, linked, retries, result);
    });
    const link = linked ? 'success' : 'none';
    const [piece, ...others] = extent.pieces;
    assert(piece !== undefined, 'an extent has memory');
    if (others.length > 0) ring.writeVector(this.file, extent.pieces, extent.offset, file.dsyncWrites, link, done);
    else ring.write(this.file, piece.address, piece.bytes, extent.offset, piece.inLogBuffer ? this.bufferSlot : -1, file.dsyncWrites, link, done);
  }

  #wrote(batch: Batch, extent: Extent, linked: boolean, retries: number, result: number): void {
    if (this.#side.poisoned) return;
    const idle = result === 0 || result === -EAGAIN || result === -EINTR;
    if ((result < 0 && !idle) || (idle && retries === RETRIES_MAX)) {
      this.#side.poison(result === 0 ? EIO : -result, 'write');
      return;
    }
    const bytes = Math.max(result, 0);
    this.#side.control.count('bytesWritten', bytes);
    if (bytes < extent.bytes) {
      // The short write broke the link, if there was one: its sync comes back cancelled and is made again.
      const rest = after(extent, bytes);
      this.#enqueue(2, (ring) => {
        this.#write(ring, batch, rest, linked, idle ? retries + 1 : 0);
        if (linked) this.#sync(ring, batch);
      });
      return;
    }
    assert(bytes === extent.bytes, 'no more was written than asked for');
    this.#writesLeft--;
    if (this.#writesLeft > 0) return;
    if (this.#side.file.dsyncWrites) {
      this.#finish(batch);
      return;
    }
    this.#side.written(batch);
    if (!linked) {
      this.#enqueue(1, (ring) => {
        this.#sync(ring, batch);
      });
    }
  }

  #sync(ring: Ring, batch: Batch): void {
    const done = this.#operation((result) => {
      if (result === -ECANCELED || this.#side.poisoned) return;
      // Never retried: a second sync may report success for pages that the first one dropped.
      if (result < 0) {
        this.#side.poison(-result, 'fdatasync');
        return;
      }
      assert(this.#writesLeft === 0, 'a sync completes after the writes before it');
      this.#finish(batch);
    });
    ring.syncData(this.file, 'none', done);
  }

  #finish(batch: Batch): void {
    assert(batch === this.#batch, 'the batch in flight finishes');
    this.#batch = undefined;
    this.#side.control.countSync(Math.round((performance.now() - this.#batchStartedMs) * 1e6));
    this.#side.durable(batch);
    this.loop.run();
  }

  // ---- space ahead -----------------------------------------------------------------------------------------------

  /** Large batches need the disk for themselves: growing the file costs them less than zeros beside them would. */
  get #bursting(): boolean {
    return this.#batch !== undefined && this.#batch.end - this.#batch.start >= BURST_BATCH_BYTES;
  }

  #prepareMore(): void {
    if (this.#preparing !== undefined || this.#bursting) return;
    const lsn = this.#side.taken;
    const reservation = this.#space.nextReservation(lsn);
    const zeros = this.#space.nextZeros(lsn);
    if (this.#space.isRequestMet()) this.#settlePrepared();
    if (zeros === undefined || this.#side.poisoned) return;
    if (reservation === undefined) this.#writeZeros(zeros);
    else this.#reserve(reservation);
  }

  #reserve(range: Range): void {
    this.#preparing = range;
    const done = this.#operation((result) => {
      this.#preparing = undefined;
      if (result === -EOPNOTSUPP || result === -ENOSYS) this.#space.refuseReservations();
      else if (result < 0) this.#stopPreparing();
      else this.#space.reserved(range);
      this.loop.run();
      this.#prepareMore();
    });
    this.#queue.enqueue(1, (ring) => {
      ring.allocate(this.file, range.start, range.end - range.start, done);
    });
  }

  #writeZeros(range: Range): void {
    this.#preparing = range;
    const bytes = range.end - range.start;
    const done = this.#operation((result) => {
      this.#preparing = undefined;
      if (result === bytes) {
        this.#side.control.count('bytesPrepared', bytes);
        this.#space.zeroed(range);
      } else {
        // Nothing is lost: what lies there is a hole or zeros. Appends go on and meet the error if it lasts.
        this.#stopPreparing();
      }
      this.loop.run();
      this.#prepareMore();
    });
    this.#queue.enqueue(1, (ring) => {
      ring.write(this.file, zeroMemory().address, bytes, range.start, -1, false, 'none', done);
    });
  }

  #stopPreparing(): void {
    this.#space.stop();
    this.#settlePrepared();
  }

  #settlePrepared(): void {
    for (const resolve of this.#onPrepared.splice(0)) resolve();
  }

  // ---- operations in flight --------------------------------------------------------------------------------------

  /** Counts what waits for room in the ring too: until it is queued, the journal's descriptor must stay. A poisoned journal writes nothing more. */
  #enqueue(count: number, queue: (ring: Ring) => void): void {
    const queued = this.#operation(() => undefined);
    this.#queue.enqueue(count, (ring) => {
      if (!this.#side.poisoned) queue(ring);
      queued(0);
    });
  }

  /** Counts an operation until it is complete; a failed assertion poisons this journal, not the thread. */
  #operation(done: (result: number) => void): (result: number) => void {
    this.#operations++;
    return (result) => {
      this.#operations--;
      try {
        done(result);
      } catch (error) {
        this.loop.fail(error);
      }
      if (this.#side.poisoned) this.#stopPreparing();
      if (this.#operations === 0) this.#onIdle?.();
    };
  }
}
