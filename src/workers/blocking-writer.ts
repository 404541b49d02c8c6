/**
 * A thread that writes with blocking calls: `pwrite`, then `fdatasync`. It serves where there is no io_uring.
 *
 * Each of its journals has its own loop; between two batches the event loop gets a turn, for the control plane.
 */
import { assert, IoError, NotSupportedError } from '../platform/errors.js';
import type { Platform } from '../platform/platform.js';
import type { Attached, WriterControl, WriterStarted, WriteSideRequest } from './protocol/messages.js';
import { sealing } from './sealer.js';
import { SpaceAhead, zeroMemory } from './space-ahead.js';
import { WriteSide, type Batch } from './write-side.js';
import { JournalLoop } from './writer-loop.js';

export class BlockingWriter implements WriterControl {
  readonly started: WriterStarted = { kind: 'blocking', setupFlags: [], ring: undefined, sealing: sealing() };
  readonly #platform: Platform;
  readonly #journals = new Map<number, BlockingJournal>();

  constructor(platform: Platform) {
    this.#platform = platform;
  }

  attach(request: WriteSideRequest): Attached {
    assert(!this.#journals.has(request.id), 'a journal is attached once');
    const journal = new BlockingJournal(new WriteSide(request), this.#platform);
    this.#journals.set(request.id, journal);
    journal.loop.run();
    return { registered: false };
  }

  close(): void {
    assert(this.#journals.size === 0, 'no journal is attached when its writer closes');
  }

  detach(id: number): Promise<void> {
    const journal = this.#journals.get(id);
    assert(journal !== undefined, 'only an attached journal is detached');
    journal.loop.end();
    this.#journals.delete(id);
    return Promise.resolve();
  }

  prepare(id: number, bytes: number): Promise<void> {
    const journal = this.#journals.get(id);
    assert(journal !== undefined, 'only an attached journal prepares space');
    return journal.prepare(bytes);
  }
}

class BlockingJournal {
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
      for (const { address, bytes } of extent.pieces) {
        files.writeFully(this.#side.descriptor, address, bytes, offset);
        offset += bytes;
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
      files.writeFully(this.#side.descriptor, zeroMemory().address, zeros.end - zeros.start, zeros.start);
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
