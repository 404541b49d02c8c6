/** Reading the segment layout, from journals that are written here byte by byte. */
import { spawn } from 'node:child_process';
import { mkdirSync, openSync, closeSync, readFileSync, readSync, renameSync, symlinkSync, truncateSync, unlinkSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { JournalReader, NotSupportedError, type JournalReaderOptions, type JournalRecord, type Tail } from 'tidemark';
import type * as FollowModule from '../../dist/main/follow.js';
import { ended, temporaryDirectory } from '../support.js';
import { frame as fileFrame, OVERHEAD, pattern } from './format.js';
import { failureOf, sameRecords, snapshot, within } from './helpers.js';
import { BODY, bodyOf, FLAG, footerOf, frame, HEADER, header, KIND, MARK, nameOf, SEGMENT, SegmentJournal, writeAt } from './segment-files.js';

const { followJournal } = await import(new URL('../../../dist/main/follow.js', import.meta.url).href) as typeof FollowModule;
const directory = temporaryDirectory();
const test = suite('reading segments');

let names = 0;
const newPath = (): string => join(directory, `journal-${names++}`);

interface Written {
  readonly start: number;
  readonly payload: Buffer;
}

/** A journal of `segments` full segments and a half, of records of all sizes with marks between them. */
function journalOf(segments: number, first = 0): { readonly journal: SegmentJournal; readonly written: Written[] } {
  const journal = new SegmentJournal(newPath(), writeAt, first);
  const written: Written[] = [];
  for (let i = 0; journal.segment < first + segments || journal.left > BODY / 2; i++) {
    const payload = pattern(i, i % 5 === 0 ? 0 : (i * 977) % 5000);
    written.push({ start: journal.record(payload), payload });
    if (i % 3 === 0) journal.mark();
  }
  journal.mark(undefined, FLAG.closed);
  return { journal, written };
}

interface Read {
  readonly records: readonly JournalRecord[];
  readonly tail: Tail | undefined;
  readonly durableLsn: number | undefined;
}

async function read(path: string, options: JournalReaderOptions = {}): Promise<Read> {
  await using reader = await JournalReader.open(path, options);
  const records: JournalRecord[] = [];
  for await (const record of reader) records.push(record);
  return { records, tail: reader.tail, durableLsn: reader.durableLsn };
}

function same(records: readonly JournalRecord[], written: readonly Written[]): void {
  sameRecords(records.map(({ payload }) => payload), written.map(({ payload }) => payload));
  assert.equal(records.map(({ start, end }) => [start, end]), written.map(({ start, payload }) => [start, start + payload.length + OVERHEAD]));
}

function flip(path: string, offset: number): void {
  writeAt(path, Uint8Array.of((readFileSync(path)[offset] ?? 0) ^ 0xff), offset);
}

/** Fails, naming where: the code, and every one of the words. */
async function fails(work: () => unknown, code: string, lsn: number | undefined, ...words: readonly string[]): Promise<void> {
  const error = await failureOf(work);
  assert.is(error.code, code, error.message);
  if (lsn !== undefined) assert.is(error['lsn'], lsn, error.message);
  for (const word of words) assert.ok(error.message.includes(word), `'${word}' in: ${error.message}`);
}

// ---- records -------------------------------------------------------------------------------------------------------

test('all records of several segments, pads and marks left out; nothing is written', async () => {
  const { journal, written } = journalOf(4);
  const before = snapshot(journal.path);
  await using reader = await JournalReader.open(journal.path);
  assert.equal([reader.layout, reader.firstLsn, reader.position, reader.path], ['segments', HEADER, HEADER, journal.path]);
  assert.equal((await reader.segments()).map(({ baseLsn, bytes }) => [baseLsn, bytes]), [0, 1, 2, 3, 4].map((number) => [number * SEGMENT, SEGMENT]));
  const records: JournalRecord[] = [];
  for await (const record of reader) {
    records.push(record);
    assert.is(reader.position, record.end);
  }
  same(records, written);
  assert.equal(Object.keys(records[0] ?? {}), ['start', 'end', 'payload']);
  assert.equal([reader.tail?.state, reader.tail?.position], ['clean-end', journal.position]);
  assert.is(reader.durableLsn, journal.position - MARK);
  assert.equal(snapshot(journal.path), before);
});

test('from and to', async () => {
  const { journal, written } = journalOf(3);
  for (const index of [0, 1, 7, written.length - 1]) {
    const { start = 0, payload = Buffer.alloc(0) } = written[index] ?? {};
    same((await read(journal.path, { from: start })).records, written.slice(index));
    same((await read(journal.path, { from: start + payload.length + OVERHEAD })).records, written.slice(index + 1));
    for (const to of [start, start + 1]) {
      const { records, tail } = await read(journal.path, { to });
      same(records, written.filter((record) => record.start < to));
      assert.is(tail, undefined, 'it did not come to the end');
    }
  }
  for (const from of [0, 1, HEADER]) same((await read(journal.path, { from })).records, written);
  for (const from of [footerOf(0), SEGMENT, bodyOf(1)]) same((await read(journal.path, { from })).records, written.filter(({ start }) => start > SEGMENT));
  assert.is((await read(journal.path, { from: bodyOf(4) })).records.length, 0);
  await fails(() => read(journal.path, { from: bodyOf(4) + 1 }), 'TIDEMARK_LSN_OUT_OF_RANGE', bodyOf(4) + 1);
  await using reader = await JournalReader.open(journal.path);
  reader.seek(written[5]?.start ?? 0);
  for await (const record of reader) {
    same([record], written.slice(5, 6));
    break;
  }
  assert.is(reader.tail, undefined);
  for await (const record of reader) {
    same([record], written.slice(6, 7));
    break;
  }
});

test('to, in the file layout', async () => {
  const path = newPath();
  writeFileSync(path, Buffer.concat(['one', 'two', 'three'].map(fileFrame)));
  const { records, tail } = await read(path, { to: 30 });
  sameRecords(records.map(({ payload }) => payload), ['one', 'two']);
  assert.is(tail, undefined);
  await using reader = await JournalReader.open(path);
  assert.equal([reader.layout, reader.firstLsn, reader.durableLsn], ['file', 0, undefined]);
  assert.equal(await reader.segments(), [{ path, baseLsn: 0, bytes: 47 }]);
  for (const work of [() => JournalReader.open(path, { durable: true }), () => reader.follow()]) {
    const error = await failureOf(work);
    assert.instance(error, NotSupportedError);
    assert.match(error.message, 'does not tell which of its records are durable');
  }
});

test('readAt', async () => {
  const { journal, written } = journalOf(3, 5);
  journal.trim(6);
  await using reader = await JournalReader.open(journal.path);
  const [kept, trimmed] = [written.filter(({ start }) => start >= 6 * SEGMENT), written.filter(({ start }) => start < 6 * SEGMENT)];
  for (const record of kept) same([await reader.readAt(record.start)], [record]);
  for (const lsn of [0, 4096, ...trimmed.slice(0, 3).map(({ start }) => start), footerOf(5)]) await fails(() => reader.readAt(lsn), 'TIDEMARK_TRIMMED', lsn, 'trimmed');
  const lsn = journal.mark();
  for (const [at, why] of [[lsn, 'a mark lies there'], [6 * SEGMENT, 'headers'], [footerOf(6), 'footers'], [lsn + 1, 'bad-magic'], [journal.position, 'clean-end'], [99 * SEGMENT + HEADER, 'no such segment']] as const) {
    await fails(() => reader.readAt(at), 'TIDEMARK_NO_RECORD', at, why, nameOf(at - at % SEGMENT));
  }
  const pad = journal.put(KIND.pad, Buffer.alloc(100));
  await fails(() => reader.readAt(pad), 'TIDEMARK_NO_RECORD', pad, 'a pad lies there');
});

test('frames that fit exactly, a body of one record, one that is all pad, no footer', async () => {
  const journal = new SegmentJournal(newPath());
  const payloads = [Buffer.alloc(BODY - OVERHEAD, 1), Buffer.from(''), Buffer.alloc(BODY - 2 * OVERHEAD, 2), Buffer.alloc(BODY - 2 * OVERHEAD, 3), Buffer.from('x')];
  const written = payloads.map((payload) => ({ start: journal.record(payload), payload }));
  assert.equal(written.map(({ start }) => start), [bodyOf(0), bodyOf(1), bodyOf(1) + OVERHEAD, bodyOf(2), bodyOf(3)]);
  journal.rotate();
  journal.rotate();
  journal.rotate(undefined, false);
  written.push({ start: journal.record('end'), payload: Buffer.from('end') });
  const { records, tail } = await read(journal.path);
  same(records, written);
  assert.equal([tail?.state, tail?.position], ['clean-end', journal.position]);
  await using reader = await JournalReader.open(journal.path);
  for (const record of written) same([await reader.readAt(record.start)], [record]);
});

test('a journal that ends with its last segment, and one without records', async () => {
  const journal = new SegmentJournal(newPath());
  assert.equal((await read(journal.path)).tail, { state: 'clean-end', position: HEADER, detail: 'unwritten space follows the last frame' });
  journal.record(Buffer.alloc(BODY - OVERHEAD));
  const { records, tail } = await read(journal.path);
  assert.is(records.length, 1);
  assert.equal([tail?.state, tail?.position], ['clean-end', bodyOf(1)]);
  assert.is((await read(journal.path, { from: footerOf(0) })).records.length, 0);
});

test('only what the marks prove', async () => {
  const journal = new SegmentJournal(newPath());
  const written: Written[] = [];
  let durable = HEADER;
  const add = (bytes: number): void => {
    const payload = pattern(written.length, bytes);
    written.push({ start: journal.record(payload, durable), payload });
  };
  for (let i = 0; i < 5; i++) add(20_000);
  durable = written[3]?.start ?? 0;
  assert.is((await read(journal.path, { durable: true })).records.length, 0, 'the footer proves nothing');
  journal.mark(durable);
  for (let i = 0; i < 5; i++) add(20_000);
  const { records, tail, durableLsn } = await read(journal.path, { durable: true });
  same(records, written.slice(0, 3));
  assert.equal([tail?.state, tail?.position, durableLsn], ['clean-end', journal.position, durable]);
  same((await read(journal.path, { durable: true, from: written[2]?.start ?? 0 })).records, written.slice(2, 3));
  same((await read(journal.path, { durable: true, to: durable - 1 })).records, written.slice(0, 3));
  same((await read(journal.path)).records, written);
  journal.mark();
  same((await read(journal.path, { durable: true })).records, written);
});

// ---- the end -------------------------------------------------------------------------------------------------------

test('a damaged length that reaches beyond what is durable is damage, for a reader and a follower', async () => {
  const { journal, written } = journalOf(0);
  const damaged = journal.position;
  journal.put(KIND.pad, Buffer.alloc(30));
  journal.mark();
  journal.record('proves nothing of itself');
  writeAt(journal.fileOf(), Buffer.from([0, 0x20]), damaged % SEGMENT + 4);
  await using reader = await JournalReader.open(journal.path, { durable: true });
  for (const loop of [reader, reader.follow({ from: HEADER })]) {
    const records: JournalRecord[] = [];
    const error = await failureOf(async () => {
      for await (const record of loop) records.push(record);
    });
    assert.equal([error.code, error['lsn']], ['TIDEMARK_CORRUPT', damaged]);
    same(records, written);
  }
});

test('the remains of an earlier life are an end', async () => {
  const { journal } = journalOf(2);
  journal.rotate();
  journal.trim(3);
  journal.prepare(4);
  const remains = readFileSync(journal.fileOf(4));
  assert.ok(remains.subarray(HEADER, HEADER + 3).equals(Buffer.from('FSY')), 'a frame of the earlier life');
  journal.rotate();
  assert.is((await read(journal.path)).tail?.state, 'clean-end', 'where a frame would begin');
  journal.record('abc');
  assert.is((await read(journal.path)).tail?.state, 'clean-end', 'within an earlier record');
  journal.mark(undefined, FLAG.closed);
  writeAt(journal.fileOf(), frame(Buffer.alloc(16), KIND.record, Buffer.from('from elsewhere'), journal.position), journal.position % SEGMENT);
  assert.is((await read(journal.path)).tail?.state, 'clean-end', 'behind the mark of a close');
  journal.put(KIND.pad, Buffer.alloc(512 - journal.position % 512 - OVERHEAD));
  writeAt(journal.fileOf(), frame(Buffer.alloc(16), KIND.record, Buffer.from('from elsewhere'), journal.position), journal.position % SEGMENT);
  assert.is((await read(journal.path)).tail?.state, 'clean-end', 'behind its pad');
});

test('an interrupted last write is named, not thrown', async () => {
  for (const [state, change] of [
    ['checksum-mismatch', (path: string, offset: number): void => flip(path, offset + 20)],
    ['length-overflow', (path: string, offset: number): void => flip(path, offset + 7)],
    ['truncated-payload', (path: string, offset: number): void => truncateSync(path, offset + 20)],
    ['truncated-header', (path: string, offset: number): void => truncateSync(path, offset + 5)],
  ] as const) {
    const journal = new SegmentJournal(newPath());
    journal.record('one');
    journal.mark();
    const lsn = journal.record(Buffer.alloc(100, 1));
    change(journal.fileOf(), lsn);
    const { records, tail } = await read(journal.path);
    assert.is(records.length, 1);
    assert.equal([tail?.state, tail?.position], [state, lsn]);
    for (const word of [nameOf(0), `offset ${lsn}`, `LSN ${lsn}`, 'expected', 'found']) assert.match(tail?.detail ?? '', word);
  }
});

test('a hole in the last write is no clean end, though nothing proves damage', async () => {
  const journal = new SegmentJournal(newPath());
  journal.record('one');
  const lsn = journal.record(Buffer.alloc(1000, 1));
  const next = journal.record('three');
  writeAt(journal.fileOf(), Buffer.alloc(512), lsn);
  const { tail } = await read(journal.path);
  assert.equal([tail?.state, tail?.position], ['bad-magic', lsn]);
  assert.match(tail?.detail ?? '', `a valid frame again at LSN ${next}`);
});

// ---- damage --------------------------------------------------------------------------------------------------------

const PROOFS: readonly { readonly name: string; readonly prove: (journal: SegmentJournal, lsn: number) => void }[] = [
  { name: 'a mark behind it', prove: (journal) => void journal.mark() },
  { name: 'a frame more than a window behind it', prove: (journal) => {
    for (let i = 0; i < 4; i++) journal.record(Buffer.alloc(14_000));
  } },
  { name: 'the footer', prove: (journal) => journal.rotate() },
  { name: 'a mark in the next segment', prove: (journal) => {
    journal.rotate(HEADER);
    journal.mark();
  } },
  { name: 'the footer of the segment after the next', prove: (journal) => {
    for (let i = 0; i < 2; i++) journal.rotate(HEADER);
    journal.rotate();
  } },
];

for (const { name, prove } of PROOFS) {
  test(`damage is thrown where it is proven by ${name}`, async () => {
    for (const damage of [(path: string, lsn: number): void => flip(path, lsn + 30), (path: string, lsn: number): void => writeAt(path, Buffer.alloc(64), lsn)]) {
      const journal = new SegmentJournal(newPath());
      journal.record('one');
      const lsn = journal.record(Buffer.alloc(1000, 1));
      prove(journal, lsn);
      damage(journal.fileOf(0), lsn);
      const records: JournalRecord[] = [];
      await using reader = await JournalReader.open(journal.path);
      await fails(async () => {
        for await (const record of reader) records.push(record);
      }, 'TIDEMARK_CORRUPT', lsn, journal.path, nameOf(0), `offset ${lsn}`, `LSN ${lsn}`, 'expected', 'found', 'durable');
      assert.is(records.length, 1, 'what is before the damage is shown');
      assert.is(reader.tail, undefined);
      if (name !== 'a frame more than a window behind it') await fails(() => read(journal.path, { durable: true }), 'TIDEMARK_CORRUPT', lsn, 'LSN');
    }
  });
}

test('segments that are not what they should be', async () => {
  const cases: readonly (readonly [string, string, (journal: SegmentJournal) => void])[] = [
    ['TIDEMARK_CORRUPT', 'journal id', (journal) => writeAt(journal.fileOf(1), header(Buffer.alloc(16, 7), SEGMENT), 0)],
    ['TIDEMARK_CORRUPT', `base LSN ${SEGMENT}, found 0`, (journal) => writeAt(journal.fileOf(1), header(journal.id, 0), 0)],
    ['TIDEMARK_CORRUPT', 'header checksum', (journal) => flip(journal.fileOf(1), 100)],
    ['TIDEMARK_CORRUPT', 'magic', (journal) => writeAt(journal.fileOf(1), Buffer.alloc(HEADER), 0)],
    ['TIDEMARK_CORRUPT', 'is missing', (journal) => unlinkSync(journal.fileOf(1))],
    ['TIDEMARK_NOT_SUPPORTED', 'format version 2', (journal) => writeAt(journal.fileOf(1), header(journal.id, SEGMENT, { version: 2 }), 0)],
    ['TIDEMARK_NOT_A_FILE', nameOf(SEGMENT), (journal) => {
      renameSync(journal.fileOf(1), join(journal.path, 'elsewhere'));
      symlinkSync('elsewhere', journal.fileOf(1));
    }],
    ['TIDEMARK_IS_DIRECTORY', nameOf(SEGMENT), (journal) => {
      unlinkSync(journal.fileOf(1));
      mkdirSync(journal.fileOf(1));
    }],
  ];
  for (const [code, word, change] of cases) {
    const { journal } = journalOf(3);
    change(journal);
    const records: JournalRecord[] = [];
    await fails(async () => {
      for await (const record of await JournalReader.open(journal.path)) records.push(record);
    }, code, code === 'TIDEMARK_CORRUPT' ? SEGMENT : undefined, word, journal.path);
    assert.ok(records.length > 0 && records.every(({ end }) => end < SEGMENT));
  }
});

test('directories that are no journal, or of another one', async () => {
  const cases: readonly (readonly [string, string, (path: string) => void])[] = [
    ['TIDEMARK_NOT_A_JOURNAL', 'no segments', () => undefined],
    ['TIDEMARK_NOT_A_JOURNAL', 'no segments', (path) => ['0.segment', '000000000000000g.segment', '0000000000000000.spare', `${nameOf(0)}.torn-5`].forEach((name) => writeFileSync(join(path, name), ''))],
    ['TIDEMARK_NOT_A_JOURNAL', 'magic', (path) => writeFileSync(join(path, nameOf(0)), Buffer.alloc(SEGMENT))],
    ['TIDEMARK_NOT_A_JOURNAL', nameOf(0), (path) => writeFileSync(join(path, nameOf(0)), 'text')],
    ['TIDEMARK_CORRUPT', nameOf(0), (path) => writeFileSync(join(path, nameOf(0)), header(Buffer.alloc(16), SEGMENT))],
    ['TIDEMARK_CORRUPT', nameOf(0), (path) => {
      writeFileSync(join(path, nameOf(0)), header(Buffer.alloc(16), 0));
      flip(join(path, nameOf(0)), 4000);
    }],
    ['TIDEMARK_NOT_SUPPORTED', 'format version 99', (path) => writeFileSync(join(path, nameOf(0)), header(Buffer.alloc(16), 0, { version: 99 }))],
    ['TIDEMARK_NOT_A_FILE', nameOf(0), (path) => symlinkSync('/dev/zero', join(path, nameOf(0)))],
  ];
  for (const [code, word, make] of cases) {
    const path = newPath();
    mkdirSync(path);
    make(path);
    await fails(() => JournalReader.open(path), code, undefined, word, path);
  }
});

// ---- trimming ------------------------------------------------------------------------------------------------------

test('what was trimmed is named, and not asked for unless it is named', async () => {
  const { journal, written } = journalOf(4);
  const early = await JournalReader.open(journal.path);
  journal.trim(2);
  const kept = written.filter(({ start }) => start >= 2 * SEGMENT);
  same((await read(journal.path)).records, kept);
  for (const from of [0, HEADER, SEGMENT, bodyOf(1)]) await fails(() => read(journal.path, { from }), 'TIDEMARK_TRIMMED', from);
  const records: JournalRecord[] = [];
  for await (const record of early) records.push(record);
  same(records, kept);
  assert.is(early.firstLsn, bodyOf(2));
  await early.close();
});

test('trimmed while it is read', async () => {
  for (const used of [false, true]) {
    const { journal, written } = journalOf(4);
    await using reader = await JournalReader.open(journal.path);
    const shown: JournalRecord[] = [];
    await fails(async () => {
      for await (const record of reader) {
        shown.push(record);
        if (shown.length > 1) continue;
        journal.trim(3);
        // Space that is used again holds other frames: what was read ahead is shown, no more.
        if (used) for (let i = 0; i < 5; i++) journal.rotate();
      }
    }, 'TIDEMARK_TRIMMED', undefined, 'was trimmed');
    assert.ok(shown.length > 1);
    same(shown, written.slice(0, shown.length));
  }
});

test('closing a reader ends its loops', async () => {
  const { journal } = journalOf(3);
  const reader = await JournalReader.open(journal.path);
  await fails(async () => {
    for await (const record of reader) {
      assert.ok(record);
      await reader.close();
    }
  }, 'TIDEMARK_CLOSED', undefined);
  for (const work of [() => reader.readAt(HEADER), () => reader.segments(), () => reader.follow()]) await fails(work, 'TIDEMARK_CLOSED', undefined);
});

test.run();

// ---- following from outside ----------------------------------------------------------------------------------------

const follow = suite('following segments');

const WRITER = fileURLToPath(new URL('../programs/segment-writer.js', import.meta.url));
const ROTATIONS = 250;

/** Doubles in a file, for two processes. */
class State {
  readonly path = newPath();
  readonly #descriptor: number;
  readonly #cell = new Float64Array(1);
  readonly #bytes = new Uint8Array(this.#cell.buffer);

  constructor() {
    writeFileSync(this.path, Buffer.alloc(24));
    this.#descriptor = openSync(this.path, 'r+');
  }

  get(index: number): number {
    readSync(this.#descriptor, this.#bytes, 0, 8, index * 8);
    return this.#cell[0] ?? 0;
  }

  set(index: number, value: number): void {
    this.#cell[0] = value;
    writeSync(this.#descriptor, this.#bytes, 0, 8, index * 8);
  }

  close(): void {
    closeSync(this.#descriptor);
  }
}

follow(`every durable record once, in order, from a writer that goes through ${ROTATIONS} segments`, async () => {
  const path = newPath();
  new SegmentJournal(path);
  const state = new State();
  const child = spawn(process.execPath, [WRITER, path, state.path, String(ROTATIONS)], { stdio: ['ignore', 'pipe', 'pipe'] });
  const result = ended(child);
  void result.then(({ code, stderr }) => {
    if (code !== 0) controller.abort(new Error(`the writer failed: ${stderr}`));
  });
  const controller = new AbortController();
  await using reader = await JournalReader.open(path);
  let sequence = 0;
  let last = 0;
  for await (const { start, end, payload } of reader.follow({ signal: controller.signal })) {
    assert.ok(end <= state.get(0), 'only what a mark proves');
    assert.ok(start >= last);
    const expected = sequence % 11 === 0 ? 0 : (sequence * 7919) % (sequence % 13 === 0 ? 20_000 : 1500);
    if (!pattern(sequence, expected).equals(payload)) throw new Error(`record ${sequence} at LSN ${start} is another one`);
    sequence++;
    last = end;
    state.set(1, start);
    if (sequence === state.get(2)) break;
  }
  const { code, stderr } = await within(result, 'the writer');
  assert.equal([code, stderr], [0, '']);
  assert.is(sequence, state.get(2));
  assert.ok((await reader.segments()).length < 20, 'the oldest segments were trimmed');
  assert.is(reader.durableLsn, state.get(0));
  state.close();
});

follow('reading to the end beside a writer that trims: whole records in order, and no damage where there is none', async () => {
  const path = newPath();
  new SegmentJournal(path);
  const state = new State();
  const child = spawn(process.execPath, [WRITER, path, state.path, '100'], { stdio: ['ignore', 'pipe', 'pipe'] });
  const result = ended(child);
  let reads = 0;
  let trimmed = 0;
  while (state.get(2) === 0 && child.exitCode === null) {
    const durableBefore = state.get(0);
    const durable = reads++ % 2 === 0;
    // Trimming behind the last read, and now and then under this one.
    state.set(1, reads % 3 === 0 ? durableBefore : Math.max(0, durableBefore - 3 * SEGMENT));
    try {
      const { records, tail } = await read(path, { durable });
      assert.is(tail?.state, 'clean-end', tail?.detail);
      assert.ok((tail?.position ?? 0) >= durableBefore, 'what was durable before is there');
      records.reduce((last, { start, end }) => {
        assert.ok(start >= last);
        return end;
      }, 0);
    } catch (error) {
      if ((error as { code?: string }).code !== 'TIDEMARK_TRIMMED') throw error;
      trimmed++;
    }
  }
  const { code, stderr } = await within(result, 'the writer');
  assert.equal([code, stderr], [0, '']);
  assert.ok(reads > trimmed && reads > 5, `${reads} reads, ${trimmed} of them trimmed`);
  state.close();
});

/** Takes records as they come. */
function collect(records: AsyncGenerator<JournalRecord, void, void>): { readonly texts: string[]; readonly until: (count: number) => Promise<void>; readonly end: Promise<unknown> } {
  const texts: string[] = [];
  let wake: () => void = () => undefined;
  let over: unknown;
  const end = (async () => {
    for await (const { payload } of records) {
      texts.push(Buffer.from(payload).toString());
      wake();
    }
  })().then(() => 'returned', (error: unknown) => error).then((result) => {
    over = result;
    wake();
    return result;
  });
  const until = async (count: number): Promise<void> => within((async () => {
    while (texts.length < count && over === undefined) await new Promise<void>((resolve) => (wake = resolve));
    assert.ok(texts.length >= count, `${texts.length} records, then ${String(over)}`);
  })(), `record ${count}`);
  return { texts, until, end };
}

follow('waits for marks, rotations, another writer, and ends by its signal', async () => {
  const journal = new SegmentJournal(newPath());
  const controller = new AbortController();
  await using reader = await JournalReader.open(journal.path);
  const seen = collect(reader.follow({ signal: controller.signal, pollMs: 5 }));
  journal.record('one');
  const two = journal.record('two');
  journal.mark(two);
  await seen.until(1);
  assert.equal(seen.texts, ['one']);
  journal.rotate();
  await seen.until(2);
  journal.rotate();
  journal.record('three');
  journal.mark(undefined, FLAG.closed);
  await seen.until(3);
  journal.record('four');
  journal.mark();
  await seen.until(4);
  const gone = new Error('gone');
  controller.abort(gone);
  assert.is(await within(seen.end, 'the follower'), gone);
  assert.equal(seen.texts, ['one', 'two', 'three', 'four']);
});

follow('from a record, from the position, from the end', async () => {
  const journal = new SegmentJournal(newPath());
  const starts = ['one', 'two', 'three'].map((text) => journal.record(text));
  journal.rotate();
  await using reader = await JournalReader.open(journal.path);
  const controller = new AbortController();
  const { signal } = controller;
  const second = collect(reader.follow({ from: starts[1] ?? 0, signal }));
  await second.until(2);
  const end = collect(reader.follow({ from: 'end', signal, pollMs: 1 }));
  reader.seek(starts[2] ?? 0);
  const position = collect(reader.follow({ signal }));
  await position.until(1);
  // Nobody tells when a follower has found the end.
  for (let i = 0; end.texts.length === 0; i++) {
    journal.record(`four ${i}`);
    journal.mark();
    await new Promise((resolve) => setImmediate(resolve));
  }
  await second.until(3);
  controller.abort();
  assert.equal(second.texts.slice(0, 2), ['two', 'three']);
  assert.is(position.texts[0], 'three');
  assert.match(end.texts[0] ?? '', 'four');
  await Promise.all([second.end, end.end, position.end]);
});

follow('a follower that falls behind is told', async () => {
  for (const used of [false, true]) {
    const journal = new SegmentJournal(newPath());
    for (let i = 0; i < 40; i++) {
      journal.record(pattern(i, 10_000));
      journal.mark();
    }
    await using reader = await JournalReader.open(journal.path);
    const records = reader.follow();
    assert.ok((await records.next()).done !== true);
    journal.trim(journal.segment);
    if (used) for (let i = 0; i < 10; i++) journal.rotate();
    let shown = 1;
    await fails(async () => {
      for await (const record of records) shown += record.payload.length === 10_000 ? 1 : 0;
    }, 'TIDEMARK_TRIMMED', undefined);
    assert.ok(shown < 40);
  }
  const journal = new SegmentJournal(newPath());
  for (let i = 0; i < 3; i++) journal.rotate();
  await using reader = await JournalReader.open(journal.path);
  journal.trim(2);
  await fails(() => reader.follow({ from: HEADER }).next(), 'TIDEMARK_TRIMMED', HEADER);
});

follow('an idle follower whose place is trimmed is told', async () => {
  const journal = new SegmentJournal(newPath());
  journal.record('one');
  journal.mark();
  await using reader = await JournalReader.open(journal.path);
  const seen = collect(reader.follow({ pollMs: 5 }));
  await seen.until(1);
  // All at once: the follower sees only what has become of it.
  for (let i = 0; i < 3; i++) journal.rotate();
  journal.trim(3);
  for (let i = 0; i < 3; i++) journal.rotate();
  const error = await within(seen.end, 'the follower');
  assert.is((error as { code?: string }).code, 'TIDEMARK_TRIMMED', String(error));
});

follow('damage is told from an end that moves', async () => {
  const journal = new SegmentJournal(newPath());
  journal.record('one');
  const lsn = journal.record('two');
  journal.mark(lsn);
  flip(journal.fileOf(), lsn + 9);
  await using reader = await JournalReader.open(journal.path);
  const seen = collect(reader.follow({ pollMs: 5 }));
  await seen.until(1);
  journal.rotate();
  const error = await within(seen.end, 'the follower') as Error & { code?: string; lsn?: number };
  assert.equal([error.code, error.lsn], ['TIDEMARK_CORRUPT', lsn], String(error));
  assert.equal(seen.texts, ['one']);
});

follow('a footer that a crash left behind a hole hides nothing of what recovery goes on to write before it', async () => {
  const journal = new SegmentJournal(newPath());
  journal.record('zero');
  const durable = journal.mark() + MARK;
  journal.rotate(durable);
  // The footer has landed, and what lies between has not.
  const file = journal.fileOf(0);
  writeAt(file, Buffer.alloc(footerOf(0) - durable), durable);
  journal.position = durable;
  await using reader = await JournalReader.open(journal.path);
  const seen = collect(reader.follow({ pollMs: 5 }));
  // By then it has seen the footer, too.
  await seen.until(1);
  writeAt(file, Buffer.alloc(MARK), footerOf(0));
  for (const text of ['one', 'two']) {
    journal.record(text);
    journal.mark();
  }
  await seen.until(3);
  journal.rotate();
  journal.record('three');
  journal.mark();
  await seen.until(4);
  assert.equal(seen.texts, ['zero', 'one', 'two', 'three']);
});

follow('inside the process: by its watermark, across segments, with its places told', async () => {
  const journal = new SegmentJournal(newPath());
  let durableLsn = journal.position;
  let sealed = false;
  const waiting = new Set<() => void>();
  const moved = (): void => {
    durableLsn = journal.position;
    for (const notify of [...waiting]) notify();
  };
  const places: number[] = [];
  let done = 0;
  const seen = collect(followJournal(journal.path, undefined, undefined, {
    durableLsn: () => durableLsn,
    onDurableBeyond: (lsn, notify) => {
      if (durableLsn > lsn) notify();
      waiting.add(notify);
      return () => waiting.delete(notify);
    },
    ended: () => sealed,
    failure: () => undefined,
    reading: (lsn) => places.push(lsn),
    done: () => done++,
  }));
  const expected: string[] = [];
  for (let i = 0; i < 200; i++) {
    const text = `${i} `.repeat(i * 3);
    expected.push(text);
    journal.record(text);
    // A watermark may stand where a body ends or where the next one begins.
    if (i % 4 === 0) moved();
    if (i % 50 === 0) {
      journal.rotate(undefined, i % 100 === 0);
      moved();
    }
    if (i % 20 === 0) await seen.until(i);
  }
  sealed = true;
  moved();
  assert.is(await within(seen.end, 'the follower'), 'returned');
  assert.equal(seen.texts, expected);
  assert.is(done, 1);
  assert.equal([...new Set(places.map((lsn) => Math.floor(lsn / SEGMENT)))], Array.from({ length: journal.segment + 1 }, (_, i) => i));
});

follow.run();
