import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Journal, type JournalOptions, type OpenReport, type TailState } from 'tidemark';
import { endsOf, frame, journalOf, OVERHEAD, pattern, withoutZeros } from '../conformance/format.js';
import { availableBackends, failureOf, readJournal, sameBytes, sameRecords, snapshot, within } from '../conformance/helpers.js';
import { schedulerOf, temporaryDirectory, withJournal } from '../support.js';

const test = suite('recovery');
const directory = temporaryDirectory();
const backends = await availableBackends();
const MIB = 1024 * 1024;

let files = 0;
const newPath = (): string => join(directory, `journal-${files++}`);

function each(name: string, body: (options: JournalOptions, path: string) => Promise<void>): void {
  for (const backend of backends) {
    test(`${name} (${backend})`, () => body({ layout: 'file', scheduler: schedulerOf(backend), preallocate: 0 }, newPath()));
  }
}

/** What lies beside a journal under its name. */
function beside(path: string): string[] {
  return readdirSync(dirname(path)).filter((name) => name.startsWith(`${basename(path)}.`)).sort();
}

interface Expected {
  /** How many of the journal's records survive. */
  readonly records: number;
  /** How the journal ended; `clean-end` leaves nothing aside. */
  readonly state: TailState;
}

/** Damages a journal, opens it, and checks what was kept, what was set aside, and that the journal goes on. */
async function testRecovery(options: JournalOptions, path: string, records: readonly (string | Uint8Array)[], corrupt: (bytes: Buffer) => Buffer, expected: Expected): Promise<void> {
  const kept = records.slice(0, expected.records);
  const end = endsOf(kept).at(-1) ?? 0;
  const damaged = corrupt(journalOf(records));
  const remainder = withoutZeros(damaged.subarray(end));
  writeFileSync(path, damaged);
  const added = pattern(99, 61);
  const report = await within(withJournal(path, options, async (journal): Promise<OpenReport | undefined> => {
    assert.equal([journal.durableLsn, journal.reservedLsn], [end, end]);
    if (remainder.length > 0) sameBytes(readFileSync(`${path}.torn-${end}`), remainder, 'what was set aside');
    assert.is(await journal.append(added), end + added.length + OVERHEAD);
    return journal.openReport;
  }), 'opening');
  assert.equal([report?.created, report?.records], [false, kept.length]);
  if (expected.state === 'clean-end') {
    assert.is(report?.torn, undefined);
    assert.is(remainder.length, 0, 'a case that calls itself clean is');
    assert.equal(beside(path), []);
  } else {
    const { lsn, state, bytes, keptAs } = report?.torn ?? {};
    assert.equal([lsn, state, bytes, keptAs], [end, expected.state, remainder.length, `${path}.torn-${end}`]);
    assert.equal(beside(path), [`${basename(path)}.torn-${end}`]);
  }
  sameBytes(readFileSync(path), Buffer.concat([damaged.subarray(0, end), frame(added)]), 'the journal');
  const after = await readJournal(path);
  sameRecords(after.records, [...kept, added]);
  assert.is(after.tail.state, 'clean-end');
}

const RECORDS = ['first', pattern(1, 700), 'third', pattern(2, 40)];
const ENDS = endsOf(RECORDS);
const LENGTH = ENDS[3] ?? 0;

for (const [name, zeros] of [['the file ends there', 0], ['zeros follow', 4096]] as const) {
  each(`cut at every byte of the last two frames, ${name}`, async (options, path) => {
    for (let cut = ENDS[1] ?? 0; cut <= LENGTH; cut++) {
      const border = [...ENDS].reverse().find((end) => end <= cut) ?? 0;
      const have = cut - border;
      const cutOff = (bytes: Buffer): Buffer => Buffer.concat([bytes.subarray(0, cut), Buffer.alloc(zeros)]);
      // With zeros behind it, a header whose length is still cut reads as a shorter record; the checksum tells.
      const state: TailState = have === 0 ? 'clean-end'
        : zeros > 0 ? (have < 4 ? 'bad-magic' : 'checksum-mismatch')
        : have < 8 ? 'truncated-header' : 'truncated-payload';
      await testRecovery(options, `${path}-${cut}`, RECORDS, cutOff, { records: ENDS.indexOf(border) + 1, state });
    }
  });
}

