import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { pattern } from '../conformance/format.js';
import { examine, type SegmentRead, type SegmentsVerdict } from '../internals.js';
import { HEADER, headerFrame, ID, MARK, markFrame, padFrame, recordFrame, SegmentBuilder, type BuilderOptions, type BuiltFrame } from './segment-builder.js';
import { DEPTHS, fill, flip, FOOTER_AT, listingOf, logOf, put, readOf, RECYCLED, SEGMENT, verdictOf, WINDOW, type Depth, type Files } from './segment-tools.js';

const test = suite('recovery of segments');
// ---- rules, one by one -------------------------------------------------------------------------------------------------

interface Expected {
  readonly kind: SegmentsVerdict['kind'];
  readonly end?: number;
  readonly dataEnd?: number;
  /** Kind and LSN of every finding. */
  readonly findings?: readonly (readonly [kind: string, lsn: number])[];
  readonly records?: number;
  readonly closed?: boolean;
  readonly prepared?: readonly number[];
  readonly endInPlace?: boolean;
  readonly says?: RegExp;
}

function check(verdict: SegmentsVerdict, expected: Expected, label: string): void {
  const text = `${label}: ${JSON.stringify(verdict)}`;
  assert.is(verdict.kind, expected.kind, text);
  const findings = verdict.kind === 'corrupt' ? verdict.findings : verdict.kind === 'torn' ? [verdict.finding] : [];
  if (expected.findings !== undefined) assert.equal(findings.map(({ kind, lsn }) => [kind, lsn]), expected.findings, text);
  if (expected.dataEnd !== undefined) assert.is(verdict.kind === 'torn' ? verdict.dataEnd : undefined, expected.dataEnd, text);
  for (const key of ['end', 'records', 'closed', 'prepared', 'endInPlace'] as const) {
    if (expected[key] !== undefined) assert.equal(logOf(verdict)[key], expected[key], `${key}: ${text}`);
  }
  if (expected.says !== undefined) assert.match(JSON.stringify(verdict), expected.says, text);
}

/** Two full segments and a part of a third, all of it durable by marks except what follows the last. */
function three(options: BuilderOptions = {}): SegmentBuilder {
  return fill(new SegmentBuilder(options), (options.firstBase ?? 0) + 2 * SEGMENT + 20000);
}

function lastOf(builder: SegmentBuilder, kind: BuiltFrame['kind']): BuiltFrame {
  const frame = builder.frames.findLast((one) => one.kind === kind);
  if (frame === undefined) throw new Error(`no ${kind}`);
  return frame;
}

type Case = readonly [name: string, make: () => readonly [Files, Expected], depths?: readonly Depth[]];

const replaced = (files: Map<number, Buffer>, base: number, header: Buffer): void => put(files, base, header);
const headerOf = (base: number, more: object = {}): Buffer => headerFrame(ID, { base, segmentBytes: SEGMENT, windowBytes: WINDOW, ...more });

