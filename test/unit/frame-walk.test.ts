import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { endsOf, frame, journalOf, OVERHEAD, pattern } from '../conformance/format.js';
import { sameRecords } from '../conformance/helpers.js';
import { dataLength, findData, walkFrames, type ReadRequest, type Tail, type TailState } from '../internals.js';

const test = suite('the frame walk');

const KIB = 1024;
const WINDOW = 256 * KIB;
const HEADER = 8;

interface Walked {
  readonly records: Uint8Array[];
  readonly tail: Tail;
  readonly reads: readonly ReadRequest[];
}

/** Walks `bytes`, which may be shorter than the `sizeBytes` that the walk was told: a file that shrinks meanwhile. */
function walk(bytes: Buffer, from = 0, sizeBytes = bytes.length): Walked {
  const records: Uint8Array[] = [];
  const reads: ReadRequest[] = [];
  const steps = walkFrames(from, sizeBytes);
  let expectedStart = from;
  let step = steps.next(new Uint8Array(0));
  while (step.done !== true) {
    if ('frame' in step.value) {
      const { start, end, payload } = step.value.frame;
      assert.is(start, expectedStart);
      assert.is(end, start + payload.length + OVERHEAD);
      expectedStart = end;
      records.push(payload);
      step = steps.next(new Uint8Array(0));
    } else {
      const { offset, bytes: count } = step.value.read;
      assert.ok(count > 0 && offset + count <= sizeBytes, 'it asks for what the file holds');
      reads.push({ offset, bytes: count });
      step = steps.next(Uint8Array.prototype.slice.call(bytes, offset, offset + count));
    }
  }
  return { records, tail: step.value, reads };
}

function header(magic: number, length: number): Buffer {
  const bytes = Buffer.alloc(HEADER);
  bytes.writeUInt32BE(magic);
  bytes.writeUInt32LE(length, 4);
  return bytes;
}

const RECORD = 0x46535901;
const zeros = (count: number): Buffer => Buffer.alloc(count);
const hello = frame('hello');
const badChecksum = Buffer.from(hello);
badChecksum[16] = (badChecksum[16] ?? 0) ^ 1;

const TAILS: readonly (readonly [name: string, after: Buffer, state: TailState, detail: RegExp])[] = [
  ['nothing', zeros(0), 'clean-end', /ends with its last frame/],
  ...[1, 7, 8, 9, 511, 4096, WINDOW, 3 * WINDOW + 1].map((count) => [`${count} zeros`, zeros(count), 'clean-end', /unwritten space/] as const),
  ...[1, 3, 4, 7].map((count) => [`${count} bytes of a header`, hello.subarray(0, count), 'truncated-header', new RegExp(`expected 8 bytes of header, got ${count}`)] as const),
  ...[8, 12, 16].map((count) => [`${count} bytes of a frame of 17`, hello.subarray(0, count), 'truncated-payload', new RegExp(`frame of 17 bytes, got ${count} before`)] as const),
  ['a wrong checksum', badChecksum, 'checksum-mismatch', /expected checksum [0-9a-f]{8}, got [0-9a-f]{8}/],
  ...[0x46535900, 0x46535902, 0x46535903, 0x46535904, 0x46535905, 0x465359ff, 0x01595346, 0x20202020, 1].map((magic) =>
    [`magic ${magic.toString(16)}`, Buffer.concat([header(magic, 5), hello.subarray(HEADER)]), 'bad-magic', /expected magic 46535901, got/] as const),
  ['the greatest length', header(RECORD, 0x0fffffff), 'truncated-payload', /frame of 268435467 bytes, got 8/],
  ['a length of one more', header(RECORD, 0x10000000), 'length-overflow', /at most 268435455, got 268435456/],
  ['a length of 32 ones', header(RECORD, 0xffffffff), 'length-overflow', /got 4294967295/],
  ...[8, 9, 4096, WINDOW - 1, WINDOW, WINDOW + 1, 2 * WINDOW].map((count) =>
    [`${count} zeros, then a byte`, Buffer.concat([zeros(count), Buffer.from([1])]), 'bad-magic', new RegExp(`got zeros, and data again at offset ${17 + count}$`)] as const),
  ['zeros, then a frame', Buffer.concat([zeros(100), hello]), 'bad-magic', /data again at offset 117$/],
];

for (const [name, after, state, detail] of TAILS) {
  test(`after a frame: ${name} is ${state}`, () => {
    const { records, tail, reads } = walk(Buffer.concat([hello, after]));
    sameRecords(records, ['hello']);
    assert.is(tail.state, state);
    assert.is(tail.position, 17);
    assert.match(tail.detail, detail);
    assert.ok(reads.every(({ bytes }) => bytes <= WINDOW), 'no length is believed beyond the file');
    const alone = walk(after);
    assert.is(alone.tail.state, state, 'the same without a frame before it');
    assert.is(alone.tail.position, 0);
  });
}

const SMALL = ['', 'a', 'hello', pattern(1, 40), '', pattern(2, 133)];
const small = journalOf(SMALL);
const smallEnds = endsOf(SMALL);

