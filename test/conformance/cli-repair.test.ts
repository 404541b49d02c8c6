/** `verify`, `repair`, `export` and `import` at the command line. */
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Journal, JournalReader } from 'tidemark';
import { FILE_BATCH_BYTES_MAX, segments } from '../internals.js';
import { fill, flip, put, SEGMENT } from '../recovery/segment-tools.js';
import { HEADER, SegmentBuilder } from '../recovery/segment-builder.js';
import { ended, schedulerOf, temporaryDirectory, withJournal, type Ended } from '../support.js';
import { journalOf, pattern } from './format.js';
import { snapshot } from './helpers.js';

const CLI = fileURLToPath(new URL('cli/tidemark.js', import.meta.resolve('tidemark')));
const directory = temporaryDirectory();
const scheduler = schedulerOf('blocking');

let names = 0;
const newPath = (): string => join(directory, `journal-${names++}`);

function run(...args: readonly string[]): Promise<Ended> {
  return ended(spawn(process.execPath, [CLI, ...args], { stdio: ['ignore', 'pipe', 'pipe'], cwd: directory }));
}

interface Expected {
  readonly code: number;
  readonly stdout?: RegExp;
  readonly stderr?: RegExp;
}

function matches(result: Ended, { code, stdout = /^$/, stderr = /^$/ }: Expected, label: string): void {
  const text = `${label}: ${JSON.stringify(result)}`;
  assert.is(result.code, code, text);
  assert.match(result.stdout, stdout, text);
  assert.match(result.stderr, stderr, text);
}

function write(builder: SegmentBuilder): string {
  const path = newPath();
  mkdirSync(path);
  for (const [base, bytes] of builder.files) writeFileSync(join(path, segments.segmentName(base)), bytes);
  return path;
}

const three = (): SegmentBuilder => fill(new SegmentBuilder(), 2 * SEGMENT + 20000);

function recordIn(builder: SegmentBuilder, from: number): { readonly start: number; readonly end: number } {
  return builder.frames.find(({ kind, start }) => kind === 'record' && start >= from) ?? { start: 0, end: 0 };
}

/** A file journal that is damaged in its second record, and went on. */
function damagedFile(): { path: string; bytes: Buffer } {
  const path = newPath();
  const bytes = journalOf([pattern(1, 30), pattern(2, 40), pattern(3, FILE_BATCH_BYTES_MAX), 'last']);
  bytes.fill(0xaa, 42 + 10, 42 + 12);
  writeFileSync(path, bytes);
  return { path, bytes };
}

// ---- verify ------------------------------------------------------------------------------------------------------------

const verify = suite('cli: verify of segments');

const STATES: readonly (readonly [state: string, damage: (builder: SegmentBuilder) => readonly (readonly [kind: string, lsn: number])[]])[] = [
  ['clean', () => []],
  ['torn', (builder) => {
    put(builder.files, builder.position, Buffer.from('46535902ff', 'hex'));
    return [['torn-tail', builder.position]];
  }],
  ['corrupt', (builder) => {
    const [one, two] = [recordIn(builder, 9000), recordIn(builder, SEGMENT + 9000)];
    for (const { start } of [one, two]) flip(builder.files, start);
    return [['corruption', one.start], ['corruption', two.start]];
  }],
  ['corrupt', (builder) => {
    flip(builder.files, SEGMENT + 200);
    return [['damaged-header', SEGMENT]];
  }],
];

