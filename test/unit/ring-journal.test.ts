/** A journal of one file on a ring, once it is poisoned: nothing more is written, and nothing more is durable. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { Ring } from '../../dist/platform/platform.js';
import { ControlBlock, ffi, LogBuffer, POISON, Producer, RingJournal, WriteSide } from '../internals.js';

const CAPACITY = 65_536;
const ALIGNMENT = 4096;

/** A journal with one record, and a ring that the test plays. `full`: whatever comes waits for room in it. */
function journalOn(full: boolean) {
  const control = ControlBlock.create();
  control.start(0, 0);
  const buffer = new SharedArrayBuffer(CAPACITY + ALIGNMENT);
  const log = { buffer, skipBytes: ffi.alignmentSkip(buffer, ALIGNMENT), capacity: CAPACITY };
  const side = new WriteSide({
    layout: 'file', id: 1, shared: { control: control.buffer, log }, file: { descriptor: -1, direct: true, sectorBytes: 512, dsyncWrites: true, spaceEnd: 0 },
    preallocateBytes: 0, groupCommitWindowUs: 0,
  });
  const completions: (() => void)[] = [];
  let writes = 0;
  const ring = {
    write: (_file: unknown, _address: number, bytes: number, _offset: number, _slot: number, _dsync: boolean, _link: string, done: (result: number) => void) => {
      writes++;
      completions.push(() => {
        done(bytes);
      });
    },
  } as unknown as Ring;
  const backlog: ((ring: Ring) => void)[] = [];
  const queue = { enqueue: (_count: number, work: (ring: Ring) => void) => {
    if (full) backlog.push(work);
    else work(ring);
  } };
  const journal = new RingJournal(side, queue, { descriptor: -1, slot: 3 }, 3, { currentId: () => 1, isAlive: () => true, yield: () => undefined });
  new Producer(control, new LogBuffer(log), control.claimSlot(1, () => true)).tryAppend('hello', 5);
  journal.loop.run();
  return { control, journal, completions, makeRoom: () => {
    for (const work of backlog.splice(0)) work(ring);
  }, waiting: () => backlog.length, writes: () => writes };
}

test('what waits for room in the ring holds up the end, and is not written then', async () => {
  const { control, journal, makeRoom, waiting, writes } = journalOn(true);
  assert.is(waiting(), 1);
  control.poison(POISON.producerDied);
  let ended = false;
  const end = Promise.resolve(journal.end()).then(() => (ended = true));
  await new Promise(setImmediate);
  assert.is(ended, false, 'its descriptor may still be used');
  makeRoom();
  await end;
  assert.is(writes(), 0);
});

test('a write that comes back afterwards moves no watermark', () => {
  const { control, completions } = journalOn(false);
  control.poison(POISON.producerDied);
  for (const complete of completions) complete();
  assert.equal([completions.length, control.durableLsn, control.writtenLsn], [1, 0, 0]);
});

test.run();
