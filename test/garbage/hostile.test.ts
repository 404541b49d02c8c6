/** What somebody else may put in a journal's place, or in its directory: refused by name, nothing changed, nobody waits. */
import { execFileSync, spawn } from 'node:child_process';
import { copyFileSync, existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Journal, JournalReader, type JournalOptions } from 'tidemark';
import { frame, journalOf, pattern } from '../conformance/format.js';
import { failureOf, within } from '../conformance/helpers.js';
import { noRoot, skip } from '../fault/tools.js';
import { segmentsIn } from '../segments.js';
import { ended, schedulerOf, temporaryDirectory, withJournal } from '../support.js';

const test = suite('hostile input');
const directory = temporaryDirectory();
const scheduler = schedulerOf('blocking');
const SEGMENTS: JournalOptions = { scheduler, segmentBytes: 64 * 1024, logBufferBytes: 64 * 1024, newSegments: 'plain' };
const FILE: JournalOptions = { scheduler, layout: 'file', preallocate: 0, logBufferBytes: 64 * 1024 };
const CLI = fileURLToPath(new URL('../../../dist/main/cli/tidemark.js', import.meta.url));

let names = 0;
function newDirectory(): string {
  const path = join(directory, `${names++}`);
  mkdirSync(path);
  return path;
}

/** All names below a directory, links not followed, and what is in files. */
function look(path: string): string[] {
  return readdirSync(path, { encoding: 'buffer' }).sort((a, b) => a.compare(b)).flatMap((name) => {
    const file = Buffer.concat([Buffer.from(`${path}/`), name]);
    const status = lstatSync(file, { bigint: true });
    const line = `${file.toString('latin1')} ${status.mode} ${status.size} ${status.mtimeNs}`;
    if (status.isDirectory()) return [line, ...look(file.toString())];
    return [status.isFile() ? `${line} ${readFileSync(file).toString('base64').slice(0, 2000)}` : line];
  });
}

/** A journal of three segments in `home`. */
async function journalIn(home: string): Promise<string> {
  const path = join(home, 'journal');
  await withJournal(path, SEGMENTS, async (journal) => {
    for (let i = 0; i < 6; i++) await journal.append(pattern(i, 25_000));
  });
  return path;
}

async function readToEnd(path: string): Promise<number> {
  await using reader = await JournalReader.open(path);
  let records = 0;
  for await (const { payload } of reader) records += payload.length > 0 ? 1 : 0;
  return records;
}

// ---- something else in the place of a file -----------------------------------------------------------------------------

interface Impostor {
  readonly name: string;
  readonly make: (path: string, home: string) => unknown;
  readonly code: string;
  /** In the place of a whole journal, where a link is followed; the reader's code where it is another one. */
  readonly asJournal: string;
  readonly skipped?: string | undefined;
}

const IMPOSTORS: readonly Impostor[] = [
  { name: 'a link to a segment elsewhere', code: 'TIDEMARK_NOT_A_FILE', asJournal: 'TIDEMARK_NOT_A_JOURNAL', make: (path, home) => {
    renameSync(path, join(home, 'outside'));
    symlinkSync(join(home, 'outside'), path);
  } },
  { name: 'a link to another segment', code: 'TIDEMARK_NOT_A_FILE', asJournal: 'TIDEMARK_NOT_FOUND', make: (path) => {
    rmSync(path);
    symlinkSync('0000000000000000.segment', path);
  } },
  { name: 'a link to nothing', code: 'TIDEMARK_NOT_A_FILE', asJournal: 'TIDEMARK_NOT_FOUND', make: (path) => {
    rmSync(path);
    symlinkSync('nothing', path);
  } },
  { name: 'a FIFO', code: 'TIDEMARK_NOT_A_FILE', asJournal: 'TIDEMARK_NOT_A_FILE', make: (path) => {
    rmSync(path);
    execFileSync('mkfifo', [path]);
  } },
  { name: 'a socket', code: 'TIDEMARK_NOT_A_FILE', asJournal: 'TIDEMARK_NOT_A_FILE', make: async (path) => {
    rmSync(path);
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(path, resolve));
    server.unref();
  } },
  { name: 'a device', code: 'TIDEMARK_NOT_A_FILE', asJournal: 'TIDEMARK_NOT_A_FILE', skipped: noRoot(), make: (path) => {
    rmSync(path);
    execFileSync('mknod', [path, 'c', '1', '5']);
  } },
  { name: 'a directory', code: 'TIDEMARK_IS_DIRECTORY', asJournal: 'TIDEMARK_NOT_A_JOURNAL', make: (path) => {
    rmSync(path);
    mkdirSync(path);
    writeFileSync(join(path, 'file'), 'of somebody else');
  } },
];

/** Runs a command to its end; one that waits for ever is killed and has no exit code. */
async function command(words: readonly string[]): Promise<{ code: number | null; stderr: string }> {
  const child = spawn(process.execPath, [CLI, ...words], { stdio: ['ignore', 'ignore', 'pipe'] });
  const timer = setTimeout(() => child.kill('SIGKILL'), 30_000);
  const { code, stderr } = await ended(child);
  clearTimeout(timer);
  return { code, stderr };
}

