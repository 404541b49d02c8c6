import { Worker } from 'node:worker_threads';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { crc32c, frame, OVERHEAD, pattern } from '../conformance/format.js';
import { within } from '../conformance/helpers.js';
import { ControlBlock, LogBuffer, Producer, recordLength, type SharedLogBuffer } from '../internals.js';
import type { ProducerData } from './producer-worker.js';
import { stressRecord } from './stress-record.js';

const test = suite('the log buffer');

const alive = (): boolean => true;
const HEADER = 8;

function sharedLog(capacity: number, skipBytes = 0): SharedLogBuffer {
  return { buffer: new SharedArrayBuffer(capacity + skipBytes + 32), skipBytes, capacity };
}

function window(capacity: number, lsn = 0): { control: ControlBlock; log: InstanceType<typeof LogBuffer>; producer: () => InstanceType<typeof Producer> } {
  const control = ControlBlock.create();
  control.start(lsn, lsn);
  const log = new LogBuffer(sharedLog(capacity));
  let threads = 0;
  return { control, log, producer: () => new Producer(control, log, control.claimSlot(++threads, alive)) };
}

/** The bytes of a log range, one by one from the definition: byte `lsn mod capacity` is byte `lsn` of the log. */
function logBytes(log: InstanceType<typeof LogBuffer>, start: number, count: number): Buffer {
  return Buffer.from(Array.from({ length: count }, (_, i) => log.bytes[(start + i) % log.capacity] ?? -1));
}

const CAPACITY = 64;

test('a frame at every offset of a tiny window', () => {
  for (const base of [0, 2 ** 32 - CAPACITY, 2 ** 45]) {
    for (let offset = 0; offset < CAPACITY; offset++) {
      for (const length of [0, 1, 7, 8, 9, 31, CAPACITY - OVERHEAD]) {
        const lsn = base + offset;
        const { log, producer } = window(CAPACITY, lsn);
        log.bytes.fill(0xee);
        const record = pattern(offset, length);
        const start = producer().tryAppend(record, length);
        assert.is(start, lsn);
        assert.equal(log.header(lsn), { magic: 0x46535901, recordBytes: length });
        const body = Buffer.concat(log.pieces(lsn, lsn + HEADER + length));
        log.putChecksum(lsn + HEADER + length, crc32c(body));
        assert.ok(logBytes(log, lsn, length + OVERHEAD).equals(frame(record)), `${length} bytes at ${lsn}`);
        const untouched = logBytes(log, lsn + length + OVERHEAD, CAPACITY - length - OVERHEAD);
        assert.ok(untouched.every((byte) => byte === 0xee), 'nothing beyond the frame is touched');
      }
    }
  }
});

test('text at every offset is UTF-8', () => {
  for (const text of ['', 'a', 'grüße', '🌊🌊', 'a\ud800b', '€'.repeat(10)]) {
    const utf8 = Buffer.from(text, 'utf8');
    assert.is(recordLength(text), utf8.length);
    for (let offset = 0; offset < CAPACITY; offset++) {
      const { log, producer } = window(CAPACITY, offset);
      assert.is(producer().tryAppend(text, utf8.length), offset);
      assert.ok(logBytes(log, offset + HEADER, utf8.length).equals(utf8), `'${text}' at ${offset}`);
    }
  }
});

test('pieces cover a range once, in order, never more than the window', () => {
  const log = new LogBuffer(sharedLog(CAPACITY, 16));
  log.bytes.set(Array.from({ length: CAPACITY }, (_, i) => i));
  for (let start = 0; start < 2 * CAPACITY; start++) {
    for (let count = 0; count <= CAPACITY; count++) {
      const pieces = log.pieces(start, start + count);
      assert.ok(pieces.length <= 2);
      assert.ok(Buffer.concat(pieces).equals(logBytes(log, start, count)), `${count} bytes from ${start}`);
    }
    assert.throws(() => log.pieces(start, start + CAPACITY + 1));
  }
});

test('a window that is no power of two, or lies outside its memory, is refused', () => {
  for (const shared of [sharedLog(48), { ...sharedLog(64), skipBytes: 64 }, { ...sharedLog(64), capacity: 0 }]) {
    assert.throws(() => new LogBuffer(shared), (error: { code: string }) => error.code === 'TIDEMARK_INTERNAL');
  }
});

