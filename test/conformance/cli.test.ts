/** The command line, as a user meets it: the real program in a process of its own, its output and its exit codes. */
import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, readdirSync, statSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { ended, temporaryDirectory, type Ended } from '../support.js';
import { endsOf, journalOf as bytesOf } from './format.js';
import { HEADER, nameOf, SEGMENT, SegmentJournal } from './segment-files.js';

const CLI = fileURLToPath(new URL('cli/tidemark.js', import.meta.resolve('tidemark')));
const VERSION = (JSON.parse(readFileSync(fileURLToPath(import.meta.resolve('tidemark/package.json')), 'utf8')) as { version: string }).version;
const directory = temporaryDirectory();

const LAYOUTS = ['segments', 'file'] as const;
type Layout = (typeof LAYOUTS)[number];

/** How a journal is created here. Segments of the default size would be much to prepare and little to test. */
const CREATE: Readonly<Record<Layout, readonly string[]>> = { segments: ['--segment-bytes', '8M'], file: ['--layout', 'file'] };

/** Where no log of one such segment can end: behind the header of the next one. */
const BEYOND = 8 * 1024 * 1024 + HEADER + 1;

/** Nothing here takes nearly as long. A child that hangs ends its test, not the suite. */
const CHILD_TIMEOUT_MS = 120_000;
const LIMITED = { timeout: CHILD_TIMEOUT_MS, killSignal: 'SIGKILL' } as const;

const OVERHEAD_BYTES = 12;
const HEADER_BYTES = 8;
const MIB = 1024 * 1024;

function start(args: readonly string[], environment: NodeJS.ProcessEnv = {}): ChildProcessWithoutNullStreams {
  const child = spawn(process.execPath, [CLI, ...args], { env: { ...process.env, ...environment }, cwd: directory, ...LIMITED });
  // A program that ends before it has read its input is nothing special here.
  child.stdin.on('error', () => undefined);
  return child;
}

async function run(args: readonly string[], input: string | Uint8Array = '', environment: NodeJS.ProcessEnv = {}): Promise<Ended> {
  const child = start(args, environment);
  child.stdin.end(input);
  return ended(child);
}

/** Runs a command that has to succeed. */
async function succeed(args: readonly string[], input: string | Uint8Array = ''): Promise<string> {
  const result = await run(args, input);
  assert.is(result.code, 0, `${args.join(' ')}: ${result.stderr}`);
  return result.stdout;
}

/** Resolves once the stream has given `text`; fails when it ends before. */
function until(stream: NodeJS.ReadableStream, text: string): Promise<void> {
  let seen = '';
  return new Promise((resolve, reject) => {
    stream.on('data', (chunk: Buffer) => {
      seen += chunk.toString();
      if (seen.includes(text)) resolve();
    });
    stream.on('end', () => {
      reject(new Error(`expected '${text}', got '${seen}' before the end`));
    });
  });
}

let names = 0;
const newPath = (): string => join(directory, `journal-${names++}`);

async function journalOf(layout: Layout, ...records: readonly string[]): Promise<string> {
  const path = newPath();
  await succeed(['append', ...CREATE[layout], path], records.map((record) => `${record}\n`).join(''));
  return path;
}

interface Listed {
  readonly start: number;
  readonly end: number;
  readonly payload: Buffer;
}

/** Everything there is, with its place. */
async function list(path: string): Promise<Listed[]> {
  const lines = (await succeed(['cat', '--json', path])).split('\n').filter((line) => line !== '');
  return lines.map((line) => {
    const { start, end, text, base64, bytes } = JSON.parse(line) as { start: number; end: number; text?: string; base64?: string; bytes: number };
    const payload = text === undefined ? Buffer.from(base64 ?? '', 'base64') : Buffer.from(text);
    assert.is(payload.length, bytes);
    assert.is(end, start + bytes + OVERHEAD_BYTES);
    return { start, end, payload };
  });
}

async function infoOf(path: string): Promise<Record<string, unknown>> {
  return JSON.parse(await succeed(['info', '--json', path])) as Record<string, unknown>;
}

async function verified(path: string): Promise<Record<string, unknown>> {
  return JSON.parse(await succeed(['verify', '--json', path])) as Record<string, unknown>;
}

const plural = (count: number, noun: string): string => `${count} ${noun}${count === 1 ? '' : 's'}`;

/** What `append` says. Where a record lies is plain to see in a file only: segments have marks and pads between them. */
function summary(layout: Layout, records: number, bytes: number, durableLsn = bytes + records * OVERHEAD_BYTES): RegExp {
  return new RegExp(`^${plural(records, 'record')}, ${plural(bytes, 'byte')}, durable through LSN ${layout === 'file' ? durableLsn : '\\d+'}\\n$`);
}

/** A directory of its own, to see what a command leaves behind. */
function emptyDirectory(): string {
  const path = newPath();
  mkdirSync(path);
  return path;
}

