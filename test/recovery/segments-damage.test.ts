/** Damage at many places, against a model that knows nothing but the builder's list of frames and the rules of docs/format.md. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { pattern } from '../conformance/format.js';
import type { SegmentsVerdict } from '../internals.js';
import { CLOSED_FLAG, HEADER, headerFrame, ID, recordFrame, SegmentBuilder, type BuilderOptions, type BuiltFrame } from './segment-builder.js';
import { DEPTHS, fill, flip, put, random, RECYCLED, SEGMENT, verdictOf, WINDOW, type Depth } from './segment-tools.js';

const test = suite('damaged segments');

interface Shape {
  readonly name: string;
  readonly builder: SegmentBuilder;
  readonly recycled: boolean;
  readonly closed: boolean;
}

function shape(name: string, options: BuilderOptions, close: boolean, bytesInLast = 20000): Shape {
  const builder = fill(new SegmentBuilder(options), (options.firstBase ?? 0) + 2 * SEGMENT + bytesInLast);
  if (close) builder.close();
  return { name, builder, recycled: options.earlier !== undefined, closed: close };
}

const SHAPES: readonly Shape[] = [
  shape('open, marks at once', {}, false),
  shape('open, marks that lag', { lag: true }, false),
  shape('closed, marks that lag', { lag: true }, true),
  shape('open, the window reaches into the segment before', { lag: true, firstBase: 3 * SEGMENT, records: 55, marks: 7 }, false, 5000),
  shape('open, recycled', { ...RECYCLED, lag: true }, false),
  shape('closed, recycled', RECYCLED, true),
];

// ---- the model ---------------------------------------------------------------------------------------------------------

interface Expected {
  readonly kinds: readonly SegmentsVerdict['kind'][];
  /** Where the log must end; undefined where the verdict need not tell. */
  readonly end: number | undefined;
}

const baseOf = (lsn: number): number => lsn - (lsn % SEGMENT);

/** What a walk from `from` on meets first. */
function judge({ builder, recycled }: Shape, damaged: ReadonlySet<BuiltFrame>, from: number): Expected {
  const { frames } = builder;
  const index = frames.findIndex((frame) => damaged.has(frame) && frame.start >= from);
  const first = frames[index];
  if (first === undefined) return { kinds: ['clean'], end: builder.position };
  const e = first.start;
  const whole = frames.filter((frame) => !damaged.has(frame));
  const later = whole.filter(({ start }) => start > e);
  const marked = whole.some(({ mark }) => (mark?.durableLsn ?? 0) > e);
  // A frame far behind proves what was written a window before it; a torn frame may begin there and end later.
  const written = (later.findLast(({ kind }) => kind !== 'footer')?.start ?? 0) - WINDOW;
  const possible = written >= e + 12;
  const certain = possible && (later[0]?.start ?? Infinity) <= written;
  if (!marked && possible && !certain) return { kinds: ['corrupt', 'torn'], end: e };
  const proven = marked || certain;
  if (proven) return { kinds: ['corrupt'], end: e };
  if (later.length > 0) return { kinds: ['torn'], end: e };
  const before = frames.slice(0, index).findLast(({ kind }) => kind !== 'pad');
  if (((before?.mark?.flags ?? 0) & CLOSED_FLAG) !== 0) return { kinds: ['clean'], end: e };
  // In a recycled segment, damage to the last frame may leave nothing that looks like one.
  return { kinds: recycled ? ['torn', 'clean'] : ['torn'], end: e };
}

function expect(one: Shape, depth: Depth, damaged: ReadonlySet<BuiltFrame>): Expected {
  const { frames } = one.builder;
  if (depth === 'all') return judge(one, damaged, 0);
  const footers = frames.filter(({ kind }) => kind === 'footer');
  const known = footers.findLast((footer) => !damaged.has(footer) && (footer.mark?.durableLsn ?? 0) >= baseOf(footer.start));
  if (known === undefined) return judge(one, damaged, 0);
  if (footers[0] !== undefined && damaged.has(footers[0])) return { kinds: ['corrupt'], end: undefined };
  const from = known.mark?.durableLsn ?? 0;
  const expected = judge(one, damaged, from);
  const toldBefore = frames.some((frame) => frame.mark !== undefined && !damaged.has(frame) && frame.start >= from && frame.start < (expected.end ?? 0));
  if (expected.end === one.builder.position || toldBefore) return expected;
  const previous = footers[footers.indexOf(known) - 1];
  return previous !== undefined && damaged.has(previous) ? { kinds: ['corrupt'], end: undefined } : judge(one, damaged, baseOf(known.start));
}