const CASES: readonly Case[] = [
  ['no segment', () => [new Map(), { kind: 'not-a-journal' }]],
  ['a file that is none', () => [new Map([[0, pattern(1, SEGMENT)]]), { kind: 'not-a-journal' }]],
  ['empty files', () => [new Map([[0, Buffer.alloc(0)], [SEGMENT, Buffer.alloc(0)]]), { kind: 'not-a-journal' }]],
  ['nothing but a header', () => [new SegmentBuilder().files, { kind: 'clean', end: HEADER, records: 0, closed: false, prepared: [], endInPlace: true }]],
  ['the only header is damaged', () => {
    const { files } = new SegmentBuilder();
    flip(files, 100);
    return [files, { kind: 'corrupt', findings: [['damaged-header', 0]] }];
  }],
  ['an open journal that was not interrupted', () => {
    const builder = three();
    return [builder.files, { kind: 'clean', end: builder.position, records: builder.records, closed: false, prepared: [] }];
  }],
  ['a closed journal', () => {
    const builder = three().close();
    return [builder.files, { kind: 'clean', end: builder.position, records: builder.records, closed: true }];
  }],
  ['a closed journal and more after it', () => {
    const builder = three().close().record(pattern(1, 20));
    return [builder.files, { kind: 'clean', end: builder.position, records: builder.records, closed: false }];
  }],
  ['a closed journal in a recycled segment, with an interrupted write behind it that left no whole frame', () => {
    const builder = three(RECYCLED).close();
    const end = builder.position;
    put(builder.files, end, recordFrame(ID, end, pattern(1, 400)).subarray(0, 200));
    return [builder.files, { kind: 'clean', end, closed: true }];
  }],
  ['a closed journal, and a frame beyond a hole', () => {
    const builder = three().close();
    const end = builder.position;
    put(builder.files, end + 512, recordFrame(ID, end + 512, pattern(1, 40)));
    return [builder.files, { kind: 'torn', end, dataEnd: end + 512 + 52, findings: [['torn-tail', end]] }];
  }],
  ...([[0, ['tail', 'all'], 'torn'], [1024 * 1024 - 1, ['tail'], 'corrupt'], [1024 * 1024 - 1, ['all'], 'corrupt'], [1024 * 1024, ['tail'], 'clean'], [1024 * 1024, ['all'], 'corrupt']] as const)
    .map(([farther, depths, kind]): Case => [`a closed journal, and a frame ${farther} bytes behind it`, () => {
      const builder = three().close();
      for (let n = 3; n < 22; n++) builder.prepare(n * SEGMENT);
      const end = builder.position;
      const at = end + Math.max(farther, 512);
      put(builder.files, at, padFrame(ID, at, 100));
      return [builder.files, { kind, end, closed: true }];
    }, depths]),
  ['a trimmed journal', () => {
    const builder = three({ firstBase: 5 * SEGMENT, records: 777, marks: 50 });
    return [builder.files, { kind: 'clean', end: builder.position, records: builder.records - 777 }];
  }],
  ['prepared segments', () => {
    const builder = three();
    builder.prepare(3 * SEGMENT);
    builder.prepare(4 * SEGMENT);
    return [builder.files, { kind: 'clean', end: builder.position, prepared: [3 * SEGMENT, 4 * SEGMENT] }];
  }],
  ['prepared segments whose headers are of no use', () => {
    const builder = three();
    for (const n of [3, 4, 5, 6]) builder.prepare(n * SEGMENT);
    flip(builder.files, 3 * SEGMENT + 99);
    replaced(builder.files, 4 * SEGMENT, headerOf(9 * SEGMENT));
    replaced(builder.files, 5 * SEGMENT, headerOf(5 * SEGMENT, { version: 2 }));
    return [builder.files, { kind: 'clean', end: builder.position, prepared: [6 * SEGMENT] }];
  }],
  ['the last segment is full, and the next is prepared in vain', () => {
    const builder = three().seal();
    flip(builder.files, builder.base + 50);
    return [builder.files, { kind: 'clean', end: builder.position, prepared: [], endInPlace: false }];
  }],
  ['the last segment is full, and there is none behind', () => {
    const builder = three().seal();
    builder.files.delete(builder.base);
    return [builder.files, { kind: 'clean', end: builder.position, prepared: [], endInPlace: false, records: builder.records }];
  }],
  ['the last segment is full, its footer never landed', () => {
    const builder = three().seal();
    builder.files.delete(builder.base);
    const footer = lastOf(builder, 'footer').start;
    put(builder.files, footer, Buffer.alloc(MARK));
    return [builder.files, { kind: 'clean', end: footer, records: builder.records, endInPlace: true }];
  }],
  ['the last segment is full, its footer landed in part', () => {
    const builder = three().seal();
    const footer = lastOf(builder, 'footer').start;
    put(builder.files, footer + 20, Buffer.alloc(MARK - 20));
    return [builder.files, { kind: 'torn', end: footer, dataEnd: footer + MARK, findings: [['torn-tail', footer]] }];
  }],
  ['a footer is damaged, and a mark behind it proves', () => {
    const builder = three();
    flip(builder.files, SEGMENT + FOOTER_AT + 20);
    return [builder.files, { kind: 'corrupt', end: SEGMENT + FOOTER_AT, findings: [['corruption', SEGMENT + FOOTER_AT]], says: /the commit mark at LSN \d+ says/ }];
  }],
  ['the oldest footer is damaged', () => {
    const builder = three();
    flip(builder.files, FOOTER_AT + 20);
    return [builder.files, { kind: 'corrupt', findings: [['corruption', FOOTER_AT]] }];
  }],
  ['a segment is missing', () => {
    const builder = three();
    builder.files.delete(SEGMENT);
    return [builder.files, { kind: 'corrupt', findings: [['missing-segment', SEGMENT]] }];
  }],
  ['a segment is cut', () => {
    const builder = three();
    builder.files.set(SEGMENT, (builder.files.get(SEGMENT) ?? Buffer.alloc(0)).subarray(0, 30000));
    return [builder.files, { kind: 'corrupt', findings: [['wrong-size', SEGMENT + 30000]] }];
  }, ['tail']],
  ['a prepared segment is cut', () => {
    const builder = three();
    builder.files.set(3 * SEGMENT, headerOf(3 * SEGMENT));
    return [builder.files, { kind: 'corrupt', findings: [['wrong-size', 3 * SEGMENT + HEADER]] }];
  }],
  ['a segment is too long', () => {
    const builder = three();
    builder.files.set(SEGMENT, Buffer.concat([builder.files.get(SEGMENT) ?? Buffer.alloc(0), Buffer.from('x')]));
    return [builder.files, { kind: 'corrupt', findings: [['wrong-size', 2 * SEGMENT]] }];
  }],
  ['a base between bases', () => {
    const builder = three();
    builder.files.set(SEGMENT + 512, pattern(1, SEGMENT));
    return [builder.files, { kind: 'corrupt', findings: [['foreign-segment', SEGMENT + 512]] }];
  }],
  ['the oldest header is damaged', () => {
    const builder = three();
    flip(builder.files, 77);
    return [builder.files, { kind: 'corrupt', end: builder.position, findings: [['damaged-header', 0]], records: builder.records }];
  }],
  ['a header in the middle is damaged', () => {
    const builder = three();
    flip(builder.files, SEGMENT + 4095);
    return [builder.files, { kind: 'corrupt', end: builder.position, findings: [['damaged-header', SEGMENT]] }];
  }],
  ['a header of another journal', () => {
    const builder = three();
    replaced(builder.files, SEGMENT, headerFrame(pattern(3, 16), { base: SEGMENT, segmentBytes: SEGMENT, windowBytes: WINDOW }));
    return [builder.files, { kind: 'corrupt', findings: [['foreign-segment', SEGMENT]], says: new RegExp(ID.toString('hex')) }];
  }],
  ['a header of a newer version', () => {
    const builder = three();
    replaced(builder.files, 0, headerOf(0, { version: 7 }));
    return [builder.files, { kind: 'corrupt', findings: [['newer-version', 0]], says: /format version 7/ }];
  }],
  ['nothing but headers of a newer version', () => {
    const builder = new SegmentBuilder();
    replaced(builder.files, 0, headerOf(0, { version: 2 }));
    return [builder.files, { kind: 'corrupt', findings: [['newer-version', 0]] }];
  }],
  ['a header with an impossible size', () => {
    const builder = new SegmentBuilder();
    replaced(builder.files, 0, headerOf(0, { segmentBytes: 12345 }));
    return [builder.files, { kind: 'corrupt', findings: [['damaged-header', 0]] }];
  }],
  ['the header behind the end is damaged, and frames lie there', () => {
    const builder = three();
    flip(builder.files, 2 * SEGMENT + 9);
    return [builder.files, { kind: 'corrupt', findings: [['damaged-header', 2 * SEGMENT]], end: builder.position }];
  }],
  ['a frame beyond a hole, within the window', () => {
    const builder = three();
    const end = builder.position;
    put(builder.files, end + 1000, recordFrame(ID, end + 1000, pattern(2, 100)));
    return [builder.files, { kind: 'torn', end, dataEnd: end + 1112, findings: [['torn-tail', end]] }];
  }],
  ['a frame at the window, and one byte beyond it', () => {
    const builder = three();
    const end = builder.position;
    put(builder.files, end + WINDOW, padFrame(ID, end + WINDOW, 100));
    return [builder.files, { kind: 'torn', end, dataEnd: end + WINDOW + 100 }];
  }],
  ['a frame beyond the window', () => {
    const builder = three();
    const end = builder.position;
    put(builder.files, end + WINDOW + 12, padFrame(ID, end + WINDOW + 12, 100));
    return [builder.files, { kind: 'corrupt', end, findings: [['corruption', end]], says: /window is 16384 bytes/ }];
  }],
  ['a frame beyond the window of the header, within the window of a mark', () => {
    const builder = three().mark({ windowBytes: 2 * WINDOW });
    const end = builder.position;
    put(builder.files, end + WINDOW + 12, padFrame(ID, end + WINDOW + 12, 100));
    return [builder.files, { kind: 'torn', end }];
  }],
  ['a mark beyond a hole that proves nothing', () => {
    const builder = three();
    const end = builder.position;
    put(builder.files, end + 100, markFrame(ID, end + 100, { durableLsn: end, number: 99, records: 0, lastRecordLsn: 0, windowBytes: WINDOW, segmentRecords: 0, flags: 0 }));
    return [builder.files, { kind: 'torn', end, dataEnd: end + 164 }];
  }],
  ['a mark beyond a hole that says the hole was durable', () => {
    const builder = three();
    const end = builder.position;
    put(builder.files, end + 100, markFrame(ID, end + 100, { durableLsn: end + 1, number: 99, records: 0, lastRecordLsn: 0, windowBytes: WINDOW, segmentRecords: 0, flags: 0 }));
    return [builder.files, { kind: 'corrupt', end, findings: [['corruption', end]] }];
  }, ['tail']],
  ['a mark before the end that claims more than there is', () => {
    const builder = three();
    builder.mark({ durableLsn: builder.position + 5000 });
    return [builder.files, { kind: 'corrupt', end: builder.position, findings: [['corruption', builder.position]] }];
  }, ['tail']],
  ['a mark before the end that claims more than there is', () => {
    const builder = three();
    const mark = builder.position;
    builder.mark({ durableLsn: builder.position + 5000 });
    return [builder.files, { kind: 'corrupt', end: builder.position, findings: [['corruption', mark], ['corruption', builder.position]], says: /a durable LSN of at most/ }];
  }, ['all']],
  ['the start of a frame at the end', () => {
    const builder = three();
    const end = builder.position;
    put(builder.files, end, recordFrame(ID, end, Buffer.alloc(3000, 1)).subarray(0, 500));
    return [builder.files, { kind: 'torn', end, dataEnd: end + 3012 }];
  }],
  ['garbage at the end of a new segment, within the window', () => {
    const builder = three();
    const end = builder.position;
    put(builder.files, end + WINDOW - 1, Buffer.from('x'));
    return [builder.files, { kind: 'torn', end, dataEnd: end + WINDOW }];
  }],
  ['garbage at the end of a new segment, beyond the window', () => {
    const builder = three();
    put(builder.files, builder.position + WINDOW, Buffer.from('x'));
    return [builder.files, { kind: 'clean', end: builder.position }];
  }],
  ['a recycled segment full of frames of its earlier life', () => {
    const builder = three(RECYCLED);
    return [builder.files, { kind: 'clean', end: builder.position, records: builder.records - 100 }];
  }],
  ['a recycled segment, not begun, full of frames of its earlier life', () => {
    const builder = three(RECYCLED).seal();
    builder.prepare(11 * SEGMENT);
    builder.prepare(12 * SEGMENT);
    return [builder.files, { kind: 'clean', end: builder.position, prepared: [12 * SEGMENT], endInPlace: true }];
  }],
  ['the start of a frame at the end, in a recycled segment', () => {
    const builder = three(RECYCLED);
    const end = builder.position;
    put(builder.files, end, recordFrame(ID, end, Buffer.alloc(3000, 1)).subarray(0, 500));
    return [builder.files, { kind: 'torn', end, dataEnd: end + 3012 }];
  }],
  ['a length of 4 GiB at the end of a recycled segment', () => {
    const builder = three(RECYCLED);
    put(builder.files, builder.position, Buffer.from('46535902ffffffff', 'hex'));
    return [builder.files, { kind: 'clean', end: builder.position }];
  }],
  ['a footer far beyond a hole proves only what it says', () => {
    const builder = fill(new SegmentBuilder(), 20000);
    const end = builder.position;
    const from = builder.frames.length;
    builder.pad(builder.footerLsn - end).seal({ durableLsn: end });
    builder.files.delete(SEGMENT);
    put(builder.files, builder.frames[from]?.start ?? 0, Buffer.alloc(12));
    return [builder.files, { kind: 'torn', end, dataEnd: SEGMENT, findings: [['torn-tail', end]] }];
  }],
  ['footers that prove less than the start of their segment', () => {
    const builder = fill(new SegmentBuilder({ windowBytes: 2 * SEGMENT }), 50000);
    const durableLsn = builder.position;
    builder.mark({ durableLsn }).record(pattern(1, 100));
    const lost = lastOf(builder, 'record').start;
    builder.record(pattern(2, 3000)).seal({ durableLsn }).record(pattern(3, 500)).seal({ durableLsn }).record(pattern(4, 500));
    flip(builder.files, lost);
    return [builder.files, { kind: 'torn', end: lost, dataEnd: builder.position, findings: [['torn-tail', lost]] }];
  }],
  ['a frame beyond a hole, in a segment whose header is damaged', () => {
    const builder = three({ windowBytes: 2 * SEGMENT });
    const end = builder.position;
    for (const n of [3, 4]) builder.prepare(n * SEGMENT);
    put(builder.files, 3 * SEGMENT + 5000, recordFrame(ID, 3 * SEGMENT + 5000, pattern(1, 30)));
    flip(builder.files, 3 * SEGMENT + 60);
    flip(builder.files, 4 * SEGMENT + 60);
    return [builder.files, { kind: 'corrupt', end, findings: [['damaged-header', 3 * SEGMENT], ['torn-tail', end]], prepared: [] }];
  }],
  ['a frame within a frame beyond a hole is none', () => {
    const builder = three();
    const end = builder.position;
    const outer = end + 1000;
    const inner = padFrame(ID, outer + 8 + 50, 3000).subarray(0, 12);
    put(builder.files, outer, recordFrame(ID, outer, Buffer.concat([pattern(1, 50), inner, pattern(2, 50)])));
    return [builder.files, { kind: 'torn', end, dataEnd: outer + 12 + 112 }];
  }],
  ['a closed journal is closed no more behind damage', () => {
    const builder = three().close();
    const record = builder.frames.find(({ start, kind }) => start > SEGMENT + 9000 && kind === 'record')?.start ?? 0;
    flip(builder.files, record);
    return [builder.files, { kind: 'corrupt', end: record, closed: false, findings: [['corruption', record]] }];
  }, ['all']],
  ['frames of another journal behind the end', () => {
    const builder = three();
    const end = builder.position;
    put(builder.files, end + WINDOW + 64, recordFrame(pattern(5, 16), end + WINDOW + 64, pattern(1, 30)));
    return [builder.files, { kind: 'clean', end }];
  }],
];

