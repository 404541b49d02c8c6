/** `tidemark append`. */
import { spawn } from 'node:child_process';
import { closeSync, existsSync, openSync, readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { ended } from '../support.js';
import { endsOf, journalOf as bytesOf } from './format.js';
import { SegmentJournal } from './segment-files.js';
import { CREATE, LIMITED, CLI, directory, LAYOUTS, type Layout, OVERHEAD_BYTES, HEADER_BYTES, MIB, start, run, succeed, until, newPath, journalOf, list, infoOf, verified, summary, emptyDirectory, flipByte, lengthPrefixed, matches, INVALID } from './cli-tools.js';

const append = suite('cli: append');

const INPUTS: readonly { readonly name: string; readonly input: string | Uint8Array; readonly records: readonly (string | Uint8Array)[] }[] = [
  { name: 'nothing', input: '', records: [] },
  { name: 'one line', input: 'hello\n', records: ['hello'] },
  { name: 'a last line without newline', input: 'one\ntwo', records: ['one', 'two'] },
  { name: 'empty lines', input: '\n\na\n\n', records: ['', '', 'a', ''] },
  { name: 'carriage returns are kept', input: 'a\r\nb\r', records: ['a\r', 'b\r'] },
  { name: 'raw bytes', input: Uint8Array.of(0xff, 0, 0x80, 10, 0xfe), records: [Uint8Array.of(0xff, 0, 0x80), Uint8Array.of(0xfe)] },
  { name: 'a line longer than any chunk', input: `${'x'.repeat(3 * MIB)}\ny\n`, records: ['x'.repeat(3 * MIB), 'y'] },
  { name: 'many lines', input: Array.from({ length: 30_000 }, (_, i) => `${i}\n`).join(''), records: Array.from({ length: 30_000 }, (_, i) => `${i}`) },
];

for (const layout of LAYOUTS) {
  for (const { name, input, records } of INPUTS) {
    const payloads = records.map((record) => Buffer.from(record));
    const bytes = payloads.reduce((sum, payload) => sum + payload.length, 0);

    append(`${layout}: ${name}`, async () => {
      const path = newPath();
      assert.match(await succeed(['append', ...CREATE[layout], path], input), summary(layout, records.length, bytes));
      const listed = await list(path);
      assert.equal(listed.map(({ payload }) => payload), payloads);
      if (layout === 'file') assert.equal(listed.map(({ end }) => end), endsOf(payloads));
    });

    append(`${layout}: ${name}, length-prefixed`, async () => {
      const path = newPath();
      const printed = await succeed(['append', ...CREATE[layout], '--length-prefixed', '--json', path], lengthPrefixed(...payloads));
      const { durableLsn, ...rest } = JSON.parse(printed) as { durableLsn: number };
      assert.equal(rest, { path, records: records.length, bytes, torn: null });
      if (layout === 'file') {
        assert.is(durableLsn, bytes + records.length * OVERHEAD_BYTES);
      } else {
        const { state, records: count, provenLsn } = await verified(path);
        assert.equal({ state, count, provenLsn }, { state: 'clean', count: records.length, provenLsn: durableLsn });
      }
      const child = start(['cat', '--length-prefixed', path]);
      const chunks: Buffer[] = [];
      child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk));
      assert.is((await ended(child)).code, 0);
      assert.ok(Buffer.concat(chunks).equals(lengthPrefixed(...payloads)));
    });
  }
}

append('creates segments, unless a file is asked for', async () => {
  const path = newPath();
  await succeed(['append', path], 'one\n');
  assert.ok(statSync(path).isDirectory());
  const { layout, segments: files, fileBytes } = await infoOf(path);
  assert.equal({ layout, files, fileBytes }, { layout: 'segments', files: 1, fileBytes: 64 * MIB });
  const file = await journalOf('file', 'one', '', 'three');
  assert.ok(readFileSync(file).equals(bytesOf(['one', '', 'three'])));
});

