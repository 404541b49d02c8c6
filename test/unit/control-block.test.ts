import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { ControlBlock, POISON, PRODUCER_SLOTS, STATISTICS } from '../internals.js';

const test = suite('the control block');

const alive = (): boolean => true;
const dead = (): boolean => false;

function started(lsn: number, released = lsn): ControlBlock {
  const control = ControlBlock.create();
  control.start(lsn, released);
  return control;
}

function watermarks(control: ControlBlock): number[] {
  return [control.reservedLsn, control.publishedLsn(), control.writtenLsn, control.durableLsn, control.releasedLsn];
}

const isInternal = (error: { code: string }): boolean => error.code === 'TIDEMARK_INTERNAL';

test('starts where the log ends, the window before it', () => {
  for (const [lsn, released] of [[0, 0], [17, 0], [2 ** 53 - 4096, 2 ** 53 - 8192]] as const) {
    assert.equal(watermarks(started(lsn, released)), [lsn, lsn, lsn, lsn, released]);
  }
  assert.throws(() => {
    ControlBlock.create().start(17, 18);
  }, isInternal);
});

test('another thread\'s view of the same memory shows the same', () => {
  const control = started(100, 0);
  assert.equal(watermarks(new ControlBlock(control.buffer)), watermarks(control));
  assert.throws(() => new ControlBlock(new SharedArrayBuffer(control.buffer.byteLength - 1)), isInternal);
});

test('watermarks move forward only', () => {
  const control = started(0);
  control.reserve(0, 300);
  control.advance({ written: 200, durable: 100, released: 50 });
  assert.equal(watermarks(control), [300, 300, 200, 100, 50]);
  control.advance({ durable: 200 });
  assert.equal(watermarks(control), [300, 300, 200, 200, 50]);
  for (const back of [{ written: 199 }, { durable: 199 }, { released: 49 }]) {
    assert.throws(() => {
      control.advance(back);
    }, isInternal);
  }
  assert.equal(watermarks(control), [300, 300, 200, 200, 50]);
});

test('published is the least of the reservation\'s end and every bound', () => {
  const CASES: readonly (readonly [bounds: readonly (number | undefined)[], published: number])[] = [
    [[], 1000],
    [[undefined, undefined], 1000],
    [[10], 10],
    [[undefined, 10], 10],
    [[500, 10, 700], 10],
    [[10, 500, 700], 10],
    [[700, 500, 10], 10],
    [[1000], 1000],
    [[0], 0],
    [[undefined, 999, undefined, 998], 998],
  ];
  for (const [bounds, published] of CASES) {
    const control = started(0);
    const slots = bounds.map((_, i) => control.claimSlot(i + 1, alive));
    bounds.forEach((bound, i) => {
      if (bound !== undefined) control.enter(slots[i] ?? -1, bound);
    });
    assert.is(control.reserve(0, 1000), 0);
    assert.is(control.publishedLsn(), published, JSON.stringify(bounds));
    for (const slot of slots) control.publish(slot);
    assert.is(control.publishedLsn(), 1000);
  }
});

test('every one of the slots counts', () => {
  const control = started(0);
  const slots = Array.from({ length: PRODUCER_SLOTS }, (_, i) => control.claimSlot(i + 1, alive));
  assert.equal(slots, Array.from({ length: PRODUCER_SLOTS }, (_, i) => i));
  assert.is(control.claimSlot(1000, alive), -1);
  control.reserve(0, 1000);
  for (const slot of slots) {
    control.enter(slot, 5);
    assert.is(control.publishedLsn(), 5, `slot ${slot}`);
    assert.equal(control.producersHolding(5), [slot + 1]);
    assert.equal(control.producersHolding(4), []);
    control.publish(slot);
  }
  assert.is(control.publishedLsn(), 1000);
});

test('a reservation is made exactly when the end is as expected', () => {
  const control = started(40);
  assert.is(control.reserve(40, 17), 40);
  assert.is(control.reserve(40, 17), 57, 'the end that was found');
  assert.is(control.reservedLsn, 57);
  assert.is(control.reserve(57, 1), 57);
  assert.is(control.reservedLsn, 58);
});

test('the slot of an ended thread is taken over, unless it holds a reservation', () => {
  const control = started(0);
  for (let thread = 1; thread <= PRODUCER_SLOTS; thread++) control.claimSlot(thread, alive);
  control.enter(3, 0);
  const isAlive = (thread: number): boolean => ![4, 8].includes(thread);
  assert.is(control.claimSlot(100, isAlive), 7);
  assert.is(control.claimSlot(101, isAlive), -1);
  control.publish(3);
  assert.is(control.claimSlot(101, isAlive), 3);
});

test('a slot is not taken over from a thread that reserves, and ends, while somebody looks at it', () => {
  const control = started(0);
  const slot = control.claimSlot(1, alive);
  const reservesAndEnds = (): boolean => {
    control.enter(slot, 0);
    control.reserve(0, 100);
    return false;
  };
  assert.is(control.claimSlot(2, reservesAndEnds), 1);
  assert.is(control.publishedLsn(), 0);
  assert.equal(control.producersHolding(0), [1]);
});