function flipByte(path: string, offset: number): void {
  const byte = readFileSync(path)[offset] ?? 0;
  writeAt(path, Uint8Array.of(byte ^ 0xff), offset);
}

function writeAt(path: string, bytes: Uint8Array, offset: number): void {
  const descriptor = openSync(path, 'r+');
  writeSync(descriptor, bytes, 0, bytes.length, offset);
  closeSync(descriptor);
}

function lengthPrefixed(...records: readonly Uint8Array[]): Buffer {
  return Buffer.concat(records.flatMap((record) => {
    const prefix = Buffer.alloc(4);
    prefix.writeUInt32LE(record.length);
    return [prefix, record];
  }));
}

function matches(result: Ended, expected: { readonly code: number; readonly stdout?: string | RegExp; readonly stderr?: string | RegExp }): void {
  for (const [name, got, wanted] of [['stderr', result.stderr, expected.stderr ?? ''], ['stdout', result.stdout, expected.stdout ?? '']] as const) {
    if (typeof wanted === 'string') assert.is(got, wanted, name);
    else assert.match(got, wanted);
  }
  assert.is(result.code, expected.code, 'exit code');
}

// ---- usage ---------------------------------------------------------------------------------------------------------

const usage = suite('cli: usage');
const INVALID = / \[TIDEMARK_INVALID_ARGUMENT\]\n$/;

const USAGE_ERRORS: readonly { readonly args: readonly string[]; readonly says: string }[] = [
  { args: ['nonsense'], says: "unknown command 'nonsense'" },
  { args: ['cat'], says: "missing required argument 'journal'" },
  { args: ['cat', 'a', 'b'], says: "too many arguments for 'cat'" },
  { args: ['cat', '--nonsense', 'a'], says: "unknown option '--nonsense'" },
  { args: ['cat', '--from', '-1', 'a'], says: "option '--from <lsn>' argument '-1' is invalid" },
  { args: ['cat', '--from', '1e3', 'a'], says: "option '--from <lsn>' argument '1e3' is invalid" },
  { args: ['cat', '--from', '9007199254740992', 'a'], says: "option '--from <lsn>' argument '9007199254740992' is invalid" },
  { args: ['cat', '--limit', 'x', 'a'], says: "option '--limit <n>' argument 'x' is invalid" },
  { args: ['cat', '--json', '--length-prefixed', 'a'], says: "option '--json' cannot be used with option '--length-prefixed'" },
  { args: ['follow', '--from', 'start', 'a'], says: "option '--from <lsn>' argument 'start' is invalid" },
  { args: ['append', '--preallocate', '1T', 'a'], says: "option '--preallocate <bytes>' argument '1T' is invalid" },
  { args: ['append', '--preallocate', '9999999G', 'a'], says: "option '--preallocate <bytes>' argument '9999999G' is invalid" },
  { args: ['append', '--preallocate', '2048G', 'a'], says: 'Expected `preallocate` to be an integer from 0 to 1099511627776' },
  { args: ['append', '--layout', 'directory', 'a'], says: "option '--layout <layout>' argument 'directory' is invalid" },
  { args: ['append', '--segment-bytes', '64kB', 'a'], says: "option '--segment-bytes <bytes>' argument '64kB' is invalid" },
  { args: ['append', '--segment-bytes', '65k', 'a'], says: 'Expected `segmentBytes` to be a power of two from 65536 to 1073741824' },
  { args: ['append', '--segment-bytes', '32k', 'a'], says: 'Expected `segmentBytes` to be an integer from 65536 to 1073741824' },
  { args: ['append', '--backend', 'aio', 'a'], says: "option '--backend <backend>' argument 'aio' is invalid" },
  { args: ['bench', '--seconds', '0'], says: "option '--seconds <n>' argument '0' is invalid" },
  { args: ['bench', '--concurrency', '1,,2'], says: "option '--concurrency <list>' argument '1,,2' is invalid" },
  { args: ['bench', '--concurrency', '0'], says: "option '--concurrency <list>' argument '0' is invalid" },
  { args: ['bench', '--layout', 'log'], says: "option '--layout <layout>' argument 'log' is invalid" },
  { args: ['bench', '--size', '1G'], says: "option '--size <bytes>' argument '1G' is invalid" },
];

for (const { args, says } of USAGE_ERRORS) {
  usage(args.join(' '), async () => {
    const result = await run(args);
    matches(result, { code: 1, stderr: INVALID });
    assert.is(result.stderr.slice(0, 10 + says.length), `tidemark: ${says}`);
    assert.is(result.stderr.split('\n').length, 2, 'one line');
  });
}

usage('--version', async () => {
  matches(await run(['--version']), { code: 0, stdout: `${VERSION}\n` });
});

usage('no command', async () => {
  matches(await run([]), { code: 1, stderr: /^Usage: tidemark/ });
});