for (const layout of LAYOUTS) {
  const other = layout === 'file' ? 'segments' : 'file';
  append(`${layout}: a journal keeps its layout`, async () => {
    const path = await journalOf(layout, 'one');
    await succeed(['append', '--layout', layout, path], 'two\n');
    await succeed(['append', path], 'three\n');
    const refused = await run(['append', '--layout', other, path], 'four\n');
    matches(refused, { code: 1, stderr: new RegExp(`^tidemark: Expected \`layout\` to be '${layout}', .* got '${other}'.* \\[TIDEMARK_INVALID_ARGUMENT\\]\\n$`) });
    assert.is((await infoOf(path))['layout'], layout);
    assert.is(await succeed(['cat', path]), 'one\ntwo\nthree\n');
  });
}

append('--segment-bytes is the size of every segment, and bounds what a record may be', async () => {
  const path = newPath();
  const records = Array.from({ length: 60 }, (_, i) => `${i} `.padEnd(4000, 'x'));
  await succeed(['append', '--segment-bytes', '64k', path], records.join('\n'));
  // The size of a journal that exists is its own.
  await succeed(['append', '--segment-bytes', '1M', path], 'last\n');
  const { segments: files, fileBytes } = await infoOf(path) as { segments: number; fileBytes: number };
  assert.ok(files >= 4, `${files} segments`);
  assert.is(fileBytes, files * 64 * 1024);
  assert.equal((await list(path)).map(({ payload }) => payload.toString()), [...records, 'last']);
  const tooLarge = await run(['append', path], `fits\n${'x'.repeat(64 * 1024)}\n`);
  matches(tooLarge, { code: 1, stdout: summary('segments', 1, 4), stderr: /\[TIDEMARK_RECORD_TOO_LARGE\]\n$/ });
  assert.is((await list(path)).at(-1)?.payload.toString(), 'fits');
});

const TRUNCATED: readonly { readonly name: string; readonly tail: readonly number[]; readonly says: RegExp }[] = [
  { name: 'within a length', tail: [3, 0], says: /the input ends within the record at offset 14: expected 4 bytes of length, got 2 \[TIDEMARK_TRUNCATED_INPUT\]\n$/ },
  { name: 'within a record', tail: [3, 0, 0, 0, 1], says: /the input ends within the record at offset 14: expected 7 bytes, got 5 \[TIDEMARK_TRUNCATED_INPUT\]\n$/ },
  { name: 'by a length that no record has', tail: [0, 0, 0, 0x10, 1], says: /the record at offset 14 of the input has more than 268435455 bytes \[TIDEMARK_RECORD_TOO_LARGE\]\n$/ },
];

/** Options that change how, not what. */
const WAYS: readonly (readonly string[])[] = [['--backend', 'auto'], ['--backend', 'blocking'], ['--no-direct']];
const WAYS_OF: Readonly<Record<Layout, readonly (readonly string[])[]>> = {
  segments: [...WAYS, ['--segment-bytes', '64k'], ['--no-direct', '--backend', 'blocking', '--segment-bytes', '1M']],
  file: [...WAYS, ['--preallocate', '0'], ['--preallocate', '64k'], ['--no-direct', '--backend', 'blocking', '--preallocate', '1M']],
};

for (const layout of LAYOUTS) {
  for (const { name, tail, says } of TRUNCATED) {
    append(`${layout}: input cut ${name} keeps what came before`, async () => {
      const path = newPath();
      const input = Buffer.concat([lengthPrefixed(Buffer.from('one'), Buffer.from('two')), Uint8Array.from(tail)]);
      matches(await run(['append', ...CREATE[layout], '--length-prefixed', path], input), { code: 1, stdout: summary(layout, 2, 6), stderr: says });
      assert.is(await succeed(['cat', path]), 'one\ntwo\n');
    });
  }

  for (const options of WAYS_OF[layout]) {
    append(`${layout}: ${options.join(' ')}, twice`, async () => {
      const path = newPath();
      assert.match(await succeed(['append', ...CREATE[layout], ...options, path], 'one\n'), summary(layout, 1, 3));
      assert.match(await succeed(['append', ...options, path], 'two\n'), summary(layout, 1, 3, 30));
      assert.is(await succeed(['cat', path]), 'one\ntwo\n');
    });
  }

  append(`${layout}: --no-create needs the journal`, async () => {
    const path = newPath();
    matches(await run(['append', ...CREATE[layout], '--no-create', path], 'one\n'), { code: 1, stderr: /\(ENOENT\) \[TIDEMARK_NOT_FOUND\]\n$/ });
    assert.not(existsSync(path));
    await succeed(['append', ...CREATE[layout], path], 'one\n');
    await succeed(['append', '--no-create', path], 'two\n');
    assert.is(await succeed(['cat', path]), 'one\ntwo\n');
  });
}