function compare(one: Shape, depth: Depth, verdict: SegmentsVerdict, { kinds, end }: Expected, label: string): void {
  const text = (): string => `${one.name}, ${depth}, ${label}, expected ${kinds.join('/')} at ${end ?? '?'}: ${JSON.stringify(verdict)}`;
  if (verdict.kind === 'not-a-journal' || !kinds.includes(verdict.kind)) throw new Error(text());
  if (end === undefined) return;
  const records = one.builder.frames.filter((frame) => frame.kind === 'record' && frame.end <= end);
  const inLast = records.filter(({ start }) => baseOf(start) === baseOf(end));
  const all = one.builder.frames.filter(({ kind }) => kind === 'record').length;
  const { log } = verdict;
  if (log === undefined) throw new Error(text());
  const told = [log.end, log.records, log.recordsEver, log.segmentRecords, log.lastRecordLsn];
  const expected = [end, records.length, one.builder.records - all + records.length, inLast.length, inLast.at(-1)?.start ?? 0];
  if (told.join() !== expected.join()) throw new Error(`told ${told.join()} expected ${expected.join()} ${text()}`);
  if (verdict.kind === 'torn') {
    const last = one.builder.frames.at(-1)?.end ?? 0;
    if (verdict.dataEnd <= end || verdict.dataEnd > Math.max(last, end + WINDOW)) throw new Error(`data ends at ${verdict.dataEnd}, ${text()}`);
  }
  if (verdict.kind === 'corrupt' && verdict.findings[0].kind === 'corruption') {
    const [finding] = verdict.findings;
    if (finding.lsn !== end || finding.endLsn <= end || finding.proof === undefined) throw new Error(text());
  }
}

// ---- a flipped bit, everywhere -----------------------------------------------------------------------------------------

/** `EVERY_BYTE=n` flips a bit in every byte of shape n, which takes some minutes. */
const everyByte = Number(process.env['EVERY_BYTE'] ?? -1);

/** Bytes that are worth a look one by one; of the others, a sample. */
function places({ builder }: Shape, index: number, samples: number): number[] {
  if (index === everyByte) return [...builder.files.keys()].flatMap((base) => Array.from({ length: SEGMENT }, (_, at) => base + at));
  const found = new Set<number>();
  const add = (from: number, to: number): void => {
    for (let at = from; at < to; at++) found.add(at);
  };
  for (const base of builder.files.keys()) {
    add(base, base + 80);
    add(base + HEADER - 8, base + HEADER);
  }
  for (const { start, end, coveredEnd, mark } of builder.frames) {
    add(start, mark === undefined ? start + 9 : end);
    add(coveredEnd - 3, coveredEnd);
  }
  add(builder.position, builder.position + 40);
  const next = random(index);
  const [first = 0] = builder.files.keys();
  for (let i = 0; i < samples; i++) found.add(first + next(builder.files.size * SEGMENT));
  return [...found];
}

function expectFlip(one: Shape, depth: Depth, lsn: number): Expected {
  const { frames, position } = one.builder;
  if (lsn % SEGMENT < HEADER) return { kinds: ['corrupt'], end: position };
  const frame = frames.find(({ start, end }) => start <= lsn && lsn < end);
  if (frame !== undefined) return expect(one, depth, new Set(lsn < frame.coveredEnd ? [frame] : []));
  return { kinds: one.recycled || one.closed || lsn >= position + WINDOW ? ['clean'] : ['torn'], end: position };
}

for (const [i, one] of SHAPES.entries()) {
  for (const depth of DEPTHS) {
    test(`a flipped bit: ${one.name} (${depth})`, () => {
      const next = random(i + 7);
      for (const lsn of places(one, i, 1000)) {
        const mask = 1 << next(8);
        flip(one.builder.files, lsn, mask);
        compare(one, depth, verdictOf(one.builder.files, depth), expectFlip(one, depth, lsn), `LSN ${lsn}, mask ${mask}`);
        flip(one.builder.files, lsn, mask);
      }
    });
  }
}

// ---- writes that never landed ------------------------------------------------------------------------------------------

/** A copy of the journal with zeros from `from` to `to`; headers stay, for they were there before. Answers the frames it hit. */
function zeroed({ builder }: Shape, from: number, to: number): { files: Map<number, Buffer>; damaged: Set<BuiltFrame> } {
  const files = new Map([...builder.files].map(([base, bytes]) => {
    const copy = Buffer.from(bytes);
    copy.fill(0, Math.max(HEADER, Math.min(SEGMENT, from - base)), Math.max(HEADER, Math.min(SEGMENT, to - base)));
    return [base, copy] as const;
  }));
  const damaged = new Set(builder.frames.filter(({ start, coveredEnd }) => {
    const base = baseOf(start);
    const range = [start - base, coveredEnd - base] as const;
    return coveredEnd > from && start < to && files.get(base)?.subarray(...range).equals(builder.files.get(base)?.subarray(...range) ?? Buffer.alloc(0)) === false;
  }));
  return { files, damaged };
}