usage('the layouts are in the help, and which one is the default', async () => {
  const help = (await succeed(['append', '--help'])).replace(/\s+/g, ' ');
  assert.match(help, '--layout <layout> layout of a journal that is created; default: segments (choices: "segments", "file")');
  assert.match(help, '--segment-bytes <bytes> layout segments, of a journal that is created: bytes of a segment');
  assert.match((await succeed(['bench', '--help'])).replace(/\s+/g, ' '), '--layout <layout> layout of the journal (choices: "segments", "file", default: "segments")');
});

for (const args of [['--help'], ['append', '--help'], ['cat', '--help'], ['follow', '--help'], ['info', '--help'], ['verify', '--help'], ['doctor', '--help'], ['bench', '--help']]) {
  usage(args.join(' '), async () => {
    matches(await run(args), { code: 0, stdout: /^Usage: tidemark [^]*Exit codes:\n {2}0 {2}success\n {2}1 {2}error[^]*\n {2}2 {2}the journal is damaged/ });
  });
}

for (const command of ['cat', 'follow', 'info', 'verify']) {
  usage(`${command} of what cannot be read`, async () => {
    matches(await run([command, 'no-such-file']), { code: 1, stderr: /^tidemark: .*'no-such-file'.*\(ENOENT\) \[TIDEMARK_NOT_FOUND\]\n$/ });
    matches(await run([command, emptyDirectory()]), { code: 2, stderr: /^tidemark: .* it has no segments \[TIDEMARK_NOT_A_JOURNAL\]\n$/ });
    matches(await run([command, '/dev/null']), { code: 1, stderr: /^tidemark: .* \[TIDEMARK_NOT_A_FILE\]\n$/ });
  });
}

usage('the stack is for those who ask', async () => {
  matches(await run(['cat', 'no-such-file'], '', { TIDEMARK_DEBUG: '1' }), { code: 1, stderr: /^tidemark: IoError: .*\n {4}at /s });
});

usage.run();

// ---- append --------------------------------------------------------------------------------------------------------

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

// ---- cat -----------------------------------------------------------------------------------------------------------

const cat = suite('cli: cat');

interface Places {
  readonly second: number;
  readonly third: number;
  readonly end: number;
}

const CATS: readonly { readonly options: (places: Places) => readonly (string | number)[]; readonly stdout: string | ((places: Places) => string) }[] = [
  { options: () => [], stdout: 'one\n\nthree\n' },
  { options: () => ['--limit', 0], stdout: '' },
  { options: () => ['--limit', 2], stdout: 'one\n\n' },
  { options: () => ['--limit', 9], stdout: 'one\n\nthree\n' },
  { options: ({ second }) => ['--from', second], stdout: '\nthree\n' },
  { options: ({ second }) => ['--from', second, '--limit', 1], stdout: '\n' },
  { options: ({ end }) => ['--from', end], stdout: '' },
  {
    options: ({ second }) => ['--json', '--from', second],
    stdout: ({ second, third, end }) => `{"start":${second},"end":${second + 12},"bytes":0,"text":""}\n{"start":${third},"end":${end},"bytes":5,"text":"three"}\n`,
  },
  { options: () => ['--length-prefixed'], stdout: '\x03\0\0\0one\0\0\0\0\x05\0\0\0three' },
];

for (const layout of LAYOUTS) {
  cat(`${layout}: prints what it is asked for`, async () => {
    const path = await journalOf(layout, 'one', '', 'three');
    const [, second, third] = await list(path);
    const places = { second: second?.start ?? NaN, third: third?.start ?? NaN, end: third?.end ?? NaN };
    if (layout === 'file') assert.equal(places, { second: 15, third: 27, end: 44 });
    for (const { options, stdout } of CATS) {
      matches(await run(['cat', ...options(places).map(String), path]), { code: 0, stdout: typeof stdout === 'string' ? stdout : stdout(places) });
    }
  });

  cat(`${layout}: bytes that are no UTF-8 come as base64`, async () => {
    const path = newPath();
    await succeed(['append', ...CREATE[layout], path], Uint8Array.of(0xff, 0x00));
    const begin = layout === 'file' ? 0 : HEADER;
    matches(await run(['cat', '--json', path]), { code: 0, stdout: `{"start":${begin},"end":${begin + 14},"bytes":2,"base64":"/wA="}\n` });
  });

  cat(`${layout}: the end of a record is where the next one is looked for`, async () => {
    const path = await journalOf(layout, 'one');
    await succeed(['append', path], 'two\n');
    const [one] = await list(path);
    assert.is(await succeed(['cat', '--from', String(one?.end), path]), 'two\n');
  });

  cat(`${layout}: a reader that has seen enough is no error`, async () => {
    const path = newPath();
    await succeed(['append', ...CREATE[layout], '--length-prefixed', path], lengthPrefixed(...Array.from({ length: 64 }, () => Buffer.alloc(64 * 1024))));
    for (const format of [[], ['--json'], ['--length-prefixed']]) {
      const child = start(['cat', ...format, path]);
      const result = ended(child);
      child.stdout.once('data', () => child.stdout.destroy());
      const { code, stderr } = await result;
      assert.is(stderr, '');
      assert.is(code, 0);
    }
  });
}

