/** Repair: what was whole stays where it is, what is changed is kept, and the journal opens. */
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, watch, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Journal, JournalReader, type RepairReport } from 'tidemark';
import { endsOf, frame, journalOf, pattern } from '../conformance/format.js';
import { failureOf, snapshot } from '../conformance/helpers.js';
import { FILE_BATCH_BYTES_MAX, segments } from '../internals.js';
import { ended, schedulerOf, temporaryDirectory, withJournal } from '../support.js';
import { HEADER, headerFrame, ID, MARK, markFrame, SegmentBuilder, type BuilderOptions, type BuiltFrame } from './segment-builder.js';
import { fill, flip, FOOTER_AT, listingOf, put, random, readOf, RECYCLED, SEGMENT, verdictOf, WINDOW, type Files } from './segment-tools.js';

const { Overlay, planRepair, segmentName } = segments;
const scheduler = schedulerOf('blocking');
const base = temporaryDirectory();

/** About as long as a repair takes from its first copy on. */
const MOMENTS_MS = 1000;

let names = 0;
const newPath = (): string => join(base, `journal-${names++}`);

function write(files: Files): string {
  const path = newPath();
  mkdirSync(path);
  for (const [segment, bytes] of files) writeFileSync(join(path, segmentName(segment)), bytes);
  return path;
}

async function recordsAt(path: string): Promise<Map<number, Buffer>> {
  const records = new Map<number, Buffer>();
  await using reader = await JournalReader.open(path);
  for await (const { start, payload } of reader) records.set(start, Buffer.from(payload));
  return records;
}

/** Three segments, everything durable by marks but what follows the last. */
function three(options: BuilderOptions = {}): SegmentBuilder {
  return fill(new SegmentBuilder(options), (options.firstBase ?? 0) + 2 * SEGMENT + 20000);
}

const recordsOf = (builder: SegmentBuilder, from: number): BuiltFrame[] => builder.frames.filter(({ kind, start }) => kind === 'record' && start >= from);
const recordAfter = (builder: SegmentBuilder, from: number): BuiltFrame => {
  const [record] = recordsOf(builder, from);
  if (record === undefined) throw new Error(`no record behind ${from}`);
  return record;
};

function sameRecords(found: Map<number, Buffer>, builder: SegmentBuilder, isLost: (record: BuiltFrame) => boolean, label: string): void {
  const expected = builder.frames.filter((one) => one.kind === 'record' && !isLost(one));
  assert.equal([...found.keys()], expected.map(({ start }) => start), `${label}: LSNs`);
  for (const { start, payload } of expected) assert.ok(found.get(start)?.equals(payload ?? Buffer.alloc(0)), `${label}: record ${start}`);
}

// ---- cases, one by one -------------------------------------------------------------------------------------------------

interface Damage {
  readonly lost?: (record: BuiltFrame) => boolean;
  /** Kind, LSN and end of every range. */
  readonly ranges: readonly (readonly [kind: string, lsn: number, endLsn: number])[];
  readonly options?: BuilderOptions;
}

const copyOf = (files: Files): Map<number, Buffer> => new Map([...files].map(([segment, bytes]) => [segment, Buffer.from(bytes)]));
const within = (from: number, to: number) => ({ start, end }: BuiltFrame): boolean => start < to && end > from;