for (const [name, make, depths = DEPTHS] of CASES) {
  for (const depth of depths) {
    test(`${name} (${depth})`, () => {
      const [files, expected] = make();
      check(verdictOf(files, depth), expected, name);
    });
  }
}

test('two damaged ranges: opening tells the first it meets, verify tells both', () => {
  const builder = three();
  const [one, two] = [builder.frames[3], builder.frames.find(({ start, kind }) => start > SEGMENT + 9000 && kind === 'record')];
  flip(builder.files, one?.start ?? 0);
  flip(builder.files, two?.start ?? 0);
  check(verdictOf(builder.files, 'all'), { kind: 'corrupt', end: one?.start ?? 0, findings: [['corruption', one?.start ?? 0], ['corruption', two?.start ?? 0]] }, 'two');
});

test('a mark that disagrees with what was counted', () => {
  const builder = three();
  const lsn = builder.position;
  builder.mark({ records: 5 }).record(pattern(1, 9));
  check(verdictOf(builder.files, 'all'), { kind: 'corrupt', end: builder.position, findings: [['corruption', lsn]], says: /5 records before the mark/ }, 'disagrees');
});

test('a log that begins anew in a segment behind a missing one is counted anew', () => {
  const builder = fill(new SegmentBuilder(), 3 * SEGMENT + 9000);
  builder.files.delete(SEGMENT);
  check(verdictOf(builder.files, 'all'), { kind: 'corrupt', end: SEGMENT + HEADER, findings: [['missing-segment', SEGMENT]] }, 'missing');
});