for (const [state, damage] of STATES) {
  verify(`${state} ${damage(three()).map(([kind]) => kind).join(' ')}`, async () => {
    const builder = three();
    const findings = damage(builder);
    const path = write(builder);
    const before = snapshot(path);
    const result = await run('verify', '--json', path);
    assert.is(result.code, state === 'clean' ? 0 : 2, result.stderr);
    const told = JSON.parse(result.stdout) as Record<string, unknown> & { findings: Record<string, unknown>[] };
    const [first] = findings;
    const end = first?.[0] === 'corruption' ? first[1] : builder.position;
    const records = builder.frames.filter((frame) => frame.kind === 'record' && frame.end <= end).length;
    const provenLsn = builder.frames.findLast(({ mark }) => mark !== undefined)?.mark?.durableLsn;
    assert.equal({ ...told, findings: [] }, { path, layout: 'segments', state, records, end, provenLsn, segments: 3, findings: [] });
    assert.equal(told.findings.map(({ kind, lsn, segment, offset }) => [kind, lsn, segment, offset]),
      findings.map(([kind, lsn]) => [kind, lsn, segments.segmentName(lsn - (lsn % SEGMENT)), lsn % SEGMENT]));
    for (const finding of told.findings) assert.equal(Object.keys(finding), ['kind', 'segment', 'offset', 'lsn', 'endLsn', 'expected', 'found', 'proof']);
    const words = await run('verify', path);
    assert.is(words.code, result.code);
    const lines = words.stdout.trimEnd().split('\n');
    assert.is(lines.length, findings.length + 1);
    findings.forEach(([kind, lsn], i) => assert.match(lines[i] ?? '', new RegExp(`^${kind.replace('-', ' ')} in segment '.*', offset \\d+, LSN ${lsn}: expected `)));
    assert.match(lines.at(-1) ?? '', new RegExp(`: ${state}, whole up to LSN ${end}, proven durable up to LSN ${provenLsn ?? ''}, ${records} records up to there \\(3 segments\\)$`));
    assert.equal(snapshot(path), before);
  });
}

verify('beside a writer', async () => {
  const path = newPath();
  await withJournal(path, { scheduler, segmentBytes: 1024 * 1024, logBufferBytes: 65536 }, async (journal) => {
    let going = true;
    const writing = (async () => {
      while (going) await Promise.all(Array.from({ length: 20 }, () => journal.append(pattern(1, 200))));
    })();
    for (let i = 0; i < 4; i++) matches(await run('verify', path), { code: 0, stdout: /: clean, / }, 'verify');
    going = false;
    await writing;
  });
});

verify.run();

// ---- repair ------------------------------------------------------------------------------------------------------------

const repair = suite('cli: repair');

repair('segments', async () => {
  const builder = three();
  const { start, end } = recordIn(builder, SEGMENT + 9000);
  flip(builder.files, start + 9);
  const path = write(builder);
  const before = snapshot(path);
  const name = segments.segmentName(SEGMENT);
  matches(await run('repair', '--dry-run', path), {
    code: 2, stdout: new RegExp(`^corruption in '${name}' at offset ${start - SEGMENT}, LSN ${start} to ${end}: expected checksum .*; ${end - start} bytes\n.*: damaged; nothing was changed, `),
  }, 'dry run');
  const dry = JSON.parse((await run('repair', '--dry-run', '--json', path)).stdout) as Record<string, unknown>;
  assert.equal(snapshot(path), before);
  const result = await run('repair', '--json', path);
  assert.is(result.code, 0, result.stderr);
  const report = JSON.parse(result.stdout) as { ranges: Record<string, unknown>[] } & Record<string, unknown>;
  assert.equal(Object.keys(report), ['path', 'layout', 'dryRun', 'repaired', 'ranges', 'end', 'records']);
  assert.equal([report['path'], report['repaired'], report['end'], report['records']], [path, true, builder.position, builder.records]);
  assert.equal([dry['repaired'], dry['end'], dry['dryRun']], [false, builder.position, true]);
  assert.equal(Object.keys(report.ranges[0] ?? {}).sort(), ['bytes', 'droppedRecords', 'endLsn', 'finding', 'keptAs', 'lsn', 'offset', 'recordsAround', 'segment']);
  assert.ok(existsSync(join(path, `${name}.damaged-${start}`)));
  matches(await run('verify', path), { code: 0, stdout: /: clean, / }, 'verify');
  matches(await run('repair', path), { code: 0, stdout: /: needs no repair, / }, 'again');
});