const CASES: readonly (readonly [name: string, options: BuilderOptions, damage: (builder: SegmentBuilder, files: Map<number, Buffer>) => Damage])[] = [
  ['nothing', {}, () => ({ ranges: [] })],
  ['a torn tail', {}, (builder, files) => {
    put(files, builder.position, Buffer.from('46535902ff', 'hex'));
    return { ranges: [] };
  }],
  ['a flipped bit in a record', {}, (builder, files) => {
    const { start, end } = recordAfter(builder, SEGMENT + 9000);
    flip(files, end - 1);
    return { lost: within(start, end), ranges: [['corruption', start, end]] };
  }],
  ['a flipped bit in a length', {}, (builder, files) => {
    const { start, end } = recordAfter(builder, 9000);
    flip(files, start + 5);
    return { lost: within(start, end), ranges: [['corruption', start, end]] };
  }],
  ['the first record of the oldest segment, trimmed, no mark before it', { firstBase: 5 * SEGMENT, records: 777, marks: 50 }, (builder, files) => {
    const { start, end } = recordAfter(builder, 5 * SEGMENT);
    flip(files, start);
    return { lost: within(start, end), ranges: [['corruption', start, end]] };
  }],
  ['two records', RECYCLED, (builder, files) => {
    const [one, two] = [recordAfter(builder, 8 * SEGMENT + 9000), recordAfter(builder, 9 * SEGMENT + 19000)];
    flip(files, one.start);
    flip(files, two.end - 5);
    return { lost: (record) => record === one || record === two, ranges: [['corruption', one.start, one.end], ['corruption', two.start, two.end]] };
  }],
  ['a mark', {}, (builder, files) => {
    const mark = builder.frames.find(({ kind, start }) => kind === 'mark' && start > SEGMENT) ?? { start: 0, end: 0 };
    flip(files, mark.start + 20);
    return { ranges: [['corruption', mark.start, mark.end]] };
  }],
  ['a footer', {}, (_, files) => {
    flip(files, SEGMENT + FOOTER_AT + 30);
    return { ranges: [['corruption', SEGMENT + FOOTER_AT, 2 * SEGMENT]] };
  }],
  ['the oldest footer of a trimmed journal', { firstBase: 4 * SEGMENT, records: 99, marks: 5 }, (_, files) => {
    flip(files, 4 * SEGMENT + FOOTER_AT);
    return { ranges: [['corruption', 4 * SEGMENT + FOOTER_AT, 5 * SEGMENT]] };
  }],
  ['zeros over a footer and both its sides', {}, (builder, files) => {
    const from = recordAfter(builder, SEGMENT - 9000).start;
    const to = recordAfter(builder, SEGMENT + HEADER + 5000).start;
    files.get(0)?.fill(0, from);
    files.get(SEGMENT)?.fill(0, HEADER, to - SEGMENT);
    return { lost: within(from, to), ranges: [['corruption', from, SEGMENT], ['corruption', SEGMENT + HEADER, to]] };
  }],
  ['a missing segment', {}, (_, files) => {
    files.delete(SEGMENT);
    return { lost: within(SEGMENT, 2 * SEGMENT), ranges: [['missing-segment', SEGMENT, 2 * SEGMENT]] };
  }],
  ['a missing segment, damage on both sides', {}, (builder, files) => {
    const from = recordAfter(builder, SEGMENT - 9000).start;
    const to = recordAfter(builder, 2 * SEGMENT + HEADER + 5000).start;
    files.get(0)?.fill(0xaa, from, SEGMENT);
    files.get(2 * SEGMENT)?.fill(0xaa, HEADER, to - 2 * SEGMENT);
    files.delete(SEGMENT);
    return { lost: within(from, to), ranges: [['missing-segment', SEGMENT, 2 * SEGMENT], ['corruption', from, SEGMENT], ['corruption', 2 * SEGMENT + HEADER, to]] };
  }],
  ['a segment that is cut', {}, (builder, files) => {
    const cut = recordAfter(builder, SEGMENT + 30000);
    files.set(SEGMENT, (files.get(SEGMENT) ?? Buffer.alloc(0)).subarray(0, cut.start + 3 - SEGMENT));
    return { lost: within(cut.start, 2 * SEGMENT), ranges: [['wrong-size', cut.start + 3, 2 * SEGMENT], ['corruption', cut.start, 2 * SEGMENT]] };
  }],
  ['an empty segment', {}, (_, files) => {
    files.set(SEGMENT, Buffer.alloc(0));
    return { lost: within(SEGMENT, 2 * SEGMENT), ranges: [['wrong-size', SEGMENT, 2 * SEGMENT], ['damaged-header', SEGMENT, SEGMENT + HEADER], ['corruption', SEGMENT + HEADER, 2 * SEGMENT]] };
  }],
  ['a segment that is too long', {}, (_, files) => {
    files.set(SEGMENT, Buffer.concat([files.get(SEGMENT) ?? Buffer.alloc(0), Buffer.from('too long')]));
    return { ranges: [['wrong-size', 2 * SEGMENT, 2 * SEGMENT + 8]] };
  }],
  ['a prepared segment that is cut', {}, (_, files) => {
    files.set(3 * SEGMENT, headerFrame(ID, { base: 3 * SEGMENT, segmentBytes: SEGMENT, windowBytes: WINDOW }).subarray(0, 3000));
    return { ranges: [['wrong-size', 3 * SEGMENT + 3000, 4 * SEGMENT]] };
  }],
  ['a missing segment among prepared ones', {}, (builder, files) => {
    builder.prepare(4 * SEGMENT);
    files.set(4 * SEGMENT, builder.files.get(4 * SEGMENT) ?? Buffer.alloc(0));
    return { ranges: [['missing-segment', 3 * SEGMENT, 4 * SEGMENT]] };
  }],
  ['a header', {}, (_, files) => {
    flip(files, SEGMENT + 99);
    return { ranges: [['damaged-header', SEGMENT, SEGMENT + HEADER]] };
  }],
  ['the oldest header', RECYCLED, (_, files) => {
    flip(files, 8 * SEGMENT + 3);
    return { ranges: [['damaged-header', 8 * SEGMENT, 8 * SEGMENT + HEADER]] };
  }],
  ['all headers', {}, (_, files) => {
    for (const segment of files.keys()) flip(files, segment + 300);
    return { ranges: [0, 1, 2].map((n) => ['damaged-header', n * SEGMENT, n * SEGMENT + HEADER] as const) };
  }],
  ['a mark that claims more than there is', {}, (builder, files) => {
    const { position } = builder;
    put(files, position, markFrame(ID, position, { durableLsn: position + 9000, number: 9, records: builder.records, lastRecordLsn: recordsOf(builder, 0).at(-1)?.start ?? 0, windowBytes: WINDOW, segmentRecords: recordsOf(builder, 2 * SEGMENT).length, flags: 0 }));
    return { ranges: [['corruption', position, position + MARK]] };
  }],
  ['a mark that counts too few', {}, (builder, files) => {
    const { start, mark } = builder.frames.find((one) => one.kind === 'mark' && one.start > SEGMENT) ?? { start: 0, mark: undefined };
    if (mark !== undefined) put(files, start, markFrame(ID, start, { ...mark, records: mark.records - 1 }));
    return { ranges: [['corruption', start, start + MARK]] };
  }],
  ['a footer that counts too many', {}, (builder, files) => {
    const { start, mark } = builder.frames.find((one) => one.kind === 'footer' && one.start > SEGMENT) ?? { start: 0, mark: undefined };
    if (mark !== undefined) put(files, start, markFrame(ID, start, { ...mark, records: mark.records + 10000 }));
    return { ranges: [['corruption', start, 2 * SEGMENT]] };
  }],
];

