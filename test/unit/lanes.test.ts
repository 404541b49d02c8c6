/** The lanes of file operations: who goes first, how many wait, what a timeout and an abort leave behind. */
import { getEventListeners } from 'node:events';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Lanes, type CallOptions } from '../lane-internals.js';
import { STAGE } from '../programs/lane-entry.js';
import { collected, until } from '../fault/tools.js';

const ENTRY = new URL('../programs/lane-entry.js', import.meta.url);
const BOUND_MS = 10_000;

interface Answer {
  readonly number: number;
  readonly together: number;
}

class Stage {
  readonly lanes: Lanes;
  readonly words = new Int32Array(new SharedArrayBuffer(STAGE.words * 4));
  #calls = 0;

  constructor(threads: number, options: ConstructorParameters<typeof Lanes>[2] = {}) {
    this.lanes = new Lanes(ENTRY, threads, options);
  }

  call(name: string, options: Partial<CallOptions> = {}, through?: () => void): Promise<Answer> {
    return this.lanes.call(name, [this.words, this.#calls++], { lane: 'normal', ...options }, through) as Promise<Answer>;
  }

  openGate(): void {
    Atomics.store(this.words, STAGE.gate, 1);
    Atomics.notify(this.words, STAGE.gate);
  }

  /** Numbers of the calls that were done, in order. */
  get done(): number[] {
    return [...this.words.subarray(STAGE.log, STAGE.log + (this.words[STAGE.done] ?? 0))];
  }

  running(lane: 'urgent' | 'normal' | 'bulk', count: number): Promise<void> {
    return until(`${count} running in ${lane}`, BOUND_MS, () => this.lanes.stats()[lane].running === count);
  }
}

function staged(name: string, threads: number, options: ConstructorParameters<typeof Lanes>[2], play: (stage: Stage) => Promise<void>): void {
  test(name, async () => {
    const stage = new Stage(threads, options);
    try {
      await play(stage);
    } finally {
      stage.openGate();
      await stage.lanes.close();
    }
  });
}

async function codeOf(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(() => 'resolved', (error: unknown) => (error as { code?: unknown }).code ?? error);
}

staged('with 10,000 bulk operations queued, an urgent one is next after the one that runs', 1, {}, async (stage) => {
  const held = stage.call('hold', { lane: 'bulk' });
  const bulk = Array.from({ length: 10_000 }, () => stage.call('note', { lane: 'bulk' }));
  const normal = stage.call('note');
  const urgent = stage.call('note', { lane: 'urgent' });
  await stage.running('bulk', 1);
  stage.openGate();
  await Promise.all([held, ...bulk, normal, urgent]);
  assert.equal(stage.done.slice(0, 3), [0, 10_002, 10_001]);
  assert.equal(stage.done.slice(3), Array.from({ length: 10_000 }, (_, index) => index + 1), 'the others keep their order');
});

staged('of four threads bulk work takes two, normal and bulk work three, and urgent work always finds one', 4, {}, async (stage) => {
  const bulk = Array.from({ length: 10 }, () => stage.call('hold', { lane: 'bulk' }));
  await stage.running('bulk', 2);
  const normal = Array.from({ length: 10 }, () => stage.call('hold'));
  const urgent = await stage.call('note', { lane: 'urgent' });
  assert.equal(stage.done, [urgent.number], 'nothing else has ended');
  stage.openGate();
  await Promise.all([...bulk, ...normal]);
});

staged('the bound of a queue is kept, and what waits is done', 1, { normal: { queueMax: 2 } }, async (stage) => {
  const held = stage.call('hold');
  await until('the first call to run', BOUND_MS, () => stage.lanes.stats().normal.waiting === 0);
  const waiting = [stage.call('note'), stage.call('note')];
  const refused = stage.call('note');
  await refused.then(() => assert.unreachable('one too many was taken'), (error: unknown) => {
    assert.is((error as { code: string }).code, 'TIDEMARK_QUEUE_FULL');
    assert.match((error as Error).message, /'normal'.*queueMax/);
  });
  assert.is(stage.lanes.stats().normal.waiting, 2);
  stage.openGate();
  await Promise.all([held, ...waiting]);
  assert.equal(stage.done, [0, 1, 2]);
});

staged('an aborted call that waits is taken out at once and never done', 1, { normal: { queueMax: 1 } }, async (stage) => {
  const held = stage.call('hold');
  await until('the first call to run', BOUND_MS, () => stage.lanes.stats().normal.waiting === 0);
  const controller = new AbortController();
  let through = 0;
  const aborted = stage.call('note', { signal: controller.signal }, () => through++);
  const reason = new Error('no longer wanted');
  controller.abort(reason);
  assert.is(await codeOf(aborted), reason);
  assert.is(through, 1);
  const next = stage.call('note');
  stage.openGate();
  await Promise.all([held, next]);
  assert.equal(stage.done, [0, 2]);
});

staged('one signal for many calls: all are aborted, nothing warns, nothing stays', 1, {}, async (stage) => {
  const warnings: Error[] = [];
  const onWarning = (warning: Error): void => void warnings.push(warning);
  process.on('warning', onWarning);
  const held = stage.call('hold');
  await until('the first call to run', BOUND_MS, () => stage.lanes.stats().normal.waiting === 0);
  const controller = new AbortController();
  const reason = new Error('all of them');
  const calls = Array.from({ length: 100 }, () => codeOf(stage.call('note', { signal: controller.signal })));
  assert.is(getEventListeners(controller.signal, 'abort').length, 1);
  controller.abort(reason);
  assert.equal(await Promise.all(calls), Array.from({ length: 100 }, () => reason));
  const later = new AbortController();
  const noted = stage.call('note', { signal: later.signal });
  stage.openGate();
  await Promise.all([held, noted]);
  assert.is(getEventListeners(later.signal, 'abort').length, 0);
  // Warnings come in a turn of their own.
  await new Promise(setImmediate);
  process.off('warning', onWarning);
  assert.equal(warnings, []);
});

staged('a call whose signal has fired before is refused', 1, {}, async (stage) => {
  const reason = new Error('too late');
  let through = 0;
  assert.is(await codeOf(stage.call('note', { signal: AbortSignal.abort(reason) }, () => through++)), reason);
  assert.is(through, 1);
  assert.equal(stage.done, []);
});

staged('an aborted call that runs settles when its thread has stopped, and the thread is free', 1, {}, async (stage) => {
  const controller = new AbortController();
  const running = stage.call('holdUntilAborted', { signal: controller.signal });
  await stage.running('normal', 1);
  const reason = new Error('stop');
  controller.abort(reason);
  assert.is(await codeOf(running), reason);
  await stage.call('note');
});

staged('what had been done when the abort came resolves', 1, {}, async (stage) => {
  const controller = new AbortController();
  const running = stage.call('hold', { signal: controller.signal });
  await until('the call to run', BOUND_MS, () => stage.lanes.stats().normal.waiting === 0);
  controller.abort(new Error('stop'));
  stage.openGate();
  assert.is((await running).number, 0);
});

staged('a timeout while it waits: not begun, never done', 1, {}, async (stage) => {
  const held = stage.call('hold');
  const error = await stage.call('note', { timeoutMs: 20 }).then(() => undefined, (reason: unknown) => reason as { code: string; begun: boolean });
  assert.is(error?.code, 'TIDEMARK_TIMEOUT');
  assert.is(error?.begun, false);
  stage.openGate();
  await held;
  assert.equal(stage.done, [0]);
});

staged('a timeout while it runs: settled at once, its slot is given back when the thread returns, its result is discarded', 1, {}, async (stage) => {
  const discarded: unknown[] = [];
  let through = 0;
  const started = stage.call('note');
  await started;
  const error = await stage.call('hold', { timeoutMs: 100, discard: (value) => discarded.push(value) }, () => through++)
    .then(() => undefined, (reason: unknown) => reason as { code: string; begun: boolean });
  assert.is(error?.code, 'TIDEMARK_TIMEOUT');
  assert.is(error?.begun, true);
  const next = stage.call('note');
  assert.equal([stage.lanes.stats().normal.running, through, discarded.length], [1, 0, 0]);
  stage.openGate();
  await next;
  assert.equal(discarded, [{ number: 1, together: 1 }]);
  assert.is(through, 1);
  assert.equal(stage.done, [0, 1, 2]);
});

staged('progress is told while it runs and at the end', 1, {}, async (stage) => {
  const told: number[] = [];
  const running = stage.call('progress', { onProgress: (bytes) => told.push(bytes) });
  await until('progress', BOUND_MS, () => told.includes(7));
  stage.openGate();
  await running;
  assert.is(told.at(-1), 9);
});

staged('calls of one word that gathered go to one thread together, a fair share at most', 2, { normal: { concurrency: 2 } }, async (stage) => {
  const held = [stage.call('hold'), stage.call('hold')];
  await until('both threads to be busy', BOUND_MS, () => stage.lanes.stats().normal.waiting === 0);
  const short = { together: { word: 'short', least: 1, most: 32 } };
  const gathered = Array.from({ length: 10 }, () => stage.call('note', short));
  const alone = stage.call('note');
  stage.openGate();
  const answers = await Promise.all(gathered);
  await Promise.all([...held, alone]);
  // 11 wait and two threads share them: 6 for the first; 4 of 5 remain for the second, the last of which is of no word.
  const sizes = answers.map(({ together }) => together);
  assert.ok(sizes.every((size) => size >= 1 && size <= 6), `sizes ${sizes.join()}`);
  assert.is(sizes[0], 6);
  assert.is((await alone).together, 1);
});

staged('a thread that ends takes its call with it, and the next call finds another thread', 1, {}, async (stage) => {
  let through = 0;
  assert.is(await codeOf(stage.call('die', {}, () => through++)), 'TIDEMARK_WORKER_DIED');
  assert.is(through, 1);
  assert.is((await stage.call('note')).together, 1);
});

staged('closing waits for what was called', 2, {}, async (stage) => {
  const calls = Array.from({ length: 100 }, () => stage.call('note'));
  await stage.lanes.close();
  assert.is(stage.done.length, 100);
  await Promise.all(calls);
});

staged('work of the library itself is never refused, and takes no room from others', 1, { urgent: { queueMax: 1 } }, async (stage) => {
  const held = stage.call('hold', { lane: 'urgent' });
  await until('the first call to run', BOUND_MS, () => stage.lanes.stats().urgent.waiting === 0);
  const own = Array.from({ length: 5 }, () => stage.call('note', { lane: 'urgent', own: true }));
  const users = [stage.call('note', { lane: 'urgent' }), stage.call('note', { lane: 'urgent' })];
  assert.is(await codeOf(users[1] as Promise<unknown>), 'TIDEMARK_QUEUE_FULL');
  stage.openGate();
  await Promise.all([held, ...own, users[0]]);
  assert.equal(stage.done, [0, 1, 2, 3, 4, 5, 6]);
});

staged('arguments that are still to come: the call waits, and its bound, timeout and signal count from the beginning', 1, { normal: { queueMax: 3 } }, async (stage) => {
  let arrive!: () => void;
  const arrival = new Promise<void>((resolve) => (arrive = resolve));
  let made = 0;
  const later = (options: Partial<CallOptions>): Promise<unknown> =>
    stage.lanes.call('note', { after: arrival, make: () => [stage.words, made++] }, { lane: 'normal', ...options });
  const controller = new AbortController();
  const [first, timedOut, aborted] = [later({}), later({ timeoutMs: 20 }), later({ signal: controller.signal })];
  assert.is(await codeOf(later({})), 'TIDEMARK_QUEUE_FULL');
  const error = await timedOut.then(() => undefined, (reason: unknown) => reason as { code: string; begun: boolean });
  assert.equal([error?.code, error?.begun], ['TIDEMARK_TIMEOUT', false]);
  controller.abort('no longer');
  assert.is(await codeOf(aborted), 'no longer');
  assert.is(stage.lanes.stats().normal.waiting, 1);
  arrive();
  await first;
  assert.is(made, 1, 'those that were settled need no arguments');
  const failed = new Error('it never came');
  assert.is(await codeOf(stage.lanes.call('note', { after: Promise.reject(failed), make: () => [] }, { lane: 'normal' })), failed);
  assert.is(await codeOf(stage.lanes.call('note', { after: Promise.resolve(), make: () => {
    throw failed;
  } }, { lane: 'normal' })), failed);
  assert.is(stage.lanes.stats().normal.waiting, 0);
});

staged('another attempt goes behind those that wait, alone, as the same call', 1, {}, async (stage) => {
  let through = 0;
  const attempts: unknown[] = [];
  const again = (value: unknown): readonly unknown[] | undefined => {
    attempts.push(value);
    return attempts.length < 3 ? [stage.words, 100 + attempts.length] : undefined;
  };
  const together = { word: 'short', least: 8, most: 8 };
  const call = stage.call('note', { together, again }, () => through++);
  const others = [stage.call('note', { together }), stage.call('note', { together })];
  await Promise.all([call, ...others]);
  assert.is(through, 1);
  assert.equal(stage.done, [0, 1, 2, 101, 102]);
  assert.equal(attempts.map((answer) => (answer as Answer).together), [3, 1, 1]);
  const waiting = await stage.call('note', { timeoutMs: 50, again: () => {
    void stage.call('hold');
    return [stage.words, 7];
  } }).then(() => undefined, (reason: unknown) => reason as { begun: boolean });
  assert.is(waiting?.begun, false, 'the attempt that had begun has left nothing behind');
});

staged('what a callback for progress throws reaches the process, and no call', 1, {}, async (stage) => {
  // From here on there is a thread: no progress is told but at the end.
  await stage.call('note');
  const thrown: unknown[] = [];
  const onThrown = (error: unknown): void => void thrown.push(error);
  process.on('uncaughtException', onThrown);
  const mistake = new Error('a mistake in somebody else\'s callback');
  const together = { word: 'short', least: 8, most: 8 };
  const onProgress = (): never => {
    throw mistake;
  };
  const answers = await Promise.all([stage.call('note', { together, onProgress }), stage.call('note', { together })]);
  assert.equal(answers.map((answer) => answer.together), [2, 2]);
  await until('it to be told', BOUND_MS, () => thrown.length > 0);
  process.off('uncaughtException', onThrown);
  assert.equal(thrown, [mistake]);
});

staged('arguments that cannot be sent reject the call, and the lane goes on', 1, {}, async (stage) => {
  const gib = new Uint8Array(2 ** 30);
  let through = 0;
  const tooLarge = stage.lanes.call('note', [Array.from({ length: 2 ** 23 }, () => gib)], { lane: 'normal' }, () => through++);
  assert.instance(await codeOf(tooLarge), RangeError);
  assert.is(through, 1);
  await stage.call('note');
});

staged('results belong to those who called', 1, {}, async (stage) => {
  const references: WeakRef<object>[] = [];
  for (let n = 0; n < 20; n++) references.push(new WeakRef(await stage.call('note')));
  // The last one is still a value of this function.
  await collected(references.slice(0, -1));
});

staged('calls that were settled while they waited keep nothing, though every thread is stuck', 1, {}, async (stage) => {
  const held = stage.call('hold');
  await until('the first call to run', BOUND_MS, () => stage.lanes.stats().normal.waiting === 0);
  const references: WeakRef<Uint8Array>[] = [];
  const wait = (): Promise<unknown> => {
    const bytes = new Uint8Array(1000);
    references.push(new WeakRef(bytes));
    return codeOf(stage.lanes.call('note', [bytes], { lane: 'normal', timeoutMs: 1 }));
  };
  assert.equal(await Promise.all(Array.from({ length: 50 }, wait)), Array.from({ length: 50 }, () => 'TIDEMARK_TIMEOUT'));
  await collected(references);
  stage.openGate();
  await held;
});

test('options of the lanes are checked', () => {
  const wrong: [options: object, message: RegExp][] = [
    [{ fast: {} }, /Unknown option `fast` in `lanes`/],
    [{ bulk: { concurrency: 0 } }, /`lanes.bulk.concurrency` to be an integer from 1 to 2, got 0/],
    // More than there are threads would take their order away.
    [{ normal: { concurrency: 3 } }, /`lanes.normal.concurrency` to be an integer from 1 to 2, got 3/],
    [{ urgent: { queueMax: 0 } }, /`lanes.urgent.queueMax` to be an integer from 1/],
    [{ normal: { threads: 1 } }, /Unknown option `threads` in `lanes.normal`/],
  ];
  for (const [options, message] of wrong) assert.throws(() => new Lanes(ENTRY, 2, options), message);
});

test.run();
