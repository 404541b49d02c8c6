/** Extended attributes on every filesystem, against what Python sees of them. */
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { IoScheduler } from 'tidemark';
import { noTracing, skip } from '../fault/tools.js';
import { temporaryDirectory } from '../support.js';
import { directoryOn, FILESYSTEMS, type TestFilesystem } from './filesystems.js';
import { attributesOf, callsAs, checkSyncedAfter, failureIn, NOBODY, ODD_NAMES, rejection, traced, valueOf } from './metadata-tools.js';

const scheduler = new IoScheduler();
const { files } = scheduler;

/** What becomes of the largest value that Linux allows. */
const LARGEST: Readonly<Record<TestFilesystem['kind'], 'kept' | 'TIDEMARK_NO_SPACE'>> = {
  ext4: 'TIDEMARK_NO_SPACE', xfs: 'kept', btrfs: 'TIDEMARK_NO_SPACE', tmpfs: 'kept', overlay: 'TIDEMARK_NO_SPACE',
};

const hex = (bytes: Uint8Array | string): string => Buffer.from(bytes as string).toString('hex');
const pattern = (bytes: number): Buffer => Buffer.from(Uint8Array.from({ length: bytes }, (_, i) => (i * 7 + bytes) % 251));

function newFile(filesystem: TestFilesystem, name = 'file'): string {
  const path = join(directoryOn(filesystem), name);
  writeFileSync(path, 'content');
  return path;
}