for (const { name, make, code, asJournal, skipped } of IMPOSTORS) {
  if (skipped !== undefined) {
    skip(name, skipped);
    continue;
  }

  test(`${name} in the place of a segment`, async () => {
    const home = newDirectory();
    const path = await journalIn(home);
    const segment = join(path, segmentsIn(path)[1] ?? '');
    await make(segment, home);
    const before = look(home);
    for (const call of [() => Journal.open(path, SEGMENTS), () => Journal.repair(path, { scheduler }), () => readToEnd(path)]) {
      const error = await failureOf(call);
      assert.equal([error.code, error['path']], [code, segment], error.message);
    }
    const commands = [['cat', path], ['verify', path], ['info', path], ['repair', path], ['append', path], ['follow', path, '--from', '0']];
    const results = await Promise.all(commands.map(command));
    results.forEach((result, i) => {
      assert.is(result.code, 1, `${commands[i]?.join(' ')}: ${result.stderr}`);
      assert.match(result.stderr, segment);
    });
    assert.equal(look(home), before);
  });

  test(`${name} in the place of a journal`, async () => {
    const home = newDirectory();
    const path = join(home, 'journal');
    writeFileSync(path, pattern(1, 5000));
    await make(path, home);
    const before = look(home);
    for (const layout of ['file', 'segments'] as const) {
      // Whoever asks for a layout is told that there is the other one first.
      const error = await failureOf(() => Journal.open(path, { ...SEGMENTS, layout, create: false }));
      assert.ok([asJournal, 'TIDEMARK_INVALID_ARGUMENT'].includes(error.code), error.message);
    }
    const error = await failureOf(() => Journal.open(path, SEGMENTS));
    assert.is(error.code, asJournal, error.message);
    assert.equal(look(home), before);
    if (asJournal !== 'TIDEMARK_NOT_A_JOURNAL') assert.is((await failureOf(() => JournalReader.open(path))).code, asJournal);
  });
}

test('a link or a FIFO with the name of a spare is not followed, and gives way', async () => {
  const home = newDirectory();
  const path = await journalIn(home);
  writeFileSync(join(home, 'outside'), readFileSync(join(path, segmentsIn(path)[0] ?? '')));
  const before = readFileSync(join(home, 'outside'));
  const last = Number.parseInt(segmentsIn(path).at(-1) ?? '', 16);
  for (let n = 1; n < 4; n++) symlinkSync(join(home, 'outside'), join(path, `${(last + n * 65536).toString(16).padStart(16, '0')}.segment.spare`));
  await withJournal(path, SEGMENTS, async (journal) => {
    for (let i = 0; i < 6; i++) await journal.append(pattern(i, 25_000));
  });
  assert.ok(readFileSync(join(home, 'outside')).equals(before));
  assert.is(await readToEnd(path), 12);
});

test('a link with the name of a torn tail\'s copy is not followed', async () => {
  const home = newDirectory();
  const path = join(home, 'journal');
  writeFileSync(path, Buffer.concat([frame('whole'), frame('torn').subarray(0, 9)]));
  writeFileSync(join(home, 'outside'), 'precious');
  symlinkSync('outside', `${path}.torn-17`);
  await withJournal(path, FILE, (journal) => {
    assert.is(journal.openReport?.torn?.keptAs, `${path}.torn-17.1`);
    return Promise.resolve();
  });
  assert.is(readFileSync(join(home, 'outside'), 'utf8'), 'precious');
});

// ---- lengths -----------------------------------------------------------------------------------------------------------

test('a length of 256 MiB that the file seems to hold takes no memory, one of 4 GiB is none', async () => {
  for (const [length, state] of [['ffffff0f', 'checksum-mismatch'], ['ffffffff', 'length-overflow'], ['ffffff7f', 'length-overflow']] as const) {
    const path = join(newDirectory(), 'journal');
    writeFileSync(path, Buffer.concat([frame('hello'), Buffer.from(`46535901${length}01`, 'hex')]));
    truncateSync(path, 300 * 1024 * 1024);
    const peak = { bytes: 0 };
    const timer = setInterval(() => (peak.bytes = Math.max(peak.bytes, process.memoryUsage().arrayBuffers)), 1);
    const before = process.memoryUsage().arrayBuffers;
    await using reader = await JournalReader.open(path);
    const records = [];
    for await (const { payload } of reader) records.push(Buffer.from(payload).toString());
    clearInterval(timer);
    assert.equal([records, reader.tail?.state, reader.tail?.position], [['hello'], state, 17]);
    assert.ok(peak.bytes - before < 100 * 1024 * 1024, `${peak.bytes - before} bytes`);
  }
});

test('headers upon headers in a file: the search for later frames is given up and says so', async () => {
  const path = join(newDirectory(), 'journal');
  const bytes = Buffer.concat([frame('hello'), Buffer.alloc(12 * 1024 * 1024)]);
  for (let at = 17; at + 24 < bytes.length; at += 12) {
    bytes.write('FSY\x01', at, 'latin1');
    bytes.writeUInt32LE(bytes.length - at - 12, at + 4);
  }
  writeFileSync(path, bytes);
  const error = await within(failureOf(() => Journal.open(path, FILE)), 'opening');
  assert.equal([error.code, error['lsn']], ['TIDEMARK_CORRUPT', 17]);
  assert.match(error.message, /given up/);
  assert.ok(readFileSync(path).equals(bytes));
});