test('zeros behind a random place, and holes', () => {
  const next = random(99);
  for (let i = 0; i < 2000; i++) {
    const one = SHAPES[i % SHAPES.length];
    if (one === undefined) continue;
    const [first = 0] = one.builder.files.keys();
    const from = first + HEADER + next(one.builder.position - first - HEADER);
    const to = i % 3 === 0 ? Infinity : from + 1 + next(i % 3 === 1 ? 2000 : 40000);
    const { files, damaged } = zeroed(one, from, to);
    // Nobody can tell how many records a trimmed journal had before its first segment when no mark is left in that.
    if (first > 0 && !one.builder.frames.some((frame) => frame.mark !== undefined && baseOf(frame.start) === first && !damaged.has(frame))) continue;
    for (const depth of DEPTHS) {
      const expected = expect(one, depth, damaged);
      // With nothing of the last frame left, the end is clean.
      const empty = expected.kinds.includes('torn') && !one.builder.frames.some((frame) => frame.start > (expected.end ?? 0) && !damaged.has(frame)) && from <= (expected.end ?? 0);
      compare(one, depth, verdictOf(files, depth), empty ? { ...expected, kinds: ['clean', 'torn'] } : expected, `zeros from ${from} to ${to}`);
    }
  }
});

test('a file that is cut is refused', () => {
  const next = random(98);
  for (let i = 0; i < 2000; i++) {
    const one = SHAPES[i % SHAPES.length];
    if (one === undefined) continue;
    const bases = [...one.builder.files.keys()];
    const base = bases[next(bases.length)] ?? 0;
    const files = new Map(one.builder.files);
    const cut = next(SEGMENT);
    files.set(base, (files.get(base) ?? Buffer.alloc(0)).subarray(0, cut));
    for (const depth of DEPTHS) {
      const verdict = verdictOf(files, depth);
      const wrongSize = verdict.kind === 'corrupt' && verdict.findings.some((finding) => finding.kind === 'wrong-size' && finding.base === base);
      assert.ok(wrongSize, `${one.name}, ${depth}, ${base} cut at ${cut}: ${JSON.stringify(verdict)}`);
    }
  }
});

// ---- what an adversary, or an accident, may leave ----------------------------------------------------------------------

test('a record that carries whole segments of the same journal', () => {
  const inner = fill(new SegmentBuilder({ segmentBytes: SEGMENT }), 30000);
  const payload = Buffer.concat([...inner.files.values(), ...inner.files.values()]);
  const segmentBytes = 1024 * 1024;
  const build = (): SegmentBuilder => new SegmentBuilder({ segmentBytes, windowBytes: segmentBytes }).record(pattern(1, 100)).record(payload).record(pattern(2, 50));
  for (const depth of DEPTHS) {
    const builder = build();
    const end = builder.frames[1]?.start ?? 0;
    const whole = verdictOf(builder.files, depth);
    assert.equal([whole.kind, whole.kind === 'clean' ? whole.log.records : 0], ['clean', 3]);
    const file = builder.files.get(0) ?? Buffer.alloc(0);
    file.fill(0, end, end + 8);
    const torn = verdictOf(builder.files, depth);
    assert.equal([torn.kind, torn.kind === 'torn' ? [torn.log.end, torn.dataEnd, torn.finding.endLsn] : []], ['torn', [end, builder.position, builder.frames[2]?.start]]);
    file.fill(0, builder.frames[2]?.start ?? 0);
    const lost = verdictOf(builder.files, depth);
    assert.equal([lost.kind, lost.kind === 'torn' ? lost.log.end : 0], ['torn', end]);
  }
});

test('long frames are found beyond a hole, and checked in bounded memory', () => {
  const segmentBytes = 8 * 1024 * 1024;
  const builder = new SegmentBuilder({ segmentBytes, windowBytes: 1024 * 1024 }).record(pattern(1, 2_000_000)).record(pattern(2, 2_500_000)).record(pattern(3, 100));
  const end = builder.frames[0]?.start ?? 0;
  builder.files.get(0)?.fill(0, end, end + 100);
  for (const depth of DEPTHS) {
    const verdict = verdictOf(builder.files, depth);
    assert.equal([verdict.kind, verdict.kind === 'corrupt' ? [verdict.findings[0].lsn, verdict.findings[0].endLsn] : []], ['corrupt', [end, builder.frames[1]?.start]]);
  }
});