cat('file: an LSN beyond the end is an error, one within a record is damage', async () => {
  const path = await journalOf('file', 'one', 'two');
  matches(await run(['cat', '--from', '31', path]), { code: 1, stderr: /`--from`.* which has 30 bytes, got 31 \[TIDEMARK_INVALID_ARGUMENT\]\n$/ });
  matches(await run(['cat', '--from', '1', path]), { code: 2, stderr: /ends in bad-magic at LSN 1: .* \[TIDEMARK_DAMAGED\]\n$/ });
});

cat('segments: an LSN beyond the end is an error, one within a record is damage', async () => {
  const path = await journalOf('segments', 'one', 'two');
  matches(await run(['cat', '--from', String(BEYOND), path]), { code: 1, stderr: /\[TIDEMARK_LSN_OUT_OF_RANGE\]\n$/ });
  matches(await run(['cat', '--from', String(HEADER + 1), path]), { code: 2, stderr: /LSN 4097: expected magic .* \[TIDEMARK_CORRUPT\]\n$/ });
});

if (existsSync('/dev/full')) {
  cat('output that cannot be written is one', async () => {
    const path = await journalOf('file', 'one');
    const descriptor = openSync('/dev/full', 'w');
    const child = spawn(process.execPath, [CLI, 'cat', path], { stdio: ['ignore', descriptor, 'pipe'], ...LIMITED });
    closeSync(descriptor);
    matches(await ended(child), { code: 1, stderr: /\(ENOSPC\) \[TIDEMARK_NO_SPACE\]\n$/ });
  });
}

cat.run();

// ---- damage --------------------------------------------------------------------------------------------------------

const damage = suite('cli: damage in the file layout');

interface Damage {
  readonly state: string;
  readonly position: number;
  readonly records: number;
  readonly make: (path: string) => void;
}

/** Three records: frames at 0, 15 and 30, the end at 47. */
const DAMAGES: readonly Damage[] = [
  { state: 'checksum-mismatch', position: 15, records: 1, make: (path) => flipByte(path, 15 + HEADER_BYTES) },
  { state: 'bad-magic', position: 0, records: 0, make: (path) => flipByte(path, 0) },
  { state: 'bad-magic', position: 15, records: 1, make: (path) => writeAt(path, new Uint8Array(15), 15) },
  { state: 'length-overflow', position: 30, records: 2, make: (path) => writeAt(path, Uint8Array.of(0xff, 0xff, 0xff, 0xff), 34) },
  { state: 'truncated-payload', position: 30, records: 2, make: (path) => truncateSync(path, 40) },
  { state: 'truncated-header', position: 30, records: 2, make: (path) => truncateSync(path, 33) },
];

for (const { state, position, records, make } of DAMAGES) {
  damage(`${state} at ${position}`, async () => {
    const path = await journalOf('file', 'one', 'two', 'three');
    make(path);
    const fileBytes = readFileSync(path).length;
    const stdout = ['one\n', 'two\n'].slice(0, records).join('');
    const message = new RegExp(`^tidemark: '${path}' ends in ${state} at LSN ${position}: expected .* \\[TIDEMARK_DAMAGED\\]\\n$`);
    matches(await run(['cat', path]), { code: 2, stdout, stderr: message });
    matches(await run(['cat', '--limit', String(records), path]), { code: 0, stdout });

    matches(await run(['verify', path]), { code: 2, stdout: new RegExp(`^${path}: ${state} at LSN ${position}: expected .* \\(${records} records?, ${fileBytes} bytes in the file\\)\\n$`) });
    const told = await run(['verify', '--json', path]);
    const { detail, ...finding } = JSON.parse(told.stdout) as Record<string, unknown>;
    assert.equal(finding, { path, state, position, records, fileBytes });
    assert.match(String(detail), /^expected /);
    assert.is(told.code, 2);

    matches(await run(['info', path]), { code: 2, stdout: new RegExp(`^tail +${state}: expected .*\\nunreadable +${fileBytes - position} bytes beyond the end$`, 'm') });
    const informed = await run(['info', '--json', path]);
    const { unreadableBytes, preparedBytes } = JSON.parse(informed.stdout) as Record<string, unknown>;
    assert.equal({ unreadableBytes, preparedBytes }, { unreadableBytes: fileBytes - position, preparedBytes: 0 });
    assert.is(informed.code, 2);
  });
}

