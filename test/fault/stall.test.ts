/** A disk that stops answering for two seconds holds appends up, and nothing else. */
// Runs alone: it measures how late timers are.
import { execFile, spawn } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Journal } from 'tidemark';
import { schedulerOf, temporaryDirectory } from '../support.js';
import { nameOf, recordOf } from '../programs/records.js';
import { inMountNamespace, latestTick, mountImage, noLoopDevices, recordsOf, skip, TICK_MS, until, usableBackends } from './tools.js';

await inMountNamespace(import.meta.url);

const test = suite('a disk that stalls');
const directory = temporaryDirectory();
const STALL_MS = 2000;
const LATENESS_MS_MAX = 250;
const RECORDS = 200;
/** Thaws the filesystem even if this process is killed. */
const WATCHDOG_SECONDS = 20;
const run = promisify(execFile);

/** Freezes a filesystem while `work` runs. */
async function whileFrozen(mount: string, work: () => Promise<void>): Promise<void> {
  const watchdog = spawn('sh', ['-c', `sleep ${WATCHDOG_SECONDS}; fsfreeze -u "$0"`, mount], { stdio: 'ignore', detached: true });
  watchdog.unref();
  await run('fsfreeze', ['-f', mount]);
  try {
    await work();
  } finally {
    await run('fsfreeze', ['-u', mount]);
    if (watchdog.pid !== undefined) process.kill(-watchdog.pid, 'SIGKILL');
  }
}

const unmountable = noLoopDevices();
if (unmountable !== undefined) skip('a frozen filesystem', unmountable);
else {
  for (const backend of await usableBackends()) {
    for (const [layout, direct] of [['file', true], ['file', false], ['segments', true], ['segments', false]] as const) {
      test(`${layout}, ${backend}, ${direct ? 'direct' : 'buffered'}`, async () => {
        const mount = join(directory, `${layout}-${backend}-${direct}`);
        mkdirSync(mount);
        const unmount = mountImage(`${mount}.img`, mount, 64);
        try {
          const path = join(mount, 'journal');
          const journal = await Journal.open(path, { scheduler: schedulerOf(backend), layout, direct, preallocate: 0, segmentBytes: 64 * 1024 });
          const append = (sequence: number): Promise<number> => journal.append(recordOf({ life: 0, thread: 0, sequence }));
          for (let i = 0; i < RECORDS; i++) await append(i);
          // An idle journal with segments proves its last record: that is to be over.
          await new Promise((resolve) => setTimeout(resolve, 200));
          const before = journal.durableLsn;
          let settled = 0;
          const pending: Promise<number>[] = [];
          await whileFrozen(mount, async () => {
            for (let i = RECORDS; i < 2 * RECORDS; i++) {
              const promise = append(i);
              const count = (): void => {
                settled++;
              };
              promise.then(count, count);
              pending.push(promise);
            }
            const { latestMs, ticks } = await latestTick(STALL_MS);
            assert.is(settled, 0, 'appends to a frozen disk are pending');
            assert.is(journal.durableLsn, before);
            assert.ok(latestMs < LATENESS_MS_MAX, `a tick came ${latestMs} ms late`);
            assert.ok(ticks > STALL_MS / TICK_MS / 4, `${ticks} ticks`);
            assert.is(journal.stats().waiters, RECORDS);
          });
          await until('the end of the stall', 10_000, () => settled === RECORDS);
          const ends = await Promise.all(pending);
          assert.ok((ends.at(-1) ?? Infinity) <= journal.durableLsn);
          await journal.close();
          const { records, state } = await recordsOf(path);
          assert.equal(records.map(({ payload }) => nameOf(payload)?.sequence), Array.from({ length: 2 * RECORDS }, (_, i) => i));
          assert.is(state, 'clean-end');
        } finally {
          unmount();
        }
      });
    }
  }
}

test.run();
