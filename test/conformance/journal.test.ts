/** What every journal does, whichever layout it has. What only one of them does is tested in `file-format` and `segments`. */
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { suite, type Callback } from 'uvu';
import * as assert from 'uvu/assert';
import { IoScheduler, Journal, JournalReader, type JournalOptions, type Layout } from 'tidemark';
import { readBack } from '../segments.js';
import { ended, runModule, schedulerOf, temporaryDirectory, withJournal } from '../support.js';
import type { AppendData, AppendReport } from './append-worker.js';
import { endsOf, frame, OVERHEAD, pattern } from './format.js';
import { availableBackends, failureOf, readJournal, sameBytes, sameRecords, within } from './helpers.js';
import { threadRecord } from './thread-record.js';

const test = suite('the journal');
const directory = temporaryDirectory();
const backends = await availableBackends();
const KIB = 1024;
const MIB = 1024 * KIB;

let files = 0;
const newPath = (): string => join(directory, `journal-${files++}`);

interface LayoutUnderTest {
  readonly layout: Layout;
  readonly options: JournalOptions;
  /** LSN of a new journal's first record. */
  readonly first: number;
}

const FILE: LayoutUnderTest = { layout: 'file', options: { layout: 'file', preallocate: 0 }, first: 0 };
/** Small segments, so that the log goes from one to the next all the time. */
const SEGMENTS: LayoutUnderTest = { layout: 'segments', options: { layout: 'segments', segmentBytes: MIB }, first: 4096 };
const LAYOUTS = [FILE, SEGMENTS];
/** For tests of large records. Only journals with segments look at it. */
const LARGE_SEGMENTS: JournalOptions = { segmentBytes: 8 * MIB };

type Body = (options: JournalOptions, path: string, under: LayoutUnderTest) => Promise<void>;

/** A test per layout and backend, direct and buffered. */
function each(name: string, body: Body, layouts = LAYOUTS): void {
  for (const under of layouts) {
    for (const backend of backends) {
      for (const direct of [true, false]) {
        const run: Callback = () => within(body({ scheduler: schedulerOf(backend), direct, ...under.options }, newPath(), under), name);
        test(`${name} (${under.layout}, ${backend}, ${direct ? 'direct' : 'buffered'})`, run);
      }
    }
  }
}

/** Holds what is on disk against the records, and against the LSNs that appending answered. */
async function assertLog(path: string, { layout }: LayoutUnderTest, records: readonly (string | Uint8Array)[], ends?: readonly number[]): Promise<void> {
  const found = await readBack(path);
  sameRecords(found.map(({ payload }) => payload), records);
  const foundEnds = found.map(({ end }) => end);
  if (ends !== undefined) assert.equal(ends, foundEnds, 'the LSNs that were answered');
  if (layout === 'file') assert.equal(foundEnds, endsOf(records));
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await turn();
}

/** What promises resolved with, all of which had to. */
function valuesOf<T>(settled: readonly PromiseSettledResult<T>[]): T[] {
  return settled.map((result) => {
    if (result.status === 'rejected') throw result.reason;
    return result.value;
  });
}

// ---- appending -----------------------------------------------------------------------------------------------------

each('append answers the LSN after the record, durable', async (options, path, under) => {
  const records = ['hello', '', pattern(1, 600)];
  const ends: number[] = [];
  await withJournal(path, options, async (journal) => {
    assert.equal([journal.path, journal.ack, journal.layout], [path, 'durable', under.layout]);
    assert.equal([journal.durableLsn, journal.reservedLsn, journal.firstLsn], [under.first, under.first, under.first]);
    for (const record of records) {
      const end = await journal.append(record);
      assert.ok(journal.durableLsn >= end && journal.reservedLsn >= end);
      ends.push(end);
    }
    assert.ok(ends[0] === under.first + 5 + OVERHEAD && ends.every((end, i) => i === 0 || end > (ends[i - 1] ?? 0)));
    if (under.layout === 'file') assert.equal([journal.durableLsn, journal.reservedLsn], [ends[2], ends[2]]);
  });
  await assertLog(path, under, records, ends);
});

each('a journal goes on where it was closed', async (options, path, under) => {
  const records: Buffer[] = [];
  const ends: number[] = [];
  for (const length of [0, 100, 372, 0, 500, 3571, 4084, 499, 1, 65_536]) {
    await withJournal(path, options, async (journal) => {
      const { created, records: found, torn } = journal.openReport ?? {};
      assert.equal([created, found, torn], [records.length === 0, records.length, undefined]);
      assert.ok(journal.durableLsn >= (ends.at(-1) ?? under.first));
      const record = pattern(records.length, length);
      ends.push(await journal.append(record));
      records.push(record);
    });
  }
  await assertLog(path, under, records, ends);
});