damage('below what had been durable nobody appends, and nobody follows', async () => {
  const path = newPath();
  await succeed(['append', '--layout', 'file', '--length-prefixed', path], lengthPrefixed(...Array.from({ length: 6 }, () => Buffer.alloc(MIB))));
  flipByte(path, HEADER_BYTES);
  const before = readFileSync(path);
  matches(await run(['append', path], 'one\n'), { code: 2, stderr: /is corrupt at offset and LSN 0: .* \[TIDEMARK_CORRUPT\]\n$/ });
  matches(await run(['follow', path]), { code: 2, stderr: /ends in checksum-mismatch at LSN 0: .* \[TIDEMARK_DAMAGED\]\n$/ });
  assert.ok(before.equals(readFileSync(path)));
});

damage.run();

// ---- info and verify -----------------------------------------------------------------------------------------------

const info = suite('cli: info and verify');

info('of a file', async () => {
  const path = await journalOf('file', 'one', 'two', 'three');
  const tail = { state: 'clean-end', position: 47, detail: 'the journal ends with its last frame' };
  assert.equal(JSON.parse(await succeed(['info', '--json', path])), {
    path, layout: 'file', fileBytes: 47, records: 3, payloadBytes: 11, firstLsn: 0, lastLsn: 30, endLsn: 47, tail, preparedBytes: 0, unreadableBytes: 0,
  });
  assert.is(await succeed(['info', path]), [
    `journal    ${path}`,
    'layout     file',
    'size       47 bytes',
    'records    3',
    'payload    11 bytes',
    'first LSN  0',
    'last LSN   30',
    'end LSN    47',
    `tail       ${tail.state}: ${tail.detail}`,
    'prepared   0 bytes beyond the end',
    '',
  ].join('\n'));
  assert.is(await succeed(['verify', path]), `${path}: clean-end at LSN 47: ${tail.detail} (3 records, 47 bytes in the file)\n`);
  assert.equal(JSON.parse(await succeed(['verify', '--json', path])), { path, ...tail, records: 3, fileBytes: 47 });
});

info('of segments', async () => {
  const path = await journalOf('segments', 'one', 'two', 'three');
  const lastLsn = (await list(path)).at(-1)?.start ?? NaN;
  const { endLsn, preparedBytes, ...rest } = await infoOf(path) as { endLsn: number; preparedBytes: number };
  const tail = { state: 'clean-end', position: endLsn, detail: 'the journal was closed after its last frame' };
  assert.equal(rest, {
    path, layout: 'segments', segments: 1, fileBytes: 8 * MIB, records: 3, payloadBytes: 11, firstLsn: HEADER, lastLsn, tail, unreadableBytes: 0,
  });
  assert.ok(endLsn > lastLsn + 17);
  assert.is(preparedBytes, 8 * MIB - endLsn);
  assert.is(await succeed(['info', path]), [
    `journal    ${path}`,
    'layout     segments, 1 file',
    `size       ${8 * MIB} bytes`,
    'records    3',
    'payload    11 bytes',
    `first LSN  ${HEADER}`,
    `last LSN   ${lastLsn}`,
    `end LSN    ${endLsn}`,
    `tail       ${tail.state}: ${tail.detail}`,
    `prepared   ${preparedBytes} bytes beyond the end`,
    '',
  ].join('\n'));
  const { provenLsn, ...verdict } = await verified(path) as { provenLsn: number };
  assert.equal(verdict, { path, layout: 'segments', state: 'clean', records: 3, end: endLsn, segments: 1, findings: [] });
  assert.ok(provenLsn >= lastLsn + 17 && provenLsn <= endLsn, `${provenLsn}`);
  assert.is(await succeed(['verify', path]), `${path}: clean, whole up to LSN ${endLsn}, proven durable up to LSN ${provenLsn}, 3 records up to there (1 segment)\n`);
});

for (const layout of LAYOUTS) {
  info(`of an empty journal, ${layout}`, async () => {
    const path = await journalOf(layout);
    const { records, firstLsn, lastLsn, endLsn } = await infoOf(path) as { records: number; firstLsn: null; lastLsn: null; endLsn: number };
    assert.equal({ records, firstLsn, lastLsn }, { records: 0, firstLsn: null, lastLsn: null });
    if (layout === 'file') assert.is(endLsn, 0);
    else assert.ok(endLsn >= HEADER && endLsn <= 2 * HEADER, `${endLsn}`);
    matches(await run(['verify', path]), { code: 0, stdout: layout === 'file' ? /\(0 records, 0 bytes in the file\)\n$/ : /: clean, .*, 0 records up to there \(1 segment\)\n$/ });
  });
}

info('of prepared space beyond the end of a file', async () => {
  const path = await journalOf('file', 'one');
  truncateSync(path, 4096);
  const { fileBytes, endLsn, preparedBytes, unreadableBytes } = JSON.parse(await succeed(['info', '--json', path])) as Record<string, unknown>;
  assert.equal({ fileBytes, endLsn, preparedBytes, unreadableBytes }, { fileBytes: 4096, endLsn: 15, preparedBytes: 4081, unreadableBytes: 0 });
  matches(await run(['verify', path]), { code: 0, stdout: /: clean-end at LSN 15: unwritten space follows the last frame \(1 record, 4096 bytes in the file\)\n$/ });
});

