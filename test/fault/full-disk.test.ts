/** A full disk poisons no journal of segments: appends go on once there is room. */
// Runs alone: it measures how late timers are.
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { closeSync, existsSync, mkdirSync, openSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { IoError, Journal } from 'tidemark';
import { pattern } from '../conformance/format.js';
import { assertRecords, failureOf, segmentsOf, within } from '../conformance/helpers.js';
import { readSegments } from '../segments.js';
import { schedulerOf, temporaryDirectory } from '../support.js';
import { inMountNamespace, mountImage, noLoopDevices, skip, until, usableBackends } from './tools.js';

await inMountNamespace(import.meta.url);

const test = suite('a full disk');
const directory = temporaryDirectory();
const MIB = 1024 * 1024;
const SMALL = 64 * 1024;
const SOON_MS = 30_000;

const unmountable = noLoopDevices();
if (unmountable !== undefined) skip('a full disk', unmountable);
else {
  for (const backend of await usableBackends()) {
    for (const way of ['a file is removed', 'the journal is trimmed'] as const) {
      test(`a full disk, until ${way} (${backend})`, async () => {
        const mount = join(directory, `full-${backend}-${way.replaceAll(' ', '-')}`);
        mkdirSync(mount);
        const unmount = mountImage(`${mount}.img`, mount, 16);
        const spaces: unknown[] = [];
        const onSpace = (message: unknown): void => {
          spaces.push(message);
        };
        subscribe('tidemark:journal:space', onSpace);
        let ticks = 0;
        let latestMs = 0;
        let due = performance.now() + 10;
        const ticking = setInterval(() => {
          latestMs = Math.max(latestMs, performance.now() - due);
          due = performance.now() + 10;
          ticks++;
        }, 10);
        try {
          const ballast = join(mount, 'ballast');
          const descriptor = openSync(ballast, 'w');
          for (let i = 0; i < 8; i++) writeSync(descriptor, Buffer.alloc(MIB, 1));
          closeSync(descriptor);
          const path = join(mount, 'journal');
          const journal = await Journal.open(path, { scheduler: schedulerOf(backend), layout: 'segments', segmentBytes: SMALL, spareSegments: 0 });
          const kept = new Map<number, Buffer>();
          let failure: unknown;
          for (let i = 0; failure === undefined && i < 10_000; i += 8) {
            const batch = Array.from({ length: 8 }, (_, j) => pattern(i + j, 3000));
            const settled = await within(Promise.allSettled(batch.map((record) => journal.append(record))), 'appending to a full disk');
            settled.forEach((result, j) => {
              if (result.status === 'fulfilled') kept.set(result.value, batch[j] ?? Buffer.alloc(0));
              else failure ??= result.reason;
            });
          }
          assert.instance(failure, IoError, String(failure));
          assert.is((failure as IoError).code, 'TIDEMARK_NO_SPACE');
          assert.is(segmentsOf(journal).diskFull, true);
          assert.ok(kept.size > 500, `${kept.size} records fitted`);
          // Every way of appending says so, and none waits.
          for (const attempt of [() => journal.append(pattern(1, 60_000)), () => journal.appendBatch([pattern(1, 60_000)]), () => journal.submit(pattern(1, 60_000)), () => journal.tryAppend(pattern(1, 60_000))]) {
            assert.is((await failureOf(attempt)).code, 'TIDEMARK_NO_SPACE');
          }
          assert.is(spaces.length, 1, 'it is told once');
          if (way === 'a file is removed') rmSync(ballast);
          else await journal.trimBefore(20 * SMALL);
          const first = journal.firstLsn ?? 0;
          await until('room', SOON_MS, () => !segmentsOf(journal).diskFull);
          for (let i = 0; i < 100; i++) {
            const record = pattern(1_000_000 + i, 3000);
            kept.set(await within(journal.append(record), 'appending again'), record);
          }
          await within(journal.close(), 'closing');
          const found = new Map((await readSegments(path)).map(({ end, payload }) => [end, payload]));
          for (const [end, record] of kept) {
            if (end <= first) continue;
            assert.ok(found.get(end)?.equals(record) === true, `the record that ends at ${end} is there`);
          }
          assert.ok(ticks > 10 && latestMs < 250, `a tick came ${latestMs} ms late`);
        } finally {
          clearInterval(ticking);
          unsubscribe('tidemark:journal:space', onSpace);
          unmount();
        }
      });
    }

    test(`a full disk when the journal is closed, and when it is created (${backend})`, async () => {
      const mount = join(directory, `full-${backend}-closed`);
      mkdirSync(mount);
      const unmount = mountImage(`${mount}.img`, mount, 8);
      try {
        const path = join(mount, 'journal');
        const journal = await Journal.open(path, { scheduler: schedulerOf(backend), layout: 'segments', segmentBytes: SMALL });
        const records: Buffer[] = [];
        for (let i = 0; i < 5000; i++) {
          const record = pattern(i, 5000);
          const failed = await journal.append(record).then(() => false, () => true);
          if (failed) break;
          records.push(record);
        }
        // What is left is used up by small records and by marks, until not even these find room.
        for (let idle = 0; idle < 40; idle++) {
          const record = pattern(idle, 10);
          if (await journal.append(record).then(() => true, () => false)) records.push(record);
          await new Promise((resolve) => setTimeout(resolve, 30));
        }
        await within(journal.close(), 'closing');
        await assertRecords(path, records);
        const other = join(mount, 'other');
        const error = await failureOf(() => Journal.open(other, { scheduler: schedulerOf(backend), layout: 'segments' }));
        assert.is(error.code, 'TIDEMARK_NO_SPACE');
        assert.not.ok(existsSync(other), 'nothing was left behind');
        const again = await within(Journal.open(path, { scheduler: schedulerOf(backend) }).then((open) => open, (reason: unknown) => reason), 'opening');
        if (again instanceof Journal) {
          await again.trimBefore(10 * SMALL);
          await until('room', SOON_MS, () => !segmentsOf(again).diskFull);
          await within(again.append(pattern(1, 50_000)), 'appending');
          await again.append(pattern(1, 50_000));
          await again.close();
        } else {
          assert.is((again as IoError).code, 'TIDEMARK_NO_SPACE', String(again));
        }
      } finally {
        unmount();
      }
    });
  }
}

test.run();