const segmentsTest = suite('repair of segments');

for (const [name, options, damage] of CASES) {
  segmentsTest(name, async () => {
    const builder = three(options);
    const files = copyOf(builder.files);
    const { lost = (): boolean => false, ranges } = damage(builder, files);
    const path = write(files);
    const before = snapshot(path);
    const planned = await Journal.repair(path, { scheduler, dryRun: true });
    assert.equal(snapshot(path), before, 'a dry run changes nothing');
    assert.is(planned.repaired, false);
    const report = await Journal.repair(path, { scheduler });
    const told = (one: RepairReport): unknown => one.ranges.map(({ finding, lsn, endLsn }) => [finding.kind, lsn, endLsn]);
    assert.equal(told(report), ranges, JSON.stringify(report));
    assert.equal(told(planned), ranges);
    assert.equal([planned.end, planned.records], [report.end, report.records]);
    assert.equal([report.path, report.layout, report.dryRun, report.repaired], [path, 'segments', false, ranges.length > 0]);
    if (ranges.length === 0) assert.equal(snapshot(path), before, 'what needs no repair is left alone');
    for (const range of report.ranges) {
      const kept = range.keptAs === undefined ? Buffer.alloc(0) : readFileSync(range.keptAs);
      const original = files.get(Number.parseInt(range.segment, 16))?.subarray(range.offset, range.offset + range.bytes) ?? Buffer.alloc(0);
      assert.ok(kept.equals(original) && kept.length === range.bytes, `the copy of ${range.segment} at ${range.offset}`);
      if (range.keptAs !== undefined) assert.ok(range.keptAs.startsWith(join(path, `${range.segment}.damaged-${range.lsn}`)));
    }
    sameRecords(await recordsAt(path), builder, lost, 'after repair');
    assert.equal((await Journal.repair(path, { scheduler })).ranges, [], 'a second repair');
    await withJournal(path, { scheduler, logBufferBytes: 65536 }, async (journal) => {
      await journal.append('and on');
    });
    const records = await recordsAt(path);
    assert.is(records.get([...records.keys()].at(-1) ?? 0)?.toString(), 'and on');
    records.delete([...records.keys()].at(-1) ?? 0);
    sameRecords(records, builder, lost, 'after opening');
  });
}