test('a full window answers -1 and reserves nothing', () => {
  const { control, producer } = window(CAPACITY);
  const first = producer();
  for (let i = 0; i < 4; i++) assert.is(first.tryAppend('four', 4), 16 * i);
  assert.is(first.tryAppend('', 0), -1);
  assert.is(first.tryAppendBatch(['', ''], [0, 0], 24), -1);
  assert.equal([control.reservedLsn, control.publishedLsn()], [64, 64], 'no bound is left behind');
  control.advance({ written: 64, durable: 64 });
  assert.is(first.tryAppend('', 0), -1, 'durable is not yet released');
  control.advance({ released: 11 });
  assert.is(first.tryAppend('', 0), -1);
  control.advance({ released: 12 });
  assert.is(first.tryAppend('', 0), 64);
  assert.is(first.tryAppend('', 0), -1);
});

test('a batch gets one range or none', () => {
  const { control, log, producer } = window(CAPACITY);
  const one = producer();
  assert.is(one.tryAppend('x', 1), 0);
  assert.is(one.tryAppendBatch(['abcd', 'efgh', 'ijkl', ''], [4, 4, 4, 0], 60), -1);
  assert.is(control.reservedLsn, 13);
  assert.is(one.tryAppendBatch(['abcd', '', 'efgh'], [4, 0, 4], 44), 13);
  assert.equal([control.reservedLsn, control.publishedLsn()], [57, 57]);
  assert.equal([13, 29, 41].map((lsn) => log.header(lsn).recordBytes), [4, 0, 4]);
});

test('producers that have not seen each other append one behind the other', () => {
  const { control, producer } = window(CAPACITY);
  const producers = [producer(), producer(), producer()];
  const starts = producers.flatMap((one) => [one.tryAppend('', 0)]);
  assert.equal(starts, [0, 12, 24]);
  control.advance({ written: 36, durable: 36, released: 36 });
  assert.equal(producers.map((one) => one.tryAppend('12345678', 8)), [36, 56, 76]);
  assert.equal(producers.map((one) => one.tryAppend('', 0)), [-1, -1, -1]);
  assert.equal([control.reservedLsn, control.publishedLsn()], [96, 96]);
});

test('a range larger than the window is published as it is copied, and holds back what comes behind it', () => {
  const { control, producer } = window(CAPACITY);
  const large = producer();
  const small = producer();
  assert.is(small.tryAppend('', 0), 0);
  assert.is(large.tryReserveLarge(200), 12);
  assert.equal([control.reservedLsn, large.windowEnd()], [212, 64]);
  assert.ok(control.publishedLsn() <= 12);
  large.publishThrough(12);
  assert.is(small.tryAppend('', 0), -1);
  assert.is(small.tryReserveLarge(200), -1, 'one at a time');
  assert.is(control.publishedLsn(), 12, 'who found no room holds nothing back');
  large.publishThrough(64);
  assert.is(control.publishedLsn(), 64);
  control.advance({ written: 64, durable: 64, released: 60 });
  assert.is(large.windowEnd(), 124);
  control.advance({ released: 190 });
  assert.is(small.tryAppend('', 0), 212);
  assert.is(control.publishedLsn(), 64, 'published ends where the large range does');
  large.finish();
  assert.is(control.publishedLsn(), 224);
});

test('a sealed log answers -1 at once', async () => {
  const { control, log, producer } = window(CAPACITY);
  producer().tryAppend('hello', 5);
  control.advance({ written: 17, durable: 17, released: 17 });
  assert.ok(control.sealReservations(17));
  // In a thread that can be ended: a loop that never gives up would hold this one.
  const data: ProducerData = { control: control.buffer, log: { buffer: log.bytes.buffer as SharedArrayBuffer, skipBytes: 0, capacity: CAPACITY }, slot: 0, producer: 0, records: 1 };
  const worker = new Worker(new URL('./sealed-worker.js', import.meta.url), { workerData: data });
  try {
    const [answers] = await within(new Promise<unknown[]>((resolve, reject) => {
      worker.once('message', (...message) => {
        resolve(message);
      });
      worker.once('error', reject);
    }), 'appending to a sealed log');
    assert.equal(answers, [-1, -1, -1]);
  } finally {
    await worker.terminate();
  }
  assert.equal([control.reservedLsn, control.publishedLsn()], [17, 17]);
});

