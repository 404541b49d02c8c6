/** The command line on journals of segments, `tidemark doctor` and `tidemark bench`. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { ended } from '../support.js';
import { HEADER, nameOf, SEGMENT, SegmentJournal } from './segment-files.js';
import { directory, HEADER_BYTES, start, run, succeed, until, newPath, journalOf, verified, emptyDirectory, flipByte, matches } from './cli-tools.js';

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