test('a journal cut at any byte', () => {
  for (let cut = 0; cut <= small.length; cut++) {
    const { records, tail } = walk(small.subarray(0, cut));
    const whole = smallEnds.filter((end) => end <= cut).length;
    const border = smallEnds[whole - 1] ?? 0;
    sameRecords(records, SMALL.slice(0, whole), `records before byte ${cut}`);
    assert.is(tail.position, border);
    assert.is(tail.state, cut === border ? 'clean-end' : cut - border < HEADER ? 'truncated-header' : 'truncated-payload', `cut at ${cut}`);
  }
});

test('a journal cut at any byte, zeros to the end of a sector', () => {
  for (let cut = 0; cut < small.length; cut++) {
    const { records, tail } = walk(Buffer.concat([small.subarray(0, cut), zeros(512 - cut)]));
    // Zeros may be just what was cut off: then the frame is whole.
    const whole = smallEnds.filter((end) => end <= cut || small.subarray(cut, end).every((byte) => byte === 0)).length;
    sameRecords(records, SMALL.slice(0, whole), `records before byte ${cut}`);
    assert.is(tail.position, smallEnds[whole - 1] ?? 0);
    if (smallEnds.includes(cut) || cut === 0) assert.is(tail.state, 'clean-end');
    else if (tail.position < cut) assert.is.not(tail.state, 'clean-end', `cut at ${cut}`);
  }
});

test('any byte changed in any bit never gives a wrong record', () => {
  for (let at = 0; at < small.length; at++) {
    const damaged = smallEnds.findIndex((end) => at < end);
    const start = smallEnds[damaged - 1] ?? 0;
    const field = at - start < 4 ? 'magic' : at - start < HEADER ? 'length' : 'rest';
    for (const mask of [1, 2, 4, 8, 16, 32, 64, 128, 255]) {
      const bytes = Buffer.from(small);
      bytes[at] = (bytes[at] ?? 0) ^ mask;
      const { records, tail } = walk(bytes);
      sameRecords(records, SMALL.slice(0, damaged), `records before byte ${at}`);
      assert.is(tail.position, start);
      const expected: TailState[] = field === 'magic' ? ['bad-magic']
        : field === 'length' ? ['truncated-payload', 'length-overflow', 'checksum-mismatch']
        : ['checksum-mismatch'];
      assert.ok(expected.includes(tail.state), `byte ${at} ^ ${mask}: ${tail.state}`);
    }
  }
});

const BORDERS = Array.from({ length: 25 }, (_, i) => WINDOW - OVERHEAD + i);

test('records as long as a window, give or take a frame\'s overhead', () => {
  for (const length of [0, 1, ...BORDERS, 2 * WINDOW + 1]) {
    const records = [pattern(length, length), 'after'];
    const walked = walk(journalOf(records));
    sameRecords(walked.records, records, `records, the first of ${length} bytes`);
    assert.is(walked.tail.state, 'clean-end');
  }
});

test('frames that begin around the border of a window', () => {
  for (const start of BORDERS) {
    const records = [pattern(start, start - OVERHEAD), 'hello', '', pattern(1, 1000)];
    const walked = walk(journalOf(records));
    sameRecords(walked.records, records, `records, the second at ${start}`);
    assert.equal([walked.tail.state, walked.tail.position], ['clean-end', start + 17 + 12 + 1012]);
  }
});

test('many small records over several windows, from every record on', () => {
  const records = Array.from({ length: 3000 }, (_, i) => pattern(i, (i * 37) % 500));
  const bytes = journalOf(records);
  const ends = endsOf(records);
  assert.ok(bytes.length > 2 * WINDOW);
  for (const first of [0, 1, 1500, 2999, 3000]) {
    const walked = walk(bytes, ends[first - 1] ?? 0);
    sameRecords(walked.records, records.slice(first));
    assert.is(walked.tail.position, bytes.length);
  }
});

test('a position that is no record\'s start', () => {
  const { records, tail } = walk(small, 1);
  assert.is(records.length, 0);
  assert.equal([tail.state, tail.position], ['bad-magic', 1]);
});

test('a file that shrinks while it is walked', () => {
  const large = frame(pattern(1, 2 * WINDOW));
  for (const [kept, state] of [[large.length - 1, 'truncated-payload'], [WINDOW, 'truncated-payload'], [0, 'clean-end']] as const) {
    const { records, tail } = walk(large.subarray(0, kept), 0, large.length);
    assert.is(records.length, 0);
    assert.equal([tail.state, tail.position], [state, 0]);
  }
});

test('payloads outlive the walk', () => {
  const { records } = walk(small);
  sameRecords(records, SMALL);
});

test('where data begins and ends among zeros', () => {
  const CASES: readonly (readonly [length: number, data: readonly number[]])[] = [
    [0, []], [1, []], [1, [0]], [100, [7]], [100, [99]], [100, [3, 50]], [WINDOW + 10, [WINDOW - 1]], [WINDOW + 10, [WINDOW]], [3 * WINDOW, [3 * WINDOW - 1]],
  ];
  for (const [length, data] of CASES) {
    const bytes = Buffer.alloc(length);
    for (const at of data) bytes[at] = 1;
    if (length <= WINDOW) assert.is(dataLength(bytes), (data.at(-1) ?? -1) + 1);
    const steps = findData(0, length);
    let step = steps.next(new Uint8Array(0));
    while (step.done !== true) {
      assert.ok('read' in step.value);
      step = steps.next(bytes.subarray(step.value.read.offset, step.value.read.offset + step.value.read.bytes));
    }
    assert.is(step.value, data[0]);
  }
});

test.run();
