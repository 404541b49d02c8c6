/**
 * Ways to spoil a journal. All draw from one source of numbers, so that an input is what its number says.
 *
 * Damage that leaves checksums wrong never gets far: so some mutations write the right checksum over what they made up, and
 * tell {@link Forgeries} of it.
 */
import { crc32c, OVERHEAD, pattern } from '../conformance/format.js';
import { bound, frameHead, HEADER, headerFrame, MARK, markFrame, padFrame, recordFrame, type BuiltFrame, type MarkFields } from '../recovery/segment-builder.js';
import { SEGMENT } from '../recovery/segment-tools.js';
import { OTHER, type FileJournal, type Forgeries, type SegmentJournal } from './journals.js';

export type Draw = (below: number) => number;

const POOL: Buffer[] = [];

class Pool {
  #used = 0;

  next(): Buffer {
    return POOL[this.#used++] ??= Buffer.allocUnsafeSlow(SEGMENT);
  }
}

/** A journal while it is spoilt. Files that are not {@link Spoilt.own} are those of the journal, not to be written to. */
export class Spoilt {
  readonly files: Map<number, Buffer>;
  readonly forgeries: Forgeries;
  readonly draw: Draw;
  readonly #own = new Set<number>();
  readonly #pool = new Pool();

  constructor(files: ReadonlyMap<number, Buffer>, forgeries: Forgeries, draw: Draw) {
    this.files = new Map(files);
    this.forgeries = forgeries;
    this.draw = draw;
  }