test('lengths that no frame can have', () => {
  const left = (builder: SegmentBuilder): number => builder.footerLsn - builder.position;
  for (const [length, kind] of [[(): number => 0xffffffff, 'clean'], [(b: SegmentBuilder): number => left(b) - 12 - 1, 'clean'], [(b: SegmentBuilder): number => left(b) - 12 - 11, 'clean'],
    [(b: SegmentBuilder): number => left(b) - 12, 'torn'], [(b: SegmentBuilder): number => left(b) - 12 - 12, 'torn'], [(): number => 0, 'torn']] as const) {
    const builder = fill(new SegmentBuilder(RECYCLED), 10 * SEGMENT + 9000);
    const head = Buffer.from('4653590200000000', 'hex');
    head.writeUInt32LE(length(builder), 4);
    put(builder.files, builder.position, head);
    for (const depth of DEPTHS) {
      const verdict = verdictOf(builder.files, depth);
      assert.equal([verdict.kind, verdict.kind === kind ? verdict.log.end : 0], [kind, builder.position], `${head.toString('hex')} ${depth}`);
      if (verdict.kind === 'torn') assert.ok(verdict.dataEnd > builder.position && verdict.dataEnd <= builder.position + WINDOW);
    }
  }
});

test('headers upon headers: the search is given up and says so', () => {
  const builder = fill(new SegmentBuilder(), 9000);
  const head = Buffer.from('4653590200000000', 'hex');
  for (let at = builder.position + 16; at + 64 < builder.footerLsn; at += 8) {
    head.writeUInt32LE(Math.max(0, builder.footerLsn - at - 12 - 64), 4);
    put(builder.files, at, head);
  }
  for (const depth of DEPTHS) {
    const verdict = verdictOf(builder.files, depth);
    assert.equal([verdict.kind, verdict.kind === 'corrupt' ? verdict.findings[0].lsn : 0], ['corrupt', builder.position]);
    assert.match(JSON.stringify(verdict), /given up/);
  }
});

test('whatever the files hold, there is a verdict', () => {
  const next = random(2024);
  const kinds = new Map<string, number>();
  const scraps = ['46535902', '46535903', '46535904', '46535905', '4653590234000000', '4653590434000000', 'ffffffffffffffff', '46535902ffffff00'].map((text) => Buffer.from(text, 'hex'));
  for (let i = 0; i < 2000; i++) {
    const base = next(3) * SEGMENT;
    const files = new Map<number, Buffer>();
    for (let n = 0; n <= next(3); n++) {
      const bytes = next(4) === 0 ? pattern(next(1e6), SEGMENT) : Buffer.alloc(SEGMENT);
      for (let scrap = next(200); scrap > 0; scrap--) scraps[next(scraps.length)]?.copy(bytes, next(SEGMENT - 16));
      const at = base + n * SEGMENT;
      if (next(6) > 0) headerFrame(ID, { base: at, segmentBytes: next(20) === 0 ? next(2 ** 31) : SEGMENT, windowBytes: next(2) === 0 ? WINDOW : next(2 ** 32), earlierBase: [undefined, 0, next(2 ** 31)][next(3)] }).copy(bytes);
      for (let frame = next(4), lsn = at + HEADER; frame > 0; frame--) lsn += recordFrame(ID, lsn, pattern(frame, next(2000))).copy(bytes, lsn - at);
      files.set(at, next(10) === 0 ? bytes.subarray(0, next(SEGMENT)) : bytes);
    }
    for (const depth of DEPTHS) {
      const { kind } = verdictOf(files, depth);
      kinds.set(kind, (kinds.get(kind) ?? 0) + 1);
    }
  }
  assert.equal([...kinds.keys()].sort(), ['clean', 'corrupt', 'not-a-journal', 'torn']);
});

test('damage upon damage: there is a verdict', () => {
  const next = random(77);
  for (let i = 0; i < 600; i++) {
    const one = SHAPES[i % SHAPES.length];
    if (one === undefined) continue;
    const [first = 0] = one.builder.files.keys();
    const places = Array.from({ length: 1 + next(200) }, () => first + next(one.builder.files.size * SEGMENT));
    for (const lsn of places) flip(one.builder.files, lsn, 64);
    for (const depth of DEPTHS) {

      assert.ok(verdictOf(one.builder.files, depth).kind.length > 0);
    }
    for (const lsn of places) flip(one.builder.files, lsn, 64);
  }
});


test.run();
