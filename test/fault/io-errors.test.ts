/** A write or a sync that fails is final: nothing after it is acknowledged, what was acknowledged stays. */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { schedulerOf, temporaryDirectory, withJournal } from '../support.js';
import type { AppenderReport, AppenderTask } from '../programs/appender.js';
import { nameOf } from '../programs/records.js';
import { inMountNamespace, mountImage, noLoopDevices, noTracing, recordsOf, runProgram, skip, usableBackends } from './tools.js';
import { isOn, parseTrace, type Call } from './trace.js';

await inMountNamespace(import.meta.url);

const test = suite('a failed write or sync is final');
const directory = temporaryDirectory();
const RECORDS = 40;
const RECORD_BYTES = 500;

interface Injected {
  readonly path: string;
  readonly report: AppenderReport;
  readonly calls: Call[];
}

let traces = 0;

async function injected(inject: string, task: Partial<AppenderTask> = {}): Promise<Injected> {
  const path = join(directory, `journal-${traces++}`);
  const output = `${path}.strace`;
  const prefix = ['strace', '-f', '-tt', '-y', '-o', output, '-e', 'trace=pwrite64,fdatasync,fsync,ftruncate,fallocate', '-e', `inject=${inject}`];
  const full: AppenderTask = { path, backend: 'blocking', options: { layout: 'file', preallocate: 0 }, count: RECORDS, recordBytes: RECORD_BYTES, ...task };
  const { report } = await runProgram<AppenderReport>('appender', full, { prefix });
  return { path, report, calls: parseTrace(readFileSync(output, 'utf8')) };
}

/** What must hold after any failure: who waits is told why, nothing moves any more, closing works. */
function assertPoisoned({ failures, later, closeFailure, durableAtFailure, durableAtEnd }: AppenderReport, path: string, errnoName: string, syscall: string): void {
  assert.ok(failures.length > 0, 'an append failed');
  for (const failure of [...failures, later]) {
    assert.is(failure?.code, 'TIDEMARK_POISONED');
    assert.is(failure?.path, path);
    const cause = failure?.cause;
    assert.is(cause?.name, 'IoError');
    assert.is(cause?.errnoName, errnoName);
    assert.is(cause?.syscall, syscall);
    assert.is(cause?.path, path);
  }
  assert.is(durableAtEnd, durableAtFailure, 'the durable watermark stands still');
  assert.is(closeFailure, undefined);
}

/** Reopens the journal and finds every acknowledged record where it was said to be. */
async function assertKept(path: string, { acknowledged }: AppenderReport, backend: 'io_uring' | 'blocking'): Promise<void> {
  const before = await recordsOf(path);
  const more = await withJournal(path, { scheduler: schedulerOf(backend), preallocate: 0 }, (journal) => journal.append('one more'));
  const { records, state } = await recordsOf(path);
  assert.is(state, 'clean-end');
  assert.is(records.at(-1)?.end, more);
  assert.ok(records.length > before.records.length, 'recovery drops no whole record');
  const endOf = new Map(records.map(({ end, payload }) => [nameOf(payload, payload.length)?.sequence, end]));
  for (const [sequence, end] of acknowledged) assert.is(endOf.get(sequence), end, `record ${sequence} is there`);
}