repair('a file', async () => {
  const { path, bytes } = damagedFile();
  matches(await run('repair', '--dry-run', path), { code: 2, stdout: /2 whole records behind it cut off with it\n.*: damaged; nothing was changed, 1 record, end at LSN 42\n$/ }, 'dry run');
  assert.ok(readFileSync(path).equals(bytes));
  matches(await run('repair', path), { code: 0, stdout: /kept in '.*\.damaged-42'; 2 whole records .*\n.*: repaired, 1 record, end at LSN 42\n$/ }, 'repair');
  assert.ok(readFileSync(`${path}.damaged-42`).equals(bytes.subarray(42)));
  matches(await run('repair', '--json', path), { code: 0, stdout: /"repaired":false,"ranges":\[\],"end":42,"records":1}\n$/ }, 'again');
});

repair('errors', async () => {
  matches(await run('repair', 'no-such-journal'), { code: 1, stderr: /\[TIDEMARK_NOT_FOUND\]\n$/ }, 'not there');
  matches(await run('repair'), { code: 1, stderr: /missing required argument/ }, 'usage');
  const path = newPath();
  writeFileSync(path, pattern(1, 9999));
  matches(await run('repair', path), { code: 2, stderr: /\[TIDEMARK_NOT_A_JOURNAL\]\n$/ }, 'no journal');
  const builder = three();
  builder.files.set(SEGMENT + 512, pattern(1, SEGMENT));
  matches(await run('repair', write(builder)), { code: 2, stderr: /cannot be repaired: foreign segment .* \[TIDEMARK_CORRUPT\]\n$/ }, 'foreign');
  const open = newPath();
  await withJournal(open, { scheduler, segmentBytes: 65536, logBufferBytes: 65536 }, async () => {
    matches(await run('repair', open), { code: 1, stderr: /is open for writing in process \d+ .*\[TIDEMARK_LOCKED\]\n$/ }, 'locked');
  });
});

repair.run();

// ---- export and import -------------------------------------------------------------------------------------------------

const convert = suite('cli: export and import');

const RECORDS = ['', 'one', pattern(1, 5000), pattern(2, 100_000), 'last', ...Array.from({ length: 3000 }, (_, i) => pattern(i, i % 300))];
const PAYLOAD = RECORDS.reduce((sum, record) => sum + record.length, 0);

async function payloadsOf(path: string): Promise<Buffer[]> {
  const payloads: Buffer[] = [];
  await using reader = await JournalReader.open(path);
  for await (const { payload } of reader) payloads.push(Buffer.from(payload));
  assert.is(reader.tail?.state, 'clean-end');
  return payloads;
}

convert('a file into segments, and back, byte for byte', async () => {
  const [source, imported, again, exported] = [newPath(), newPath(), newPath(), newPath()];
  writeFileSync(source, journalOf(RECORDS));
  matches(await run('import', source, imported, '--segment-bytes', '256k'), { code: 0, stdout: new RegExp(`^${RECORDS.length} records, ${PAYLOAD} bytes, durable in '`) }, 'import');
  assert.ok(readdirSync(imported).filter((name) => name.endsWith('.segment')).length >= 3);
  assert.equal((await payloadsOf(imported)).map((payload) => payload.toString('latin1')), RECORDS.map((record) => Buffer.from(record).toString('latin1')));
  await withJournal(imported, { scheduler, logBufferBytes: 65536 }, async (journal) => assert.is(journal.openReport?.records, RECORDS.length));
  matches(await run('import', imported, again, '--json'), { code: 0, stdout: new RegExp(`^{"source":".*","target":".*","layout":"segments","records":${RECORDS.length},"bytes":${PAYLOAD},"durableLsn":\\d+}\n$`) }, 'segments to segments');
  matches(await run('export', again, exported), { code: 0, stdout: new RegExp(`^${RECORDS.length} records`) }, 'export');
  assert.ok(readFileSync(exported).equals(journalOf(RECORDS)));
});

