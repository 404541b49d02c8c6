/** What only journals with segments do: rotation, limits, retention, recycling, marks. */
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { existsSync, mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { InvalidArgumentError, Journal, NotSupportedError, type JournalOptions } from 'tidemark';
import { until } from '../fault/tools.js';
import { MARK_FLAG } from '../internals.js';
import { basesIn, examine, framesOf, readSegments, segmentsIn, sparesIn } from '../segments.js';
import { ended, runModule, schedulerOf, temporaryDirectory, withJournal } from '../support.js';
import { frame, OVERHEAD, pattern } from './format.js';
import { assertRecords, availableBackends, failureOf, sameRecords, segmentsOf, snapshot, within } from './helpers.js';

const test = suite('segments');
const directory = temporaryDirectory();
const backends = await availableBackends();
const KIB = 1024;
const MIB = 1024 * KIB;
const SMALL = 64 * KIB;
/** What a segment of 64 KiB takes: all but its header, its footer, and a pad. */
const RANGE = SMALL - 4096 - 64 - 12;
const SOON_MS = 30_000;

let paths = 0;
const newPath = (): string => join(directory, `journal-${paths++}`);

function each(name: string, body: (options: JournalOptions, path: string) => Promise<void>): void {
  for (const backend of backends) {
    for (const direct of [true, false]) {
      const options: JournalOptions = { layout: 'segments', segmentBytes: SMALL, scheduler: schedulerOf(backend), direct };
      test(`${name} (${backend}, ${direct ? 'direct' : 'buffered'})`, () => within(body(options, newPath()), name));
    }
  }
}

/** Appends `count` records one after the other; answers the LSN after each. */
async function appendSome(journal: Journal, records: readonly Uint8Array[]): Promise<number[]> {
  const ends: number[] = [];
  for (const record of records) ends.push(await journal.append(record));
  return ends;
}

// ---- opening -------------------------------------------------------------------------------------------------------

each('a journal keeps its layout', async (options, path) => {
  await withJournal(`${path}-file`, { ...options, layout: 'file' }, (journal) => journal.append('hello'));
  await withJournal(path, options, (journal) => journal.append('hello'));
  const before = snapshot(directory);
  const asked = await failureOf(() => Journal.open(`${path}-file`, options));
  assert.instance(asked, InvalidArgumentError);
  assert.match(asked.message, new RegExp(`\`layout\`.+'file'.+${path}-file' is a file.+got 'segments'`));
  const other = await failureOf(() => Journal.open(path, { ...options, layout: 'file' }));
  assert.instance(other, InvalidArgumentError);
  assert.match(other.message, new RegExp(`\`layout\`.+'segments'.+${path}' is a directory.+got 'file'`));
  assert.equal(snapshot(directory), before);
  const { layout, scheduler } = options;
  assert.is(await withJournal(`${path}-file`, { scheduler: scheduler ?? schedulerOf('blocking') }, (journal) => Promise.resolve(journal.layout)), 'file');
  assert.is(await withJournal(path, { scheduler: scheduler ?? schedulerOf('blocking') }, (journal) => Promise.resolve(journal.layout)), layout);
});

each('a directory that is no journal is refused and left alone', async (options, path) => {
  const contents: readonly (readonly [name: string, fill: (home: string) => void])[] = [
    ['a text', (home) => { writeFileSync(join(home, 'text'), 'that nobody wants to lose'); }],
    ['a spare of somebody else', (home) => { writeFileSync(join(home, 'key.spare'), 'that nobody wants to lose'); }],
    ['a directory', (home) => { mkdirSync(join(home, 'inner')); }],
    ['a segment that is none', (home) => { writeFileSync(join(home, `${'0'.repeat(16)}.segment`), Buffer.alloc(SMALL, 1)); }],
    ['a journal of the other layout', (home) => { writeFileSync(join(home, 'journal'), frame('hello')); }],
  ];
  for (const [i, [name, fill]] of contents.entries()) {
    const home = `${path}-${i}`;
    mkdirSync(home);
    fill(home);
    const before = snapshot(home);
    const error = await failureOf(() => Journal.open(home, options));
    assert.ok(error.code === 'TIDEMARK_NOT_A_JOURNAL' || error.code === 'TIDEMARK_CORRUPT', `${name}: ${error.code}: ${error.message}`);
    assert.is(error['path'], home);
    assert.equal(snapshot(home), before, name);
  }
  const missing = await failureOf(() => Journal.open(`${path}-missing`, { ...options, create: false }));
  assert.is(missing.code, 'TIDEMARK_NOT_FOUND');
  assert.not.ok(existsSync(`${path}-missing`));
  mkdirSync(`${path}-empty`);
  assert.is((await failureOf(() => Journal.open(`${path}-empty`, { ...options, create: false }))).code, 'TIDEMARK_NOT_A_JOURNAL');
  await withJournal(`${path}-empty`, options, (journal) => journal.append('an empty directory may become one'));
});

each('the size of segments is the journal\'s own', async (options, path) => {
  await withJournal(path, { ...options, segmentBytes: 2 * SMALL }, (journal) => journal.append('hello'));
  await withJournal(path, options, (journal) => journal.append(pattern(1, SMALL)));
  for (const name of segmentsIn(path)) assert.is(statSync(join(path, name)).size, 2 * SMALL, name);
  await assertRecords(path, ['hello', pattern(1, SMALL)]);
});

each('advice is for journals of one file', async (options, path) => {
  await withJournal(path, options, async (journal) => {
    assert.instance(await failureOf(() => journal.advise('normal')), NotSupportedError);
  });
});

// ---- rotation and limits -------------------------------------------------------------------------------------------

each('hundreds of segments, every record read back', async (options, path) => {
  const records = Array.from({ length: 4000 }, (_, i) => pattern(i, (i * 7919) % 8000));
  let ends: number[] = [];
  await withJournal(path, options, async (journal) => {
    ends = await Promise.all(records.map((record) => journal.append(record)));
    assert.ok(segmentsOf(journal).segments > 200);
  });
  const found = await readSegments(path);
  sameRecords(found.map(({ payload }) => payload), records);
  assert.equal(found.map(({ end }) => end), ends);
  const bases = basesIn(path);
  assert.equal(bases, Array.from({ length: bases.length }, (_, i) => i * SMALL));
  assert.is(examine(path).kind, 'clean');
  await withJournal(path, options, async (journal) => {
    assert.equal([journal.openReport?.records, journal.openReport?.torn], [records.length, undefined]);
    await journal.append('goes on');
  });
  await assertRecords(path, [...records, 'goes on']);
});

each('the longest record, and one that is a byte longer', async (options, path) => {
  const whole = pattern(1, RANGE - OVERHEAD);
  await withJournal(path, options, async (journal) => {
    assert.is(await within(journal.append(whole), 'appending'), 4096 + RANGE);
    const before = journal.stats().pendingBytes === 0 ? journal.reservedLsn : 0;
    const longer = pattern(2, RANGE - OVERHEAD + 1);
    for (const attempt of [() => journal.append(longer), () => journal.submit(longer), () => journal.tryAppend(longer), () => journal.appendBatch([longer])]) {
      const error = await failureOf(attempt);
      assert.equal([error.code, error['path']], ['TIDEMARK_RECORD_TOO_LARGE', path]);
      assert.match(error.message, new RegExp(`${RANGE - OVERHEAD} bytes, got ${RANGE - OVERHEAD + 1}`));
    }
    if (before > 0) assert.is(journal.reservedLsn, before);
    await journal.append(whole);
    await journal.append('after');
  });
  await assertRecords(path, [whole, whole, 'after']);
  assert.is(examine(path).kind, 'clean');
});

each('a batch fits a segment or is refused', async (options, path) => {
  const half = pattern(1, RANGE / 2 - OVERHEAD);
  await withJournal(path, options, async (journal) => {
    const error = await failureOf(() => journal.appendBatch([half, half, '']));
    assert.equal([error.code, error['path']], ['TIDEMARK_RECORD_TOO_LARGE', path]);
    assert.match(error.message, `a batch of this journal has at most ${RANGE} bytes, frames included, got ${RANGE + OVERHEAD}`);
    assert.is(journal.reservedLsn, 4096);
    await within(journal.appendBatch([half, half]), 'appending');
    await journal.append('after');
  });
  await assertRecords(path, [half, half, 'after']);
});

each('frames that end near the end of a segment', async (options, path) => {
  const records: Buffer[] = [];
  await withJournal(path, options, async (journal) => {
    // Just enough is left for a pad, too little for a mark, too little for the rest of a sector.
    for (const left of [0, 1, 11, 12, 51, 52, 53, 63, 64, 65, 499, 500, 501, 4083, 4084, 4085]) {
      const record = pattern(left, RANGE - OVERHEAD - left);
      // Behind it this one fills the segment to its last byte, unless the writer came between.
      const rest = pattern(left, left);
      records.push(record, rest);
      await within(Promise.all([journal.append(record), journal.append(rest)]), `${left} bytes left`);
    }
  });
  await assertRecords(path, records);
  assert.is(examine(path).kind, 'clean');
});

each('opened and closed at every place of several segments', async (options, path) => {
  const records: Buffer[] = [];
  for (let i = 0; i < 50; i++) {
    const record = pattern(i, (i * 1237) % 5000);
    await withJournal(path, options, async (journal) => {
      assert.equal([journal.openReport?.records, journal.openReport?.torn], [i, undefined]);
      // Some are opened and closed without a record.
      if (i % 5 !== 4) await journal.append(record);
      else await journal.append(Buffer.alloc(0));
    });
    records.push(i % 5 !== 4 ? record : Buffer.alloc(0));
    await withJournal(path, options, () => Promise.resolve());
  }
  await assertRecords(path, records);
  assert.is(examine(path).kind, 'clean');
});

each('space is prepared in whole segments, whoever asks at the same time', async (options, path) => {
  await withJournal(path, options, async (journal) => {
    await within(Promise.all([journal.preallocate(3 * SMALL), journal.preallocate(5 * SMALL), journal.preallocate(1)]), 'preparing');
    const { segments, segmentsAhead, segmentsZeroed } = segmentsOf(journal);
    assert.ok(segmentsAhead >= 5 && segmentsAhead <= 6, `${segmentsAhead} ahead`);
    assert.equal([segments, segmentsZeroed], [segmentsAhead + 1, segmentsAhead]);
    assert.is(segmentsIn(path).length, segments);
    const records = Array.from({ length: 100 }, (_, i) => pattern(i, 10_000));
    await Promise.all(records.map((record) => journal.append(record)));
    await assertRecords(path, records);
  });
});

each('closing while space is being prepared', async (options, path) => {
  for (let i = 0; i < 5; i++) {
    const journal = await Journal.open(path, { ...options, segmentBytes: MIB });
    await journal.append(`life ${i}`);
    const prepared = journal.preallocate(20 * MIB);
    await new Promise((resolve) => setTimeout(resolve, i));
    await within(Promise.all([journal.close(), prepared]), 'closing');
  }
  await assertRecords(path, Array.from({ length: 5 }, (_, i) => `life ${i}`));
});

each('several writes are in flight, and the watermark moves over them in order', async (options, path) => {
  await withJournal(path, { ...options, segmentBytes: 16 * MIB, queueDepth: 8 }, async (journal) => {
    const records = Array.from({ length: 40 }, (_, i) => pattern(i, 250_000));
    let last = 0;
    const ends = await Promise.all(records.map(async (record) => {
      const end = await journal.append(record);
      assert.ok(end > last && journal.durableLsn >= end, 'in order');
      last = end;
      return end;
    }));
    assert.is(ends.length, 40);
    const { writes, bytesWritten } = journal.stats();
    assert.ok(writes >= 10 && bytesWritten >= 10_000_000, `${writes} writes`);
    await assertRecords(path, records);
  });
});

// ---- marks ---------------------------------------------------------------------------------------------------------

each('an idle journal proves its last record, and a closed one says so', async (options, path) => {
  await withJournal(path, options, async (journal) => {
    for (let i = 0; i < 3; i++) {
      const end = await journal.append(pattern(i, 700));
      await until('the proof', SOON_MS, () => {
        const verdict = examine(path);
        return verdict.kind === 'clean' && verdict.log.provenLsn >= end;
      });
    }
    const { marks } = journal.stats();
    await new Promise((resolve) => setTimeout(resolve, 300));
    assert.is(journal.stats().marks, marks, 'what is proven needs no further marks');
  });
  const verdict = examine(path);
  assert.ok(verdict.kind === 'clean');
  assert.is(verdict.log.closed, true);
  const marks = framesOf(path).filter((one) => one.kind === 'mark');
  assert.is((marks.at(-1)?.mark.flags ?? 0) & MARK_FLAG.closed, MARK_FLAG.closed);
  assert.equal(marks.map(({ mark }) => mark.number), marks.map((_, i) => i + 1), 'marks are numbered');
});

// ---- retention -----------------------------------------------------------------------------------------------------

/** About as much as a segment holds. */
const fill = (i: number): Buffer => pattern(i, 50_000);

each('retainSegments: so many full ones, spares that are used again', async (options, path) => {
  const inodes = new Set<number>();
  const count = 60;
  await withJournal(path, { ...options, retainSegments: 3, spareSegments: 2 }, async (journal) => {
    for (let i = 0; i < count; i++) {
      await journal.append(fill(i));
      for (const name of readdirSync(path)) {
        try {
          inodes.add(statSync(join(path, name)).ino);
        } catch {
          // It was renamed between the two.
        }
      }
    }
    await until('the last trim', SOON_MS, () => segmentsOf(journal).segmentsTrimmed === count - 4);
    assert.is(journal.firstLsn, (count - 4) * SMALL + 4096);
    await until('the next segment', SOON_MS, () => {
      const { segments, segmentsAhead, spareSegments } = segmentsOf(journal);
      // One that is being made has a spare's name meanwhile.
      return segmentsAhead > 0 && basesIn(path).length === segments && sparesIn(path).length === spareSegments;
    });
    const { segments, spareSegments, segmentsTrimmed, segmentsRecycled, segmentsAhead } = segmentsOf(journal);
    assert.equal(basesIn(path), Array.from({ length: segments }, (_, i) => (count - 4 + i) * SMALL));
    assert.is(segments, 3 + 1 + segmentsAhead);
    assert.is(segmentsTrimmed, count - 4);
    assert.ok(spareSegments <= 2);
    assert.ok(segmentsRecycled > count / 2, `${segmentsRecycled} were used again`);
    assert.ok(inodes.size < count / 2, `${inodes.size} files were made for ${count} segments`);
    const { durableLsn } = journal;
    assert.ok(durableLsn > count * SMALL - SMALL);
  });
  await assertRecords(path, [56, 57, 58, 59].map(fill));
  await withJournal(path, { ...options, spareSegments: 2 }, async (journal) => {
    assert.equal([journal.openReport?.records, journal.firstLsn], [4, 56 * SMALL + 4096]);
    await journal.append('after opening');
  });
  await assertRecords(path, [...[56, 57, 58, 59].map(fill), 'after opening']);
  assert.is(examine(path).kind, 'clean');
});

each('retainBytes: at least so much is left', async (options, path) => {
  const retainBytes = 5 * SMALL;
  await withJournal(path, { ...options, retainBytes, spareSegments: 0 }, async (journal) => {
    for (let i = 0; i < 30; i++) {
      await journal.append(fill(i));
      assert.ok(i < 6 || journal.durableLsn - (journal.firstLsn ?? 0) + 4096 >= retainBytes);
    }
    await until('the last trim', SOON_MS, () => journal.durableLsn - ((journal.firstLsn ?? 0) - 4096 + SMALL) < retainBytes);
    await until('its files to be gone', SOON_MS, () => basesIn(path)[0] === (journal.firstLsn ?? 0) - 4096 && sparesIn(path).length === 0);
  });
});

each('retainMs: what was filled long ago goes', async (options, path) => {
  const retainMs = 400;
  await withJournal(path, { ...options, retainMs }, async (journal) => {
    const begun = performance.now();
    for (let i = 0; i < 6; i++) await journal.append(fill(i));
    assert.ok(journal.firstLsn === 4096 || performance.now() - begun >= retainMs, 'nothing goes before it is that old');
    await until('the trim', SOON_MS, () => journal.firstLsn === 5 * SMALL + 4096 && basesIn(path)[0] === 5 * SMALL);
    await assertRecords(path, [fill(5)]);
  });
});

each('trimBefore: whole segments below the LSN, and nothing else', async (options, path) => {
  await withJournal(path, { ...options, spareSegments: 1 }, async (journal) => {
    const ends = await appendSome(journal, Array.from({ length: 10 }, (_, i) => fill(i)));
    await journal.trimBefore(0);
    await journal.trimBefore(ends[0] ?? 0);
    assert.is(journal.firstLsn, 4096);
    await journal.trimBefore(3 * SMALL - 1);
    assert.is(journal.firstLsn, 2 * SMALL + 4096);
    await Promise.all([journal.trimBefore(4 * SMALL), journal.trimBefore(3 * SMALL)]);
    assert.is(journal.firstLsn, 4 * SMALL + 4096);
    // A segment that is being made has such a name too.
    await until('one spare at most', SOON_MS, () => sparesIn(path).length <= 1);
    await journal.trimBefore(Number.MAX_SAFE_INTEGER);
    assert.is(journal.firstLsn, 9 * SMALL + 4096, 'what is being written stays');
    assert.is(basesIn(path)[0], 9 * SMALL);
    await journal.append('goes on');
    assert.is((await failureOf(() => Journal.attach(journal.share()).trimBefore(1))).code, 'TIDEMARK_NOT_SUPPORTED');
  });
  await assertRecords(path, [fill(9), 'goes on']);
  await withJournal(`${path}-file`, { ...options, layout: 'file' }, async (journal) => {
    assert.is((await failureOf(() => journal.trimBefore(1))).code, 'TIDEMARK_NOT_SUPPORTED');
  });
});

each('what was trimmed never comes back, also after SIGKILL', async (options, path) => {
  const child = runModule(`
    import { IoScheduler, Journal } from 'tidemark';
    const [path, json] = process.argv.slice(1);
    const journal = await Journal.open(path, JSON.parse(json));
    for (let i = 0; ; i++) {
      const record = Buffer.alloc(1 + (i * 7919) % 9000, i % 251);
      record.write(String(i).padStart(12, '0'));
      await Promise.all([journal.append(record.subarray(0, Math.max(12, record.length))), journal.append('x'.repeat(12))]);
      if (i === 1500) process.kill(process.pid, 'SIGKILL');
    }
  `, [path, JSON.stringify({ layout: 'segments', segmentBytes: SMALL, direct: options.direct, retainSegments: 2, spareSegments: 2 })],
    { TIDEMARK_BACKEND: (await (options.scheduler ?? schedulerOf('blocking')).backend()).kind });
  const { signal, stderr } = await within(ended(child), 'the process');
  assert.is(signal, 'SIGKILL', stderr);
  for (const life of ['killed', 'opened again']) {
    const numbers = (await readSegments(path)).map(({ payload }) => payload.subarray(0, 12).toString()).filter((text) => /^\d+$/.test(text)).map(Number);
    assert.equal(numbers, Array.from({ length: numbers.length }, (_, i) => (numbers[0] ?? 0) + i), life);
    assert.ok((numbers.at(-1) ?? 0) >= 1500, `up to ${numbers.at(-1)}`);
    if (life === 'killed') await withJournal(path, options, (journal) => journal.append('after'));
  }
});

// ---- channels ------------------------------------------------------------------------------------------------------

each('what happens to segments is told on channels', async (options, path) => {
  const told: Record<string, Record<string, unknown>[]> = { segment: [], trim: [] };
  const listeners = Object.keys(told).map((name) => [`tidemark:journal:${name}`, (message: unknown): void => {
    told[name]?.push(message as Record<string, unknown>);
  }] as const);
  for (const [name, listener] of listeners) subscribe(name, listener);
  try {
    await withJournal(path, { ...options, spareSegments: 1 }, async (journal) => {
      for (let i = 0; i < 5; i++) await journal.append(fill(i));
      await journal.trimBefore(3 * SMALL);
      for (let i = 0; i < 5; i++) await journal.append(fill(i));
      await until('a recycled segment', SOON_MS, () => segmentsOf(journal).segmentsRecycled > 0);
    });
  } finally {
    for (const [name, listener] of listeners) unsubscribe(name, listener);
  }
  assert.equal(told['trim'], [1, 2, 3].map((count) => ({ path, before: count * SMALL })));
  const segments = told['segment'] ?? [];
  assert.equal(segments.map(({ base }) => base), segments.map((_, i) => (i + 1) * SMALL));
  assert.ok(segments.every((one) => one['path'] === path));
  assert.ok(segments.some(({ origin }) => origin === 'recycled'));
});

test.run();
