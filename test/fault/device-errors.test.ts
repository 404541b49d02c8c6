/**
 * A disk under a real filesystem that fails once: a loop device on an image in faultfs. Unlike faultfs itself, ext4 and xfs
 * write past the page cache, and answer with what they make of the device's error.
 */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Backend } from 'tidemark';
import { LoggedDisk, memoryDirectory, mountCopy, noFilesystem, run, unmount, type FilesystemName } from '../crash/power-loss/disk.js';
import { noFaultfs, type Rule } from '../faultfs/faultfs.js';
import { assertKept, liveOnce } from './faulty-disk.js';
import { inMountNamespace, noLoopDevices, skip, usableBackends } from './tools.js';

await inMountNamespace(import.meta.url);

const test = suite('a device that fails once');
const EIO = 5;
const BEFORE = 20;
const APPENDERS = 4;
const RECORDS = 50;
const AT_A_TIME = 4;

interface Case {
  readonly filesystem: FilesystemName;
  readonly op: 'write' | 'fsync';
  readonly layout: 'file' | 'segments';
  readonly direct: boolean;
  readonly backend: Backend['kind'];
}

const cases: readonly Case[] = [
  { filesystem: 'ext4', op: 'write', layout: 'segments', direct: true, backend: 'io_uring' },
  { filesystem: 'ext4', op: 'write', layout: 'segments', direct: true, backend: 'blocking' },
  { filesystem: 'ext4', op: 'write', layout: 'file', direct: false, backend: 'blocking' },
  { filesystem: 'ext4', op: 'fsync', layout: 'file', direct: true, backend: 'io_uring' },
  { filesystem: 'ext4', op: 'fsync', layout: 'segments', direct: false, backend: 'blocking' },
  { filesystem: 'xfs', op: 'write', layout: 'file', direct: true, backend: 'blocking' },
  { filesystem: 'xfs', op: 'write', layout: 'segments', direct: false, backend: 'io_uring' },
  { filesystem: 'xfs', op: 'fsync', layout: 'segments', direct: true, backend: 'blocking' },
  { filesystem: 'xfs', op: 'fsync', layout: 'file', direct: false, backend: 'io_uring' },
];

async function liveAndMend({ filesystem, op, layout, direct, backend }: Case, directory: string): Promise<void> {
  const disk = await LoggedDisk.make(directory, { filesystem });
  // The filesystem's own housekeeping must not be what meets the error.
  if (filesystem === 'ext4') await run('mount', '-o', 'remount,noinit_itable', disk.mount);
  await run('sync', '-f', disk.mount);
  // A write, the first one there is: a loop device takes a write of which only the first part succeeded for a whole one.
  const rule: Rule = { op, path: '/disk', errno: EIO, count: 1 };
  // Blocks that exist: what reaches the disk while appending is the log, and little else.
  const options = { layout, direct, preallocate: 0, segmentBytes: 1024 * 1024, newSegments: 'zeroed' } as const;
  const lived = await liveOnce({
    path: join(disk.mount, 'journal'), control: disk.control, backend, options, stage: 'append', rules: [rule], before: BEFORE, appenders: APPENDERS, records: RECORDS,
  });
  await disk.finish();
  const { report, path } = lived;
  assert.equal(report.hits, [1], 'the error was met');
  assert.is(report.failures.length, APPENDERS, 'all appenders were told');
  assert.ok(lived.claims.acknowledged >= BEFORE);
  for (const { code, cause } of [...report.failures, ...(report.later === undefined ? [] : [report.later])]) {
    assert.is(code, 'TIDEMARK_POISONED');
    assert.is(cause?.errnoName, 'EIO', JSON.stringify(cause));
    assert.is(cause?.path, path);
  }
  assert.is(report.later?.code, 'TIDEMARK_POISONED');
  assert.is(report.closeFailure, undefined);
  assert.equal([...report.unhandled, ...report.warnings, ...report.descriptors], []);

  const mended = join(directory, 'mended');
  mkdirSync(mended);
  await mountCopy(filesystem, join(directory, 'source', 'disk'), mended);
  try {
    await assertKept({ ...lived, path: join(mended, 'journal') }, backend, layout);
  } finally {
    await unmount(mended);
  }
}

const reason = noFaultfs() ?? noLoopDevices();
if (reason !== undefined) {
  skip('errors of a device', reason);
} else {
  const directory = mkdtempSync(join(memoryDirectory('/var/tmp'), 'tidemark-device-'));
  process.on('exit', () => {
    rmSync(directory, { recursive: true, force: true });
  });
  const backends = await usableBackends();
  const waiting: (() => Promise<void>)[] = [];
  for (const one of cases) {
    const missing = noFilesystem(one.filesystem);
    const name = [one.filesystem, one.op, one.layout, one.direct ? 'direct' : 'buffered', one.backend].join(', ');
    if (missing !== undefined) skip(name, missing);
    if (missing !== undefined || !backends.includes(one.backend)) continue;
    let settle: (error?: unknown) => void = () => undefined;
    const outcome = new Promise<unknown>((resolve) => (settle = resolve));
    waiting.push(() => liveAndMend(one, join(directory, name)).then(() => settle(), settle));
    test(name, async () => {
      const error = await outcome;
      if (error !== undefined) throw error as Error;
    });
  }
  for (let i = 0; i < AT_A_TIME; i++) {
    void (async () => {
      for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) await next();
    })();
  }
}

test.run();
