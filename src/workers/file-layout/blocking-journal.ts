/** One file-layout journal, written with blocking calls: `pwrite`, then `fdatasync`. */
import { IoError, NotSupportedError } from '../../platform/errors.js';
import type { Platform } from '../../platform/platform.js';
import { JournalLoop } from '../writer-loop.js';
import { SpaceAhead, zeroMemory } from './space-ahead.js';
import type { Batch, WriteSide } from './write-side.js';

export class BlockingJournal {
  readonly loop: JournalLoop;
  readonly #side: WriteSide;
  readonly #platform: Platform;
  readonly #space: SpaceAhead;

  constructor(side: WriteSide, platform: Platform) {
    this.#side = side;
    this.#platform = platform;
    this.#space = new SpaceAhead(side.file.spaceEnd, side.preallocateBytes);
    this.loop = new JournalLoop(side, platform.threads, () => this.#step());
  }

  end(): Promise<undefined> {
    this.loop.end();
    return Promise.resolve(undefined);
  }

  async prepare(bytes: number): Promise<void> {
    this.#space.request(this.#side.taken + bytes);
    while (!this.#space.isRequestMet() && this.#prepareStep()) {
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /** Writes what is pending; only when that is nothing, a step of preparation. */
  #step(): boolean {
    const batch = this.#side.take(Infinity);
    const worked = batch === undefined ? this.#prepareStep() : this.#write(batch);
    if (worked) this.loop.runSoon();
    return worked;
  }

  #write(batch: Batch): boolean {
    const { control } = this.#side;
    const { files } = this.#platform;
    const startedMs = performance.now();
    if (this.#space.passed(batch.end)) control.count('batchesBeyondPrepared');
    for (const extent of this.#side.extents(batch)) {
      let { offset } = extent;
      for (const piece of extent.pieces) {
        files.writePiece(this.#side.descriptor, piece, offset);
        offset += piece.bytes;
        control.count('writes');
      }
      control.count('bytesWritten', extent.bytes);
    }
    this.#side.written(batch);
    files.syncData(this.#side.descriptor);
    control.countSync(Math.round((performance.now() - startedMs) * 1e6));
    this.#side.durable(batch);
    return true;
  }

  #prepareStep(): boolean {
    const lsn = this.#side.taken;
    const zeros = this.#space.nextZeros(lsn);
    if (zeros === undefined) return false;
    const { files } = this.#platform;
    try {
      const reservation = this.#space.nextReservation(lsn);
      if (reservation !== undefined) {
        files.allocate(this.#side.descriptor, reservation.start, reservation.end - reservation.start);
        this.#space.reserved(reservation);
      }
      files.writeFully(this.#side.descriptor, zeroMemory().bytes.subarray(0, zeros.end - zeros.start), zeros.start);
      this.#side.control.count('bytesPrepared', zeros.end - zeros.start);
      this.#space.zeroed(zeros);
    } catch (error) {
      if (error instanceof NotSupportedError) this.#space.refuseReservations();
      // Nothing is lost: what lies there is a hole or zeros. Appends go on and meet the error if it lasts.
      else if (error instanceof IoError) this.#space.stop();
      else throw error;
    }
    return true;
  }
}
