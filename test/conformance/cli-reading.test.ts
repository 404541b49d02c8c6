/** `tidemark cat`, `info`, `verify` and `follow`. */
import { spawn } from 'node:child_process';
import { closeSync, existsSync, openSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { ended } from '../support.js';
import { HEADER } from './segment-files.js';
import { CREATE, LIMITED, CLI, LAYOUTS, BEYOND, HEADER_BYTES, MIB, start, run, succeed, until, newPath, journalOf, list, infoOf, verified, flipByte, writeAt, lengthPrefixed, matches, INVALID } from './cli-tools.js';

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
