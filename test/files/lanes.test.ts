/** The lanes of file operations: order, bounds, timeout, abort. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { IoScheduler } from 'tidemark';
import { directoryOn, FILESYSTEMS } from './filesystems.js';

const scheduler = new IoScheduler();
const { files } = scheduler;

for (const filesystem of FILESYSTEMS) {
  test(`${filesystem.name}: a file is opened and closed`, async () => {
    const path = join(directoryOn(filesystem), 'file');
    writeFileSync(path, 'content');
    const handle = await files.openRead(path);
    assert.is(handle.path, path);
    await handle.close();
    assert.is(handle.closed, true);
  });
}

test.after(() => scheduler.close());
test.run();