each('direct IO is active where it was asked for and can be, and says why', async (options, path) => {
  await withJournal(path, options, (journal) => {
    if (options.direct !== true) assert.equal([journal.directActive, journal.directReason], [false, 'direct IO was not asked for']);
    else assert.match(journal.directReason, journal.directActive ? /sectors of \d+ bytes/ : /./);
    assert.is(journal.backend.reason, 'it was asked for');
    return Promise.resolve();
  });
});

each('what one thread appends stays in order, whichever way and however large', async (options, path, under) => {
  const small = (i: number): Buffer => pattern(i, 50 + i);
  const records: Buffer[] = [small(0), small(1), small(2), small(3), pattern(4, 200 * KIB), small(5), small(6), pattern(7, 64 * KIB), small(8), pattern(9, 65 * KIB), small(10)];
  const at = (i: number): Buffer => records[i] ?? Buffer.alloc(0);
  await withJournal(path, { ...options, logBufferBytes: 64 * KIB }, async (journal) => {
    const ends = await Promise.all([
      journal.append(at(0)),
      journal.submit(at(1)).then(({ durable }) => durable),
      journal.appendBatch([at(2), at(3), at(4)]),
      journal.append(at(5)),
      journal.submit(at(6)).then(({ durable }) => durable),
      journal.append(at(7)),
      journal.appendBatch([at(8), at(9)]),
      journal.append(at(10)),
    ]);
    const expected = (await readBack(path)).map(({ end }) => end);
    assert.equal(ends, [0, 1, 4, 5, 6, 7, 9, 10].map((i) => expected[i]));
  });
  await assertLog(path, under, records);
});

const BUFFER = 64 * KIB;
for (const length of [BUFFER - OVERHEAD - 4096, BUFFER - OVERHEAD - 1, BUFFER - OVERHEAD, BUFFER - OVERHEAD + 1, MIB, 5 * MIB]) {
  each(`records of ${length} bytes through a log buffer of ${BUFFER}`, async (options, path, under) => {
    const records = ['hello', pattern(1, length), 'between', pattern(2, length), 'after'];
    let ends: number[] = [];
    await withJournal(path, { ...options, ...LARGE_SEGMENTS, logBufferBytes: BUFFER }, async (journal) => {
      ends = await within(Promise.all(records.map((record) => journal.append(record))), 'appending');
      assert.ok(journal.durableLsn >= (ends.at(-1) ?? Infinity));
    });
    await assertLog(path, under, records, ends);
  });
}

each('a large text is one record', async (options, path, under) => {
  const text = 'grüße 🌊 '.repeat(20_000);
  await withJournal(path, { ...options, logBufferBytes: BUFFER }, (journal) => Promise.all([journal.append(text), journal.append('after')]));
  await assertLog(path, under, [text, 'after']);
});

each('batches lie in one piece, also those larger than the log buffer', async (options, path, under) => {
  const batches = [3, 100, 1, 200, 40].map((count, batch) => Array.from({ length: count }, (_, i) => pattern(batch * 1000 + i, 1500)));
  await withJournal(path, { ...options, logBufferBytes: BUFFER }, async (journal) => {
    assert.is(await journal.appendBatch([]), under.first);
    const ends = await within(Promise.all(batches.map((batch) => journal.appendBatch(batch))), 'appending batches');
    const found = await readBack(path);
    let next = 0;
    batches.forEach((batch, i) => {
      const piece = found.slice(next, next += batch.length);
      assert.is(piece.at(-1)?.end, ends[i]);
      piece.forEach(({ start }, j) => {
        if (j > 0) assert.is(start, piece[j - 1]?.end, 'nothing lies between the records of a batch');
      });
    });
    assert.ok(await journal.appendBatch([]) >= (ends.at(-1) ?? Infinity));
  });
  await assertLog(path, under, batches.flat());
});

each('thousands of appends from one memory, far more than there is room for', async (options, path, under) => {
  const memory = Buffer.alloc(1000);
  let ends: number[] = [];
  const expected: Buffer[] = [];
  await withJournal(path, { ...options, logBufferBytes: BUFFER }, async (journal) => {
    const appends: Promise<number>[] = [];
    for (let i = 0; i < 5000; i++) {
      const record = memory.subarray(0, (i * 7) % 1000);
      pattern(i, record.length).copy(record);
      expected.push(Buffer.from(record));
      appends.push(journal.append(record));
    }
    memory.fill(0xff);
    const { queuedRecords, queuedBytes } = journal.stats();
    assert.ok(queuedRecords > 0 && queuedBytes > 0, 'they did not all find room');
    ends = await within(Promise.all(appends), 'appending');
    assert.equal([journal.stats().queuedRecords, journal.stats().queuedBytes, journal.stats().waiters], [0, 0, 0]);
  });
  await assertLog(path, under, expected, ends);
});

