/** Mistakes put into copies of the product, each in one step of the protocol: a model that misses one of them is worth nothing. */
import type { Change } from './product-copy.js';

const CONTROL_BLOCK = 'workers/protocol/control-block.js';
const LOG_BUFFER = 'workers/protocol/log-buffer.js';
const LOOP = 'workers/writer-loop.js';
const SEGMENTS_JOURNAL = 'workers/segment-layout/journal.js';
const SEGMENTS_SIDE = 'workers/segment-layout/write-side.js';
const FILE_SIDE = 'workers/file-layout/write-side.js';
const WAITERS = 'main/durable-waiters.js';

/** A mistake, with what would hide it taken out besides. */
export interface Mutation extends Change {
  readonly name: string;
  readonly besides?: Change;
}

/** Who waits rings too before it sleeps: without that, a bell that was not rung shows. */
const WAITERS_RING: Change = { file: WAITERS, replace: [['if (this.#busy)\n            this.#control.ringDoorbell();', '']] };

/** The end of an append, and what follows it in the module. */
const published = (next: string): string => `this.#control.publish(this.#slot);
        this.#control.ringDoorbell();
        return start;
    }
    /**${next}`;
const ringsFirst = (text: string): string => text.replace(/(this.*publish.*\n\s*)(this.*\n\s*)/, '$2$1');

export const MUTATIONS: readonly Mutation[] = [
  {
    name: 'the slots are read before the end of the reservations',
    file: CONTROL_BLOCK,
    replace: [
      ['let published = BigInt(this.reservedLsn);', 'let published = BigInt(SEALED_LSN);'],
      ['return Number(published);', 'return Math.min(Number(published), this.reservedLsn);'],
    ],
  },
  {
    name: 'a slot is entered behind the reservation',
    file: LOG_BUFFER,
    replace: [
      ['this.#control.enter(this.#slot, expected);\n        for (;;) {', 'for (;;) {'],
      ['this.#seenEnd = expected + taken;', 'this.#seenEnd = expected + taken; this.#control.enter(this.#slot, expected);'],
    ],
  },
  {
    name: 'a record is published before it is copied',
    file: LOG_BUFFER,
    replace: [['this.#putFrame(start, record, recordBytes);', 'this.#control.publish(this.#slot); this.#putFrame(start, record, recordBytes);']],
  },
  {
    name: 'the bell is rung before publishing',
    file: LOG_BUFFER,
    replace: [' The same', '\n     * Reserves'].map((next) => [published(next), ringsFirst(published(next))] as const),
    besides: WAITERS_RING,
  },
  {
    name: 'who is refused does not ring, though the writer may have gone to sleep on its slot',
    file: LOG_BUFFER,
    replace: [['this.#control.ringDoorbell();\n        return -1;', 'return -1;']],
    besides: WAITERS_RING,
  },
  {
    name: 'a reservation reaches a sector too far into the window',
    file: LOG_BUFFER,
    replace: [['return roomEnd - this.#seenReleased <= this.#log.capacity;', 'return roomEnd - this.#seenReleased <= this.#log.capacity + 512;']],
  },
  {
    name: 'the bell is armed without looking again',
    file: LOOP,
    replace: [['if (this.#side.pendingBytes() > 0 || this.#side.isCalled) {', 'if (this.#side.isCalled) {']],
    besides: WAITERS_RING,
  },
  {
    name: 'nobody looks after a thread that has ended',
    file: LOOP,
    replace: [['if (this.#side.hasUnpublished)\n', 'if (this.#ended)\n']],
  },
  {
    name: 'a waiter reads the wake word when it has looked',
    file: CONTROL_BLOCK,
    replace: [['Atomics.waitAsync(this.#i32, W32.wake, seen)', 'Atomics.waitAsync(this.#i32, W32.wake, Atomics.load(this.#i32, W32.wake))']],
  },
  {
    name: 'waiters are woken before the watermarks move',
    file: CONTROL_BLOCK,
    replace: [
      ['this.#raise(W64.written, watermarks.written);', 'this.wakeWaiters(); this.#raise(W64.written, watermarks.written);'],
      ['this.#raise(W64.released, watermarks.released);\n        this.wakeWaiters();', 'this.#raise(W64.released, watermarks.released);'],
    ],
  },
  {
    name: 'nobody is woken for a new segment',
    file: CONTROL_BLOCK,
    replace: [['Atomics.store(this.#i32, W32.diskFull, 0);\n        this.wakeWaiters();', 'Atomics.store(this.#i32, W32.diskFull, 0);']],
  },
  {
    name: 'a write releases its space when it begins',
    file: SEGMENTS_JOURNAL,
    replace: [['this.#tellProgress(extent);', 'this.#tellProgress(extent); this.#side.control.advance({ released: extent.end });']],
  },
  {
    name: 'what is written counts as durable',
    file: SEGMENTS_SIDE,
    replace: [['this.control.advance({ written: extent.frameEnd });', 'this.control.advance({ written: extent.frameEnd, durable: extent.frameEnd });']],
  },
  {
    name: 'writes become durable in the order in which they end',
    file: SEGMENTS_JOURNAL,
    replace: [['if (flight === undefined || !flight.written)', 'if (flight === undefined)']],
  },
  {
    name: 'a poisoned journal goes on writing',
    file: SEGMENTS_JOURNAL,
    replace: [['if (this.#side.poisoned)\n            return;\n        const idle', 'const idle']],
  },
  {
    name: 'a file takes what is reserved',
    file: FILE_SIDE,
    replace: [['this.control.publishedLsn()', 'this.control.reservedLsn']],
  },
  {
    name: 'a poisoned journal becomes more durable',
    file: SEGMENTS_JOURNAL,
    replace: [['left > 0 || this.#side.poisoned', 'left > 0']],
  },
  {
    name: 'after a failure the watermark is not looked at',
    file: WAITERS,
    replace: [['const movedDurable = this.#durable', 'const movedDurable = failure === undefined && this.#durable']],
  },
];