for (const filesystem of FILESYSTEMS) {
  const { name, kind } = filesystem;

  test(`${name}: values of any bytes are set, read, listed and removed`, async () => {
    const path = newFile(filesystem);
    const values = new Map([0, 1, 63, 64, 65, 3000].map((bytes) => [`user.of ${bytes}\n"ä"`, pattern(bytes)]));
    for (const [attribute, value] of values) assert.equal(await files.setXattr(path, attribute, value), { primitive: 'setxattr', sync: 'none' });
    assert.equal(attributesOf(path), Object.fromEntries([...values].map(([attribute, value]) => [attribute, hex(value)])));
    const { primitive, names } = await files.listXattr(path);
    assert.is(primitive, 'listxattr');
    assert.equal([...names].sort(), [...values.keys()].sort());
    for (const [attribute, value] of values) {
      assert.equal(await files.getXattr(path, attribute), { primitive: 'getxattr', value });
      assert.equal(await files.removeXattr(path, attribute), { primitive: 'removexattr', sync: 'none' });
      assert.equal(await files.getXattr(path, attribute), { primitive: 'getxattr', value: undefined });
    }
    assert.equal(attributesOf(path), {});
    assert.is(readFileSync(path, 'utf8'), 'content');
  });

  test(`${name}: the largest value is kept as a whole or refused`, async () => {
    const path = newFile(filesystem);
    const value = pattern(65_536);
    const outcome = await files.setXattr(path, 'user.large', value).then(() => 'kept', (error: unknown) => (error as { code: string }).code);
    assert.is(outcome, LARGEST[kind]);
    assert.equal((await files.getXattr(path, 'user.large')).value, outcome === 'kept' ? value : undefined);
    const error = outcome === 'kept' ? undefined : await rejection(files.setXattr(path, 'user.large', value));
    if (error !== undefined) assert.match(error.message, 'larger than the filesystem');
  });

  test(`${name}: create wants none, replace wants one, remove wants one`, async () => {
    const path = newFile(filesystem);
    const set = (mode: 'create' | 'replace', text: string): Promise<unknown> => files.setXattr(path, 'user.mode', Buffer.from(text), { mode });
    assert.is((await rejection(set('replace', 'a'))).code, 'TIDEMARK_NO_ATTRIBUTE');
    assert.is((await rejection(files.removeXattr(path, 'user.mode'))).code, 'TIDEMARK_NO_ATTRIBUTE');
    await set('create', 'b');
    const exists = await rejection(set('create', 'c'));
    assert.is(exists.code, 'TIDEMARK_EXISTS');
    assert.ok(exists.message.includes(path));
    assert.equal(attributesOf(path), { 'user.mode': hex('b') });
    await set('replace', 'd');
    assert.equal(attributesOf(path), { 'user.mode': hex('d') });
  });

  test(`${name}: a link has attributes of its own, but none of users`, async () => {
    const path = newFile(filesystem);
    const link = `${path}.link`;
    symlinkSync(path, link);
    const own = { followLink: false } as const;
    assert.is((await files.setXattr(link, 'trusted.which', Buffer.from('link'), own)).primitive, 'lsetxattr');
    await files.setXattr(link, 'trusted.which', Buffer.from('file'));
    assert.equal(attributesOf(link), { 'trusted.which': hex('link') });
    assert.equal(attributesOf(path), { 'trusted.which': hex('file') });
    assert.equal(await files.getXattr(link, 'trusted.which', own), { primitive: 'lgetxattr', value: Buffer.from('link') });
    assert.equal(await files.listXattr(link, own), { primitive: 'llistxattr', names: ['trusted.which'] });
    assert.is((await files.removeXattr(link, 'trusted.which', own)).primitive, 'lremovexattr');
    assert.equal(attributesOf(path), { 'trusted.which': hex('file') });
    const refused = await rejection(files.setXattr(link, 'user.x', Buffer.alloc(1), own));
    assert.is(refused.code, 'TIDEMARK_PERMISSION');
    assert.match(refused.message, 'only regular files and directories');
    assert.is((await rejection(files.setXattr(link, 'trusted.x', Buffer.alloc(1), { ...own, durable: true }))).code, 'TIDEMARK_NOT_SUPPORTED');
    assert.equal(attributesOf(link), {});
  });

  test(`${name}: through a handle, on a directory, under odd names`, async () => {
    const value = Buffer.from('value');
    for (const odd of ODD_NAMES) {
      const path = newFile(filesystem, odd);
      const handle = await files.openRead(path);
      assert.equal(await files.setXattr(handle, 'user.x', value, { durable: true }), { primitive: 'fsetxattr', sync: 'fsync' });
      assert.equal(attributesOf(path), { 'user.x': hex(value) });
      assert.equal(await files.getXattr(handle, 'user.x'), { primitive: 'fgetxattr', value });
      assert.equal(await files.listXattr(handle), { primitive: 'flistxattr', names: ['user.x'] });
      assert.equal(await files.removeXattr(handle, 'user.x'), { primitive: 'fremovexattr', sync: 'none' });
      await handle.close();
      assert.is((await rejection(files.getXattr(handle, 'user.x'))).code, 'TIDEMARK_CLOSED');
    }
    const directory = join(directoryOn(filesystem), 'directory');
    mkdirSync(directory);
    assert.equal(await files.setXattr(directory, 'user.x', value, { durable: true }), { primitive: 'fsetxattr', sync: 'fsync' });
    assert.equal(attributesOf(directory), { 'user.x': hex(value) });
  });

  test(`${name}: a value that changes meanwhile is one of those that were set`, async () => {
    const path = newFile(filesystem);
    const short = Buffer.alloc(1, 1);
    const long = Buffer.alloc(2500, 2);
    await files.setXattr(path, 'user.x', short);
    const sets = Array.from({ length: 200 }, (_, i) => files.setXattr(path, 'user.x', i % 2 === 0 ? long : short));
    const gets = Array.from({ length: 200 }, () => files.getXattr(path, 'user.x'));
    await Promise.all(sets);
    for (const { value } of await Promise.all(gets)) assert.ok(value?.equals(short) === true || value?.equals(long) === true, 'a whole value');
  });

  test(`${name}: a namespace that does not exist is not supported`, async () => {
    const path = newFile(filesystem);
    const error = await rejection(files.setXattr(path, 'nobody.knows', Buffer.alloc(1)));
    assert.is(error.code, 'TIDEMARK_NOT_SUPPORTED');
    assert.ok(error.message.includes(kind), error.message);
  });

  test(`${name}: what others may not`, async () => {
    const path = newFile(filesystem);
    await files.setXattr(path, 'trusted.secret', Buffer.from('s'));
    await files.setXattr(path, 'user.known', Buffer.from('k'));
    const [get, list, trusted, user, own] = await callsAs(NOBODY, filesystem, [
      ['getXattr', path, 'trusted.secret'], ['listXattr', path], ['setXattr', path, 'trusted.secret', 'hex:00'], ['setXattr', path, 'user.known', 'hex:00'], ['getXattr', path, 'user.known'],
    ]);
    assert.equal(valueOf(get), { primitive: 'getxattr' });
    // btrfs tells everybody the names.
    assert.equal((valueOf(list)['names'] as string[]).sort(), kind === 'btrfs' ? ['trusted.secret', 'user.known'] : ['user.known']);
    assert.is(failureIn(trusted).code, 'TIDEMARK_PERMISSION');
    assert.match(failureIn(trusted).message, 'CAP_SYS_ADMIN');
    assert.is(failureIn(user).code, 'TIDEMARK_PERMISSION');
    assert.equal((valueOf(own)['value'] as { data: number[] }).data, [0x6b]);
  });
}