each('a full queue throws where that was asked for', async (options, path, under) => {
  const large = pattern(1, 2 * BUFFER);
  await withJournal(path, { ...options, logBufferBytes: BUFFER, queueBytesMax: large.length, whenQueueFull: 'throw' }, async (journal) => {
    // Larger than the log buffer: it waits in the queue whatever the disk does.
    const first = journal.append(large);
    assert.equal([journal.stats().queuedRecords, journal.stats().queuedBytes], [1, large.length]);
    for (const attempt of [() => journal.append('x'), () => journal.appendBatch(['x']), () => journal.submit('x')]) {
      const error = await failureOf(attempt);
      assert.equal([error.code, error['path']], ['TIDEMARK_QUEUE_FULL', path]);
      assert.match(error.message, String(large.length));
    }
    assert.is(journal.tryAppend('x'), undefined);
    const ends = [await first, await journal.append('x')];
    await assertLog(path, under, [large, 'x'], ends);
  });
});

each('beyond the queue\'s limit appends wait, uncopied and in order', async (options, path, under) => {
  const records = [pattern(1, 2 * BUFFER), pattern(2, 100), pattern(3, BUFFER), 'text'];
  await withJournal(path, { ...options, logBufferBytes: BUFFER, queueBytesMax: 2 * BUFFER }, async (journal) => {
    const appends = records.map((record) => journal.append(record));
    assert.equal([journal.stats().queuedRecords, journal.stats().queuedBytes], [4, 2 * BUFFER]);
    await assertLog(path, under, records, await within(Promise.all(appends), 'appending'));
  });
});

each('tryAppend never waits', async (options, path, { first }) => {
  const record = pattern(1, 1000);
  let count = 0;
  await withJournal(path, { ...options, logBufferBytes: BUFFER, groupCommitWindow: 200_000 }, async (journal) => {
    for (let end: number | undefined = first; end !== undefined; end = journal.tryAppend(record)) assert.is(end, first + 1012 * count++);
    count--;
    assert.is(count, Math.floor(BUFFER / 1012), 'the log buffer was full');
    await within(journal.syncThrough(first + 1012 * count), 'syncing');
    assert.ok(journal.durableLsn >= first + 1012 * count);
    assert.ok((journal.tryAppend('room') ?? 0) >= first + 1012 * count + 16, 'again');
    assert.is((await failureOf(() => journal.tryAppend(Buffer.alloc(BUFFER - OVERHEAD + 1)))).code, 'TIDEMARK_RECORD_TOO_LARGE');
  });
  const records = await readBack(path);
  assert.is(records.length, count + 1);
  sameRecords(records.slice(-1).map(({ payload }) => payload), ['room']);
});

each('submit answers the place at once, then each level', async (options, path, under) => {
  await withJournal(path, { ...options, groupCommitWindow: 100_000 }, async (journal) => {
    const first = await journal.append('first');
    const { start, end, written, durable } = await journal.submit('hello');
    assert.ok(start >= first && end === start + 17);
    assert.ok(journal.durableLsn <= start && journal.reservedLsn >= end, 'not yet durable');
    assert.is(await written, end);
    assert.ok(journal.stats().writtenLsn >= end);
    assert.is(await durable, end);
    assert.ok(journal.durableLsn >= end);
    await assertLog(path, under, ['first', 'hello'], [first, end]);
  });
});

each('ack levels: what append waits for', async (options, path, under) => {
  for (const ack of ['buffered', 'written', 'durable'] as const) {
    await withJournal(`${path}-${ack}`, { ...options, ack, groupCommitWindow: 100_000 }, async (journal) => {
      assert.is(journal.ack, ack);
      assert.is(await journal.append('hello'), under.first + 17);
      const { writtenLsn, durableLsn } = journal.stats();
      if (ack === 'buffered') assert.equal([writtenLsn, durableLsn], [under.first, under.first]);
      else assert.ok((ack === 'written' ? writtenLsn : durableLsn) >= under.first + 17);
      const end = await journal.appendBatch(['a', 'b']);
      if (ack === 'durable') assert.ok(journal.durableLsn >= end);
    });
    await assertLog(`${path}-${ack}`, under, ['hello', 'a', 'b']);
  }
});

