/** Who files belong to, on every filesystem, against node:fs: as root and as somebody else. */
import { chmodSync, chownSync, lstatSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { IoScheduler } from 'tidemark';
import { noRoot, noTracing, skip } from '../fault/tools.js';
import { temporaryDirectory } from '../support.js';
import { directoryOn, FILESYSTEMS } from './filesystems.js';
import { callsAs, checkSyncedAfter, failureIn, NOBODY, ODD_NAMES, rejection, traced, valueOf } from './metadata-tools.js';

const scheduler = new IoScheduler();
const { files } = scheduler;

function ownerOf(path: string): [uid: number, gid: number] {
  const { uid, gid } = lstatSync(path);
  return [uid, gid];
}

for (const filesystem of FILESYSTEMS) {
  const { name } = filesystem;

  test(`${name}: user and group, each alone or both`, async () => {
    for (const odd of ODD_NAMES) {
      const path = join(directoryOn(filesystem), odd);
      writeFileSync(path, '');
      assert.equal(await files.chown(path, 1000, 2000), { primitive: 'fchownat', sync: 'none' });
      assert.equal(ownerOf(path), [1000, 2000]);
      await files.chown(path, -1, 3000);
      assert.equal(ownerOf(path), [1000, 3000]);
      await files.chown(path, 2 ** 32 - 2, undefined, { durable: true });
      assert.equal(ownerOf(path), [2 ** 32 - 2, 3000]);
    }
  });

  test(`${name}: a link, what it leads to, and a handle`, async () => {
    const path = join(directoryOn(filesystem), 'file');
    const link = `${path}.link`;
    writeFileSync(path, '');
    symlinkSync(path, link);
    await files.lchown(link, 11, 12);
    assert.equal([ownerOf(link), ownerOf(path)], [[11, 12], [0, 0]]);
    await files.chown(link, 13, 14);
    assert.equal([ownerOf(link), ownerOf(path)], [[11, 12], [13, 14]]);
    const handle = await files.openRead(path);
    assert.equal(await files.fchown(handle, 15, 16, { durable: true }), { primitive: 'fchown', sync: 'fsync' });
    await handle.close();
    assert.equal(ownerOf(path), [15, 16]);
    assert.is((await rejection(files.fchown(handle, 0, 0))).code, 'TIDEMARK_CLOSED');
    assert.is((await rejection(files.lchown(link, 0, 0, { durable: true }))).code, 'TIDEMARK_NOT_SUPPORTED');
    assert.equal(ownerOf(link), [11, 12]);
    // No link: the same as chown, and it can be synced.
    assert.equal(await files.lchown(path, 17, 18, { durable: true }), { primitive: 'fchown', sync: 'fsync' });
    assert.equal(ownerOf(path), [17, 18]);
  });

  test(`${name}: a new owner takes no setuid over`, async () => {
    const path = join(directoryOn(filesystem), 'program');
    writeFileSync(path, '');
    chmodSync(path, 0o6755);
    await files.chown(path, 1000, 1000);
    assert.is(statSync(path).mode & 0o7777, 0o755);
  });

  test(`${name}: the owner of another file is preserved`, async () => {
    const directory = directoryOn(filesystem);
    const [source, target] = [join(directory, 'source'), join(directory, 'target')];
    for (const path of [source, target]) writeFileSync(path, '');
    chownSync(source, 21, 22);
    symlinkSync(source, `${source}.link`);
    assert.equal(await files.preserveOwnershipFrom(`${source}.link`, target), { primitive: 'fchownat', sync: 'none', uid: 21, gid: 22, missing: [] });
    assert.equal(ownerOf(target), [21, 22]);
    chownSync(source, 23, 24);
    const [from, to] = [await files.openRead(source), await files.openRead(target)];
    assert.equal(await files.preserveOwnershipFrom(from, to, { durable: true }), { primitive: 'fchown', sync: 'fsync', uid: 23, gid: 24, missing: [] });
    await from.close();
    await to.close();
    assert.equal(ownerOf(target), [23, 24]);
  });

  test(`${name}: what others may not`, async () => {
    const directory = directoryOn(filesystem);
    const [roots, ours, shared] = ['roots', 'ours', 'shared'].map((file) => join(directory, file)) as [string, string, string];
    for (const path of [roots, ours, shared]) writeFileSync(path, '', { mode: 0o644 });
    chownSync(ours, NOBODY, 0);
    chownSync(shared, 0, NOBODY);
    const [away, foreign, group, all, part] = await callsAs(NOBODY, filesystem, [
      ['chown', ours, 0, -1], ['chown', roots, NOBODY, NOBODY], ['chown', ours, -1, NOBODY],
      ['preserveOwnershipFrom', roots, ours], ['preserveOwnershipFrom', shared, ours, { durable: true }],
    ]);
    for (const [refused, path] of [[away, ours], [foreign, roots]] as const) {
      assert.equal([failureIn(refused).code, failureIn(refused).path, failureIn(refused).syscall], ['TIDEMARK_PERMISSION', path, 'fchownat']);
      assert.match(failureIn(refused).message, 'only root may give a file away');
    }
    assert.is(valueOf(group)['primitive'], 'fchownat');
    assert.equal([valueOf(all)['missing'], valueOf(all)['gid']], [['uid', 'gid'], NOBODY]);
    assert.equal([valueOf(part)['missing'], valueOf(part)['uid'], valueOf(part)['gid']], [['uid'], NOBODY, NOBODY]);
    assert.equal([ownerOf(roots), ownerOf(ours)], [[0, 0], [NOBODY, NOBODY]]);
  });
}

const nowhere = join(temporaryDirectory(), 'missing');
const REFUSED: readonly [string, () => Promise<unknown>, string, string][] = [
  ['a missing file', () => files.chown(nowhere, 0, 0), 'TIDEMARK_NOT_FOUND', nowhere],
  ['a missing file, durable', () => files.lchown(nowhere, 0, 0, { durable: true }), 'TIDEMARK_NOT_FOUND', nowhere],
  ['a missing source', () => files.preserveOwnershipFrom(nowhere, '/dev/null'), 'TIDEMARK_NOT_FOUND', nowhere],
  ['neither user nor group', () => files.chown(nowhere, -1, undefined), 'TIDEMARK_INVALID_ARGUMENT', '`uid`'],
  ['a user below -1', () => files.chown(nowhere, -2, 0), 'TIDEMARK_INVALID_ARGUMENT', '`uid`'],
  ['the group that means none', () => files.chown(nowhere, 0, 2 ** 32 - 1), 'TIDEMARK_INVALID_ARGUMENT', '`gid`'],
  ['the name of a user', () => files.chown(nowhere, 'root' as never, 0), 'TIDEMARK_INVALID_ARGUMENT', '`uid`'],
  ['a path for a handle', () => files.fchown(nowhere as never, 0, 0), 'TIDEMARK_INVALID_ARGUMENT', '`handle`'],
  ['an unknown option', () => files.chown(nowhere, 0, 0, { followLink: false } as never), 'TIDEMARK_INVALID_ARGUMENT', '`followLink`'],
];

for (const [what, call, code, part] of REFUSED) {
  test(`refused: ${what}`, async () => {
    const error = await rejection(call());
    assert.is(error.code, code);
    assert.ok(error.message.includes(part), error.message);
  });
}

const reason = noRoot() ?? noTracing();
if (reason !== undefined) skip('the sync of owners', reason);
else {
  test('durable syncs the file after the change, else nothing is synced', async () => {
    const directory = temporaryDirectory();
    const [named, open, quick] = ['named', 'open', 'quick'].map((name) => join(directory, name)) as [string, string, string];
    for (const path of [named, open, quick]) writeFileSync(path, '');
    const { calls } = await traced([
      ['chown', named, 1, 1, { durable: true }], ['fchown', `file:${open}`, 1, 1, { durable: true }], ['chown', quick, 1, 1],
    ], ['fchown', 'fchownat', 'chown', 'lchown', 'fsync', 'fdatasync']);
    for (const path of [named, open]) checkSyncedAfter(calls, 'fchown', path);
    assert.equal(calls.filter(({ args }) => args.includes(quick)).map(({ name }) => name), ['fchownat']);
    assert.is(calls.length, 5);
  });
}

test.after(() => scheduler.close());
test.run();