test('neither a FIFO has attributes of users, nor can it be synced', async () => {
  const path = join(temporaryDirectory(), 'fifo');
  assert.is(spawnSync('mkfifo', [path]).status, 0);
  assert.is((await rejection(files.setXattr(path, 'user.x', Buffer.alloc(1)))).code, 'TIDEMARK_PERMISSION');
  const error = await rejection(files.setXattr(path, 'trusted.x', Buffer.alloc(1), { durable: true }));
  assert.is(error.code, 'TIDEMARK_NOT_SUPPORTED');
  assert.equal(attributesOf(path), {});
});

test('a filesystem without attributes says so', async () => {
  const error = await rejection(files.setXattr('/proc/self/status', 'user.x', Buffer.alloc(1)));
  assert.is(error.code, 'TIDEMARK_NOT_SUPPORTED');
});

const nowhere = join(temporaryDirectory(), 'missing');
const REFUSED: readonly [string, () => Promise<unknown>, string, string][] = [
  ['a missing file', () => files.getXattr(nowhere, 'user.x'), 'TIDEMARK_NOT_FOUND', nowhere],
  ['a missing file, durable', () => files.setXattr(nowhere, 'user.x', Buffer.alloc(1), { durable: true }), 'TIDEMARK_NOT_FOUND', nowhere],
  ['no namespace', () => files.getXattr(nowhere, 'comment'), 'TIDEMARK_INVALID_ARGUMENT', '`name`'],
  ['nothing behind the namespace', () => files.getXattr(nowhere, 'user.'), 'TIDEMARK_INVALID_ARGUMENT', '`name`'],
  ['a NUL', () => files.getXattr(nowhere, 'user.a\0b'), 'TIDEMARK_INVALID_ARGUMENT', '`name`'],
  ['a name of 256 bytes', () => files.getXattr(nowhere, `user.${'ä'.repeat(125)}b`), 'TIDEMARK_INVALID_ARGUMENT', '255 bytes'],
  ['a value that is too long', () => files.setXattr(nowhere, 'user.x', Buffer.alloc(65_537)), 'TIDEMARK_INVALID_ARGUMENT', '`value`'],
  ['a value that is a string', () => files.setXattr(nowhere, 'user.x', 'text' as never), 'TIDEMARK_INVALID_ARGUMENT', '`value`'],
  ['another mode', () => files.setXattr(nowhere, 'user.x', Buffer.alloc(1), { mode: 'append' as never }), 'TIDEMARK_INVALID_ARGUMENT', '`mode`'],
  ['an unknown option', () => files.listXattr(nowhere, { durable: true } as never), 'TIDEMARK_INVALID_ARGUMENT', '`durable`'],
];

for (const [what, call, code, part] of REFUSED) {
  test(`refused: ${what}`, async () => {
    const error = await rejection(call());
    assert.is(error.code, code);
    assert.ok(error.message.includes(part), error.message);
  });
}

const reason = noTracing();
if (reason !== undefined) skip('the sync of attributes', reason);
else {
  test('durable syncs the file after the change, else nothing is synced', async () => {
    const directory = temporaryDirectory();
    const [named, open, quick] = ['named', 'open', 'quick'].map((name) => join(directory, name)) as [string, string, string];
    for (const path of [named, open, quick]) writeFileSync(path, '');
    const { calls } = await traced([
      ['setXattr', named, 'user.x', 'hex:00', { durable: true }], ['setXattr', `file:${open}`, 'user.x', 'hex:00', { durable: true }], ['setXattr', quick, 'user.x', 'hex:00'],
    ], ['setxattr', 'fsetxattr', 'fsync', 'fdatasync']);
    for (const path of [named, open]) checkSyncedAfter(calls, 'fsetxattr', path);
    assert.equal(calls.filter(({ args }) => args.includes(quick)).map(({ name }) => name), ['setxattr']);
    assert.is(calls.length, 5);
  });
}

test.after(() => scheduler.close());
test.run();