const append = (...parts: readonly (Buffer | string)[]) => (bytes: Buffer): Buffer => Buffer.concat([bytes, ...parts.map((part) => Buffer.from(part as Buffer))]);
const zeros = (count: number): Buffer => Buffer.alloc(count);
const flip = (at: number, mask = 1) => (bytes: Buffer): Buffer => {
  const damaged = Buffer.from(bytes);
  damaged[at] = (damaged[at] ?? 0) ^ mask;
  return damaged;
};

const hole = (start: number, end: number) => (bytes: Buffer): Buffer => {
  const damaged = Buffer.from(bytes);
  damaged.fill(0, start, end);
  return damaged;
};

const CASES: readonly (readonly [name: string, corrupt: (bytes: Buffer) => Buffer, expected: Expected])[] = [
  ['nothing', (bytes) => bytes, { records: 4, state: 'clean-end' }],
  ['zeros after the end', append(zeros(5000)), { records: 4, state: 'clean-end' }],
  ['seven zeros after the end', append(zeros(7)), { records: 4, state: 'clean-end' }],
  ['three bytes of garbage', append('abc'), { records: 4, state: 'truncated-header' }],
  ['garbage', append('garbage that is no frame'), { records: 4, state: 'bad-magic' }],
  ['garbage with zeros within and behind it', append('garbage that is no frame', zeros(100), 'more', zeros(3000)), { records: 4, state: 'bad-magic' }],
  ['megabytes of garbage', append(pattern(7, 3 * MIB)), { records: 4, state: 'bad-magic' }],
  ['garbage behind a gap of zeros', append(zeros(5000), 'x'), { records: 4, state: 'bad-magic' }],
  ['a frame behind a gap of zeros', append(zeros(512), frame('later')), { records: 4, state: 'bad-magic' }],
  ['a header that promises too much', append(Buffer.from('46535901ffffffff', 'hex'), zeros(20)), { records: 4, state: 'length-overflow' }],
  ['a header that promises more than there is', append(Buffer.from('46535901ffffff0f', 'hex'), zeros(20)), { records: 4, state: 'truncated-payload' }],
  ['a frame of another kind', append(Buffer.from('46535903000000000000000000', 'hex')), { records: 4, state: 'bad-magic' }],
  ['a flipped bit in the last record', flip(LENGTH - 6), { records: 3, state: 'checksum-mismatch' }],
  ['a flipped bit in the last checksum', flip(LENGTH - 1, 128), { records: 3, state: 'checksum-mismatch' }],
  ['a flipped bit in an earlier record', flip(100), { records: 1, state: 'checksum-mismatch' }],
  ['a flipped bit in an earlier magic', flip(ENDS[0] ?? 0, 4), { records: 1, state: 'bad-magic' }],
  ['a hole over a whole frame', hole(ENDS[1] ?? 0, ENDS[2] ?? 0), { records: 2, state: 'bad-magic' }],
  ['a hole within a frame', hole(100, 500), { records: 1, state: 'checksum-mismatch' }],
  ['a torn first frame', (bytes) => bytes.subarray(0, 16), { records: 0, state: 'truncated-payload' }],
  ['only the first frame\'s header', (bytes) => bytes.subarray(0, 8), { records: 0, state: 'truncated-payload' }],
  ['part of the first magic', (bytes) => bytes.subarray(0, 3), { records: 0, state: 'truncated-header' }],
  ['a lost first frame', hole(0, ENDS[0] ?? 0), { records: 0, state: 'bad-magic' }],
  ['a damaged first frame', flip(9), { records: 0, state: 'checksum-mismatch' }],
  ['a damaged first magic', flip(0), { records: 0, state: 'bad-magic' }],
  ['nothing but zeros', () => zeros(9000), { records: 0, state: 'clean-end' }],
  ['an empty file', () => zeros(0), { records: 0, state: 'clean-end' }],
];

for (const [name, corrupt, expected] of CASES) {
  each(name, (options, path) => testRecovery(options, path, RECORDS, corrupt, expected));
}

each('buffered and with space prepared ahead it is the same', async (options, path) => {
  for (const direct of [true, false]) {
    await testRecovery({ ...options, direct, preallocate: 2 * MIB }, `${path}-${direct}`, RECORDS, append('garbage that is no frame'), { records: 4, state: 'bad-magic' });
  }
});