test('a slot that is given back is free, unless it holds a reservation', () => {
  const control = started(0);
  assert.is(control.claimSlot(1, alive), 0);
  control.freeSlotIfIdle(0);
  assert.is(control.claimSlot(2, alive), 0);
  control.reserve(0, 100);
  control.enter(0, 0);
  control.freeSlotIfIdle(0);
  assert.is(control.claimSlot(3, dead), 1);
  assert.is(control.publishedLsn(), 0, 'what it reserved never becomes published');
  assert.equal(control.producersHolding(0), [2]);
});

test('the first poison stays', () => {
  const control = started(0);
  assert.equal(control.poisonCause, { kind: POISON.none, errno: 0, syscall: 'unknown' });
  control.poison(POISON.io, 28, 'pwrite');
  const first = { kind: POISON.io, errno: 28, syscall: 'pwrite' };
  assert.equal(control.poisonCause, first);
  control.poison(POISON.workerDied);
  control.poison(POISON.io, 5, 'fdatasync');
  assert.equal(control.poisonCause, first);
  assert.is(control.poisonKind, POISON.io);
});

test('sealing takes all that is left of the log', () => {
  const control = started(17, 0);
  control.reserve(17, 20);
  assert.not.ok(control.sealReservations(17), 'a range is reserved and not durable');
  assert.is(control.reservedLsn, 37);
  control.advance({ written: 37, durable: 37, released: 37 });
  assert.ok(control.sealReservations(37));
  for (const expected of [17, 37, 38]) assert.is.not(control.reserve(expected, 1), expected, 'nothing is reserved any more');
  assert.equal(watermarks(control), [37, 37, 37, 37, 37], 'the log ends where it is durable');
});

test('closing shows in every thread', () => {
  const control = started(0);
  const other = new ControlBlock(control.buffer);
  assert.not.ok(other.closed);
  control.close();
  assert.ok(other.closed);
});

test('the doorbell wakes the writer that has armed it', async () => {
  const control = started(0);
  const producer = new ControlBlock(control.buffer);
  producer.ringDoorbell();
  control.armDoorbell();
  const rung = control.awaitDoorbell();
  assert.ok(rung !== undefined, 'nobody has rung since it was armed');
  producer.ringDoorbell();
  assert.is(await rung, 'ok');
  assert.is(control.awaitDoorbell(), undefined, 'not armed: no wait');
  control.armDoorbell();
  producer.ringDoorbell();
  assert.is(control.awaitDoorbell(), undefined, 'rung before the wait');
  control.armDoorbell();
  control.disarmDoorbell();
  assert.is(control.awaitDoorbell(), undefined, 'disarmed');
});

const WAKERS: readonly (readonly [name: string, wake: (control: ControlBlock) => void])[] = [
  ['a watermark', (control) => {
    control.advance({ durable: 0 });
  }],
  ['poison', (control) => {
    control.poison(POISON.internal);
  }],
  ['closing', (control) => {
    control.close();
  }],
];

for (const [name, wake] of WAKERS) {
  test(`${name} wakes who sleeps`, async () => {
    const control = started(0);
    const sleep = control.sleep(() => false);
    assert.ok(sleep !== undefined);
    let awake = false;
    void sleep.then(() => {
      awake = true;
    });
    await new Promise((resolve) => setImmediate(resolve));
    assert.not.ok(awake);
    wake(new ControlBlock(control.buffer));
    await sleep;
    assert.is(control.sleep(() => true), undefined, 'what has come is not waited for');
  });
}

test('a wake between the look and the sleep is not lost', () => {
  const control = started(0);
  const slept = control.sleep(() => {
    control.wakeWaiters();
    return false;
  });
  assert.is(slept, undefined);
});

test('statistics add up and keep their greatest', () => {
  const control = started(0);
  assert.equal(STATISTICS.map((name) => control.statistic(name)), STATISTICS.map(() => 0));
  control.count('writes');
  control.count('bytesWritten', 2 ** 40);
  control.count('bytesWritten', 1);
  for (const bytes of [100, 300, 200]) control.countBatch(bytes);
  for (const latencyNs of [5, 9, 7]) control.countSync(latencyNs);
  const expected = {
    batches: 3, writes: 1, syncs: 3, bytesWritten: 2 ** 40 + 1, bytesPrepared: 0, batchesBeyondPrepared: 0, batchBytesMax: 300,
    syncLatencyNsTotal: 21, syncLatencyNsMax: 9, syncLatencyNsLast: 7,
  };
  for (const [name, value] of Object.entries(expected)) assert.is(control.statistic(name as keyof typeof expected), value, name);
  assert.equal(watermarks(control), [0, 0, 0, 0, 0], 'they touch no watermark');
});

test.run();