segmentsTest('what is next to a range is told', async () => {
  const builder = three();
  const files = copyOf(builder.files);
  const damaged = recordAfter(builder, SEGMENT + 9000);
  flip(files, damaged.start);
  const { ranges: [range] } = await Journal.repair(write(files), { scheduler, dryRun: true });
  const inSegment = recordsOf(builder, SEGMENT).filter(({ start }) => start < 2 * SEGMENT);
  assert.equal(range?.recordsAround, { before: inSegment.findLast(({ start }) => start < damaged.start)?.start, after: inSegment.find(({ start }) => start > damaged.start)?.start });
  assert.match(range?.finding.proof ?? '', /the commit mark at LSN \d+ says/);
});

const REFUSED: readonly (readonly [name: string, code: string, says: RegExp, damage: (files: Map<number, Buffer>) => void])[] = [
  ['a newer version', 'TIDEMARK_NOT_SUPPORTED', /format version 7.*Nothing was changed/, (files) => {
    put(files, SEGMENT, headerFrame(ID, { base: SEGMENT, segmentBytes: SEGMENT, windowBytes: WINDOW, version: 7 }));
  }],
  ['a segment of another journal', 'TIDEMARK_CORRUPT', /foreign segment.*Nothing was changed/, (files) => {
    put(files, SEGMENT, headerFrame(pattern(3, 16), { base: SEGMENT, segmentBytes: SEGMENT, windowBytes: WINDOW }));
  }],
  ['a base between bases', 'TIDEMARK_CORRUPT', /foreign segment.*Nothing was changed/, (files) => files.set(SEGMENT + 512, pattern(1, SEGMENT))],
  ['a stray segment far behind', 'TIDEMARK_CORRUPT', /more than 1000 segments.*Nothing was changed/, (files) => files.set(5000 * SEGMENT, pattern(1, SEGMENT))],
  ['no header that names the journal', 'TIDEMARK_CORRUPT', /nothing else tells which journal/, (files) => {
    for (const segment of files.keys()) flip(files, segment + 17);
  }],
  ['what is no journal', 'TIDEMARK_NOT_A_JOURNAL', /left untouched/, (files) => {
    for (const segment of files.keys()) files.set(segment, pattern(segment, SEGMENT));
  }],
];

for (const [name, code, says, damage] of REFUSED) {
  segmentsTest(`${name} is refused`, async () => {
    const files = copyOf(three().files);
    damage(files);
    const path = write(files);
    const before = snapshot(path);
    const failure = await failureOf(() => Journal.repair(path, { scheduler }));
    assert.is(failure.code, code, failure.message);
    assert.match(failure.message, says);
    assert.equal(snapshot(path), before);
  });
}

