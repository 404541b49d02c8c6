/**
 * File operations with explicit durability: what a storage engine does besides its journal.
 *
 *     node examples/files.mjs
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { IoScheduler } from 'tidemark';

const directory = await mkdtemp(join(tmpdir(), 'tidemark-files-'));
const scheduler = new IoScheduler();
const { files } = scheduler;

// Every path below is one inside this directory, whatever links or `..` somebody puts there.
const scope = files.scoped(directory);

// A file is replaced as a whole: after a crash it is the old one or the new one.
await scope.replaceFile('settings.json', JSON.stringify({ version: 1 }));
const replaced = await scope.replaceFile('settings.json', JSON.stringify({ version: 2 }));
console.log(`settings.json: ${replaced.bytes} bytes by ${replaced.primitive}`);

// Several changes in order, durable together; an error tells how far it came.
await scope.batch().write('a', 'first').write('b', 'second').delete('a').commit();

// A table with room for its pages: reserved, written past the page cache, synced.
const table = await scope.openWriteNew('table', { direct: true });
await scope.preallocate(table, { offset: 0, length: 1024 * 1024 }, { mode: 'extend' });
const page = Buffer.alloc(4096, 'x');
const { sync } = await scope.writeAt(table, page, 8192, { method: 'data' });
console.log(`page written ${table.direct.active ? 'past the page cache' : `through the page cache (${table.direct.reason})`}, durable by ${sync}`);
const { data } = await scope.readRange(table, 8192, 4096);
console.log(`page read again: ${data.equals(page)}`);
await table.close();

// A snapshot shares its blocks where the filesystem can; `primitive` says whether it did.
const { primitive } = await scope.copyFile('table', 'table.snapshot');
console.log(`snapshot by ${primitive}`);

for await (const { path, kind } of scope.scan('.')) console.log(`${kind} ${path}`);

await scope.readAll('../etc/passwd').catch(({ code }) => console.log(`../etc/passwd: ${code}`));

await scope.close();
await scheduler.close();
await rm(directory, { recursive: true });