const PRODUCERS = 4;
const RECORDS = 10_000;
const STRESS_CAPACITY = 16 * 1024;

/** Takes published log out of the window, checks each frame as it becomes whole, and releases the space. */
class Consumer {
  readonly next: number[] = Array.from({ length: PRODUCERS }, () => 0);
  readonly starts: Float64Array[] = Array.from({ length: PRODUCERS }, () => new Float64Array(RECORDS));
  at = 0;
  readonly #control: ControlBlock;
  readonly #log: InstanceType<typeof LogBuffer>;
  #frame: { start: number; record: Buffer; filled: number } | undefined;
  #published = 0;

  constructor(control: ControlBlock, log: InstanceType<typeof LogBuffer>) {
    this.#control = control;
    this.#log = log;
  }

  get done(): boolean {
    return this.next.every((count) => count === RECORDS);
  }

  drain(): void {
    // A producer that enters with an old bound moves it back for a moment; what was published stays so.
    const published = (this.#published = Math.max(this.#published, this.#control.publishedLsn()));
    assert.ok(published - this.#control.releasedLsn <= STRESS_CAPACITY, 'no more is published than the window holds');
    while (this.#step(published));
    if (this.at > this.#control.releasedLsn) this.#control.advance({ written: this.at, durable: this.at, released: this.at });
  }

  #step(published: number): boolean {
    if (this.#frame === undefined) {
      if (published - this.at < HEADER) return false;
      const { magic, recordBytes } = this.#log.header(this.at);
      assert.is(magic, 0x46535901, `a header at ${this.at}: no gap, no overlap`);
      this.#frame = { start: this.at, record: Buffer.alloc(recordBytes), filled: 0 };
      this.at += HEADER;
    }
    const { start, record } = this.#frame;
    const count = Math.min(record.length - this.#frame.filled, published - this.at);
    for (const piece of this.#log.pieces(this.at, this.at + count)) {
      record.set(piece, this.#frame.filled);
      this.#frame.filled += piece.length;
    }
    this.at += count;
    if (this.#frame.filled < record.length || published - this.at < 4) return false;
    this.at += 4;
    this.#frame = undefined;
    this.#check(start, record);
    return true;
  }

  #check(start: number, record: Buffer): void {
    const producer = record.readUInt32LE(0);
    const index = this.next[producer];
    assert.is(record.readUInt32LE(4), index, `the records of producer ${producer} come in order`);
    assert.ok(record.equals(stressRecord(producer, index ?? 0, STRESS_CAPACITY)), `record ${index} of producer ${producer} is whole`);
    (this.starts[producer] as Float64Array)[index ?? 0] = start;
    this.next[producer] = (index ?? 0) + 1;
  }
}

test(`${PRODUCERS} threads append ${RECORDS} records each while this one drains`, async () => {
  const control = ControlBlock.create();
  control.start(0, 0);
  const shared = sharedLog(STRESS_CAPACITY);
  const consumer = new Consumer(control, new LogBuffer(shared));
  const workers = Array.from({ length: PRODUCERS }, (_, producer) => {
    const slot = control.claimSlot(producer + 1, alive);
    return new Worker(new URL('./producer-worker.js', import.meta.url), {
      workerData: { control: control.buffer, log: shared, slot, producer, records: RECORDS } satisfies ProducerData,
    });
  });
  let failed: unknown;
  const reported = workers.map((worker) => new Promise<Float64Array>((resolve, reject) => {
    worker.once('message', resolve);
    worker.once('error', (error) => {
      failed = error;
      reject(error);
    });
  }));
  const all = Promise.all(reported);
  all.catch(() => undefined);
  try {
    const deadline = performance.now() + 30_000;
    while (!consumer.done && failed === undefined) {
      consumer.drain();
      assert.ok(performance.now() < deadline, `the threads get on: ${consumer.next.join(', ')} records, published ${control.publishedLsn()}`);
      await new Promise((resolve) => setImmediate(resolve));
    }
    const starts = await all;
    assert.equal(control.publishedLsn(), consumer.at);
    assert.equal(control.reservedLsn, consumer.at);
    starts.forEach((reports, producer) => {
      assert.ok(Buffer.from(reports.buffer).equals(Buffer.from((consumer.starts[producer] as Float64Array).buffer)), 'each record lies where its producer was told');
    });
  } finally {
    await Promise.all(workers.map((worker) => worker.terminate()));
  }
});

test.run();
