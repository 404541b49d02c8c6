/**
 * Lives of a segment journal that end in a crash, one after the other, with a disk that is simulated between the write side
 * and real files: writes finish in any order, and at the crash each sector of those in flight has landed or not.
 *
 * Everything that happens is drawn from a seed: `SEED=n node …` repeats one.
 */
import { mkdirSync, openSync, readSync, closeSync, writeSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { segments, type Extent, type OpenedSegments } from '../internals.js';
import { temporaryDirectory } from '../support.js';

const { ControlBlock, LogBuffer, Producer, SegmentsWriteSide, openSegmentsJournal, prepareSegment, trimSegments, listDirectory, closeSegments, examineBlocking, segmentName, walkSegment, idChecksum, Geometry, alignmentSkip, platform } = segments;

const test = suite('crashes of a segment journal on a simulated disk');
const SEGMENT_BYTES = 128 * 1024;
const WINDOW_BYTES = 64 * 1024;
const SECTOR_BYTES = 512;

const base = temporaryDirectory();

/** A small generator of numbers (mulberry32): the same for the same seed. */
function randomness(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

/** A record that tells its number and checks itself. */
function recordOf(number: number, bytes: number): Buffer {
  const record = Buffer.alloc(bytes);
  for (let i = 0; i < bytes; i++) record[i] = (number * 31 + i * 7 + (i >> 8)) & 0xff;
  if (bytes >= 4) record.writeUInt32LE(number, 0);
  return record;
}

interface Appended {
  readonly start: number;
  readonly end: number;
  readonly record: Buffer;
}

interface InFlight {
  readonly extent: Extent;
  /** What the memory held when the write began: it must not change before it is over. */
  readonly bytes: Buffer;
  done: boolean;
}

/** Every record in the directory, in order. */
function readBack(directory: string, opened: OpenedSegments): Appended[] {
  const format = { idSum: idChecksum(opened.journalId), geometry: new Geometry(opened.segmentBytes) };
  const found: Appended[] = [];
  for (const { base } of listDirectory(directory).segments) {
    const descriptor = openSync(join(directory, segmentName(base)), 'r');
    const walk = walkSegment(format, format.geometry.bodyStart(base));
    let step = walk.next(new Uint8Array(0));
    while (step.done !== true) {
      if ('frame' in step.value) {
        const { frame } = step.value;
        if (frame.kind === 'record') found.push({ start: frame.start, end: frame.end, record: Buffer.from(frame.payload) });
        step = walk.next(new Uint8Array(0));
      } else {
        const { offset, bytes } = step.value.read;
        const buffer = Buffer.alloc(bytes);
        step = walk.next(buffer.subarray(0, readSync(descriptor, buffer, 0, bytes, offset)));
      }
    }
    closeSync(descriptor);
    if (step.value.kind !== 'full') break;
  }
  return found;
}

class Life {
  readonly #random: (below: number) => number;
  readonly #uniform: boolean;
  readonly #directory: string;
  readonly #control = ControlBlock.create();
  readonly opened: OpenedSegments;
  readonly #log: InstanceType<typeof LogBuffer>;
  readonly #side: InstanceType<typeof SegmentsWriteSide>;
  readonly #producers: InstanceType<typeof Producer>[];
  #inFlight: InFlight[] = [];
  #inPlace: { base: number; descriptor: number }[];
  readonly #spares: string[];
  readonly appended: Appended[] = [];
  #number: number;

  constructor(directory: string, random: (below: number) => number, number: number, uniform: boolean) {
    this.#random = random;
    this.#uniform = uniform;
    this.#directory = directory;
    this.#number = number;
    this.opened = openSegmentsJournal(platform, {
      role: 'open-segments', path: directory, create: true, mode: 0o600, direct: false, segmentBytes: SEGMENT_BYTES, queueDepth: 4,
      windowBytes: WINDOW_BYTES, firstZeroBytes: 0, control: this.#control.buffer,
    });
    const buffer = new SharedArrayBuffer(WINDOW_BYTES + 4096);
    const shared = { buffer, skipBytes: alignmentSkip(buffer, 4096), capacity: WINDOW_BYTES, segmentBytes: SEGMENT_BYTES };
    this.#log = new LogBuffer(shared);
    this.#inPlace = [...this.opened.segments];
    this.#spares = [...this.opened.spares];
    this.#side = new SegmentsWriteSide({
      layout: 'segments', id: 1, shared: { control: this.#control.buffer, log: shared }, groupCommitWindowUs: 0,
      writing: { direct: false, sectorBytes: SECTOR_BYTES, dsyncWrites: true, queueDepth: 4 }, position: this.opened.position,
      segments: this.opened.segments, news: undefined as never,
    });
    this.#producers = [1, 2].map((thread) => new Producer(this.#control, this.#log, this.#control.claimSlot(thread, () => true)));
  }

  get durableLsn(): number {
    return this.#control.durableLsn;
  }

  get number(): number {
    return this.#number;
  }

  step(): void {
    const action = this.#random(100);
    if (action < 45) this.#append();
    else if (action < 75) this.#take();
    else if (action < 96) this.#complete();
    else if (action < 98) this.#trim();
    else this.#side.prove();
    if (this.#control.spaceEnd - this.#control.reservedLsn < SEGMENT_BYTES && this.#random(3) === 0) this.#prepare();
  }

  #append(): void {
    const producer = this.#producers[this.#random(2)];
    // Frames of exactly a sector: what is appended after a crash ends where lost frames begin.
    const bytes = this.#uniform ? SECTOR_BYTES - 12 : [this.#random(40), this.#random(600), 500 + this.#random(3000), this.#random(40_000)][this.#random(4)] ?? 0;
    const record = recordOf(this.#number, bytes);
    const start = producer?.tryAppend(record, bytes) ?? -1;
    if (start < 0) return;
    this.#number++;
    this.appended.push({ start, end: start + bytes + 12, record });
  }

  #take(): void {
    if (this.#inFlight.length >= 4) return;
    const extent = this.#side.next(this.#inFlight.filter(({ done }) => !done).length);
    if (extent === undefined) return;
    assert.is(extent.offset % SECTOR_BYTES, 0);
    assert.is(extent.bytes % SECTOR_BYTES, 0);
    this.#inFlight.push({ extent, bytes: Buffer.from(this.#memory(extent)), done: false });
  }

  #memory(extent: Extent): Uint8Array {
    return extent.inLogBuffer ? this.#log.bytes.subarray(extent.address - this.#side.logAddress, extent.address - this.#side.logAddress + extent.bytes) : this.#side.footerMemory(extent);
  }

  #complete(): void {
    const open = this.#inFlight.filter(({ done }) => !done);
    const one = open[this.#random(Math.max(1, open.length))];
    if (one === undefined) return;
    assert.ok(one.bytes.equals(this.#memory(one.extent)), 'memory in flight is not written to');
    writeSync(one.extent.segment.descriptor, one.bytes, 0, one.bytes.length, one.extent.offset);
    one.done = true;
    while (this.#inFlight[0]?.done === true) {
      const [first] = this.#inFlight.splice(0, 1);
      if (first === undefined) break;
      this.#side.durable(first.extent);
      if (!first.extent.fills) continue;
      closeSync(first.extent.segment.descriptor);
      this.#inPlace = this.#inPlace.filter(({ base }) => base !== first.extent.segment.base);
    }
  }

  #trim(): void {
    const oldest = listDirectory(this.#directory).segments.map(({ base }) => base).filter((base) => base < (this.#inPlace[0]?.base ?? 0));
    const bases = oldest.slice(0, Math.max(0, oldest.length - 2));
    this.#spares.push(...trimSegments(platform, { role: 'trim-segments', directory: this.#directory, lockDescriptor: this.opened.lockDescriptor, bases, keep: 2 }));
  }

  #prepare(): void {
    const base = this.#control.spaceEnd;
    const making = {
      directory: this.#directory, lockDescriptor: this.opened.lockDescriptor, journalId: this.opened.journalId, segmentBytes: SEGMENT_BYTES, windowBytes: WINDOW_BYTES, mode: 0o600, direct: false, dsync: false,
    };
    const spare = this.#spares.shift();
    const { segment } = prepareSegment(platform, {
      role: 'prepare-segment', making, base, spare, zeroBytes: this.#random(2) * SEGMENT_BYTES, pace: new SharedArrayBuffer(4), control: this.#control.buffer,
    });
    this.#inPlace.push(segment);
    this.#side.add(segment);
  }

  /** The power goes: of what is in flight some sectors have landed. */
  crash(): void {
    for (const { extent, bytes, done } of this.#inFlight) {
      if (done) continue;
      const fate = this.#random(4);
      for (let at = 0; at < bytes.length; at += SECTOR_BYTES) {
        if (fate === 0 || (fate > 1 && this.#random(2) === 0)) continue;
        writeSync(extent.segment.descriptor, bytes, at, SECTOR_BYTES, extent.offset + at);
      }
    }
    for (const { descriptor } of this.#inPlace) closeSync(descriptor);
    closeSync(this.opened.lockDescriptor);
  }

  close(): void {
    for (let i = 0; i < 10_000 && this.#control.durableLsn < this.#control.reservedLsn; i++) {
      if (this.#control.spaceEnd - this.#control.reservedLsn < 4096) this.#prepare();
      this.#take();
      this.#complete();
    }
    assert.is(this.#control.durableLsn, this.#control.reservedLsn, 'everything becomes durable once it is written');
    const end = this.#control.durableLsn;
    const segment = this.#inPlace.find(({ base }) => base <= end && end < base + SEGMENT_BYTES);
    closeSegments(platform, {
      role: 'close-segments', path: this.#directory, lockDescriptor: this.opened.lockDescriptor, descriptors: this.#inPlace.map(({ descriptor }) => descriptor), idle: true,
      closing: segment === undefined ? undefined : { segment, end, writing: this.opened.writing, position: this.#side.position, windowBytes: WINDOW_BYTES, segmentBytes: SEGMENT_BYTES },
    });
  }
}

/** What must be found after a life: a prefix of what was appended that holds all that was durable; trimmed segments aside. */
function check(expected: readonly Appended[], durableLsn: number, found: readonly Appended[], firstLsn: number): void {
  const kept = expected.filter(({ start }) => start >= firstLsn);
  found.forEach((one, i) => {
    assert.is(one.start, kept[i]?.start, 'records are found where they were appended, in order, without a gap');
    assert.ok(one.record.equals(kept[i]?.record ?? Buffer.alloc(0)), 'records are found as they were appended');
  });
  const durable = kept.filter(({ end }) => end <= durableLsn).length;
  assert.ok(found.length >= durable, `${durable} records were durable, ${found.length} are found`);
}

function lives(seed: number): { readonly records: number; readonly crashes: number } {
  const random = randomness(seed);
  const uniform = seed % 3 === 0;
  const directory = join(base, String(seed));
  mkdirSync(directory);
  let expected: Appended[] = [];
  let number = 1;
  let crashes = 0;
  for (let life = 0; life < 6; life++) {
    const one = new Life(directory, random, number, uniform);
    const firstLsn = (listDirectory(directory).segments[0]?.base ?? 0) + 4096;
    const found = readBack(directory, one.opened);
    check(expected, one.durableLsn, found, firstLsn);
    assert.is(one.opened.records, found.length, 'opening counts the records that are there');
    expected = found;
    for (let steps = 200 + random(1500); steps > 0; steps--) one.step();
    const durable = one.durableLsn;
    expected = [...expected, ...one.appended];
    number = one.number;
    if (random(4) === 0) one.close();
    else {
      one.crash();
      crashes++;
    }
    // Before anything is repaired: what a reader finds then is judged by the same rule.
    const oldest = (listDirectory(directory).segments[0]?.base ?? 0) + 4096;
    const before = readBack(directory, one.opened);
    const durableExpected = expected.filter(({ start, end }) => start >= oldest && end <= durable).length;
    assert.ok(before.length >= durableExpected, 'a reader finds all that was durable');
    expected = expected.filter(({ start }) => start >= oldest);
    const verdict = examineBlocking(listDirectory(directory).segments, { depth: 'all' }, ({ base, offset, bytes }) => {
      const descriptor = openSync(join(directory, segmentName(base)), 'r');
      const buffer = Buffer.alloc(bytes);
      const count = readSync(descriptor, buffer, 0, bytes, offset);
      closeSync(descriptor);
      return buffer.subarray(0, count);
    });
    assert.ok(verdict.kind === 'clean' || verdict.kind === 'torn', `a crash damages nothing: ${JSON.stringify(verdict)}`);
    // What was cut off at the crash must not be expected again.
    expected = expected.slice(0, Math.max(durableExpected, before.length));
  }
  assert.ok(readdirSync(directory).length > 0);
  return { records: number, crashes };
}

const only = process.env['SEED'];
const seeds = only === undefined ? Array.from({ length: Number(process.env['LIVES'] ?? 60) }, (_, i) => i + 1) : [Number(only)];
let records = 0;
let crashes = 0;
for (const seed of seeds) {
  test(`seed ${seed}`, () => {
    const done = lives(seed);
    records += done.records;
    crashes += done.crashes;
  });
}
test('enough happened', () => {
  assert.ok(only !== undefined || (records > 100 * seeds.length && crashes > 2 * seeds.length), `${records} records, ${crashes} crashes`);
});
test.run();