test('the log is told as a writer needs it', async () => {
  const builder = three({ firstBase: 4 * SEGMENT, records: 1000, marks: 70 });
  const marks = builder.frames.filter(({ mark }) => mark !== undefined);
  const inLast = builder.frames.filter(({ kind, start }) => kind === 'record' && start >= builder.base);
  for (const depth of DEPTHS) {
    const log = logOf(verdictOf(builder.files, depth));
    assert.equal({ ...log, journalId: Buffer.from(log.journalId) }, {
      journalId: ID, segmentBytes: SEGMENT, firstBase: 4 * SEGMENT, end: builder.position, records: builder.records - 1000, recordsEver: builder.records,
      lastRecordLsn: inLast.at(-1)?.start, segmentRecords: inLast.length, markNumber: builder.marks, provenLsn: marks.at(-1)?.mark?.durableLsn,
      windowBytes: WINDOW, closed: false, endInPlace: true, prepared: [],
    });
    assert.equal(await examine(listingOf(builder.files), { depth }, async (request) => readOf(builder.files, request)), verdictOf(builder.files, depth));
  }
});

test('a mark may count records that a pad took the place of, and no others', () => {
  for (const [more, inSegment, padBytes, kind] of [[0, 0, 12, 'clean'], [1, 1, 12, 'clean'], [2, 2, 12, 'corrupt'], [2, 2, 24, 'clean'], [0, 1, 600, 'clean'], [-1, -1, 600, 'corrupt'], [51, 0, 600, 'corrupt']] as const) {
    const builder = new SegmentBuilder().record(pattern(1, 30)).mark().record(pattern(2, 40)).pad(padBytes);
    const { position, records } = builder;
    builder.mark({ records: records + more, segmentRecords: records + inSegment });
    const findings = kind === 'clean' ? [] : [['corruption', position] as const];
    check(verdictOf(builder.files, 'all'), { kind, findings, end: builder.position }, `${more} ${inSegment} ${padBytes}`);
  }
});