convert('an empty journal', async () => {
  const [source, imported, exported] = [newPath(), newPath(), newPath()];
  writeFileSync(source, '');
  matches(await run('import', source, imported), { code: 0, stdout: /^0 records, 0 bytes/ }, 'import');
  matches(await run('export', imported, exported, '--layout', 'file'), { code: 0, stdout: /^0 records, 0 bytes/ }, 'export');
  assert.is(readFileSync(exported).length, 0);
});

convert('a trimmed journal', async () => {
  const builder = fill(new SegmentBuilder({ firstBase: 5 * SEGMENT, records: 100, marks: 5 }), 6 * SEGMENT + HEADER + 9000).close();
  const exported = newPath();
  matches(await run('export', write(builder), exported), { code: 0, stdout: new RegExp(`^${builder.records - 100} records`) }, 'export');
  assert.ok(readFileSync(exported).equals(journalOf(builder.frames.flatMap(({ payload }) => (payload === undefined ? [] : [payload])))));
});

convert('nothing that is there is touched, nothing half done is left', async () => {
  const [source, target] = [newPath(), newPath()];
  writeFileSync(source, journalOf(RECORDS));
  writeFileSync(target, 'something else');
  matches(await run('import', source, target), { code: 1, stderr: /exists already.*\[TIDEMARK_EXISTS\]\n$/ }, 'a file');
  assert.is(readFileSync(target, 'utf8'), 'something else');
  mkdirSync(`${target}-directory`);
  matches(await run('import', source, `${target}-directory`), { code: 1, stderr: /\[TIDEMARK_EXISTS\]\n$/ }, 'an empty directory');
  matches(await run('import', `${source}-none`, `${target}-2`), { code: 1, stderr: /\[TIDEMARK_NOT_FOUND\]\n$/ }, 'no source');
  matches(await run('import', source, `${target}-2`, '--layout', 'both'), { code: 1, stderr: /is invalid/ }, 'layout');
  matches(await run('import', source, `${target}-2`, '--segment-bytes', '64k'), { code: 1, stderr: /\[TIDEMARK_RECORD_TOO_LARGE\]\n$/ }, 'a record larger than a segment');
  assert.not.ok(existsSync(`${target}-2`));
});

convert('damage and torn tails are refused', async () => {
  const target = newPath();
  const torn = newPath();
  writeFileSync(torn, Buffer.concat([journalOf(['one', 'two']), Buffer.from('46535901', 'hex')]));
  matches(await run('import', torn, target), { code: 2, stderr: /ends in truncated-header at LSN 30: .*`tidemark repair` mends damage \[TIDEMARK_DAMAGED\]\n$/ }, 'torn');
  matches(await run('import', damagedFile().path, target), { code: 2, stderr: /at LSN 42: .*\[TIDEMARK_DAMAGED\]\n$/ }, 'damaged file');
  const builder = three();
  flip(builder.files, recordIn(builder, SEGMENT + 9000).start);
  matches(await run('export', write(builder), target), { code: 2, stderr: /`tidemark repair` mends it \[TIDEMARK_CORRUPT\]\n$/ }, 'damaged segments');
  assert.not.ok(existsSync(target));
});

convert('help says that LSNs change', async () => {
  for (const command of ['export', 'import']) matches(await run(command, '--help'), { code: 0, stdout: /LSNs change[^]*Their LSNs are others[^]*Exit codes:/ }, command);
  matches(await run('repair', '--help'), { code: 0, stdout: /--dry-run[^]*Exit codes:/ }, 'repair');
});

convert('an exported journal is one to append to', async () => {
  const [source, exported] = [write(three()), newPath()];
  assert.is((await run('export', source, exported)).code, 0);
  const journal = await Journal.open(exported, { scheduler });
  assert.equal([journal.layout, journal.openReport?.created], ['file', false]);
  await journal.close();
});

convert.run();