each('frames beyond a hole never come back', async (options, path) => {
  const records = ['first', 'lost in the hole', 'later', 'latest'];
  const [first = 0, second = 0] = endsOf(records);
  writeFileSync(path, hole(first, second)(journalOf(records)));
  await withJournal(path, options, async (journal) => {
    assert.is(journal.openReport?.torn?.lsn, first);
    // As long as the hole: the next frame would begin where a later one lay.
    assert.is(await journal.append('new in the place'), second);
  });
  for (let opening = 0; opening < 2; opening++) {
    const { records: found, tail } = await readJournal(path);
    sameRecords(found, ['first', 'new in the place']);
    assert.is(tail.state, 'clean-end');
    await withJournal(path, options, (journal) => {
      assert.equal([journal.openReport?.records, journal.openReport?.torn], [2, undefined]);
      return Promise.resolve();
    });
  }
  sameBytes(readFileSync(`${path}.torn-${first}`), journalOf(records).fill(0, first, second).subarray(first), 'what was set aside');
});

each('a second torn tail at the same place gets a file of its own', async (options, path) => {
  const tails = ['torn once', 'torn a second time', 'and a third'];
  for (const [i, tail] of tails.entries()) {
    writeFileSync(path, Buffer.concat([frame('hello'), Buffer.from(tail)]));
    const keptAs = `${path}.torn-17${i === 0 ? '' : `.${i}`}`;
    await withJournal(path, options, (journal) => {
      assert.is(journal.openReport?.torn?.keptAs, keptAs);
      return Promise.resolve();
    });
    sameBytes(readFileSync(path), frame('hello'), 'the journal');
  }
  assert.equal(beside(path), ['.torn-17', '.torn-17.1', '.torn-17.2'].map((end) => basename(path) + end));
  for (const [i, name] of beside(path).entries()) assert.is(readFileSync(join(directory, name), 'utf8'), tails[i]);
});

/** Six records of a megabyte: whatever is damaged in the first, the last lies more than a batch behind it. */
const LARGE = Array.from({ length: 6 }, (_, i) => pattern(i, MIB));
const LARGE_ENDS = endsOf(LARGE);
const afterSmall = (at: number): number => 17 + at;

const DAMAGE: readonly (readonly [name: string, corrupt: (bytes: Buffer) => Buffer, lsn: number])[] = [
  ['a flipped bit in a record', flip(afterSmall(5000)), 17],
  ['a flipped bit in a magic', flip(afterSmall(1)), 17],
  ['a flipped bit in a length', flip(afterSmall(4)), 17],
  ['a flipped high bit in a length', flip(afterSmall(7), 128), 17],
  ['a length that reaches beyond the end', flip(afterSmall(7), 8), 17],
  ['a hole over a frame', hole(17, afterSmall(LARGE_ENDS[0] ?? 0)), 17],
  ['a damaged first frame', flip(10), 0],
];

for (const [name, corrupt, lsn] of DAMAGE) {
  each(`${name}, and a valid frame more than 4 MiB behind it: corruption`, async (options, path) => {
    mkdirSync(path);
    const journal = join(path, 'journal');
    writeFileSync(journal, corrupt(journalOf(['hello', ...LARGE])));
    const before = snapshot(path);
    const error = await failureOf(() => Journal.open(journal, options));
    assert.equal([error.code, error['lsn'], error['path']], ['TIDEMARK_CORRUPT', lsn, journal]);
    assert.match(error.message, `LSN ${lsn}:`);
    assert.equal(snapshot(path), before);
    const { records, tail } = await readJournal(journal);
    assert.equal([records.length, tail.position], [lsn === 0 ? 0 : 1, lsn]);
  });
}

each('the same damage with no frame that far behind it is a torn tail', async (options, path) => {
  for (const [i, [, corrupt, lsn]] of DAMAGE.entries()) {
    const bytes = corrupt(journalOf(['hello', ...LARGE.slice(0, 3)]));
    const name = `${path}-${i}`;
    writeFileSync(name, bytes);
    await withJournal(name, options, (journal) => {
      assert.equal([journal.openReport?.torn?.lsn, journal.durableLsn], [lsn, lsn]);
      return Promise.resolve();
    });
    sameBytes(readFileSync(`${name}.torn-${lsn}`), bytes.subarray(lsn), 'what was set aside');
  }
});

each('what opening cut off stays off when the process ends without closing', async (options, path) => {
  writeFileSync(path, append('garbage that is no frame')(journalOf(RECORDS)));
  const journal = await Journal.open(path, options);
  sameBytes(readFileSync(path), journalOf(RECORDS), 'the journal right after opening');
  assert.ok(existsSync(`${path}.torn-${LENGTH}`));
  await journal.close();
});

test.run();