info.run();

// ---- follow --------------------------------------------------------------------------------------------------------

const follow = suite('cli: follow');

for (const layout of LAYOUTS) {
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    follow(`${layout}: shows old and new records until ${signal}`, async () => {
      const path = await journalOf(layout, 'one');
      const child = start(['follow', path]);
      const result = ended(child);
      await until(child.stdout, 'one\n');
      const shown = until(child.stdout, 'two\n');
      await succeed(['append', path], 'two\n');
      await shown;
      child.kill(signal);
      matches(await result, { code: 0, stdout: 'one\ntwo\n' });
    });
  }

  follow(`${layout}: --from`, async () => {
    const path = await journalOf(layout, 'one', 'two');
    const beyond = layout === 'file' ? 31 : BEYOND;
    matches(await run(['follow', '--from', String(beyond), path]), { code: 1, stderr: layout === 'file' ? INVALID : /\[TIDEMARK_LSN_OUT_OF_RANGE\]\n$/ });
    const two = (await list(path))[1]?.start ?? NaN;
    for (const from of [two, 'end'] as const) {
      const child = start(['follow', '--json', '--from', String(from), path]);
      const result = ended(child);
      const before = (await infoOf(path))['endLsn'] as number;
      const shown = until(child.stdout, '"text":"more"').then(() => true);
      // A follower that starts at the end tells nobody when it is there: it gets records until it shows one.
      do await succeed(['append', path], 'more\n');
      while (!(await Promise.race([shown, delay(200, false)])));
      child.kill('SIGINT');
      const { code, stdout, stderr } = await result;
      assert.is(stderr, '');
      assert.is(code, 0);
      const starts = stdout.trim().split('\n').map((line) => (JSON.parse(line) as { start: number }).start);
      assert.ok(from === two ? starts[0] === two : (starts[0] ?? -1) >= before, `starts ${starts.join(', ')} from ${from}`);
      const listed = await list(path);
      assert.equal(starts, listed.map(({ start: place }) => place).filter((place) => place >= (starts[0] ?? -1)).slice(0, starts.length));
    }
  });

  follow(`${layout}: shows records larger than what it reads at once`, async () => {
    const path = newPath();
    const records = ['a'.repeat(5 * MIB), 'b', 'c'.repeat(300_000), 'd'];
    await succeed(['append', ...CREATE[layout], path], records.join('\n'));
    const child = start(['follow', path]);
    const result = ended(child);
    await until(child.stdout, 'd\n');
    child.kill('SIGINT');
    matches(await result, { code: 0, stdout: `${records.join('\n')}\n` });
  });

  follow(`${layout}: a reader that has seen enough is no error`, async () => {
    const path = await journalOf(layout, 'one');
    const child = start(['follow', path]);
    const result = ended(child);
    await until(child.stdout, 'one\n');
    child.stdout.destroy();
    await succeed(['append', path], 'two\n');
    const { code, stderr } = await result;
    assert.is(stderr, '');
    assert.is(code, 0);
  });
}

/** Ways in which the second frame is not there yet, and then is. */
const HALVES: readonly { readonly name: string; readonly half: (whole: Buffer) => Buffer }[] = [
  { name: 'nothing', half: (whole) => whole.subarray(0, 15) },
  { name: 'half a header', half: (whole) => whole.subarray(0, 18) },
  { name: 'half a payload', half: (whole) => whole.subarray(0, 15 + HEADER_BYTES + 1) },
  { name: 'zeros', half: (whole) => Buffer.concat([whole.subarray(0, 15), Buffer.alloc(4096)]) },
  { name: 'a header, then zeros', half: (whole) => Buffer.concat([whole.subarray(0, 15 + HEADER_BYTES), Buffer.alloc(4096)]) },
  { name: 'a wrong checksum', half: (whole) => Buffer.concat([whole.subarray(0, 29), Uint8Array.of(0), Buffer.alloc(100)]) },
  { name: 'zeros, then its end', half: (whole) => Buffer.concat([whole.subarray(0, 15), Buffer.alloc(10), whole.subarray(25)]) },
];

for (const { name, half } of HALVES) {
  follow(`file: waits where there is ${name}`, async () => {
    const whole = readFileSync(await journalOf('file', 'one', 'two'));
    const path = newPath();
    writeFileSync(path, half(whole));
    const child = start(['follow', path]);
    const result = ended(child);
    await until(child.stdout, 'one\n');
    const shown = until(child.stdout, 'two\n');
    writeAt(path, whole, 0);
    await shown;
    child.kill('SIGINT');
    matches(await result, { code: 0, stdout: 'one\ntwo\n' });
  });
}

