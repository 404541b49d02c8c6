/** Who may read what a journal makes: every file of it, under any umask. */
import { closeSync, openSync, readdirSync, readSync, statSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Journal, type JournalOptions } from 'tidemark';
import { FILE_BATCH_BYTES_MAX } from '../internals.js';
import { segmentsIn, sparesIn } from '../segments.js';
import { schedulerOf, temporaryDirectory, withJournal } from '../support.js';
import { frame, pattern } from './format.js';

const test = suite('permissions');
const directory = temporaryDirectory();
const scheduler = schedulerOf('blocking');
const SEGMENT = 64 * 1024;
const SEGMENTS: JournalOptions = { scheduler, segmentBytes: SEGMENT, logBufferBytes: 64 * 1024, spareSegments: 4, newSegments: 'plain' };
const FILE: JournalOptions = { scheduler, layout: 'file', preallocate: 0, logBufferBytes: 64 * 1024 };

let names = 0;
const newPath = (): string => join(directory, `journal-${names++}`);
const modeOf = (path: string): string => (statSync(path).mode & 0o777).toString(8);

async function underUmask<T>(umask: number, use: () => Promise<T>): Promise<T> {
  const before = process.umask(umask);
  try {
    return await use();
  } finally {
    process.umask(before);
  }
}

function overwrite(path: string, bytes: Uint8Array, offset: number): void {
  const descriptor = openSync(path, 'r+');
  writeSync(descriptor, bytes, 0, bytes.length, offset);
  closeSync(descriptor);
}

/** Every kind of file that a journal of segments has in its life: segments, spares, a torn tail, what repair replaced. */
async function liveThrough(path: string, options: JournalOptions, later: JournalOptions): Promise<void> {
  await withJournal(path, options, async (journal) => {
    for (let i = 0; i < 8; i++) await journal.append(pattern(i, 25_000));
    await journal.trimBefore(2 * SEGMENT);
  });
  // It ends with a mark that says it was closed, and a pad: then nothing is torn. Without them the last write may be.
  const last = join(path, segmentsIn(path).findLast((name) => dataIn(join(path, name))) ?? '');
  overwrite(last, Buffer.alloc(SEGMENT - 4096), 4096);
  overwrite(last, Buffer.from('46535902ff00000001', 'hex'), 4096);
  await withJournal(path, later, async (journal) => {
    assert.ok(journal.openReport?.torn, 'a torn tail');
    for (let i = 0; i < 6; i++) await journal.append(pattern(i, 25_000));
  });
  overwrite(join(path, segmentsIn(path)[0] ?? ''), Buffer.from('damage'), 5000);
  const report = await Journal.repair(path, { scheduler });
  assert.ok(report.repaired);
}

function dataIn(path: string): boolean {
  const descriptor = openSync(path, 'r');
  try {
    const bytes = Buffer.alloc(4);
    return readSync(descriptor, bytes, 0, 4, 4096) === 4 && bytes.some((byte) => byte !== 0);
  } finally {
    closeSync(descriptor);
  }
}

for (const umask of [0, 0o077]) {
  test(`every file of a journal of segments is its owner's alone, umask ${umask.toString(8)}`, async () => {
    const path = newPath();
    await underUmask(umask, () => liveThrough(path, SEGMENTS, SEGMENTS));
    assert.is(modeOf(path), '700');
    const files = readdirSync(path);
    for (const kind of ['.segment', '.torn-', '.damaged-']) assert.ok(files.some((name) => name.includes(kind)), `${kind} in ${files.join(' ')}`);
    for (const name of files) assert.is(modeOf(join(path, name)), '600', name);
  });

  test(`every file of a journal in one file is its owner's alone, umask ${umask.toString(8)}`, async () => {
    const path = newPath();
    await underUmask(umask, async () => {
      await withJournal(path, FILE, (journal) => journal.append('hello'));
      overwrite(path, frame('torn').subarray(0, 9), 17);
      await withJournal(path, FILE, async (journal) => {
        assert.is(journal.openReport?.torn?.keptAs, `${path}.torn-17`);
        for (let i = 0; i < 3; i++) await journal.append(pattern(i, FILE_BATCH_BYTES_MAX / 2));
        await journal.append('behind it');
      });
      overwrite(path, Buffer.from('damage'), 30);
      assert.is((await Journal.repair(path, { scheduler })).ranges[0]?.keptAs, `${path}.damaged-17`);
    });
    for (const file of [path, `${path}.torn-17`, `${path}.damaged-17`]) assert.is(modeOf(file), '600', file);
  });
}

test('spares are as private as segments', async () => {
  const path = newPath();
  await underUmask(0, () => withJournal(path, SEGMENTS, async (journal) => {
    for (let i = 0; i < 10; i++) await journal.append(pattern(i, 25_000));
    await journal.trimBefore(3 * SEGMENT);
    assert.ok(sparesIn(path).length > 0);
    for (const name of sparesIn(path)) assert.is(modeOf(join(path, name)), '600', name);
  }));
});

test('a copy is no more readable than the journal, whatever opening would allow', async () => {
  const path = newPath();
  await underUmask(0, () => liveThrough(path, SEGMENTS, { ...SEGMENTS, mode: 0o644 }));
  for (const name of readdirSync(path)) if (/\.(torn|damaged)-/.test(name)) assert.is(modeOf(join(path, name)), '600', name);
});

test('the umask takes bits away, the mode that was asked for is not exceeded', async () => {
  for (const [umask, mode, fileMode, directoryMode] of [[0, 0o640, '640', '750'], [0o027, 0o666, '640', '750'], [0o077, 0o666, '600', '700']] as const) {
    const path = newPath();
    await underUmask(umask, () => withJournal(path, { ...SEGMENTS, mode }, (journal) => journal.append('hello')));
    assert.is(modeOf(path), directoryMode);
    for (const name of readdirSync(path)) assert.is(modeOf(join(path, name)), fileMode, name);
  }
});

test.run();