each('syncThrough waits for exactly what was asked', async (options, path, under) => {
  await withJournal(path, { ...options, ack: 'buffered' }, async (journal) => {
    await journal.syncThrough(0);
    const ends = [];
    for (let i = 0; i < 100; i++) ends.push(await journal.append(pattern(i, 500)));
    for (const lsn of [ends[10], ends[50], (ends[60] ?? 0) - 5, ends[99]]) {
      await within(journal.syncThrough(lsn ?? 0), 'syncing');
      assert.ok(journal.durableLsn >= (lsn ?? 0));
    }
    if (under.layout === 'file') assert.is(journal.durableLsn, journal.reservedLsn);
    await journal.syncThrough(journal.durableLsn);
  });
});

each('a commit window collects what comes in the meantime', async (options, path, { layout }) => {
  const count = 20;
  await withJournal(`${path}-window`, { ...options, groupCommitWindow: 300_000 }, async (journal) => {
    const appends: Promise<number>[] = [];
    for (let i = 0; i < count; i++) {
      appends.push(journal.append('hello'));
      await turn();
    }
    await Promise.all(appends);
    const { batches, batchBytesMax } = journal.stats();
    assert.is(batches, 1);
    if (layout === 'file') assert.is(batchBytesMax, 17 * count);
  });
  await withJournal(`${path}-none`, options, async (journal) => {
    for (let i = 0; i < count; i++) await journal.append('hello');
    const { batches, batchBytesMax } = journal.stats();
    assert.ok(batches >= count);
    if (layout === 'file') assert.equal([batches, batchBytesMax], [count, 17]);
  });
});

each('statistics tell what was done', async (options, path, { layout, first }) => {
  await withJournal(path, options, async (journal) => {
    const { segments, reservedLsn, writtenLsn, durableLsn, ...counters } = journal.stats();
    for (const [name, value] of Object.entries(counters)) assert.is(value, 0, name);
    assert.equal([reservedLsn, writtenLsn, durableLsn, segments?.segments], [first, first, first, layout === 'file' ? undefined : 1]);
    let end = first;
    for (let i = 0; i < 5; i++) end = await journal.append(pattern(i, 1000));
    const { batches, writes, syncs, bytesWritten, bytesPrepared, batchBytesMax, ...rest } = journal.stats();
    if (layout === 'file') assert.equal([batches, writes, syncs, bytesPrepared, batchBytesMax, end], [5, 5, 5, 0, 1012, 5060]);
    assert.ok(batches >= 5 && writes >= 5 && syncs >= 5);
    assert.ok(bytesWritten >= 5060 && (journal.directActive || layout === 'segments' || bytesWritten === 5060), `${bytesWritten} bytes were written`);
    assert.ok(rest.syncLatencyNsLast > 0 && rest.syncLatencyNsMax >= rest.syncLatencyNsLast && rest.syncLatencyNsTotal >= rest.syncLatencyNsMax);
    assert.ok(rest.reservedLsn >= end && rest.writtenLsn >= end && rest.durableLsn >= end);
    if (layout === 'file') assert.equal([rest.reservedLsn, rest.writtenLsn, rest.durableLsn, rest.pendingBytes], [end, end, end, 0]);
    assert.is(rest.waiters, 0);
    const before = journal.reservedLsn;
    const append = journal.append('hello');
    assert.is(journal.stats().waiters, 1);
    assert.ok(journal.reservedLsn >= before + 17);
    await append;
  });
});

each('appends of one turn share batches', async (options, path) => {
  await withJournal(path, options, async (journal) => {
    await Promise.all(Array.from({ length: 1000 }, () => journal.append('hello')));
    assert.ok(journal.stats().batches < 500, `${journal.stats().batches} batches`);
  });
});

// ---- space and advice ----------------------------------------------------------------------------------------------

each('preallocate prepares space, and appends go into it', async (options, path) => {
  await withJournal(path, options, async (journal) => {
    await journal.append('hello');
    await within(journal.preallocate(3 * MIB), 'preparing');
    assert.ok(statSync(path).size >= 17 + 3 * MIB);
    assert.ok(journal.stats().bytesPrepared >= 3 * MIB);
    const prepared = journal.stats().bytesPrepared;
    await within(journal.preallocate(1), 'preparing what is there');
    assert.is(journal.stats().bytesPrepared, prepared);
    const records = Array.from({ length: 100 }, (_, i) => pattern(i, 10_000));
    await Promise.all(records.map((record) => journal.append(record)));
    assert.is(journal.stats().batchesBeyondPrepared, 1, 'only the first append came before the space');
    sameRecords((await readJournal(path)).records, ['hello', ...records]);
  });
  assert.is(statSync(path).size, 17 + 100 * 10_012);
}, [FILE]);