const untraceable = noTracing();
if (untraceable !== undefined) skip('errors injected by a tracer', untraceable);
else {
  const cases = [
    ['pwrite64:error=EIO:when=5', 'EIO', 'pwrite', 4],
    ['pwrite64:error=EIO:when=1', 'EIO', 'pwrite', 0],
    ['pwrite64:error=ENOSPC:when=7+', 'ENOSPC', 'pwrite', 6],
    ['pwrite64:error=EROFS:when=3', 'EROFS', 'pwrite', 2],
    ['fdatasync:error=EIO:when=5', 'EIO', 'fdatasync', 4],
    ['fdatasync:error=EIO:when=1', 'EIO', 'fdatasync', 0],
    ['fdatasync:error=ENOSPC:when=9', 'ENOSPC', 'fdatasync', 8],
    ['fdatasync:error=EINTR:when=3', 'EINTR', 'fdatasync', 2],
  ] as const;
  for (const [inject, errnoName, syscall, good] of cases) {
    for (const direct of [true, false]) {
      test(`${inject}, ${direct ? 'direct' : 'buffered'}`, async () => {
        const { path, report, calls } = await injected(inject, { options: { layout: 'file', preallocate: 0, direct } });
        assertPoisoned(report, path, errnoName, syscall);
        assert.is(report.acknowledged.length, good);
        assert.is(report.durableAtEnd, report.acknowledged.at(-1)?.[1] ?? 0);
        const failed = calls.findIndex((call) => call.result === -1 && isOn(call, path));
        assert.ok(failed >= 0, 'the error was injected');
        const after = calls.slice(failed + 1).filter((call) => isOn(call, path)).map(({ name }) => name);
        assert.equal(after, [], 'after the failure nothing is written, synced or cut');
        await assertKept(path, report, 'blocking');
      });
    }
  }

  // Calls are counted per thread: the one that opens the journal makes fewer. A mark may come between the appends.
  const inSegments = [
    ['pwrite64:error=EIO:when=5', true, 'EIO', 'pwrite', 4],
    ['pwrite64:error=EIO:when=5', false, 'EIO', 'pwrite', 4],
    ['pwrite64:error=ENOSPC:when=7+', true, 'ENOSPC', 'pwrite', 6],
    ['fdatasync:error=EIO:when=5', false, 'EIO', 'fdatasync', 4],
    ['fdatasync:error=EINTR:when=3', false, 'EINTR', 'fdatasync', 2],
  ] as const;
  for (const [inject, direct, errnoName, syscall, good] of inSegments) {
    test(`${inject}, segments, ${direct ? 'direct' : 'buffered'}`, async () => {
      const { path, report, calls } = await injected(inject, { options: { layout: 'segments', segmentBytes: 64 * 1024, direct } });
      assertPoisoned(report, path, errnoName, syscall);
      assert.ok(report.acknowledged.length > 0 && report.acknowledged.length <= good, `${report.acknowledged.length} acknowledged`);
      assert.ok(report.durableAtEnd >= (report.acknowledged.at(-1)?.[1] ?? Infinity));
      const failed = calls.findIndex((call) => call.result === -1 && call.args.includes(`<${path}/`));
      assert.ok(failed >= 0, 'the error was injected');
      const after = calls.slice(failed + 1).filter((call) => call.args.includes(`<${path}/`) && call.name !== 'fsync').map(({ name }) => name);
      assert.equal(after, [], 'after the failure nothing is written, synced or cut');
      await assertKept(path, report, 'blocking');
    });
  }

  for (const errnoName of ['EIO', 'EROFS']) {
    test(`${errnoName} when a further segment is made`, async () => {
      const options = { layout: 'segments', segmentBytes: 64 * 1024 } as const;
      const { path, report } = await injected(`fallocate:error=${errnoName}:when=2+`, { options, count: 1000, recordBytes: 3000 });
      assertPoisoned(report, path, errnoName, 'segment');
      assert.ok(report.acknowledged.length > 5);
      await assertKept(path, report, 'blocking');
    });
  }

  test('all pending appends are rejected together', async () => {
    const { path, report } = await injected('fdatasync:error=EIO:when=3', { appenders: 16, count: 10_000 });
    assertPoisoned(report, path, 'EIO', 'fdatasync');
    assert.is(report.failures.length, 16);
    await assertKept(path, report, 'blocking');
  });

  for (const errnoName of ['EINTR', 'EAGAIN']) {
    test(`${errnoName} at a write is tried again`, async () => {
      const { path, report, calls } = await injected(`pwrite64:error=${errnoName}:when=1..3`, { appenders: 2 });
      assert.equal(report.failures, []);
      assert.is(report.acknowledged.length, RECORDS);
      assert.is(calls.filter((call) => call.result === -1 && isOn(call, path)).length, 3);
      await assertKept(path, report, 'blocking');
    });

    test(`${errnoName} at every write is an error in the end`, async () => {
      const { path, report } = await injected(`pwrite64:error=${errnoName}:when=4+`);
      assertPoisoned(report, path, errnoName, 'pwrite');
      assert.is(report.acknowledged.length, 3);
      await assertKept(path, report, 'blocking');
    });
  }

  test('space that cannot be prepared costs no append', async () => {
    const { path, report, calls } = await injected('fallocate:error=ENOSPC', { options: { layout: 'file', preallocate: 4 * 1024 * 1024 } });
    assert.equal(report.failures, []);
    assert.is(report.acknowledged.length, RECORDS);
    assert.ok(calls.some((call) => call.name === 'fallocate' && call.result === -1), 'the error was injected');
    assert.is(report.stats.bytesPrepared, 0);
    await assertKept(path, report, 'blocking');
  });
}

const unmountable = noLoopDevices();
if (unmountable !== undefined) skip('a full filesystem', unmountable);
else {
  for (const backend of await usableBackends()) {
    for (const direct of [true, false]) {
      test(`a full filesystem, ${backend}, ${direct ? 'direct' : 'buffered'}`, async () => {
        const mount = join(directory, `full-${backend}-${direct}`);
        mkdirSync(mount);
        const unmount = mountImage(`${mount}.img`, mount, 8);
        try {
          const ballast = join(mount, 'ballast');
          writeFileSync(ballast, Buffer.alloc(512 * 1024, 1));
          const path = join(mount, 'journal');
          const task: AppenderTask = { path, backend, options: { layout: 'file', direct, preallocate: 0 }, count: 1000, recordBytes: 30_000, appenders: 8 };
          const { report } = await runProgram<AppenderReport>('appender', task);
          assertPoisoned(report, path, 'ENOSPC', backend === 'io_uring' ? 'write' : 'pwrite');
          assert.is(report.failures[0]?.cause?.code, 'TIDEMARK_NO_SPACE');
          assert.ok(report.acknowledged.length > 50, `${report.acknowledged.length} records fitted`);
          const { records } = await recordsOf(path);
          for (const [sequence, end] of report.acknowledged) {
            assert.ok(records.some((record) => record.end === end && nameOf(record.payload, 30_000)?.sequence === sequence), `record ${sequence} can be read`);
          }
          rmSync(ballast);
          await assertKept(path, report, backend);
        } finally {
          unmount();
        }
      });
    }
  }
}

test.run();
