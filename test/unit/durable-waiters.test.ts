/** What keeps the process alive, records that are not durable yet, whoever waits for them; and what waiting itself does. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type * as WaitersModule from '../../dist/main/durable-waiters.js';
import { within } from '../conformance/helpers.js';
import { ControlBlock } from '../internals.js';

const { DurableWaiters } = (await import(new URL('../../../dist/main/durable-waiters.js', import.meta.url).href)) as typeof WaitersModule;
const test = suite('durable waiters');

const threads = { currentId: () => 1, isAlive: () => true, yield: () => undefined };
const holding = (): boolean => process.getActiveResourcesInfo().includes('Timeout');

/** Lets the waiters look: they wake through `setImmediate` or `Atomics.waitAsync`. */
async function until(isDone: () => boolean): Promise<void> {
  for (let turn = 0; turn < 10_000 && !isDone(); turn++) await new Promise((resolve) => setImmediate(resolve));
}

for (const order of [[100, 300], [300, 100]]) {
  test(`held through ${order.join(', then through ')}: until 300 is durable`, async () => {
    const idle = holding();
    const control = ControlBlock.create();
    control.start(0, 0);
    const waiters = new DurableWaiters(control, threads, { poisoned: () => undefined, onProgress: () => false });
    for (const end of order) waiters.hold(end);
    assert.ok(holding());
    // A waiter tells when the watermark at 100 has been seen.
    const seen = waiters.waitFor('durable', 100);
    control.advance({ written: 100, durable: 100 });
    assert.is(await seen, 100);
    await until(() => !holding());
    assert.ok(holding(), 'what ends at 300 is not durable');
    control.advance({ written: 300, durable: 300 });
    await until(() => holding() === idle);
    assert.is(holding(), idle);
    waiters.dispose();
  });
}

test('what is durable already is told at once, while the thread sleeps for what comes behind it', async () => {
  const control = ControlBlock.create();
  control.start(0, 0);
  const waiters = new DurableWaiters(control, threads, { poisoned: () => undefined, onProgress: () => false });
  const asleep = (): boolean => !process.getActiveResourcesInfo().includes('Immediate');
  waiters.hold(300);
  control.advance({ written: 100, durable: 100 });
  await until(asleep);
  assert.ok(asleep());
  assert.is(await within(waiters.waitFor('written', 100), 'the promise for written'), 100);
  await until(asleep);
  assert.is(await within(waiters.waitFor('durable', 100), 'the promise for durable'), 100);
  control.advance({ written: 300, durable: 300 });
  waiters.dispose();
});

test('who waits wakes a writer that sleeps, though nobody has rung', async () => {
  const control = ControlBlock.create();
  control.start(0, 0);
  const waiters = new DurableWaiters(control, threads, { poisoned: () => undefined, onProgress: () => false });
  // A thread has published and has ended before it rang.
  control.armDoorbell();
  const rung = control.awaitDoorbell();
  assert.ok(rung);
  control.reserve(0, 100);
  const durable = waiters.waitFor('durable', 100);
  await within(rung, 'the bell');
  control.advance({ written: 100, durable: 100 });
  assert.is(await within(durable, 'the watermark'), 100);
  waiters.dispose();
});

test.run();
