/** Hints about files: what the page cache holds after advice, and lifetimes that are read back. */
import { spawnSync } from 'node:child_process';
import { closeSync, fsyncSync, openSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { IoScheduler, type WriteLifetime } from 'tidemark';
import { until } from '../fault/tools.js';
import { directoryOn, FILESYSTEMS, type TestFilesystem } from './filesystems.js';
import { any, code, refused } from './tools.js';

const scheduler = new IoScheduler();
const { files } = scheduler;

const PAGE = 4096;
const PAGES = 256;

/** A file whose content is on disk and, as it was just written, in the page cache. */
function makeFile(filesystem: TestFilesystem): string {
  const path = join(directoryOn(filesystem), "file with a\n'quote'");
  writeFileSync(path, Buffer.alloc(PAGES * PAGE, 7));
  const descriptor = openSync(path, 'r');
  fsyncSync(descriptor);
  closeSync(descriptor);
  return path;
}

/** Pages of the file that the page cache holds, as mincore(2) tells fincore(1). */
function cached(path: string): number {
  const { stdout, status } = spawnSync('fincore', ['--bytes', '--noheadings', '--raw', '--output', 'PAGES', path], { encoding: 'utf8' });
  assert.is(status, 0);
  return Number(stdout);
}

for (const filesystem of FILESYSTEMS) {
  const ignored = filesystem.kind === 'tmpfs';

  test(`${filesystem.name}: ${ignored ? 'there is no advice about files that live in memory' : 'dontNeed drops pages, willNeed reads them'}`, async () => {
    const path = makeFile(filesystem);
    assert.is(cached(path), PAGES);
    if (ignored) {
      for (const advice of ['dontNeed', 'willNeed'] as const) assert.is(await code(files.advise(path, advice)), 'TIDEMARK_NOT_SUPPORTED');
      assert.is(cached(path), PAGES);
      return;
    }
    const handle = await files.openRead(path);
    assert.equal(await files.advise(handle, 'dontNeed'), { primitive: 'posix_fadvise' });
    await until('all pages to go', 5000, () => cached(path) === 0);
    await files.advise(path, 'willNeed', { offset: 128 * PAGE, length: 32 * PAGE });
    await until('pages to come', 5000, () => cached(path) >= 32);
    // The cache may hold pages in larger pieces than were asked for.
    const some = cached(path);
    assert.ok(some < PAGES, `${some} pages came, of ${PAGES} in all`);
    await files.advise(handle, 'dontNeed', { offset: 0, length: 32 * PAGE });
    assert.is(cached(path), some, 'none of these was there');
    await files.advise(path, 'dontNeed', { offset: 32 * PAGE });
    await until('the others to go', 5000, () => cached(path) === 0);
    await files.advise(path, 'willNeed');
    await until('all pages to come', 5000, () => cached(path) === PAGES);
    for (const advice of ['sequential', 'random', 'noReuse', 'normal'] as const) assert.is((await files.advise(handle, advice)).primitive, 'posix_fadvise');
    await handle.close();
  });

  test(`${filesystem.name}: a write lifetime is kept, and belongs to the file`, async () => {
    const path = makeFile(filesystem);
    const [one, other] = [await files.openRead(path), await files.openRead(path)];
    assert.equal(await files.getWriteLifetimeHint(one), { primitive: 'F_GET_RW_HINT', lifetime: 'notSet' });
    for (const lifetime of ['none', 'short', 'medium', 'long', 'extreme', 'notSet'] satisfies WriteLifetime[]) {
      assert.equal(await files.setWriteLifetimeHint(one, lifetime), { primitive: 'F_SET_RW_HINT' });
      assert.is((await files.getWriteLifetimeHint(other)).lifetime, lifetime);
    }
    await Promise.all([one.close(), other.close()]);
  });
}

const [first] = FILESYSTEMS;
if (first !== undefined) {
  test('arguments that cannot be used are refused, and named', async () => {
    const path = makeFile(first);
    const handle = await files.openRead(path);
    await refused(files.advise(any(undefined), 'willNeed'), /`target`/);
    await refused(files.advise(path, any(undefined)), /`advice`/);
    await refused(files.advise(path, any('soon')), /`advice`/);
    // These say how one handle reads.
    for (const advice of ['normal', 'sequential', 'random', 'noReuse'] as const) await refused(files.advise(path, advice), /FileHandle/);
    await refused(files.advise(path, 'willNeed', { offset: -1 }), /`offset`/);
    await refused(files.advise(path, 'willNeed', { length: 0.5 }), /`length`/);
    await refused(files.advise(path, 'willNeed', any({ bytes: 1 })), /bytes/);
    await refused(files.setWriteLifetimeHint(any(path), 'short'), /`handle`/);
    await refused(files.setWriteLifetimeHint(handle, any('brief')), /`lifetime`/);
    await refused(files.setWriteLifetimeHint(handle, any(undefined)), /`lifetime`/);
    await refused(files.getWriteLifetimeHint(any(3)), /`handle`/);
    await handle.close();
    assert.is(await code(files.advise(handle, 'normal')), 'TIDEMARK_CLOSED');
    assert.is(await code(files.getWriteLifetimeHint(handle)), 'TIDEMARK_CLOSED');
    assert.is(await code(files.advise(join(path, 'below'), 'willNeed')), 'TIDEMARK_NOT_FOUND');
  });
}

test.after(() => scheduler.close());
test.run();
