/** Syncs: the calls that are made, on what, and what a failed one leads to. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { IoScheduler, type FileHandle } from 'tidemark';
import { noTracing, skip } from '../fault/tools.js';
import { directoryOn, FILESYSTEMS } from './filesystems.js';
import { traceSteps } from './calls.js';

const scheduler = new IoScheduler();
const { files } = scheduler;
const untraceable = noTracing();

for (const filesystem of FILESYSTEMS) {
  test(`${filesystem.name}: files and directories are synced, by path and by handle`, async () => {
    const directory = directoryOn(filesystem);
    const path = join(directory, "quoted ' and\nbroken");
    writeFileSync(path, 'content');
    const handle = await files.openRead(path);
    for (const target of [path, directory, handle]) {
      assert.equal(await files.syncData(target), { primitive: 'fdatasync' });
      assert.equal(await files.syncFull(target), { primitive: 'fsync' });
      assert.equal(await files.syncBarrier(target), { primitive: 'fdatasync' });
    }
    assert.equal(await files.syncParentDir(join(directory, 'never made')), { primitive: 'fsync' });
    await handle.close();
  });

  if (untraceable !== undefined) skip(`${filesystem.name}: syncs as the kernel sees them`, untraceable);
  else {
    test(`${filesystem.name}: the calls are what the result says, and over when it resolves`, async () => {
      const directory = directoryOn(filesystem);
      const path = join(directory, 'file');
      writeFileSync(path, 'content');
      const traced = await traceSteps([
        { operation: 'syncData', path }, { operation: 'syncFull', path }, { operation: 'syncBarrier', path }, { operation: 'syncParentDir', path },
        { operation: 'openWriteAt', path }, { operation: 'syncData', path, onHandle: true },
      ], directory);
      assert.equal(traced.map(({ calls }) => calls), [['fdatasync file'], ['fsync file'], ['fdatasync file'], ['fsync .'], [], ['fdatasync file']]);
      assert.equal(traced.slice(0, 3).map(({ answer }) => answer['primitive']), ['fdatasync', 'fsync', 'fdatasync']);
    });
  }
}

test('what cannot be synced is refused', async () => {
  const [filesystem] = FILESYSTEMS;
  if (filesystem === undefined) return;
  const directory = directoryOn(filesystem);
  const fifo = join(directory, 'fifo');
  execFileSync('mkfifo', [fifo]);
  mkdirSync(join(directory, 'made'));
  const handle = await files.openWriteNew(join(directory, 'closed'));
  await handle.close();
  const cases: readonly [string | FileHandle, string][] = [
    [fifo, 'TIDEMARK_NOT_A_FILE'], ['/dev/null', 'TIDEMARK_NOT_A_FILE'], [join(directory, 'missing'), 'TIDEMARK_NOT_FOUND'],
    [handle, 'TIDEMARK_CLOSED'], [7 as unknown as string, 'TIDEMARK_INVALID_ARGUMENT'], ['', 'TIDEMARK_INVALID_ARGUMENT'],
  ];
  for (const [target, code] of cases) {
    for (const sync of ['syncData', 'syncFull', 'syncBarrier'] as const) {
      await files[sync](target).then(() => assert.unreachable(), (error: unknown) => {
        assert.is((error as { code: string }).code, code);
      });
    }
  }
  await files.syncParentDir(join(directory, 'missing', 'file')).then(() => assert.unreachable(), (error: unknown) => {
    assert.is((error as { code: string }).code, 'TIDEMARK_NOT_FOUND');
  });
});

test.after(() => scheduler.close());
test.run();