segmentsTest('damage drawn at random: every record outside of it stays', () => {
  const next = random(5);
  for (let i = 0; i < 300; i++) {
    const options: BuilderOptions = [{}, { lag: true }, { firstBase: 3 * SEGMENT, records: 50, marks: 9, lag: true }, RECYCLED][i % 4] ?? {};
    const builder = fill(new SegmentBuilder(options), (options.firstBase ?? 0) + (1 + next(4)) * SEGMENT + 20000, i);
    if (next(2) === 0) builder.close();
    const files = copyOf(builder.files);
    const first = options.firstBase ?? 0;
    const hurt: (readonly [number, number])[] = [];
    for (let n = next(5); n >= 0; n--) {
      const from = first + next(builder.position - first);
      const to = Math.min(builder.position, from + 1 + (next(3) === 0 ? next(90000) : next(60)));
      for (let at = from; at < to; at++) flip(files, at, 1 + next(255));
      hurt.push([from, to]);
    }
    if (next(4) === 0 && files.size > 2) {
      const gone = [...files.keys()][1 + next(files.size - 2)] ?? 0;
      files.delete(gone);
      hurt.push([gone, gone + SEGMENT]);
    }
    const isHurt = (one: BuiltFrame): boolean => hurt.some(([from, to]) => one.start < to && one.coveredEnd > from);
    const headerHurt = [...builder.files.keys()].every((segment) => hurt.some(([from, to]) => segment < to && segment + HEADER > from));
    const overlay = new Overlay(listingOf(files), (request) => readOf(files, request));
    let plan;
    try {
      plan = planRepair('drawn', overlay);
    } catch (error) {
      if (headerHurt) continue;
      throw new Error(`number ${i}: ${String(error)}`);
    }
    const repaired = new Map(overlay.listing.map(({ base: segment, sizeBytes }) => [segment, Buffer.from(overlay.read({ base: segment, offset: 0, bytes: sizeBytes }))]));
    const { end } = plan.verdict.log;
    for (const depth of ['tail', 'all'] as const) {
      const verdict = verdictOf(repaired, depth);
      assert.ok(verdict.kind === 'clean' || verdict.kind === 'torn', `number ${i}, ${depth}: ${JSON.stringify(verdict)}`);
      assert.equal([verdict.log.end, verdict.log.records], [end, plan.verdict.log.records], `number ${i}, ${depth}`);
    }
    for (const one of builder.frames) {
      if (isHurt(one) || one.end > end) continue;
      const segment = one.start - (one.start % SEGMENT);
      const range = [one.start - segment, one.coveredEnd - segment] as const;
      assert.ok(repaired.get(segment)?.subarray(...range).equals(builder.files.get(segment)?.subarray(...range) ?? Buffer.alloc(0)), `number ${i}: the ${one.kind} at ${one.start}, hurt ${JSON.stringify(hurt)}`);
    }
    const durable = builder.frames.findLast((one) => one.mark !== undefined && !isHurt(one))?.mark?.durableLsn ?? 0;
    assert.ok(end >= durable, `number ${i}: the end ${end} is below ${durable}`);
  }
});

segmentsTest('a journal that is open is not repaired', async () => {
  for (const layout of ['segments', 'file'] as const) {
    const path = newPath();
    await withJournal(path, { scheduler, layout, segmentBytes: 65536, logBufferBytes: 65536 }, async () => {
      for (const dryRun of [true, false]) assert.is((await failureOf(() => Journal.repair(path, { scheduler, dryRun }))).code, 'TIDEMARK_LOCKED');
    });
  }
});

segmentsTest('killed at random moments, it can be done again, and no copy is lost', async () => {
  const next = random(Number(process.env['TIDEMARK_SEED'] ?? 77));
  const program = fileURLToPath(new URL('../programs/repairer.js', import.meta.url));
  const builder = fill(new SegmentBuilder(), 30 * SEGMENT);
  const files = copyOf(builder.files);
  const damaged = [...files.keys()].slice(0, -1).map((segment) => recordAfter(builder, segment + 20000));
  for (const { start } of damaged) flip(files, start);
  files.delete(7 * SEGMENT);
  const isLost = (record: BuiltFrame): boolean => damaged.includes(record) || within(7 * SEGMENT, 8 * SEGMENT)(record);
  let cutShort = 0;
  for (let life = 0; life < 12; life++) {
    const path = write(files);
    for (let kill = 0; kill < 3; kill++) {
      const child = spawn(process.execPath, [program, path], { stdio: ['ignore', 'ignore', 'inherit'] });
      // What comes before the first copy changes nothing; so the moments are counted from there.
      const watcher = watch(path, (_, name) => {
        if (name?.includes('.damaged-') === true) setTimeout(() => child.kill('SIGKILL'), next(MOMENTS_MS));
      });
      await ended(child);
      watcher.close();
      const copies = readdirSync(path).filter((name) => name.includes('.damaged-')).length;
      if (copies > 0 && verdictOf(new Map(readdirSync(path).filter((name) => name.endsWith('.segment')).map((name) => [Number.parseInt(name, 16), readFileSync(join(path, name))])), 'all').kind === 'corrupt') cutShort++;
    }
    await Journal.repair(path, { scheduler });
    sameRecords(await recordsAt(path), builder, isLost, `life ${life}`);
    const copies = readdirSync(path).filter((name) => name.includes('.damaged-')).map((name) => ({ name, bytes: readFileSync(join(path, name)) }));
    for (const { start, end } of damaged) {
      if (start > 7 * SEGMENT && start < 8 * SEGMENT) continue;
      const segment = start - (start % SEGMENT);
      const original = files.get(segment)?.subarray(start - segment, end - segment) ?? Buffer.alloc(0);
      assert.ok(copies.some(({ name, bytes }) => name.startsWith(`${segmentName(segment)}.damaged-${start}`) && bytes.equals(original)), `life ${life}: the copy of ${start}`);
    }
    rmSync(path, { recursive: true });
  }
  assert.ok(cutShort >= 3, `${cutShort} of the kills came in the middle of a repair`);
});

