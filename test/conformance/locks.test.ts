/** One writer, by whichever way it comes to the journal. What `errors.test.ts` has of links and processes is not repeated here. */
import { cpSync, existsSync, linkSync, mkdirSync, readdirSync, readFileSync, renameSync, symlinkSync } from 'node:fs';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Journal, type JournalOptions } from 'tidemark';
import { inMountNamespace, noMounts, skip } from '../fault/tools.js';
import { readBack } from '../segments.js';
import { schedulerOf, temporaryDirectory, withJournal } from '../support.js';
import { pattern } from './format.js';
import { failureOf, snapshot } from './helpers.js';

await inMountNamespace(import.meta.url);

const test = suite('locks');
const directory = temporaryDirectory();
const scheduler = schedulerOf('blocking');
const LAYOUTS: Readonly<Record<'file' | 'segments', JournalOptions>> = {
  file: { scheduler, layout: 'file', preallocate: 0, logBufferBytes: 64 * 1024 },
  segments: { scheduler, layout: 'segments', segmentBytes: 64 * 1024, logBufferBytes: 64 * 1024, newSegments: 'plain' },
};

let names = 0;
function newHome(): string {
  const home = join(directory, `${names++}`);
  mkdirSync(home);
  return home;
}

interface Way {
  readonly name: string;
  /** Another path to the journal in `home`; undefined where there is none in this layout. */
  readonly to: (home: string, layout: 'file' | 'segments') => string | undefined;
  readonly skipped?: string | undefined;
}

const WAYS: readonly Way[] = [
  { name: 'a link to a directory above it', to: (home) => {
    symlinkSync(home, join(home, 'up'));
    return join(home, 'up', 'journal');
  } },
  { name: 'the root of the process', to: (home) => `/proc/self/root${home}/journal` },
  { name: 'a trailing slash and dots', to: (home) => `${home}/./x/../journal/` },
  { name: 'a hard link', to: (home, layout) => {
    if (layout === 'segments') return undefined;
    linkSync(join(home, 'journal'), join(home, 'hard'));
    return join(home, 'hard');
  } },
  { name: 'a directory of hard links', to: (home, layout) => {
    if (layout === 'file') return undefined;
    mkdirSync(join(home, 'hard'));
    for (const name of readdirSync(join(home, 'journal'))) linkSync(join(home, 'journal', name), join(home, 'hard', name));
    return join(home, 'hard');
  } },
  { name: 'a bind mount', skipped: noMounts(), to: (home) => {
    mkdirSync(join(home, 'mount'));
    const { status, stderr } = spawnSync('mount', ['--bind', home, join(home, 'mount')], { encoding: 'utf8' });
    assert.is(status, 0, stderr);
    process.prependListener('exit', () => spawnSync('umount', ['-l', join(home, 'mount')]));
    return join(home, 'mount', 'journal');
  } },
  { name: 'its new name', to: (home) => {
    renameSync(join(home, 'journal'), join(home, 'moved'));
    return join(home, 'moved');
  } },
];

for (const [layout, options] of Object.entries(LAYOUTS) as ['file' | 'segments', JournalOptions][]) {
  for (const { name, to, skipped } of WAYS) {
    if (skipped !== undefined) {
      skip(`${name} (${layout})`, skipped);
      continue;
    }
    test(`${name} leads to the same lock (${layout})`, async () => {
      const home = newHome();
      const journal = await Journal.open(join(home, 'journal'), options);
      try {
        await journal.append('hello');
        const other = to(home, layout);
        if (other === undefined) return;
        for (const call of [() => Journal.open(other, options), () => Journal.repair(other, { scheduler })]) {
          const error = await failureOf(call);
          assert.equal([error.code, error['holderPid']], ['TIDEMARK_LOCKED', process.pid], error.message);
        }
      } finally {
        await journal.close();
      }
    });
  }

  test(`another thread of the process is refused (${layout})`, async () => {
    const path = join(newHome(), 'journal');
    await withJournal(path, options, async () => {
      const worker = new Worker(`
        const { parentPort, workerData } = require('node:worker_threads');
        import(workerData.library).then(({ Journal }) => Journal.open(workerData.path)).then(
          () => parentPort.postMessage(['opened']), ({ code, holderPid }) => parentPort.postMessage([code, holderPid]));
      `, { eval: true, workerData: { path, library: new URL('../../../dist/main/index.js', import.meta.url).href } });
      const answer = await new Promise((resolve, reject) => {
        worker.once('message', resolve);
        worker.once('error', reject);
      });
      await worker.terminate();
      assert.equal(answer, ['TIDEMARK_LOCKED', process.pid]);
    });
  });

  test(`a copy is a journal of its own, with the same records (${layout})`, async () => {
    const home = newHome();
    const [path, copy] = [join(home, 'journal'), join(home, 'copy')];
    await withJournal(path, options, (journal) => journal.append('both'));
    cpSync(path, copy, { recursive: true });
    await withJournal(path, options, async (one) => {
      await withJournal(copy, options, async (two) => {
        await one.append('one');
        await two.append('two');
      });
    });
    const textsOf = async (which: string): Promise<string[]> => (await readBack(which)).map(({ payload }) => payload.toString());
    assert.equal([await textsOf(path), await textsOf(copy)], [['both', 'one'], ['both', 'two']]);
  });
}

test('a journal whose directory was moved away leaves alone what has its name now', async () => {
  const home = newHome();
  const path = join(home, 'journal');
  const moved = await Journal.open(path, LAYOUTS.segments);
  await moved.append(pattern(1, 20_000));
  renameSync(path, join(home, 'moved'));
  await withJournal(path, LAYOUTS.segments, async (journal) => {
    for (let i = 0; i < 6; i++) await journal.append(pattern(i, 25_000));
  });
  const before = snapshot(path);
  const error = await failureOf(async () => {
    for (let i = 0; i < 10; i++) await moved.append(pattern(i, 25_000));
  });
  assert.equal([error.code, (error.cause as { code?: string } | undefined)?.code], ['TIDEMARK_POISONED', 'TIDEMARK_NOT_FOUND']);
  await moved.close();
  assert.equal(snapshot(path), before);
  assert.ok(existsSync(join(home, 'moved')) && readFileSync(join(home, 'moved', '0000000000000000.segment')).length === 64 * 1024);
  await withJournal(join(home, 'moved'), LAYOUTS.segments, (journal) => {
    assert.ok((journal.openReport?.records ?? 0) >= 1);
    return Promise.resolve();
  });
});

test.run();