follow('file: tells what it waits for', async () => {
  const path = await journalOf('file', 'one', 'two');
  truncateSync(path, 20);
  const child = start(['follow', path]);
  const result = ended(child);
  await until(child.stderr, '\n');
  child.kill('SIGINT');
  matches(await result, { code: 0, stdout: 'one\n', stderr: 'tidemark: waiting at LSN 15 for a whole frame: truncated-header, expected 8 bytes of header, got 5\n' });
});

follow('ends with what never was a journal', async () => {
  const path = newPath();
  writeFileSync(path, 'some text that is no journal\n');
  matches(await run(['follow', path]), { code: 2, stderr: /ends in bad-magic at LSN 0: .* \[TIDEMARK_DAMAGED\]\n$/ });
});

follow('file: ends when the journal is cut below what was shown', async () => {
  const path = await journalOf('file', 'one', 'two');
  const child = start(['follow', path]);
  const result = ended(child);
  await until(child.stdout, 'two\n');
  truncateSync(path, 15);
  matches(await result, { code: 2, stdout: 'one\ntwo\n', stderr: /was cut to 15 bytes, having been read up to LSN 30 \[TIDEMARK_CORRUPT\]\n$/ });
});

follow.run();

// ---- journals of segments ------------------------------------------------------------------------------------------

const segments = suite('cli: journals of segments');

function segmentsOf(...records: readonly string[]): SegmentJournal {
  const journal = new SegmentJournal(newPath());
  for (const record of records) journal.record(record);
  return journal;
}

segments('cat, info and verify', async () => {
  const journal = segmentsOf('one', 'two');
  const footerLsn = journal.position;
  journal.rotate();
  const lastLsn = journal.record('three');
  const { path, position } = journal;
  assert.is(await succeed(['cat', path]), 'one\ntwo\nthree\n');
  assert.is(await succeed(['cat', '--from', String(HEADER + 15), path]), 'two\nthree\n');
  const tail = { state: 'clean-end', position, detail: 'unwritten space follows the last frame' };
  assert.equal(JSON.parse(await succeed(['info', '--json', path])), {
    path, layout: 'segments', segments: 2, fileBytes: 2 * SEGMENT, records: 3, payloadBytes: 11, firstLsn: HEADER, lastLsn, endLsn: position, tail,
    preparedBytes: 2 * SEGMENT - position, unreadableBytes: 0,
  });
  assert.match(await succeed(['info', path]), /^layout +segments, 2 files$/m);
  assert.equal(await verified(path), { path, layout: 'segments', state: 'clean', records: 3, end: position, provenLsn: footerLsn, segments: 2, findings: [] });
  assert.is(await succeed(['verify', path]), `${path}: clean, whole up to LSN ${position}, proven durable up to LSN ${footerLsn}, 3 records up to there (2 segments)\n`);
  matches(await run(['cat', '--from', String(3 * SEGMENT), path]), { code: 1, stderr: /\[TIDEMARK_LSN_OUT_OF_RANGE\]\n$/ });
  journal.trim(1);
  assert.is(await succeed(['cat', path]), 'three\n');
  matches(await run(['cat', '--from', String(HEADER), path]), { code: 1, stderr: /\[TIDEMARK_TRIMMED\]\n$/ });
  assert.is((JSON.parse(await succeed(['info', '--json', path])) as { segments: number }).segments, 1);
});

segments('damage, after what comes before it', async () => {
  const journal = segmentsOf('one', 'two');
  journal.mark();
  flipByte(journal.fileOf(), HEADER + 15 + HEADER_BYTES);
  for (const [command, stdout] of [['cat', 'one\n'], ['info', ''], ['follow', 'one\n']] as const) {
    matches(await run([command, journal.path]), { code: 2, stdout, stderr: /offset 4111, LSN 4111: expected checksum .* durable \[TIDEMARK_CORRUPT\]\n$/ });
  }
  // What is found is the result of `verify`, not its failure.
  matches(await run(['verify', journal.path]), { code: 2, stdout: new RegExp(`^.*LSN 4111.*\\n${journal.path}: corrupt, whole up to LSN 4111, .*\\(1 segment\\)\\n$`) });
  const result = await run(['verify', '--json', journal.path]);
  matches(result, { code: 2, stdout: /^\{.*\}\n$/ });
  const { findings, ...verdict } = JSON.parse(result.stdout) as { findings: readonly Record<string, unknown>[] };
  assert.equal(verdict, { path: journal.path, layout: 'segments', state: 'corrupt', records: 1, end: HEADER + 15, provenLsn: HEADER + 30, segments: 1 });
  assert.equal(findings.map(({ kind, segment, offset, lsn }) => ({ kind, segment, offset, lsn })), [{ kind: 'corruption', segment: nameOf(0), offset: 4111, lsn: 4111 }]);
});