each('space is prepared while appends go on', async (options, path, under) => {
  const records = Array.from({ length: 2000 }, (_, i) => pattern(i, 3000));
  await withJournal(path, { ...options, preallocate: 4 * MIB }, async (journal) => {
    for (let i = 0; i < records.length; i += 100) await Promise.all(records.slice(i, i + 100).map((record) => journal.append(record)));
    await until(() => {
      const { bytesPrepared, segments } = journal.stats();
      return bytesPrepared > 0 || (segments?.segmentsAhead ?? 0) > 0;
    });
  });
  await assertLog(path, under, records);
});

each('advice of every kind is taken', async (options, path) => {
  await withJournal(path, options, async (journal) => {
    await journal.append('hello');
    for (const advice of ['normal', 'sequential', 'random', 'willNeed', 'dontNeed', 'noReuse'] as const) {
      await journal.advise(advice);
      await journal.advise(advice, { offset: 0, bytes: 17 });
    }
  });
}, [FILE]);

// ---- threads -------------------------------------------------------------------------------------------------------

each('threads append to one journal: each record once, in its thread\'s order, where it was acknowledged', async (options, path, under) => {
  const threads = 3;
  const records = 1000;
  const ends: (readonly number[])[] = [];
  await withJournal(path, { ...options, logBufferBytes: BUFFER }, async (journal) => {
    const handle = journal.share();
    const workers = Array.from({ length: threads }, (_, thread) =>
      new Worker(new URL('./append-worker.js', import.meta.url), { workerData: { handle, thread, records } satisfies AppendData }));
    const reports = Promise.all(workers.map((worker) => new Promise<AppendReport>((resolve, reject) => {
      worker.once('message', resolve);
      worker.once('error', reject);
    })));
    const mine: Promise<number>[] = [];
    for (let i = 0; i < records; i++) {
      mine.push(journal.append(threadRecord(threads, i)));
      if (i % 50 === 0) await turn();
    }
    for (const report of await within(reports, 'the threads')) {
      const { ends: theirs, ...rest } = report;
      assert.equal(rest, {
        backend: journal.backend.kind, directActive: journal.directActive, openReport: undefined,
        refused: 'TIDEMARK_NOT_SUPPORTED', afterClose: 'TIDEMARK_CLOSED',
      });
      ends.push(theirs);
    }
    ends.push(await Promise.all(mine));
    if (under.layout === 'file') assert.is(journal.durableLsn, journal.reservedLsn);
  });
  const found = await readBack(path);
  assert.is(found.length, (threads + 1) * records);
  const next = new Array<number>(threads + 1).fill(0);
  found.forEach(({ payload: record, start }) => {
    const thread = record.readUInt32LE(0);
    const index = next[thread] ?? -1;
    assert.ok(record.equals(threadRecord(thread, index)), `record ${index} of thread ${thread}`);
    assert.is(start + record.length + OVERHEAD, ends[thread]?.[index], 'the LSN it was acknowledged with');
    next[thread] = index + 1;
  });
  if (under.layout === 'segments') return;
  const reader = await JournalReader.open(path);
  for (const [thread, index] of [[0, 0], [1, 500], [threads, records - 1]] as const) {
    const record = threadRecord(thread, index);
    const end = ends[thread]?.[index] ?? 0;
    const read = await reader.readAt(end - record.length - OVERHEAD);
    assert.equal([read.start, read.end], [end - record.length - OVERHEAD, end]);
    sameBytes(read.payload, record, 'the record read at its LSN');
  }
  await reader.close();
});

each('no more than 64 producers, and a place that is given back is free', async (options, path) => {
  await withJournal(path, options, async (journal) => {
    const attached = Array.from({ length: 63 }, () => Journal.attach(journal.share()));
    const error = await failureOf(() => Journal.attach(journal.share()));
    assert.equal([error.code, error['path']], ['TIDEMARK_TOO_MANY_PRODUCERS', path]);
    await Promise.all(attached.map((one, i) => one.append(String(i))));
    await attached[7]?.close();
    const again = Journal.attach(journal.share());
    await again.append('again');
    await Promise.all([again, ...attached].map((one) => one.close()));
  });
  const records = await readBack(path);
  assert.equal(records.map(({ payload }) => payload.toString()), [...Array.from({ length: 63 }, (_, i) => String(i)), 'again']);
});

