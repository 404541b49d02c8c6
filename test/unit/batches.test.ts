import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { crc32c, OVERHEAD } from '../conformance/format.js';
import { ControlBlock, FILE_BATCH_BYTES_MAX, LogBuffer, Producer, WriteSide } from '../internals.js';

const test = suite('batches');

const KIB = 1024;
const MIB = 1024 * KIB;
const CAPACITY = 16 * MIB;

interface Range {
  readonly start: number;
  readonly end: number;
}

function publish(lengths: readonly number[]): { frames: Range[]; control: ControlBlock; log: InstanceType<typeof LogBuffer>; side: InstanceType<typeof WriteSide> } {
  const control = ControlBlock.create();
  control.start(0, 0);
  const shared = { buffer: new SharedArrayBuffer(CAPACITY), skipBytes: 0, capacity: CAPACITY };
  const log = new LogBuffer(shared);
  const producer = new Producer(control, log, control.claimSlot(1, () => true));
  const frames = lengths.map((length) => {
    const start = producer.tryAppend(Buffer.alloc(length, length), length);
    return { start, end: start + length + OVERHEAD };
  });
  const side = new WriteSide({
    layout: 'file', id: 1, shared: { control: control.buffer, log: shared }, preallocateBytes: 0, groupCommitWindowUs: 0,
    file: { descriptor: -1, direct: false, sectorBytes: 1, dsyncWrites: false, spaceEnd: 0 },
  });
  return { frames, control, log, side };
}

function takeAll(side: InstanceType<typeof WriteSide>): (Range & { readonly frameEnd: number })[] {
  const batches = [];
  for (let batch = side.take(Infinity); batch !== undefined; batch = side.take(Infinity)) batches.push(batch);
  return batches;
}

const LOADS: readonly (readonly [name: string, lengths: readonly number[]])[] = [
  ['one small record', [5]],
  ['many small records', Array.from({ length: 50_000 }, (_, i) => i % 200)],
  ['records of a megabyte', Array.from({ length: 12 }, () => MIB)],
  ['a large record, then small ones', [100, 6 * MIB, ...Array.from({ length: 10_000 }, (_, i) => i % 300)]],
  ['large and small ones mixed', Array.from({ length: 3000 }, (_, i) => (i % 500 === 499 ? 1_800_000 : 500))],
  ['a record as long as a batch', [0, FILE_BATCH_BYTES_MAX - OVERHEAD, 0, FILE_BATCH_BYTES_MAX, 10, 10]],
];

for (const [name, lengths] of LOADS) {
  test(`${name}: batches cover the log, sealed, within their limit`, () => {
    const { frames, log, side } = publish(lengths);
    const batches = takeAll(side);
    let at = 0;
    for (const { start, end, frameEnd } of batches) {
      assert.is(start, at);
      assert.ok(end > start && end - start <= FILE_BATCH_BYTES_MAX, `${end - start} bytes`);
      const lastFrameEnd = frames.reduce((last, frame) => (frame.end <= end ? Math.max(last, frame.end) : last), 0);
      assert.is(frameEnd, lastFrameEnd, 'durable moves by whole frames');
      at = end;
    }
    assert.is(at, frames.at(-1)?.end);
    for (const { start, end } of frames.filter((_, i) => i % 97 === 0 || i === frames.length - 1)) {
      const checksum = Buffer.concat(log.pieces(end - 4, end)).readUInt32LE();
      assert.is(checksum, crc32c(Buffer.concat(log.pieces(start, end - 4))), `the checksum of the frame at ${start}`);
    }
  });

  test(`${name}: no frame shares a batch with bytes of one that starts ${FILE_BATCH_BYTES_MAX} or more before it`, () => {
    // Recovery takes such a frame for a proof that the earlier one had been durable.
    const { frames, side } = publish(lengths);
    for (const batch of takeAll(side)) {
      const inside = frames.filter(({ start, end }) => start < batch.end && end > batch.start);
      const last = inside.filter(({ end }) => end <= batch.end).at(-1);
      const first = inside[0];
      if (first === undefined || last === undefined) continue;
      assert.ok(last.start - first.start < FILE_BATCH_BYTES_MAX, `batch ${batch.start} to ${batch.end} holds part of the frame at ${first.start} and the whole one at ${last.start}`);
    }
  });
}

for (const [name, lengths] of LOADS) {
  test(`${name}: no batch goes beyond the limit it is given, whatever was sealed before`, () => {
    const { frames, log, side } = publish(lengths);
    let at = 0;
    for (let turn = 0; at < (frames.at(-1)?.end ?? 0); turn++) {
      // Limits as zeros in flight set them: at multiples of 4096, near and far, and then gone again.
      const limit = turn % 3 === 2 ? Infinity : (Math.floor(at / 4096) + 1 + ((turn * 7919) % 1100)) * 4096;
      const batch = side.take(limit);
      if (batch === undefined) continue;
      assert.is(batch.start, at);
      assert.ok(batch.end <= limit, `${batch.end} is beyond ${limit}`);
      assert.ok(batch.frameEnd <= batch.end);
      at = batch.end;
    }
    for (const { start, end } of frames.filter((_, i) => i % 97 === 0 || i === frames.length - 1)) {
      const checksum = Buffer.concat(log.pieces(end - 4, end)).readUInt32LE();
      assert.is(checksum, crc32c(Buffer.concat(log.pieces(start, end - 4))), `the checksum of the frame at ${start}`);
    }
  });
}

test('nothing beyond what is published is taken, and a batch stops where it is told', () => {
  const { control, side } = publish([100, 100, 100]);
  control.enter(1, 0);
  assert.equal(side.take(112), { start: 0, end: 112, frameEnd: 112 });
  assert.equal(side.take(200), { start: 112, end: 200, frameEnd: 112 });
  assert.equal(side.take(228), { start: 200, end: 224, frameEnd: 224 }, 'a header is not divided');
  assert.equal(side.take(Infinity), { start: 224, end: 336, frameEnd: 336 });
  assert.is(side.take(Infinity), undefined);
});

test.run();