test('opening a closed journal reads little of the space behind it', () => {
  const segmentBytes = 32 * 1024 * 1024;
  const builder = new SegmentBuilder({ segmentBytes }).record(pattern(1, 100)).close();
  const reads: SegmentRead[] = [];
  check(verdictOf(builder.files, 'tail', reads), { kind: 'clean', end: builder.position, closed: true }, 'closed');
  assert.ok(reads.reduce((sum, { bytes }) => sum + bytes, 0) < 2 * 1024 * 1024);
});

test('opening reads no more than the end of a long journal', () => {
  const builder = fill(new SegmentBuilder(), 99 * SEGMENT + 20000);
  builder.prepare(100 * SEGMENT);
  const reads: SegmentRead[] = [];
  check(verdictOf(builder.files, 'tail', reads), { kind: 'clean', end: builder.position, records: builder.records }, 'long');
  const footers = reads.filter(({ offset, bytes }) => offset === FOOTER_AT && bytes === MARK).map(({ base }) => base / SEGMENT);
  assert.equal(footers.slice(0, 4), [100, 99, 98, 0]);
  assert.equal([...new Set(reads.filter(({ offset }) => offset > 0).map(({ base }) => base / SEGMENT))].sort((a, b) => a - b), [0, 98, 99, 100]);
});

test('opening looks at the newest headers, verify at every one', () => {
  const builder = fill(new SegmentBuilder(), 70 * SEGMENT + 20000);
  flip(builder.files, 3 * SEGMENT + 50);
  check(verdictOf(builder.files, 'tail'), { kind: 'clean', end: builder.position }, 'far back');
  check(verdictOf(builder.files, 'all'), { kind: 'corrupt', findings: [['damaged-header', 3 * SEGMENT]], end: builder.position }, 'far back');
  flip(builder.files, 7 * SEGMENT + 50);
  check(verdictOf(builder.files, 'tail'), { kind: 'corrupt', findings: [['damaged-header', 7 * SEGMENT]], end: builder.position }, 'within the newest');
});

test.run();
