/**
 * Extents of a segment journal as operations of the ring, or as a blocking call where there is just one.
 *
 * The kernel completes a durable direct write of a ring through a worker thread of its own; a thread that waits for its
 * write syncs by itself, which is quicker. So a single extent that is not long, on a ring that serves nobody else, is
 * written by the ring's owner. Whatever is more than that is in flight together.
 */
import { IoError } from '../../platform/errors.js';
import type { Files } from '../../platform/platform.js';
import type { ControlBlock } from '../protocol/control-block.js';
import type { RingQueue } from '../file-layout/ring-journal.js';
import type { WriteEngine } from './journal.js';

/** A longer extent takes so long that more comes in meanwhile, which the ring can write beside it. */
const BLOCKING_BYTES_MAX = 256 * 1024;

interface Write {
  readonly descriptor: number;
  readonly address: number;
  readonly bytes: number;
  readonly offset: number;
  readonly inLogBuffer: boolean;
  readonly dsync: boolean;
  readonly done: (result: number) => void;
}

/** The ring, and whether anything else is to be done on it. */
export interface SharedRing extends RingQueue {
  readonly isAlone: boolean;
}

export class RingEngine implements WriteEngine {
  readonly writeCall = 'write';
  readonly #ring: SharedRing;
  readonly #bufferSlot: number;
  readonly #files: Files;
  readonly #control: ControlBlock;
  /** Asked for in this turn. */
  #writes: Write[] = [];
  #blocked = false;

  constructor(ring: SharedRing, bufferSlot: number, files: Files, control: ControlBlock) {
    this.#ring = ring;
    this.#bufferSlot = bufferSlot;
    this.#files = files;
    this.#control = control;
  }

  write(descriptor: number, address: number, bytes: number, offset: number, inLogBuffer: boolean, dsync: boolean, done: (result: number) => void): void {
    // A microtask later it is known whether it is the only one.
    if (this.#writes.length === 0) queueMicrotask(() => this.#start());
    this.#writes.push({ descriptor, address, bytes, offset, inLogBuffer, dsync, done });
  }

  syncData(descriptor: number, done: (result: number) => void): void {
    this.#ring.enqueue(1, (ring) => {
      ring.syncData({ descriptor, slot: -1 }, 'none', done);
    });
  }

  resume(turn: () => void): void {
    // After a blocking call the event loop gets its turn, for the control plane.
    if (this.#blocked) setImmediate(turn);
    else turn();
  }

  #start(): void {
    const writes = this.#writes;
    this.#writes = [];
    const [only] = writes;
    this.#blocked = writes.length === 1 && only !== undefined && only.dsync && only.bytes <= BLOCKING_BYTES_MAX && this.#ring.isAlone;
    if (this.#blocked && only !== undefined) only.done(this.#writeBlocking(only));
    else for (const write of writes) this.#enqueue(write);
  }

  #enqueue({ descriptor, address, bytes, offset, inLogBuffer, dsync, done }: Write): void {
    this.#ring.enqueue(1, (ring) => {
      ring.write({ descriptor, slot: -1 }, address, bytes, offset, inLogBuffer ? this.#bufferSlot : -1, dsync, 'none', done);
    });
  }

  /** The descriptor was opened with O_DSYNC, so what it writes is durable when it returns. */
  #writeBlocking({ descriptor, address, bytes, offset }: Write): number {
    this.#control.count('blockingWrites');
    try {
      this.#files.writePiece(descriptor, { address, bytes }, offset);
      return bytes;
    } catch (error) {
      if (error instanceof IoError) return -error.errno;
      throw error;
    }
  }
}