each('an attached journal closes alone, and ends with its owner', async (options, path, under) => {
  const ends: number[] = [];
  await withJournal(path, options, async (journal) => {
    const attached = Journal.attach(journal.share());
    const append = attached.append('from there');
    await attached.close();
    ends.push(await append, await journal.append('still here'));
    const other = Journal.attach(journal.share());
    await journal.close();
    assert.is((await failureOf(() => other.append('too late'))).code, 'TIDEMARK_CLOSED');
    assert.is((await failureOf(() => other.tryAppend('too late'))).code, 'TIDEMARK_CLOSED');
    await within(other.close(), 'closing behind the owner');
  });
  await assertLog(path, under, ['from there', 'still here'], ends);
});

each('more journals on one scheduler than a ring has registered files', async (options, path, under) => {
  const journals = await Promise.all(Array.from({ length: 20 }, (_, i) => Journal.open(`${path}-${i}`, { ...options, logBufferBytes: BUFFER })));
  await Promise.all(journals.flatMap((journal, i) => [journal.append(pattern(i, 700)), journal.append('hello')]));
  await Promise.all(journals.map((journal) => journal.close()));
  for (const [i, { path: file }] of journals.entries()) {
    await assertLog(file, under, [pattern(i, 700), 'hello']);
    if (under.layout === 'file') sameBytes(readFileSync(file), Buffer.concat([frame(pattern(i, 700)), frame('hello')]), `journal ${i}`);
  }
});

// ---- following -----------------------------------------------------------------------------------------------------

each('follow gives what is there, then what comes, in order and durable', async (options, path) => {
  const records = Array.from({ length: 600 }, (_, i) => pattern(i, (i * 37) % 900));
  const journal = await Journal.open(path, options);
  await Promise.all(records.slice(0, 200).map((record) => journal.append(record)));
  const seen: Buffer[] = [];
  const follower = (async () => {
    for await (const { end, payload } of journal.follow()) {
      assert.ok(end <= journal.durableLsn);
      seen.push(Buffer.from(payload));
    }
  })();
  for (let i = 200; i < 600; i += 50) {
    void Promise.all(records.slice(i, i + 50).map((record) => journal.append(record)));
    if (i === 400) await until(() => seen.length === 450);
  }
  await until(() => seen.length === 600);
  await journal.close();
  await within(follower, 'following a journal that is closed');
  sameRecords(seen, records);
}, [FILE]);

each('follow begins where it is told, and several may follow', async (options, path) => {
  const records = ['a', 'b', 'c', 'd'];
  const journal = await Journal.open(path, options);
  await journal.appendBatch(records.slice(0, 3));
  const followers = [0, 13, 39, 52].map(async (from) => {
    const seen: string[] = [];
    for await (const { payload } of journal.follow({ from })) {
      seen.push(Buffer.from(payload).toString());
      if (seen.at(-1) === 'd') break;
    }
    return seen;
  });
  // The last follower waits beyond the end of what is there.
  await journal.append('d');
  const expected = [records, records.slice(1), records.slice(3)];
  assert.equal(await within(Promise.all(followers.slice(0, 3)), 'following'), expected);
  await journal.close();
  assert.equal(await within(Promise.resolve(followers[3]), 'following'), []);
}, [FILE]);

each('an aborted follower throws the reason', async (options, path) => {
  await withJournal(path, options, async (journal) => {
    await journal.append('hello');
    const follow = async (signal: AbortSignal, onRecord: () => void): Promise<void> => {
      for await (const record of journal.follow({ signal })) {
        assert.is(record.end, 17);
        onRecord();
      }
    };
    const reason = new Error('enough');
    const caught = (promise: Promise<void>): Promise<unknown> => within(promise.then(() => 'no error', (error: unknown) => error), 'an aborted follower');
    assert.is(await caught(follow(AbortSignal.abort(reason), () => undefined)), reason, 'aborted before');
    const during = new AbortController();
    assert.is(await caught(follow(during.signal, () => {
      during.abort(reason);
    })), reason, 'aborted at a record');
    const waiting = new AbortController();
    const waiter = follow(waiting.signal, () => {
      // The follower takes this record and then waits for the next one.
      setImmediate(() => {
        waiting.abort(reason);
      });
    });
    assert.is(await caught(waiter), reason, 'aborted while it waited');
    assert.is(await journal.append('goes on'), 36);
  });
}, [FILE]);

