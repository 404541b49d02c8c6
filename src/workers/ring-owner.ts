/**
 * The thread that owns the io_uring: the write side of every journal of a scheduler.
 *
 * Its loop lives in the worker's event loop. With nothing in flight it waits for doorbells, through `Atomics.waitAsync`.
 * With something in flight it waits in the kernel for a completion, a bounded while at a time, and gives the event loop a
 * turn in between: for doorbells of other journals and for the control plane.
 */
import { assert } from '../platform/errors.js';
import type { Platform, Ring, RingFile } from '../platform/platform.js';
import type { Attached, Detached, FileWriteSideRequest, SegmentFile, SegmentsWriteSideRequest, WriterControl, WriterStarted, WriteSideRequest } from './protocol/messages.js';
import { RingJournal, type RingQueue } from './file-layout/ring-journal.js';
import { sealing } from './sealer.js';
import { SegmentsJournal } from './segment-layout/journal.js';
import { RingEngine } from './segment-layout/ring-engine.js';
import { SegmentsWriteSide } from './segment-layout/write-side.js';
import { WriteSide } from './file-layout/write-side.js';

/**
 * How long the thread stays in the kernel at a time, in microseconds. An append to a journal that has nothing in flight
 * waits at most that long while another journal's disk is stalled, and the end of the process no longer than that.
 */
const WAIT_US = 1000;

export interface RingOwnerOptions {
  readonly sqpoll: boolean;
  readonly ringEntries: number;
}

export class RingOwner implements WriterControl, RingQueue {
  readonly #platform: Platform;
  readonly #ring: Ring;
  readonly #journals = new Map<number, Seated>();
  readonly #fileSlots: SlotTable;
  readonly #bufferSlots: SlotTable;
  /** Operations that found the ring full, in order; `count` belong together. */
  readonly #backlog: { readonly count: number; readonly queue: (ring: Ring) => void }[] = [];
  #turnScheduled = false;

  constructor(platform: Platform, options: RingOwnerOptions) {
    this.#platform = platform;
    this.#ring = platform.createRing({ entries: options.ringEntries, sqpoll: options.sqpoll });
    this.#fileSlots = new SlotTable(this.#ring.fileSlots);
    this.#bufferSlots = new SlotTable(this.#ring.bufferSlots);
  }

  get started(): WriterStarted {
    return { kind: 'io_uring', setupFlags: this.#ring.setupFlags, ring: this.#ring.remains, sealing: sealing() };
  }

  attach(request: WriteSideRequest): Attached {
    assert(!this.#journals.has(request.id), 'a journal is attached once');
    const seated = request.layout === 'file' ? this.#attachFile(request) : this.#attachSegments(request);
    this.#journals.set(request.id, seated);
    seated.journal.loop.run();
    return { registered: seated.bufferSlot >= 0 };
  }

  #attachFile(request: FileWriteSideRequest): Seated {
    const side = new WriteSide(request);
    const file = this.#registerFile(side.descriptor);
    const bufferSlot = this.#registerLog(side);
    return { kind: 'file', journal: new RingJournal(side, this, file, bufferSlot, this.#platform.threads), fileSlot: file.slot, bufferSlot };
  }

  #attachSegments(request: SegmentsWriteSideRequest): Seated {
    const side = new SegmentsWriteSide(request);
    const bufferSlot = this.#registerLog(side);
    const engine = new RingEngine(this, bufferSlot, this.#platform.files, side.control);
    return { kind: 'segments', journal: new SegmentsJournal(side, engine, this.#platform.threads, request.news), fileSlot: -1, bufferSlot };
  }

  close(): void {
    assert(this.#journals.size === 0, 'no journal is attached when the ring closes');
    this.#ring.close();
  }

  async detach(id: number): Promise<Detached> {
    const seated = this.#journals.get(id);
    assert(seated !== undefined, 'only an attached journal is detached');
    const position = await seated.journal.end();
    this.#journals.delete(id);
    if (seated.fileSlot >= 0) {
      this.#ring.setFile(seated.fileSlot, -1);
      this.#fileSlots.free(seated.fileSlot);
    }
    if (seated.bufferSlot >= 0) {
      this.#ring.setBuffer(seated.bufferSlot, 0, 0);
      this.#bufferSlots.free(seated.bufferSlot);
    }
    return { position };
  }

  async prepare(id: number, bytes: number): Promise<void> {
    const seated = this.#journals.get(id);
    assert(seated?.kind === 'file', 'only an attached file journal prepares space here');
    await seated.journal.prepare(bytes);
  }

  addSegment(id: number, segment: SegmentFile): void {
    const seated = this.#journals.get(id);
    assert(seated?.kind === 'segments', 'only an attached segment journal takes segments');
    seated.journal.addSegment(segment);
  }

  /** Nobody else is served: a write that this thread waits for keeps nobody waiting. */
  get isAlone(): boolean {
    return this.#journals.size === 1 && this.#ring.inFlight === 0 && this.#backlog.length === 0;
  }

  enqueue(count: number, queue: (ring: Ring) => void): void {
    assert(count <= this.#ring.capacity, 'a group of operations fits the ring');
    this.#backlog.push({ count, queue });
    this.#drainBacklog();
  }

  #drainBacklog(): void {
    for (let next = this.#backlog[0]; next !== undefined; next = this.#backlog[0]) {
      if (this.#ring.inFlight + next.count > this.#ring.capacity) break;
      this.#backlog.shift();
      next.queue(this.#ring);
    }
    if (this.#turnScheduled) return;
    this.#turnScheduled = true;
    // A microtask later, so that what one turn queues goes to the kernel in one system call.
    queueMicrotask(() => {
      this.#ring.submit();
      setImmediate(this.#turn);
    });
  }

  /** One turn with something in flight: wait a while, run completions, and come back. */
  readonly #turn = (): void => {
    this.#turnScheduled = false;
    // Another journal's doorbell may have queued something since.
    this.#ring.submit();
    if (this.#ring.inFlight > 0) this.#ring.wait(WAIT_US);
    this.#ring.reap();
    if (this.#ring.inFlight > 0 || this.#backlog.length > 0) this.#drainBacklog();
  };

  #registerFile(descriptor: number): RingFile {
    const slot = this.#fileSlots.take();
    if (slot >= 0) this.#ring.setFile(slot, descriptor);
    return { descriptor, slot };
  }

  /** Registered memory spares the kernel pinning pages at each write. It counts against RLIMIT_MEMLOCK: plain writes if refused. */
  #registerLog(side: WriteSide | SegmentsWriteSide): number {
    const slot = this.#bufferSlots.take();
    if (slot < 0) return -1;
    try {
      this.#ring.setBuffer(slot, side.logAddress, side.log.capacity);
      return slot;
    } catch {
      this.#bufferSlots.free(slot);
      return -1;
    }
  }
}

/** A journal on the ring, and what it has there. */
type Seated = { readonly fileSlot: number; readonly bufferSlot: number } & (
  | { readonly kind: 'file'; readonly journal: RingJournal }
  | { readonly kind: 'segments'; readonly journal: SegmentsJournal }
);

class SlotTable {
  readonly #free: number[];

  constructor(size: number) {
    this.#free = Array.from({ length: size }, (_, i) => size - 1 - i);
  }

  /** A free slot, or -1. */
  take(): number {
    return this.#free.pop() ?? -1;
  }

  free(slot: number): void {
    this.#free.push(slot);
  }
}