segmentsTest.run();

// ---- the file layout ---------------------------------------------------------------------------------------------------

const fileTest = suite('repair of a file');

const RECORDS = [pattern(1, 300), pattern(2, 500), ...Array.from({ length: 12 }, (_, i) => pattern(i, FILE_BATCH_BYTES_MAX / 8)), pattern(9, 20)];
const ENDS = endsOf(RECORDS);

fileTest('what is behind the damage is cut off, and kept', async () => {
  const path = newPath();
  const bytes = journalOf(RECORDS);
  bytes.fill(0xaa, (ENDS[0] ?? 0) + 20, (ENDS[0] ?? 0) + 25);
  writeFileSync(path, Buffer.concat([bytes, Buffer.alloc(100_000)]));
  assert.is((await failureOf(() => Journal.open(path, { scheduler }))).code, 'TIDEMARK_CORRUPT');
  const before = snapshot(base);
  const planned = await Journal.repair(path, { scheduler, dryRun: true });
  assert.equal(snapshot(base), before);
  const report = await Journal.repair(path, { scheduler });
  const end = ENDS[0] ?? 0;
  const keptAs = `${path}.damaged-${end}`;
  assert.equal([report.layout, report.repaired, report.end, report.records, planned.repaired], ['file', true, end, 1, false]);
  const expected = { lsn: end, offset: end, endLsn: bytes.length, bytes: bytes.length - end, droppedRecords: RECORDS.length - 2, recordsAround: { before: 0, after: ENDS[1] } };
  for (const [one, kept] of [[planned, undefined], [report, keptAs]] as const) {
    const [range] = one.ranges;
    assert.equal({ ...range, segment: undefined, finding: undefined }, { ...expected, segment: undefined, finding: undefined, keptAs: kept });
  }
  assert.ok(readFileSync(keptAs).equals(bytes.subarray(end)));
  assert.ok(readFileSync(path).equals(frame(RECORDS[0] ?? '')));
  assert.equal((await Journal.repair(path, { scheduler })).ranges, []);
  await withJournal(path, { scheduler }, async (journal) => assert.is(await journal.append('on'), end + 14));
});

fileTest('what needs no repair is left alone, a torn tail too', async () => {
  for (const rest of [Buffer.alloc(0), Buffer.alloc(4096), frame('torn').subarray(0, 9)]) {
    const path = newPath();
    writeFileSync(path, Buffer.concat([journalOf(['one', 'two']), rest]));
    const before = snapshot(base);
    assert.equal(await Journal.repair(path, { scheduler }), { path, layout: 'file', dryRun: false, repaired: false, ranges: [], end: 30, records: 2 });
    assert.equal(snapshot(base), before);
  }
});

fileTest('what is no journal, or not there', async () => {
  const path = newPath();
  assert.is((await failureOf(() => Journal.repair(path, { scheduler }))).code, 'TIDEMARK_NOT_FOUND');
  assert.not.ok(existsSync(path));
  writeFileSync(path, pattern(1, 10_000));
  assert.is((await failureOf(() => Journal.repair(path, { scheduler }))).code, 'TIDEMARK_NOT_A_JOURNAL');
  assert.is((await failureOf(() => Journal.repair('', { scheduler }))).code, 'TIDEMARK_INVALID_ARGUMENT');
  assert.is((await failureOf(() => Journal.repair(path, { dry: true } as never))).code, 'TIDEMARK_INVALID_ARGUMENT');
});

fileTest('a copy that is there already is kept too', async () => {
  const path = newPath();
  const bytes = journalOf(RECORDS);
  bytes.fill(0xaa, 20, 25);
  writeFileSync(path, bytes);
  writeFileSync(`${path}.damaged-0`, 'an older copy');
  const report = await Journal.repair(path, { scheduler });
  assert.is(report.ranges[0]?.keptAs, `${path}.damaged-0.1`);
  assert.is(readFileSync(`${path}.damaged-0`, 'utf8'), 'an older copy');
  assert.ok(readFileSync(`${path}.damaged-0.1`).equals(bytes));
});

fileTest.run();