each('a follower sees all that closing makes durable', async (options, path) => {
  const journal = await Journal.open(path, options);
  const seen: number[] = [];
  const follower = (async () => {
    for await (const { end } of journal.follow()) seen.push(end);
  })();
  await journal.append('first');
  await until(() => seen.length === 1);
  const appends = Array.from({ length: 3000 }, () => journal.append(Buffer.alloc(1000)));
  const closed = journal.close();
  await within(Promise.allSettled(appends), 'appending');
  await closed;
  await within(follower, 'following a journal that is closed');
  assert.is(seen.length, 3001);
  assert.is(seen.at(-1), journal.durableLsn);
}, [FILE]);

// ---- the end -------------------------------------------------------------------------------------------------------

each('close makes everything appended durable first', async (options, path, under) => {
  for (const ack of ['durable', 'written', 'buffered'] as const) {
    const records = [...Array.from({ length: 300 }, (_, i) => pattern(i, 900)), pattern(1000, 3 * BUFFER), 'last'];
    const journal = await Journal.open(`${path}-${ack}`, { ...options, ack, logBufferBytes: BUFFER });
    const appends = Promise.allSettled(records.map((record) => journal.append(record)));
    await within(journal.close(), 'closing');
    await assertLog(`${path}-${ack}`, under, records, valuesOf(await within(appends, 'appends before the end')));
    assert.is(journal.durableLsn, journal.reservedLsn);
    if (under.layout === 'file') assert.is(journal.durableLsn, endsOf(records).at(-1));
  }
});

each('a large record that another thread is copying is finished when the owner closes', async (options, path, under) => {
  const journal = await Journal.open(path, { ...options, ...LARGE_SEGMENTS, logBufferBytes: BUFFER });
  const attached = Journal.attach(journal.share());
  const large = pattern(1, 5 * MIB);
  const append = Promise.allSettled([attached.append(large)]);
  const behind = failureOf(() => attached.append(pattern(2, 5 * MIB)));
  await until(() => journal.reservedLsn > under.first);
  await within(journal.close(), 'closing');
  assert.equal(await within(append, 'the large record'), [{ status: 'fulfilled', value: under.first + large.length + OVERHEAD }]);
  assert.is((await behind).code, 'TIDEMARK_CLOSED', 'what had no place in the log yet');
  await within(attached.close(), 'detaching');
  await assertLog(path, under, [large]);
});

each('submissions and syncs that are pending at the end are kept', async (options, path) => {
  const journal = await Journal.open(path, { ...options, groupCommitWindow: 20_000 });
  const { end, written, durable } = await journal.submit('hello');
  const synced = journal.syncThrough(end);
  await within(journal.close(), 'closing');
  assert.equal(await within(Promise.all([written, durable, synced]), 'what was pending'), [end, end, undefined]);
});

each('close may be called again, and disposing closes', async (options, path, under) => {
  const journal = await Journal.open(path, options);
  await journal.append('hello');
  await Promise.all([journal.close(), journal.close(), journal[Symbol.asyncDispose]()]);
  await journal.close();
  const again = await Journal.open(path, options);
  await again[Symbol.asyncDispose]();
  assert.is((await failureOf(() => again.append('x'))).code, 'TIDEMARK_CLOSED');
  await assertLog(path, under, ['hello']);
});

for (const under of LAYOUTS) {
  for (const backend of backends) {
    test(`a process ends by itself once its appends are durable (${under.layout}, ${backend})`, async () => {
      // Several, for what a thread is doing when its process ends is a matter of chance.
      await Promise.all(Array.from({ length: 8 }, async () => {
        const path = newPath();
        const child = runModule(`
          import { Journal } from 'tidemark';
          const options = JSON.parse(process.argv[2]);
          const journal = await Journal.open(process.argv[1], options);
          for (let i = 0; i < 100; i++) void journal.append('record ' + i);
          const idle = await Journal.open(process.argv[1] + '-idle', options);
        `, [path, JSON.stringify(under.options)], { TIDEMARK_BACKEND: backend });
        assert.equal(await within(ended(child), 'the process'), { code: 0, signal: null, stdout: '', stderr: '' });
        await assertLog(path, under, Array.from({ length: 100 }, (_, i) => `record ${i}`));
        await assertLog(`${path}-idle`, under, []);
      }));
    });

    test(`closing a scheduler closes its journals first, and it takes no others (${under.layout}, ${backend})`, async () => {
      const scheduler = new IoScheduler({ backend });
      const path = newPath();
      const journal = await Journal.open(path, { scheduler, ...under.options });
      const records = Array.from({ length: 100 }, (_, i) => pattern(i, 500));
      const appends = Promise.allSettled(records.map((record) => journal.append(record)));
      await within(Promise.all([scheduler.close(), scheduler.close()]), 'closing the scheduler');
      const ends = valuesOf(await within(appends, 'what was pending'));
      assert.is((await failureOf(() => journal.append('x'))).code, 'TIDEMARK_CLOSED');
      assert.is((await failureOf(() => Journal.open(newPath(), { scheduler, ...under.options }))).code, 'TIDEMARK_CLOSED');
      await assertLog(path, under, records, ends);
    });
  }
}