segments('a torn tail is the end for a reader and a finding for verify', async () => {
  const journal = segmentsOf('one');
  journal.mark();
  const torn = journal.record('two');
  flipByte(journal.fileOf(), torn + HEADER_BYTES);
  const result = await run(['verify', '--json', journal.path]);
  matches(result, { code: 2, stdout: /^\{.*\}\n$/ });
  const { state, records, end, findings } = JSON.parse(result.stdout) as Record<string, unknown> & { findings: readonly { kind: string; lsn: number }[] };
  assert.equal({ state, records, end }, { state: 'torn', records: 1, end: torn });
  assert.equal(findings.map(({ kind, lsn }) => ({ kind, lsn })), [{ kind: 'torn-tail', lsn: torn }]);
});

segments('follow shows what is durable, as soon as it is', async () => {
  const journal = segmentsOf('one', 'two');
  journal.mark(HEADER + 15);
  const child = start(['follow', journal.path]);
  const result = ended(child);
  await until(child.stdout, 'one\n');
  const three = until(child.stdout, 'three\n');
  journal.rotate();
  journal.record('three');
  journal.mark();
  await three;
  journal.record('four');
  child.kill('SIGINT');
  matches(await result, { code: 0, stdout: 'one\ntwo\nthree\n' });
});

segments.run();

// ---- doctor and bench ----------------------------------------------------------------------------------------------

const machine = suite('cli: doctor and bench');

machine('doctor tells what is there and leaves nothing behind', async () => {
  const where = emptyDirectory();
  const diagnosis = JSON.parse(await succeed(['doctor', '--json', where])) as Record<string, Record<string, unknown>>;
  assert.equal(Object.keys(diagnosis), ['machine', 'supports', 'ioUring', 'auto', 'backendFromEnvironment', 'directory', 'file', 'registeredBuffer', 'directActive', 'directReason']);
  assert.is(diagnosis['machine']?.['node'], process.version);
  assert.is(diagnosis['auto']?.['kind'], diagnosis['ioUring']?.['available'] === true ? 'io_uring' : 'blocking');
  assert.match(await succeed(['doctor', where]), /^platform .*\nkernel .*\nnode .*\nprocessors .*\nsupports .*\nio_uring .*\nauto chooses .*\nset-up flags .*\nregistered buffer .*\nsealing .*\ndirectory .*\nfilesystem .*\ndirect IO .*\ndsync writes .*\n$/);
  assert.equal(readdirSync(where), []);
});

machine('bench measures and leaves nothing behind', async () => {
  const where = emptyDirectory();
  const args = ['bench', where, '--seconds', '0.05', '--concurrency', '1,8', '--size', '1k'];
  for (const [backend, wanted] of [['auto', undefined], ['auto', 'file'], ['blocking', 'segments'], ['blocking', 'file']] as const) {
    const { levels, recordBytes, layout } = JSON.parse(await succeed([...args, '--backend', backend, ...(wanted === undefined ? [] : ['--layout', wanted]), '--json'])) as {
      readonly layout: string;
      readonly recordBytes: number;
      readonly levels: readonly { readonly concurrency: number; readonly appends: number; readonly p50Us: number; readonly p99Us: number }[];
    };
    assert.is(recordBytes, 1024);
    assert.is(layout, wanted ?? 'segments');
    assert.equal(levels.map(({ concurrency }) => concurrency), [1, 8]);
    for (const { appends, p50Us, p99Us } of levels) assert.ok(appends > 0 && p50Us > 0 && p99Us >= p50Us);
  }
  assert.match(await succeed(args), /^machine .*\nfilesystem .*\nlayout {6}segments\nbackend .*\nwrites .*\nrecord {6}1024 bytes\n\n +concurrency +appends\/s +p50 us +p99 us\n +1 +\d+ +\d+ +\d+\n +8 +\d+ +\d+ +\d+\n$/);
  assert.equal(readdirSync(where), []);
});

machine('an interrupted bench leaves nothing behind', async () => {
  const where = emptyDirectory();
  const child = start(['bench', where, '--seconds', '60']);
  const result = ended(child);
  await until(child.stdout, 'p99 us\n');
  child.kill('SIGINT');
  matches(await result, { code: 1, stdout: /^machine /, stderr: 'tidemark: interrupted by SIGINT [TIDEMARK_INTERRUPTED]\n' });
  assert.equal(readdirSync(where), []);
});

for (const command of ['doctor', 'bench']) {
  machine(`${command} needs a directory`, async () => {
    matches(await run([command, join(directory, 'nowhere')]), { code: 1, stderr: /\(ENOENT\) \[TIDEMARK_NOT_FOUND\]\n$/ });
    matches(await run([command, await journalOf('file', 'one')]), { code: 1, stderr: /Expected `directory` to be a directory, got .* \[TIDEMARK_INVALID_ARGUMENT\]\n$/ });
  });
}

machine.run();
