import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { JournalOptions } from 'tidemark';
import { schedulerOf, temporaryDirectory, withJournal } from '../support.js';
import { crc32c, endsOf, frame, journalOf, OVERHEAD, pattern, withoutZeros } from './format.js';
import { availableBackends, readJournal, sameBytes, sameRecords } from './helpers.js';

const test = suite('the file format');
const directory = temporaryDirectory();
const backends = await availableBackends();

let files = 0;
const newPath = (): string => join(directory, `journal-${files++}`);

interface Way {
  readonly name: string;
  readonly options: JournalOptions;
}

const WAYS: readonly Way[] = backends.flatMap((backend) => [
  { name: `${backend}, direct`, options: { layout: 'file', direct: true, scheduler: schedulerOf(backend) } },
  { name: `${backend}, buffered`, options: { layout: 'file', direct: false, scheduler: schedulerOf(backend) } },
]);

test('the table of this test is CRC-32C', () => {
  assert.is(crc32c(Buffer.from('123456789')).toString(16), 'e3069283');
  assert.is(crc32c(Buffer.alloc(32)).toString(16), '8a9136aa');
});

const HELLO = Buffer.from(`4653590105000000${Buffer.from('hello').toString('hex')}`, 'hex');

const RECORDS: readonly (string | Uint8Array)[] = [
  'hello', '', 'grüße, 世界 🌊', 'a lone \ud800 surrogate', Uint8Array.from({ length: 256 }, (_, i) => i),
  Buffer.from('a part of a buffer').subarray(2, 6), new Uint8Array(8), pattern(1, 499), pattern(2, 4096), pattern(3, 511), pattern(4, 70_000), 'x',
];

for (const way of WAYS) {
  const { options } = way;

  test(`append('hello') is 17 bytes (${way.name})`, async () => {
    const path = newPath();
    assert.is(await withJournal(path, options, (journal) => journal.append('hello')), 17);
    const bytes = readFileSync(path);
    assert.is(bytes.length, 17);
    assert.ok(bytes.subarray(0, 13).equals(HELLO));
    assert.is(bytes.readUInt32LE(13), crc32c(HELLO));
  });

  test(`every kind of record, byte for byte (${way.name})`, async () => {
    const path = newPath();
    const ends = await withJournal(path, options, (journal) => Promise.all(RECORDS.map((record) => journal.append(record))));
    assert.equal(ends, endsOf(RECORDS));
    sameBytes(readFileSync(path), journalOf(RECORDS), 'the file');
    sameRecords((await readJournal(path)).records, RECORDS);
  });

  test(`a journal without records is an empty file (${way.name})`, async () => {
    const path = newPath();
    await withJournal(path, options, (journal) => {
      assert.equal([journal.reservedLsn, journal.durableLsn], [0, 0]);
      return Promise.resolve();
    });
    assert.is(statSync(path).size, 0);
  });

  test(`prepared space is zeros while open and gone when closed (${way.name})`, async () => {
    const path = newPath();
    await withJournal(path, { ...options, preallocate: 2 * 1024 * 1024 }, async (journal) => {
      await journal.append('hello');
      await journal.preallocate(2 * 1024 * 1024);
      const open = readFileSync(path);
      assert.ok(open.length >= 2 * 1024 * 1024);
      sameBytes(withoutZeros(open), withoutZeros(frame('hello')), 'the file without the zeros at its end');
      const { records, tail } = await readJournal(path);
      sameRecords(records, ['hello']);
      assert.equal([tail.state, tail.position], ['clean-end', 17]);
    });
    sameBytes(readFileSync(path), frame('hello'), 'the closed file');
  });

  test(`reopened at every place in a sector, it goes on where it ended (${way.name})`, async () => {
    const path = newPath();
    const written: Uint8Array[] = [];
    for (const length of [0, 100, 372, 0, 500, 3571, 4084, 499, 1, 65_536]) {
      const record = pattern(written.length, length);
      await withJournal(path, { ...options, preallocate: 0 }, async (journal) => {
        const start = journal.durableLsn;
        assert.is(start, written.reduce((sum, { length: bytes }) => sum + bytes + OVERHEAD, 0));
        assert.equal([journal.openReport?.records, journal.openReport?.created, journal.openReport?.torn], [written.length, written.length === 0, undefined]);
        assert.is(await journal.append(record), start + length + OVERHEAD);
      });
      written.push(record);
      sameBytes(readFileSync(path), journalOf(written), `the file after ${written.length} openings`);
    }
  });
}

interface Golden {
  readonly records: number;
  readonly tail_state: string;
  readonly position: number;
  readonly file_size: number;
}

// Data of the sources, not compiled: three directories above the compiled test.
const fixtures = new URL('../../../test/conformance/golden/', import.meta.url);
const golden = JSON.parse(readFileSync(new URL('golden.json', fixtures), 'utf8')) as Record<string, Golden>;
const goldenBytes = (name: string): Buffer => gunzipSync(readFileSync(new URL(`${name}.gz`, fixtures)));
const kebab = (name: string): string => name.replace(/(?<=[a-z])[A-Z]/g, '-$&').toLowerCase();

function goldenRecord(name: string, i: number): Uint8Array {
  if (name.startsWith('empty')) return new Uint8Array(0);
  return Uint8Array.from({ length: (i * 37) % 600 }, (_, j) => (i * 31 + j * 7) & 255);
}

assert.is(Object.keys(golden).length, 7);

for (const [name, expected] of Object.entries(golden)) {
  const records = Array.from({ length: expected.records }, (_, i) => goldenRecord(name, i));
  const state = kebab(expected.tail_state);

  test(`${name}, written by fsys: ${expected.records} records, ${state}`, async () => {
    const path = newPath();
    const bytes = goldenBytes(name);
    assert.is(bytes.length, expected.file_size);
    writeFileSync(path, bytes);
    const contents = await readJournal(path);
    sameRecords(contents.records, records);
    assert.equal([contents.tail.state, contents.tail.position], [state, expected.position]);
    sameBytes(readFileSync(path), bytes, 'the file that was read');
  });

  for (const way of WAYS) {
    test(`${name} is opened and appended to (${way.name})`, async () => {
      const path = newPath();
      const bytes = goldenBytes(name);
      const remainder = withoutZeros(bytes.subarray(expected.position));
      writeFileSync(path, bytes);
      const keptAs = `${path}.torn-${expected.position}`;
      await withJournal(path, { ...way.options, preallocate: 0 }, async (journal) => {
        const { torn, records: found, created } = journal.openReport ?? {};
        assert.equal([found, created], [expected.records, false]);
        assert.equal([journal.durableLsn, journal.reservedLsn], [expected.position, expected.position]);
        if (state === 'clean-end') {
          assert.is(torn, undefined);
          assert.is(remainder.length, 0);
        } else {
          assert.equal([torn?.lsn, torn?.state, torn?.bytes, torn?.keptAs], [expected.position, state, remainder.length, keptAs]);
          sameBytes(readFileSync(keptAs), remainder, 'the remainder');
        }
        assert.is(await journal.append('new'), expected.position + 3 + OVERHEAD);
      });
      sameBytes(readFileSync(path), Buffer.concat([bytes.subarray(0, expected.position), frame('new')]), 'the file');
      const contents = await readJournal(path);
      sameRecords(contents.records, [...records, 'new']);
      assert.is(contents.tail.state, 'clean-end');
    });
  }
}

test.run();
