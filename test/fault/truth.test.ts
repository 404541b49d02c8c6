/** An acknowledgement is true: the system calls that make it so, as a tracer sees them, ended before it was given. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { temporaryDirectory } from '../support.js';
import type { AppenderReport, AppenderTask } from '../programs/appender.js';
import { noTracing, recordsOf, runProgram, skip, usableBackends } from './tools.js';
import { checkSegments, checkSubmitted, checkSynced, isOn, parseTrace, type Call } from './trace.js';

const test = suite('acknowledgements are true');
const directory = temporaryDirectory();
const RECORDS = 60;
const CALLS = 'pwrite64,pwritev,pwritev2,write,writev,fdatasync,fsync,sync_file_range,msync,io_uring_enter,openat,rename,renameat,renameat2';

interface Traced {
  readonly calls: Call[];
  readonly report: AppenderReport;
  readonly path: string;
}

let traces = 0;

async function traced(task: Omit<AppenderTask, 'path' | 'markers'>): Promise<Traced> {
  const path = join(directory, `traced-${traces++}`);
  const output = `${path}.strace`;
  const prefix = ['strace', '-f', '-tt', '-y', '-s', '64', '-o', output, '-e', `trace=${CALLS}`];
  const { report, stderr } = await runProgram<AppenderReport>('appender', { ...task, path, markers: true }, { prefix });
  assert.equal(report.failures, [], stderr);
  return { calls: parseTrace(readFileSync(output, 'utf8')), report, path };
}

test('the check itself sees a missing and a late sync', () => {
  const trace = (...lines: string[]): Call[] => parseTrace(lines.map((line, i) => `1 10:00:00.${i} ${line}`).join('\n'));
  const append = 'write(3</dev/null>, "append 0\\n", 9) = 9';
  const write = 'pwrite64(20</j>, "FSY\\1"..., 112, 0) = 112';
  const sync = 'fdatasync(20</j>) = 0';
  const ack = 'write(3</dev/null>, "ack 0 0 112\\n", 12) = 12';
  const check = (...lines: string[]): number => checkSynced(trace(...lines), '/j').lies.length;
  assert.is(check(append, write, sync, ack), 0);
  assert.is(check(append, write, ack, sync), 1);
  assert.is(check(append, sync, write, ack), 1);
  assert.is(check(append, write.replace('= 112', '= 100'), sync, ack), 1);
  assert.is(check(append, write, sync.replace('= 0', '= -1 EIO (Input/output error)'), ack), 1);
  assert.is(check(append, 'fdatasync(20</j> <unfinished ...>', write, '<... fdatasync resumed>) = 0', ack), 1);
  assert.is(check(write, sync, append, ack), 1, 'a write from before the append is none of it');
  const submit = 'io_uring_enter(30<anon_inode:[io_uring]>, 1, 0, 0, NULL, 0) = 1';
  assert.is(checkSubmitted(trace(append, submit, ack)).lies.length, 0);
  assert.is(checkSubmitted(trace(append, ack, submit)).lies.length, 1);
  assert.is(checkSubmitted(trace(append, submit.replace(', 1, 0', ', 0, 0'), ack)).lies.length, 1);
});

test('the check of segments sees what is missing', () => {
  const trace = (...lines: string[]): Call[] => parseTrace(lines.map((line, i) => `1 10:00:00.${i} ${line}`).join('\n'));
  const segment = '/j/0000000000000000.segment';
  const make = [`pwrite64(20<${segment}.spare>, "FSY"..., 4096, 0) = 4096`, `fsync(20<${segment}.spare>) = 0`];
  const rename = `rename("${segment}.spare", "${segment}") = 0`;
  const directorySync = 'fsync(22</j>) = 0';
  const open = `openat(AT_FDCWD</>, "${segment}", O_RDWR|O_DSYNC|O_CLOEXEC) = 21<${segment}>`;
  const append = 'write(3</dev/null>, "append 0\\n", 9) = 9';
  const write = `pwrite64(21<${segment}>, "FSY"..., 512, 4096) = 512`;
  const ack = 'write(3</dev/null>, "ack 0 4096 4208\\n", 18) = 18';
  const placed = [...make, open, rename, directorySync];
  const check = (...lines: string[]): number => checkSegments(trace(...lines), '/j').lies.length;
  assert.is(check(...placed, append, write, ack), 0);
  assert.is(check(...placed, append, ack, write), 1);
  assert.is(check(...placed, write, append, ack), 1, 'a write from before the append is none of it');
  assert.is(check(...placed, append, write.replace('4096) = 512', '4608) = 512'), ack), 1);
  const plain = placed.map((line) => line.replace('O_DSYNC|', ''));
  const sync = `fdatasync(21<${segment}>) = 0`;
  assert.is(check(...plain, append, write, ack), 1);
  assert.is(check(...plain, append, sync, write, ack), 1);
  assert.is(check(...plain, append, write, sync, ack), 0);
  assert.is(check(...make, open, rename, append, write, ack), 1, 'the directory was not synced');
  assert.is(check(...make, open, append, write, ack), 1, 'the segment was not renamed');
  assert.is(check(...make.slice(0, 1), open, rename, directorySync, append, write, ack), 1, 'the header was not synced');
});

const untraceable = noTracing();
const backends = await usableBackends();
if (untraceable !== undefined) skip('the traces of both backends', untraceable);
const usable = untraceable === undefined ? backends : [];

if (usable.includes('blocking')) {
  for (const [direct, appenders] of [[false, 1], [false, 4], [true, 1]] as const) {
    test(`blocking, ${direct ? 'direct' : 'buffered'}, ${appenders} at a time: every acknowledgement follows a sync of its bytes`, async () => {
      const { calls, report, path } = await traced({ backend: 'blocking', options: { layout: 'file', direct, preallocate: 0 }, count: RECORDS, recordBytes: 333, appenders });
      const { acknowledged, lies } = checkSynced(calls, path);
      assert.equal(lies, []);
      assert.is(acknowledged, RECORDS);
      const count = (name: string): number => calls.filter((call) => call.name === name && isOn(call, path)).length;
      assert.is(count('fdatasync'), report.stats.syncs);
      assert.is(count('pwrite64'), report.stats.writes);
      if (appenders === 1) assert.is(report.stats.syncs, RECORDS);
      assert.is((await recordsOf(path)).records.length, RECORDS);
    });
  }

  const segments = { layout: 'segments', segmentBytes: 64 * 1024 } as const;
  for (const [direct, appenders] of [[true, 1], [true, 4], [false, 1]] as const) {
    test(`blocking, segments, ${direct ? 'direct' : 'buffered'}, ${appenders} at a time: every acknowledgement follows what makes it durable`, async () => {
      const { calls, report, path } = await traced({ backend: 'blocking', options: { ...segments, direct }, count: 2 * RECORDS, recordBytes: 3333, appenders });
      const { acknowledged, segments: seen, dsync, lies } = checkSegments(calls, path);
      assert.equal(lies, []);
      assert.is(acknowledged, 2 * RECORDS);
      assert.ok(seen >= 5, `${seen} segments`);
      if (report.directActive) assert.ok(dsync, 'direct writes are durable at completion');
      assert.is((await recordsOf(path)).records.length, 2 * RECORDS);
    });
  }

  for (const ack of ['buffered', 'written'] as const) {
    test(`blocking, segments: an acknowledgement of what is only ${ack} is caught`, async () => {
      const { calls, path } = await traced({ backend: 'blocking', options: { ...segments, direct: false, ack }, count: RECORDS, recordBytes: 333 });
      assert.ok(checkSegments(calls, path).lies.length > 0, 'the check found nothing');
    });
  }

  test('blocking: an acknowledgement of what is only buffered is caught', async () => {
    const options = { layout: 'file', direct: false, preallocate: 0, ack: 'buffered' } as const;
    const { calls, path } = await traced({ backend: 'blocking', options, count: RECORDS, recordBytes: 333 });
    const { acknowledged, lies } = checkSynced(calls, path);
    assert.is(acknowledged, RECORDS);
    assert.ok(lies.length > 0, 'the check found nothing');
  });

  test('blocking: an acknowledgement of what is only written is caught', async () => {
    const options = { layout: 'file', direct: false, preallocate: 0, ack: 'written' } as const;
    const { calls, path } = await traced({ backend: 'blocking', options, count: RECORDS, recordBytes: 333 });
    assert.ok(checkSynced(calls, path).lies.length > 0, 'the check found nothing');
  });
}

if (usable.includes('io_uring')) {
  for (const direct of [true, false]) {
    test(`io_uring, ${direct ? 'direct' : 'buffered'}: every acknowledgement follows a submission, and nothing else writes`, async () => {
      const { calls, report, path } = await traced({ backend: 'io_uring', options: { layout: 'file', direct, preallocate: 0 }, count: RECORDS, recordBytes: 333 });
      const { acknowledged, submitted, lies } = checkSubmitted(calls);
      assert.equal(lies, []);
      assert.is(acknowledged, RECORDS);
      assert.ok(submitted >= RECORDS, `${submitted} submissions`);
      assert.is(report.stats.syncs, RECORDS);
      assert.is(report.stats.batches, RECORDS);
      const elsewhere = calls.filter((call) => isOn(call, path) && call.name !== 'fsync').map(({ name, args }) => `${name}(${args}`);
      assert.equal(elsewhere, []);
      assert.is((await recordsOf(path)).records.length, RECORDS);
    });
  }

  const uringSegments = { layout: 'segments', segmentBytes: 64 * 1024 } as const;
  test('io_uring, segments, direct: one appender\'s writes are made by the ring\'s owner, and are durable when they return', async () => {
    const { calls, report, path } = await traced({ backend: 'io_uring', options: uringSegments, count: 2 * RECORDS, recordBytes: 3333 });
    const { acknowledged, segments: seen, dsync, lies } = checkSegments(calls, path);
    assert.ok(report.directActive, 'the test directory must be on a filesystem that takes direct IO: see TIDEMARK_TEST_DIR');
    assert.equal(lies, []);
    assert.is(acknowledged, 2 * RECORDS);
    assert.ok(seen >= 5 && dsync, `${seen} segments`);
    assert.is((await recordsOf(path)).records.length, 2 * RECORDS);
  });

  test('io_uring, segments, buffered: every acknowledgement follows a submission', async () => {
    const { calls, report, path } = await traced({ backend: 'io_uring', options: { ...uringSegments, direct: false }, count: 2 * RECORDS, recordBytes: 3333 });
    const { acknowledged, submitted, lies } = checkSubmitted(calls);
    assert.equal(lies, []);
    assert.is(acknowledged, 2 * RECORDS);
    assert.ok(submitted >= 2 * RECORDS && report.stats.writes >= 2 * RECORDS, `${submitted} submissions`);
    assert.is((await recordsOf(path)).records.length, 2 * RECORDS);
  });

  test('io_uring: an acknowledgement of what is only buffered is caught', async () => {
    const options = { layout: 'file', preallocate: 0, ack: 'buffered' } as const;
    const { calls } = await traced({ backend: 'io_uring', options, count: RECORDS, recordBytes: 333 });
    const { acknowledged, lies } = checkSubmitted(calls);
    assert.is(acknowledged, RECORDS);
    assert.ok(lies.length > 0, 'the check found nothing');
  });
}

test.run();