// ---- files that change under a reader ----------------------------------------------------------------------------------

test('a file that is cut while it is read ends where it was cut', async () => {
  const path = join(newDirectory(), 'journal');
  writeFileSync(path, journalOf(Array.from({ length: 400 }, (_, i) => pattern(i, 10_000))));
  await using reader = await JournalReader.open(path);
  let records = 0;
  for await (const { start } of reader) {
    if (records++ === 0) truncateSync(path, 100 * 10_012 + 5000);
    assert.is(start, (records - 1) * 10_012);
  }
  assert.is(records, 100);
  assert.is(reader.tail?.position, 100 * 10_012);
});

test('a segment that is cut while it is read is damage', async () => {
  const path = await journalIn(newDirectory());
  await using reader = await JournalReader.open(path);
  const error = await failureOf(async () => {
    for await (const record of reader) if (record.start < 65_536) truncateSync(join(path, segmentsIn(path)[1] ?? ''), 20_000);
  });
  assert.is(error.code, 'TIDEMARK_CORRUPT');
  assert.ok(Number(error['lsn']) >= 65_536 && Number(error['lsn']) < 2 * 65_536);
});

test('a file that grows while it is read ends where it ended, or later', async () => {
  const path = join(newDirectory(), 'journal');
  const records = Array.from({ length: 300 }, (_, i) => pattern(i, 2000));
  writeFileSync(path, journalOf(records));
  await using reader = await JournalReader.open(path);
  let count = 0;
  for await (const { payload } of reader) {
    assert.ok(Buffer.from(payload).equals(records[count % 300] ?? Buffer.alloc(0)));
    if (count++ < 20) writeFileSync(path, journalOf(records), { flag: 'a' });
  }
  assert.ok(count >= 300, `${count} records`);
  assert.is(reader.tail?.state, 'clean-end');
});

// ---- paths -------------------------------------------------------------------------------------------------------------

test('odd paths that are paths all the same', async () => {
  for (const name of ['line\nbreak', '..dots..', ' ', '-rf', 'é😀', '%s', 'a/../b', 'trailing/', './here']) {
    for (const options of [SEGMENTS, FILE]) {
      const path = `${newDirectory()}/${name}`;
      await withJournal(path, options, (journal) => journal.append('hello'));
      assert.is(await readToEnd(path), 1, JSON.stringify(name));
      assert.is(await readToEnd(relative(process.cwd(), path)), 1, JSON.stringify(name));
      await withJournal(path, options, (journal) => {
        assert.equal([journal.openReport?.created, journal.openReport?.records], [false, 1], JSON.stringify(name));
        return Promise.resolve();
      });
    }
  }
});

test('a path that is too long', async () => {
  const path = `${newDirectory()}/${'x/'.repeat(2100)}`;
  for (const options of [SEGMENTS, FILE]) assert.is((await failureOf(() => Journal.open(path, options))).code, 'TIDEMARK_INVALID_PATH');
  assert.is((await failureOf(() => JournalReader.open(path))).code, 'TIDEMARK_INVALID_PATH');
});

test('a reader of a relative path stays with its journal wherever the process goes', async () => {
  const [here, there] = [newDirectory(), newDirectory()];
  await journalIn(here);
  const before = process.cwd();
  try {
    process.chdir(here);
    await using reader = await JournalReader.open('journal');
    process.chdir(there);
    let records = 0;
    for await (const { end } of reader) records += Math.sign(end);
    assert.is(records, 6);
  } finally {
    process.chdir(before);
  }
});

test('behind a link, `..` leads to the journal that the system finds there', async () => {
  const directory = newDirectory();
  mkdirSync(join(directory, 'releases', '42'), { recursive: true });
  symlinkSync('releases/42', join(directory, 'current'));
  const path = `${directory}/current/../journal`;
  await withJournal(path, SEGMENTS, (journal) => journal.append('here'));
  assert.ok(lstatSync(join(directory, 'releases', 'journal')).isDirectory());
  assert.not(existsSync(join(directory, 'journal')));
  assert.is(await readToEnd(path), 1);
  assert.is(await readToEnd(`${path}/../../current/../journal`), 1);
  assert.is((await Journal.repair(path, { dryRun: true })).path, join(directory, 'releases', 'journal'));
});

test('names that are not UTF-8 do not confuse a journal', async () => {
  const path = await journalIn(newDirectory());
  const odd = Buffer.concat([Buffer.from(`${path}/`), Buffer.from([0xff, 0xfe]), Buffer.from('0000000000.segment')]);
  copyFileSync(join(path, segmentsIn(path)[0] ?? ''), odd);
  await withJournal(path, SEGMENTS, (journal) => journal.append('and on'));
  assert.is(await readToEnd(path), 7);
  assert.ok(lstatSync(odd).isFile());
});

test.run();