each('records that are none, or are no more, are refused before anything is reserved', async (options, path, under) => {
  const gone = (): Uint8Array => {
    const bytes = new Uint8Array(5);
    structuredClone(bytes, { transfer: [bytes.buffer] });
    return bytes;
  };
  const holes: string[] = [];
  holes[0] = 'a';
  holes[2] = 'c';
  const journal = await Journal.open(path, options);
  const calls: readonly (() => unknown)[] = [
    () => journal.append(gone()), () => journal.submit(gone()), () => journal.tryAppend(gone()), () => journal.appendBatch(['a', gone(), 'c']), () => journal.appendBatch(holes),
  ];
  for (const [index, call] of calls.entries()) {
    const failure = await failureOf(async () => {
      await call();
    });
    assert.equal([index, failure.code], [index, 'TIDEMARK_INVALID_ARGUMENT']);
    assert.is(journal.reservedLsn, journal.durableLsn);
  }
  await journal.append(new Uint8Array(0));
  await within(journal.close(), 'closing');
  await assertLog(path, under, ['']);
});

each('an attached journal that closes waits for all that was appended through it', async (options, path, under) => {
  await withJournal(path, options, async (journal) => {
    for (const ack of ['durable', 'buffered'] as const) {
      const attached = Journal.attach({ ...journal.share(), ack });
      let end = 0;
      for (let n = 0; n < 2000; n++) {
        const appended = ack === 'durable' ? attached.tryAppend(pattern(n, 400)) : await attached.append(pattern(n, 400));
        if (appended === undefined) break;
        end = appended;
      }
      await attached.close();
      assert.ok(journal.durableLsn >= end && end > 0, `${journal.durableLsn} of ${end} were durable (${under.layout}, ${ack})`);
    }
  });
});

each('a follower that outlives its attached journal holds nothing that belongs to the next one', async (options, path) => {
  await withJournal(path, { ...options, segmentBytes: 64 * KIB, logBufferBytes: 64 * KIB, newSegments: 'plain' }, async (journal) => {
    let end = 0;
    for (let n = 0; n < 300; n++) end = await journal.append(pattern(n, 1000));
    const first = Journal.attach(journal.share());
    const old = first.follow();
    await old.next();
    await first.close();
    // It gets the place that the first one gave back.
    const next = Journal.attach(journal.share());
    const follower = next.follow();
    await follower.next();
    await old.return();
    await journal.trimBefore(end);
    const { firstLsn } = journal;
    for (let n = 1; n < 300; n++) await follower.next();
    assert.ok((firstLsn ?? Infinity) < 64 * KIB, `the log began at ${firstLsn}`);
    await follower.return();
    await next.close();
  });
}, [SEGMENTS]);

for (const backend of backends) {
  test(`a scheduler that closes waits for journals that are being opened, at whatever moment (${backend})`, async () => {
    for (let turns = 0; turns < 16; turns++) {
      const scheduler = new IoScheduler({ backend });
      const paths = [newPath(), newPath()];
      const opening = paths.map((path) => Journal.open(path, { scheduler, segmentBytes: 64 * KIB, newSegments: 'plain' }).then((journal) => journal.append('x'), (error: unknown) => error));
      for (let turn = 0; turn < turns * turns; turn++) await new Promise(setImmediate);
      await within(scheduler.close(), 'closing the scheduler');
      await within(Promise.allSettled(opening), 'opening');
      // Nothing is locked any more.
      for (const path of paths) await withJournal(path, { scheduler: schedulerOf(backend), segmentBytes: 64 * KIB }, () => Promise.resolve());
    }
  });
}

each('with one write at a time there are marks all the same while the load lasts', async (options, path) => {
  await withJournal(path, { ...options, queueDepth: 1, segmentBytes: 64 * MIB }, async (journal) => {
    const bytes = 48 * MIB;
    const record = pattern(1, 64 * KIB);
    await Promise.all(Array.from({ length: bytes / record.length }, () => journal.append(record)));
    const { marks } = journal.stats();
    assert.ok(marks >= bytes / (8 * MIB), `${marks} marks`);
  });
}, [SEGMENTS]);

test.run();