append('refuses what is no journal, and leaves it alone', async () => {
  const path = newPath();
  writeFileSync(path, 'some text\n');
  matches(await run(['append', path], 'one\n'), { code: 2, stderr: /^tidemark: .* \[TIDEMARK_NOT_A_JOURNAL\]\n$/ });
  assert.is(readFileSync(path, 'utf8'), 'some text\n');
  const other = emptyDirectory();
  writeFileSync(join(other, 'notes'), 'some text\n');
  matches(await run(['append', other], 'one\n'), { code: 2, stderr: /^tidemark: .* \[TIDEMARK_NOT_A_JOURNAL\]\n$/ });
  matches(await run(['append', '--layout', 'file', other], 'one\n'), { code: 1, stderr: INVALID });
  assert.equal(readdirSync(other), ['notes']);
});

append('refuses a directory as input', async () => {
  const path = newPath();
  const descriptor = openSync(directory, 'r');
  const child = spawn(process.execPath, [CLI, 'append', path], { stdio: [descriptor, 'pipe', 'pipe'], ...LIMITED });
  closeSync(descriptor);
  matches(await ended(child), { code: 1, stderr: /\[TIDEMARK_IS_DIRECTORY\]\n$/ });
  assert.not(existsSync(path));
});

append('file: cuts a torn tail and says where it is kept', async () => {
  const path = await journalOf('file', 'one', 'two');
  flipByte(path, 15 + HEADER_BYTES);
  const result = await run(['append', path], 'three\n');
  matches(result, { code: 0, stdout: '1 record, 5 bytes, durable through LSN 32\n', stderr: /^tidemark: the journal had a torn tail at LSN 15 \(checksum-mismatch, .*\); its 15 bytes are kept in '.*\.torn-15'\n$/ });
  assert.ok(existsSync(`${path}.torn-15`));
  assert.is(await succeed(['cat', path]), 'one\nthree\n');
});

append('segments: cuts a torn tail and says where it is kept', async () => {
  const journal = new SegmentJournal(newPath());
  journal.record('one');
  journal.mark();
  const torn = journal.record('two');
  flipByte(journal.fileOf(), torn + HEADER_BYTES);
  const result = await run(['append', journal.path], 'three\n');
  matches(result, { code: 0, stdout: summary('segments', 1, 5), stderr: new RegExp(`^tidemark: the journal had a torn tail at LSN ${torn} \\(.*\\); its \\d+ bytes are kept in '.*'\\n$`) });
  const kept = /kept in '(.*)'/.exec(result.stderr)?.[1] ?? '';
  assert.ok(existsSync(kept), kept);
  assert.is(await succeed(['cat', journal.path]), 'one\nthree\n');
});

for (const layout of LAYOUTS) {
  append(`${layout}: shows its records while it runs, holds the lock, and ends well when interrupted`, async () => {
    const path = await journalOf(layout);
    const follower = start(['follow', path]);
    const followed = ended(follower);
    const shown = until(follower.stdout, 'one\ntwo\n');
    const writer = start(['append', path]);
    const written = ended(writer);
    writer.stdin.write('one\ntwo\nthr');
    await shown;
    matches(await run(['append', path], 'x\n'), { code: 1, stderr: /is open for writing in .* \[TIDEMARK_LOCKED\]\n$/ });
    writer.kill('SIGTERM');
    matches(await written, { code: 1, stdout: summary(layout, 2, 6), stderr: 'tidemark: interrupted by SIGTERM [TIDEMARK_INTERRUPTED]\n' });
    follower.kill('SIGTERM');
    matches(await followed, { code: 0, stdout: 'one\ntwo\n' });
  });
}

append.run();