  /** The file at `base`, to be written to. */
  own(base: number): Buffer {
    const bytes = this.files.get(base) ?? Buffer.alloc(0);
    if (this.#own.has(base)) return bytes;
    // Memory of the input before serves again: fresh memory for each would keep the garbage collector busy.
    const target = bytes.length <= SEGMENT ? this.#pool.next() : Buffer.allocUnsafeSlow(bytes.length);
    const copy = target.subarray(0, bytes.length);
    bytes.copy(copy);
    this.set(base, copy);
    return copy;
  }

  set(base: number, bytes: Buffer): void {
    this.files.set(base, bytes);
    this.#own.add(base);
  }

  anyBase(): number {
    return this.pick([...this.files.keys()]) ?? 0;
  }

  pick<T>(from: readonly T[]): T | undefined {
    return from[this.draw(from.length)];
  }

  /** A place where something may be of interest: mostly near the start of a frame, of a sector, or of the file's end. */
  place(base: number, starts: readonly number[]): number {
    const bytes = this.files.get(base)?.length ?? 0;
    const kind = this.draw(4);
    if (kind === 0) return this.draw(Math.max(1, bytes));
    if (kind === 1) return 512 * this.draw(Math.max(1, Math.floor(bytes / 512)));
    const start = this.pick(starts) ?? this.draw(Math.max(1, bytes));
    return Math.max(0, Math.min(bytes, start + (kind === 2 ? this.draw(16) : 0)));
  }
}

type Mutation = (spoilt: Spoilt, base: number, starts: readonly number[]) => void;

const HOSTILE_LENGTHS = [0, 1, 3, 11, 12, 0xff, 0x0fffffff, 0x10000000, 0x7fffffff, 0x80000000, 0xfffffff3, 0xfffffff4, 0xffffffff];
const HOSTILE_NUMBERS = [0n, 1n, 4095n, 4096n, 65535n, 65536n, 2n ** 31n, 2n ** 32n - 1n, 2n ** 32n, 2n ** 53n - 1n, 2n ** 53n, 2n ** 63n, 2n ** 64n - 1n];
const SCRAPS = ['46535901', '46535902', '46535903', '46535904', '46535905', '4653590100000000', '4653590200000000', '46535903ffffffff', '4653590434000000', '46535902f0ff0000', '46535902ffffff0f'].map((text) => Buffer.from(text, 'hex'));

const NOISE = pattern(99, SEGMENT + 4096);

const flipBits: Mutation = (spoilt, base, starts) => {
  const bytes = spoilt.own(base);
  for (let n = spoilt.draw(6); n >= 0 && bytes.length > 0; n--) {
    const at = spoilt.place(base, starts);
    bytes[at] = (bytes[at] ?? 0) ^ (1 << spoilt.draw(8));
  }
};

const overwriteRun: Mutation = (spoilt, base, starts) => {
  const bytes = spoilt.own(base);
  const from = spoilt.place(base, starts);
  const to = from + 1 + spoilt.draw(spoilt.draw(3) === 0 ? 9000 : 40);
  const filler = spoilt.draw(3);
  for (let at = from; at < to && at < bytes.length; at++) bytes[at] = filler === 0 ? 0xff : spoilt.draw(256);
};

const zerosToTheEnd: Mutation = (spoilt, base, starts) => {
  spoilt.own(base).fill(0, spoilt.place(base, starts));
};

const zeroSectors: Mutation = (spoilt, base) => {
  const bytes = spoilt.own(base);
  const from = 512 * spoilt.draw(Math.ceil((bytes.length + 1) / 512));
  bytes.fill(0, Math.min(from, bytes.length), Math.min(bytes.length, from + 512 * (1 + spoilt.draw(40))));
};

const cut: Mutation = (spoilt, base, starts) => spoilt.set(base, Buffer.from(spoilt.own(base).subarray(0, spoilt.place(base, starts))));

const grow: Mutation = (spoilt, base) => {
  const more = Buffer.alloc(1 + spoilt.draw(70000));
  if (spoilt.draw(2) === 0) for (let at = spoilt.draw(200); at < more.length; at += 1 + spoilt.draw(400)) more[at] = spoilt.draw(256);
  spoilt.set(base, Buffer.concat([spoilt.own(base), more]));
};

const swapSectors: Mutation = (spoilt, base) => {
  const bytes = spoilt.own(base);
  const sector = spoilt.draw(2) === 0 ? 512 : 4096;
  const sectors = Math.floor(bytes.length / sector);
  if (sectors === 0) return;
  const [one, two] = [sector * spoilt.draw(sectors), sector * spoilt.draw(sectors)];
  const kept = Buffer.from(bytes.subarray(one, one + sector));
  bytes.copy(bytes, one, two, two + sector);
  kept.copy(bytes, two);
};

const copyWithin: Mutation = (spoilt, base, starts) => {
  const from = spoilt.files.get(spoilt.anyBase()) ?? Buffer.alloc(0);
  const at = spoilt.place(base, starts);
  const source = spoilt.draw(2) === 0 ? spoilt.draw(from.length + 1) : spoilt.pick(starts) ?? 0;
  Buffer.from(from.subarray(source, source + 1 + spoilt.draw(9000))).copy(spoilt.own(base), at);
};

const scatterScraps: Mutation = (spoilt, base, starts) => {
  const bytes = spoilt.own(base);
  for (let n = spoilt.draw(40); n >= 0; n--) spoilt.pick(SCRAPS)?.copy(bytes, Math.min(bytes.length, spoilt.draw(2) === 0 ? spoilt.place(base, starts) : spoilt.draw(bytes.length + 1)));
};

const onlyRandom: Mutation = (spoilt, base, starts) => {
  const bytes = spoilt.own(base);
  const keep = spoilt.draw(3) === 0 ? HEADER : 0;
  NOISE.copy(bytes, keep, spoilt.draw(4096));
  scatterScraps(spoilt, base, starts);
};

/** Beginnings of frames one behind the other, each of which claims all that follows: to check them all takes the square of the time. */
const headersUponHeaders = (kind: number): Mutation => (spoilt, base, starts) => {
  const bytes = spoilt.own(base);
  const step = 8 + spoilt.draw(24);
  for (let at = spoilt.place(base, starts), end = Math.min(bytes.length, at + spoilt.draw(spoilt.draw(10) === 0 ? 40000 : 4000)); at + step < end; at += step) {
    frameHead(kind, Math.max(0, end - at - OVERHEAD - spoilt.draw(100))).copy(bytes, at);
  }
};

const hostileLength: Mutation = (spoilt, base, starts) => {
  const start = spoilt.pick(starts);
  const bytes = spoilt.own(base);
  if (start === undefined || start + 8 > bytes.length) return;
  const lengths = [...HOSTILE_LENGTHS, bytes.length - start - OVERHEAD, bytes.length - start - OVERHEAD - 1, bytes.length, spoilt.draw(3000)];
  bytes.writeUInt32LE((spoilt.pick(lengths) ?? 0) >>> 0, start + 4);
};

const RAW: readonly Mutation[] = [
  flipBits, flipBits, flipBits, overwriteRun, overwriteRun, zerosToTheEnd, zeroSectors, zeroSectors, cut, grow, swapSectors, copyWithin, copyWithin,
  scatterScraps, hostileLength, hostileLength,
];

// ---- segments ----------------------------------------------------------------------------------------------------------

interface SegmentMutationInput {
  readonly spoilt: Spoilt;
  readonly journal: SegmentJournal;
  readonly base: number;
  /** Frames of the segment at `base`, as they were. */
  readonly frames: readonly BuiltFrame[];
}

type SegmentMutation = (input: SegmentMutationInput) => void;

/** Offsets of frames, and of what else is of interest. */
const offsetsOf = ({ base, frames }: SegmentMutationInput): number[] => [0, HEADER, SEGMENT - MARK, ...frames.map(({ start }) => start - base)];

const copyOtherJournal: SegmentMutation = ({ spoilt, base, ...rest }) => {
  const from = OTHER.builder.files.get(base % (3 * SEGMENT)) ?? Buffer.alloc(0);
  const at = spoilt.place(base, offsetsOf({ spoilt, base, ...rest }));
  from.subarray(at, at + 1 + spoilt.draw(20000)).copy(spoilt.own(base), at);
};

const copyEarlierLife: SegmentMutation = ({ spoilt, base, journal, frames }) => {
  const from = journal.earlier.get(base) ?? Buffer.alloc(0);
  const at = Math.max(HEADER, spoilt.place(base, offsetsOf({ spoilt, base, journal, frames })));
  from.subarray(at, at + 1 + spoilt.draw(20000)).copy(spoilt.own(base), at);
};

/** A frame with another length and the checksum that goes with it. */
const forgeLength: SegmentMutation = ({ spoilt, base, frames, journal }) => {
  const frame = spoilt.pick(frames);
  const bytes = spoilt.own(base);
  if (frame === undefined || bytes.length < SEGMENT) return;
  const offset = frame.start - base;
  const left = SEGMENT - MARK - offset - OVERHEAD;
  const length = spoilt.pick([...HOSTILE_LENGTHS, left, left - 12, left - 11, left + 1, spoilt.draw(left + 1), spoilt.draw(left + 1)]) ?? 0;
  const isPad = frame.kind === 'pad';
  const covered = isPad ? 8 : 8 + length;
  bytes.writeUInt32LE(length >>> 0, offset + 4);
  spoilt.forgeries.any = true;
  if (offset + covered + 4 > bytes.length) return;
  bound(journal.builder.id, frame.start, bytes.subarray(offset, offset + covered)).copy(bytes, offset);
  if (bytes[offset + 3] === 2) spoilt.forgeries.add(frame.start, bytes.subarray(offset + 8, offset + covered));
};

const forgeRecord: SegmentMutation = ({ spoilt, base, frames, journal }) => {
  const start = spoilt.pick(frames)?.start ?? base + HEADER;
  const bytes = spoilt.own(base);
  const payload = Buffer.alloc(spoilt.draw(3) === 0 ? spoilt.draw(20000) : spoilt.draw(60), spoilt.draw(256));
  if (start - base + payload.length + OVERHEAD > bytes.length) return;
  recordFrame(journal.builder.id, start, payload).copy(bytes, start - base);
  spoilt.forgeries.add(start, payload);
};

const forgePad: SegmentMutation = ({ spoilt, base, frames, journal }) => {
  const start = spoilt.pick(frames)?.start ?? base + HEADER;
  const bytes = spoilt.own(base);
  padFrame(journal.builder.id, start, OVERHEAD + spoilt.draw(Math.max(1, SEGMENT - (start - base)))).copy(bytes, start - base, 0, OVERHEAD);
  spoilt.forgeries.any = true;
};

/** A mark whose numbers are made up, in a mark's place or a footer's, or anywhere. */
const forgeMark: SegmentMutation = ({ spoilt, base, frames, journal }) => {
  const marks = frames.filter(({ mark }) => mark !== undefined);
  const found = spoilt.pick(spoilt.draw(4) === 0 ? frames : marks);
  const start = found?.start ?? base + SEGMENT - MARK;
  const number = (was: number): number => spoilt.draw(3) === 0 ? Number(spoilt.pick(HOSTILE_NUMBERS) ?? 0n) : was + spoilt.draw(3) - 1;
  const was: MarkFields = found?.mark ?? { durableLsn: start, number: 1, records: 1, lastRecordLsn: 0, windowBytes: 16384, segmentRecords: 1, flags: 0 };
  const mark = Object.fromEntries(Object.entries(was).map(([key, value]) => [key, number(value as number)])) as unknown as MarkFields;
  const u32 = (value: number): number => Math.max(0, value) % 2 ** 32;
  const u64 = (value: number): number => Math.min(Math.max(0, value), 2 ** 64 - 2048);
  markFrame(journal.builder.id, start, {
    durableLsn: u64(mark.durableLsn), number: u64(mark.number), records: u64(mark.records), lastRecordLsn: u64(mark.lastRecordLsn),
    windowBytes: u32(mark.windowBytes), segmentRecords: u32(mark.segmentRecords), flags: u32(mark.flags),
  }).copy(spoilt.own(base), start - base);
  spoilt.forgeries.any = true;
};

const forgeHeader: SegmentMutation = ({ spoilt, base, journal }) => {
  const { builder } = journal;
  const hostile = (value: number, max = 2 ** 53 - 1): number => spoilt.draw(2) === 0 ? value : Math.min(Number(spoilt.pick(HOSTILE_NUMBERS) ?? 0n), max);
  headerFrame(spoilt.draw(6) === 0 ? OTHER.builder.id : builder.id, {
    base: spoilt.draw(4) === 0 ? hostile(base) : base,
    segmentBytes: spoilt.draw(2) === 0 ? SEGMENT : hostile(SEGMENT * (1 << spoilt.draw(15))),
    windowBytes: hostile(builder.windowBytes, 2 ** 32 - 1),
    earlierBase: [undefined, 0, base, base + SEGMENT, 2 ** 53 - 1, 2 ** 40 + 1][spoilt.draw(6)],
    version: spoilt.draw(8) === 0 ? spoilt.draw(2 ** 32) : 1,
  }).copy(spoilt.own(base));
  spoilt.forgeries.any = true;
};

/** Names: swapped, given twice, taken away, or where none belongs. Never an earlier life's, whose records would be right there. */
const rename: SegmentMutation = ({ spoilt, base }) => {
  const bases = [...spoilt.files.keys()];
  const [first, last] = [Math.min(...bases), Math.max(...bases)];
  const targets = [...bases, last + SEGMENT, last + 2 * SEGMENT, last + 512, last + 5000 * SEGMENT, 2 ** 53 - SEGMENT, 2 ** 53 - 1, first + SEGMENT / 2];
  const target = spoilt.pick(targets.filter(Number.isSafeInteger)) ?? 0;
  const bytes = spoilt.files.get(base) ?? Buffer.alloc(0);
  const there = spoilt.files.get(target);
  spoilt.set(target, Buffer.from(bytes));
  const way = spoilt.draw(3);
  if (way === 0 && there !== undefined) spoilt.set(base, Buffer.from(there));
  else if (way === 1 && target !== base && spoilt.files.size > 1) spoilt.files.delete(base);
};

const remove: SegmentMutation = ({ spoilt, base }) => {
  if (spoilt.files.size > 1) spoilt.files.delete(base);
};

const replaceByOther: SegmentMutation = ({ spoilt, base }) => {
  const other = OTHER.builder.files.get(spoilt.draw(3) * SEGMENT);
  if (other !== undefined) spoilt.set(base, Buffer.from(other));
};

const raw = (mutation: Mutation): SegmentMutation => (input) => {
  mutation(input.spoilt, input.base, offsetsOf(input));
};

const DAMAGE: readonly SegmentMutation[] = [...RAW.map(raw), copyOtherJournal, copyEarlierLife, copyEarlierLife, rename, remove, replaceByOther, raw(headersUponHeaders(2)), raw(onlyRandom)];
const FORGERY: readonly SegmentMutation[] = [forgeLength, forgeLength, forgeRecord, forgePad, forgeMark, forgeMark, forgeHeader];

/** Spoils `journal`: with damage alone, or with something in it that is made to look right. */
export function spoilSegments(journal: SegmentJournal, forgeries: Forgeries, draw: Draw): Map<number, Buffer> {
  const spoilt = new Spoilt(journal.builder.files, forgeries, draw);
  const forge = draw(3) === 0;
  for (let n = [1, 1, 1, 2, 3, 6][draw(6)] ?? 1; n > 0; n--) {
    const base = spoilt.anyBase();
    const frames = journal.builder.frames.filter(({ start }) => start >= base && start < base + SEGMENT);
    spoilt.pick(forge && draw(2) === 0 ? FORGERY : DAMAGE)?.({ spoilt, journal, base, frames });
  }
  return spoilt.files;
}

// ---- one file ----------------------------------------------------------------------------------------------------------

const forgeFileFrame: Mutation = (spoilt, base, starts) => {
  const bytes = spoilt.own(base);
  const start = spoilt.place(base, starts);
  const left = bytes.length - start - OVERHEAD;
  if (left < 0) return;
  const length = spoilt.pick([0, 1, left, spoilt.draw(left + 1), spoilt.draw(Math.min(left, 50) + 1)].filter((one) => one <= left)) ?? 0;
  frameHead(1, length).copy(bytes, start);
  bytes.writeUInt32LE(crc32c(bytes.subarray(start, start + 8 + length)), start + 8 + length);
  spoilt.forgeries.add(start, bytes.subarray(start + 8, start + 8 + length));
};

const FILE_MUTATIONS: readonly Mutation[] = [...RAW, ...RAW, headersUponHeaders(1), onlyRandom, forgeFileFrame, forgeFileFrame, forgeFileFrame];

export function spoilFile(journal: FileJournal, forgeries: Forgeries, draw: Draw): Buffer {
  const spoilt = new Spoilt(new Map([[0, journal.bytes]]), forgeries, draw);
  const starts = [0, ...journal.ends];
  for (let n = 1 + draw(3); n > 0; n--) spoilt.pick(FILE_MUTATIONS)?.(spoilt, 0, starts);
  return spoilt.files.get(0) ?? Buffer.alloc(0);
}
