/**
 * A disk that keeps a write or a sync to itself until it is let go: what waits is pending, everything else goes on, and in
 * the end it all settles. fsfreeze(8) in stall.test.ts holds a whole filesystem; here it is one kind of operation.
 */
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Journal, type Backend, type JournalOptions } from 'tidemark';
import { FaultyDirectory, noFaultfs } from '../faultfs/faultfs.js';
import { nameOf, recordOf } from '../programs/records.js';
import { schedulerOf, temporaryDirectory } from '../support.js';
import { inMountNamespace, latestTick, recordsOf, skip, TICK_MS, until, usableBackends } from './tools.js';

await inMountNamespace(import.meta.url);

const test = suite('a disk that holds what it was given');
const HOLD_MS = 400;
const LATENESS_MS_MAX = 250;
const BOUND_MS = 10_000;
const BEFORE = 20;
const DURING = 50;
const SEGMENT_BYTES = 64 * 1024;

/** Whether a promise has settled, however. */
function watch(promise: Promise<unknown>): { settled: boolean } {
  const watched = { settled: false };
  const settle = (): void => {
    watched.settled = true;
  };
  promise.then(settle, settle);
  return watched;
}

async function assertTicks(): Promise<void> {
  const { latestMs, ticks } = await latestTick(HOLD_MS);
  assert.ok(latestMs < LATENESS_MS_MAX, `a tick came ${latestMs} ms late`);
  assert.ok(ticks > HOLD_MS / TICK_MS / 4, `${ticks} ticks`);
}

const sequencesIn = async (path: string): Promise<(number | undefined)[]> => (await recordsOf(path)).records.map(({ payload }) => nameOf(payload)?.sequence);
const upTo = (count: number): number[] => Array.from({ length: count }, (_, i) => i);

const reason = noFaultfs();
if (reason !== undefined) {
  skip('a disk that holds what it was given', reason);
} else {
  const faulty = await FaultyDirectory.start(temporaryDirectory());
  test.after(() => faulty.stop());
  let journals = 0;

  const openJournal = (backend: Backend['kind'], options: JournalOptions): Promise<Journal> =>
    Journal.open(join(faulty.mount, `journal-${journals++}`), { scheduler: schedulerOf(backend), preallocate: 0, segmentBytes: SEGMENT_BYTES, newSegments: 'plain', ...options });

  for (const backend of await usableBackends()) {
    for (const layout of ['file', 'segments'] as const) {
      for (const [op, direct] of [['write', true], ['fsync', false]] as const) {
        test(`a held ${op}: ${layout}, ${backend}, ${direct ? 'direct' : 'buffered'}`, async () => {
          const journal = await openJournal(backend, { layout, direct });
          const append = (sequence: number): Promise<number> => journal.append(recordOf({ life: 0, thread: 0, sequence }));
          for (const sequence of upTo(BEFORE)) await append(sequence);
          const abort = new AbortController();
          const followed: (number | undefined)[] = [];
          const follower = (async () => {
            for await (const { payload } of journal.follow({ signal: abort.signal })) followed.push(nameOf(payload)?.sequence);
          })();
          await until('the follower', BOUND_MS, () => followed.length === BEFORE);

          faulty.add({ op, hold: 1 });
          const pending = Array.from({ length: DURING }, (_, i) => append(BEFORE + i));
          const appended = pending.map(watch);
          await until('an operation that is held', BOUND_MS, () => (faulty.hits()[0] ?? 0) > 0);
          // The mark of an idle journal may be what is held; nothing that was appended since is durable.
          const { durableLsn } = journal;
          const closing = journal.close();
          const closed = watch(closing);
          await assertTicks();
          assert.is(appended.some(({ settled }) => settled), false, 'appends are pending');
          assert.is(closed.settled, false, 'closing is pending');
          assert.is(journal.durableLsn, durableLsn);
          abort.abort(new Error('enough'));
          assert.is(await follower.then(() => 'ended', (error: unknown) => (error as Error).message), 'enough');
          assert.is(followed.length, BEFORE);

          faulty.clear();
          await closing;
          const ends = await Promise.all(pending);
          assert.ok((ends.at(-1) ?? Infinity) <= journal.durableLsn);
          assert.equal(await sequencesIn(journal.path), upTo(BEFORE + DURING));
        });
      }
    }

    test(`a held segment: ${backend}`, async () => {
      const journal = await openJournal(backend, { layout: 'segments', direct: false });
      faulty.add({ op: 'fsync', path: '.spare', hold: 1 });
      const recordBytes = 4000;
      const fitting = Math.floor(SEGMENT_BYTES / recordBytes) - 2;
      const append = (sequence: number): Promise<number> => journal.append(recordOf({ life: 0, thread: 0, sequence }, recordBytes));
      for (const sequence of upTo(fitting)) await append(sequence);
      await until('a segment that is held', BOUND_MS, () => (faulty.hits()[0] ?? 0) > 0);
      const pending = Array.from({ length: fitting }, (_, i) => append(fitting + i));
      const last = watch(pending.at(-1) ?? Promise.resolve());
      const closing = journal.close();
      const closed = watch(closing);
      await assertTicks();
      assert.is(last.settled, false, 'an append that needs another segment is pending');
      assert.is(closed.settled, false, 'closing is pending');
      faulty.clear();
      await closing;
      await Promise.all(pending);
      const { records } = await recordsOf(journal.path);
      assert.equal(records.map(({ payload }) => nameOf(payload, recordBytes)?.sequence), upTo(2 * fitting));
    });
  }
}

test.run();
