/** Open directories: what their methods do to the names inside, looked at from outside. */
import { once } from 'node:events';
import { existsSync, linkSync, lstatSync, mkdirSync, readdirSync, readFileSync, readlinkSync, renameSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { IoScheduler, type DirectoryHandle, type FileHandle, type OpenAtOptions } from 'tidemark';
import { noTracing, runProgram, skip } from '../fault/tools.js';
import { parseTrace } from '../fault/trace.js';
import { temporaryDirectory } from '../support.js';
import { directoryOn, FILESYSTEMS, type TestFilesystem } from './filesystems.js';
import { flagsOf, O_DSYNC, openPaths } from './tools.js';

const scheduler = new IoScheduler();
const { files } = scheduler;
const O_RDWR = 0o2;
const ODD_NAMES = ['with space', 'line\nbreak', 'quote"\'', '-dash', 'ünïcödé 🌊', '\ufeffmark', '.hidden', 'x'.repeat(255)];

/** Every filesystem here knows all modes of rename. A new one that does not shows here. */
const RENAME_MODES = ['replace', 'noReplace', 'exchange'] as const;

async function rejection(promise: Promise<unknown>): Promise<string | undefined> {
  return promise.then(() => undefined, (error: unknown) => (error as { code?: string }).code ?? String(error));
}

async function inDirectory(filesystem: TestFilesystem, use: (handle: DirectoryHandle, path: string) => Promise<void>): Promise<void> {
  const path = directoryOn(filesystem);
  const handle = await files.openDirectory(path);
  await use(handle, path);
  await handle.close();
}

for (const filesystem of FILESYSTEMS) {
  const { name } = filesystem;

  test(`${name}: directories and files are made, opened and removed`, () => inDirectory(filesystem, async (handle, path) => {
    assert.equal(await handle.mkdirAt('sub', { mode: 0o700 }), { primitive: 'mkdirat' });
    assert.is(statSync(join(path, 'sub')).mode & 0o7777, 0o700);
    assert.is(await rejection(handle.mkdirAt('sub')), 'TIDEMARK_EXISTS');
    assert.is(await rejection(handle.mkdirAt('none/sub')), 'TIDEMARK_NOT_FOUND');

    const file = await handle.openAt('sub/file', { write: true, create: true, exclusive: true, mode: 0o640 });
    writeFileSync(file.file.descriptor, 'content');
    await file.close();
    assert.is(readFileSync(join(path, 'sub', 'file'), 'utf8'), 'content');
    assert.is(statSync(join(path, 'sub', 'file')).mode & 0o7777, 0o640);
    assert.is(await rejection(handle.openAt('sub/file', { write: true, create: true, exclusive: true })), 'TIDEMARK_EXISTS');
    const appended = await handle.openAt('sub/file', { write: true, append: true });
    writeFileSync(appended.file.descriptor, ' more');
    await appended.close();
    assert.is(readFileSync(join(path, 'sub', 'file'), 'utf8'), 'content more');
    const reading = await handle.openAt('sub/file');
    assert.throws(() => { writeFileSync(reading.file.descriptor, 'x'); }, /EBADF/);
    await reading.close();
    assert.is(await rejection(handle.openAt('none')), 'TIDEMARK_NOT_FOUND');
    assert.is(await rejection(handle.openAt('sub')), 'TIDEMARK_IS_DIRECTORY');
    await files.mkfifo(join(path, 'fifo'));
    await files.mknod(join(path, 'socket'), { kind: 'socket' });
    for (const special of ['fifo', 'socket']) {
      for (const write of [false, true]) assert.is(await rejection(handle.openAt(special, { write })), 'TIDEMARK_NOT_A_FILE');
      await handle.unlinkAt(special);
    }
    assert.is(await rejection(handle.openDirectoryAt('sub/file')), 'TIDEMARK_NOT_FOUND');

    assert.is(await rejection(handle.rmdirAt('sub')), 'TIDEMARK_NOT_EMPTY');
    assert.is(await rejection(handle.unlinkAt('sub')), 'TIDEMARK_IS_DIRECTORY');
    assert.equal(await handle.unlinkAt('sub/file'), { primitive: 'unlinkat' });
    assert.equal(await handle.rmdirAt('sub'), { primitive: 'unlinkat' });
    assert.equal(readdirSync(path), []);
  }));

  test(`${name}: a file in a directory is opened as one with a path is`, () => inDirectory(filesystem, async (handle, path) => {
    const openings: readonly (readonly [OpenAtOptions, (options: { direct: boolean }) => Promise<FileHandle>])[] = [
      [{ write: true, create: true, exclusive: true }, (options) => files.openWriteNew(join(path, 'new'), options)],
      [{}, (options) => files.openRead(join(path, 'file'), options)],
      [{ write: true }, (options) => files.openWriteAt(join(path, 'file'), options)],
      [{ write: true, append: true }, (options) => files.openAppend(join(path, 'file'), options)],
    ];
    writeFileSync(join(path, 'file'), 'content');
    for (const [how, open] of openings) {
      for (const direct of [false, true]) {
        const name = how.exclusive === true ? 'new' : 'file';
        const inHandle = await handle.openAt(name, { ...how, direct });
        if (how.exclusive === true) rmSync(join(path, 'new'));
        const byPath = await open({ direct });
        assert.equal([inHandle.direct, flagsOf(inHandle), inHandle.file.only], [byPath.direct, flagsOf(byPath), byPath.file.only], JSON.stringify({ how, direct }));
        assert.is(inHandle.direct.reason === '', inHandle.direct.active);
        assert.is(inHandle.path, name);
        await inHandle.close();
        await byPath.close();
        rmSync(join(path, 'new'), { force: true });
      }
    }
    const durable = await handle.openAt('file', { write: true, dsync: true });
    const reading = await handle.openAt('file');
    assert.is(flagsOf(durable) ^ flagsOf(reading), O_RDWR | O_DSYNC);
    assert.is(await rejection(files.writeAt(reading, 'x', 0)), 'TIDEMARK_INVALID_ARGUMENT');
    await durable.close();
    await reading.close();
    symlinkSync('nowhere', join(path, 'dangling'));
    assert.is(await rejection(handle.openAt('dangling', { write: true, create: true })), 'TIDEMARK_NOT_FOUND');
    assert.not(existsSync(join(path, 'nowhere')));
  }));

  for (const mode of RENAME_MODES) test(`${name}: names are changed, ${mode}`, () => inDirectory(filesystem, async (handle, path) => {
    mkdirSync(join(path, 'other'));
    writeFileSync(join(path, 'one'), 'one');
    writeFileSync(join(path, 'two'), 'two');
    const renamed = handle.renameAt('one', 'two', { mode });
    if (mode === 'noReplace') assert.is(await rejection(renamed), 'TIDEMARK_EXISTS');
    else assert.equal(await renamed, { primitive: mode === 'replace' ? 'renameat' : 'renameat2' });
    const contents = Object.fromEntries(['one', 'two'].filter((file) => existsSync(join(path, file))).map((file) => [file, readFileSync(join(path, file), 'utf8')]));
    assert.equal(contents, { replace: { two: 'one' }, noReplace: { one: 'one', two: 'two' }, exchange: { one: 'two', two: 'one' } }[mode]);
    const other = await handle.openDirectoryAt('other');
    const there = await rejection(handle.renameAt('two', 'two', { mode, directory: other }));
    assert.is(there, mode === 'exchange' ? 'TIDEMARK_NOT_FOUND' : undefined);
    assert.is(existsSync(join(path, 'other', 'two')), mode !== 'exchange');
    await other.close();
  }));

  test(`${name}: links of both kinds are made, read and told apart`, () => inDirectory(filesystem, async (handle, path) => {
    mkdirSync(join(path, 'other'));
    writeFileSync(join(path, 'file'), 'content');
    const other = await handle.openDirectoryAt('other');
    assert.equal(await handle.linkAt('file', 'second'), { primitive: 'linkat' });
    await handle.linkAt('file', 'third', { directory: other });
    const { ino } = statSync(join(path, 'file'));
    for (const second of ['second', 'other/third']) assert.is(statSync(join(path, second)).ino, ino);
    assert.equal(await handle.symlinkAt('file', 'link'), { primitive: 'symlinkat' });
    await handle.symlinkAt('/etc', 'abroad');
    assert.is(readlinkSync(join(path, 'link')), 'file');
    assert.equal(await handle.readlinkAt('abroad'), { primitive: 'readlinkat', target: '/etc' });
    assert.is(await rejection(handle.readlinkAt('file')), 'TIDEMARK_IO');
    assert.is((await handle.statAt('link')).inode, BigInt(ino));
    assert.is((await handle.statAt('link', { followLink: false })).inode, lstatSync(join(path, 'link'), { bigint: true }).ino);
    assert.is((await handle.statAt('.')).inode, statSync(path, { bigint: true }).ino);
    await handle.unlinkAt('link');
    assert.ok(existsSync(join(path, 'file')) && !existsSync(join(path, 'link')));
    await other.close();
  }));

  test(`${name}: a list has every name, its kind and its inode`, () => inDirectory(filesystem, async (handle, path) => {
    const server = createServer().listen(join(path, 'socket'));
    await once(server, 'listening');
    mkdirSync(join(path, 'directory'));
    symlinkSync('nowhere', join(path, 'symlink'));
    await files.mkfifo(join(path, 'fifo'));
    await files.mknod(join(path, 'character'), { kind: 'character', major: 1, minor: 3 });
    await files.mknod(join(path, 'block'), { kind: 'block', major: 7, minor: 200 });
    const bytes = Buffer.from([0x6e, 0xff, 0x6f]);
    writeFileSync(Buffer.concat([Buffer.from(`${path}/`), bytes]), '');
    for (const file of ODD_NAMES) writeFileSync(join(path, file), '');
    for (let i = 0; i < 1500; i++) linkSync(join(path, '.hidden'), join(path, `name-${i}`));

    const { primitive, entries } = await handle.list();
    assert.is(primitive, 'getdents64');
    const wanted = readdirSync(path, { encoding: 'buffer' }).map((file) => file.toString('hex')).sort();
    assert.equal(entries.map((entry) => Buffer.from(entry.nameBytes ?? entry.name).toString('hex')).sort(), wanted);
    assert.equal(entries.filter(({ nameBytes }) => nameBytes !== undefined).map((entry) => [entry.name, [...entry.nameBytes ?? []]]), [['n\ufffdo', [...bytes]]]);
    const byName = new Map(entries.map((entry) => [entry.name, entry]));
    for (const kind of ['socket', 'directory', 'symlink', 'fifo', 'character', 'block'] as const) assert.is(byName.get(kind)?.kind, kind);
    for (const file of [...ODD_NAMES, 'directory', 'symlink', 'fifo']) assert.is(byName.get(file)?.inode, lstatSync(join(path, file), { bigint: true }).ino, file);
    assert.is(byName.get('.hidden')?.kind, 'file');
    // Two at a time do not disturb each other.
    for (const again of await Promise.all([handle.list(), handle.list()])) assert.is(again.entries.length, wanted.length);
    await new Promise((resolve) => server.close(resolve));
  }));

  test(`${name}: the handle stays with the directory, whatever becomes of its name`, () => inDirectory(filesystem, async (handle, path) => {
    mkdirSync(join(path, 'here'));
    const here = await handle.openDirectoryAt('here');
    renameSync(join(path, 'here'), join(path, 'there'));
    mkdirSync(join(path, 'here'));
    await here.mkdirAt('made');
    assert.equal([readdirSync(join(path, 'here')), readdirSync(join(path, 'there'))], [[], ['made']]);
    rmSync(join(path, 'there'), { recursive: true });
    assert.is(await rejection(here.mkdirAt('again')), 'TIDEMARK_NOT_FOUND');
    assert.is(await rejection(here.list()), 'TIDEMARK_NOT_FOUND');
    await here.close();
  }));

  test(`${name}: names of every form that the system allows`, () => inDirectory(filesystem, async (handle, path) => {
    for (const file of ODD_NAMES) await handle.mkdirAt(file);
    assert.equal(readdirSync(path).sort(), [...ODD_NAMES].sort());
    for (const file of ODD_NAMES) await handle.rmdirAt(file);
    assert.is(await rejection(handle.mkdirAt('x'.repeat(256))), 'TIDEMARK_INVALID_PATH');
    assert.is(await rejection(handle.mkdirAt('x/'.repeat(3000))), 'TIDEMARK_INVALID_PATH');
    for (const itself of ['.', './', '..', 'a/..', '/', '/etc']) assert.is(await rejection(handle.rmdirAt(itself)), 'TIDEMARK_OUTSIDE_ROOT', itself);
  }));
}

const SOME = FILESYSTEMS.filter(({ name }) => name === 'tmpfs');
for (const filesystem of SOME) {
  test('what cannot be used as an argument is told', () => inDirectory(filesystem, async (handle, path) => {
    const wrong: readonly (readonly [RegExp, () => Promise<unknown>])[] = [
      [/Expected `name` to be a path/, () => handle.mkdirAt('')],
      [/Expected `name` to be a path without NUL/, () => handle.unlinkAt('a\0b')],
      [/Expected `name` to be a path that UTF-8 can express/, () => handle.unlinkAt('\ud800')],
      [/Expected `name` to be a path/, () => handle.rmdirAt(undefined as never)],
      [/Expected `newName` to be a path/, () => handle.renameAt('a', 7 as never)],
      [/Expected `target` to be a path/, () => handle.symlinkAt('', 'a')],
      [/Expected `mode` to be one of 'replace'/, () => handle.renameAt('a', 'b', { mode: 'both' as never })],
      [/Expected `mode` to be an integer from 0 to 4095/, () => handle.mkdirAt('a', { mode: 0o10000 })],
      [/Expected `directory` to be a DirectoryHandle/, () => handle.renameAt('a', 'b', { directory: path as never })],
      [/Expected `create` to be false without `write`/, () => handle.openAt('a', { create: true })],
      [/Expected `exclusive` to be false without `create`/, () => handle.openAt('a', { write: true, exclusive: true })],
      [/Expected `append` to be false without `write`/, () => handle.openAt('a', { append: true })],
      [/Expected `dsync` to be false without `write`/, () => handle.openAt('a', { dsync: true })],
      [/Expected `exclusive` to be false with `append`/, () => handle.openAt('a', { write: true, create: true, exclusive: true, append: true })],
      [/Unknown option `durable`/, () => handle.mkdirAt('a', { durable: true } as never)],
    ];
    for (const [message, call] of wrong) {
      const error: unknown = await call().then(() => undefined, (reason: unknown) => reason);
      assert.ok(error instanceof Error && message.test(error.message), `${message.source}: ${String(error)}`);
    }
    assert.equal(readdirSync(path), []);
    assert.is(await rejection(files.openDirectory(join(path, 'missing'))), 'TIDEMARK_NOT_FOUND');
    writeFileSync(join(path, 'file'), '');
    assert.is(await rejection(files.openDirectory(join(path, 'file'))), 'TIDEMARK_NOT_FOUND');
  }));

  test('a closed handle refuses every method, and is no target of another one', () => inDirectory(filesystem, async (open, path) => {
    const closed = await files.openDirectory(path);
    await closed.close();
    const calls: readonly (() => Promise<unknown>)[] = [
      () => closed.mkdirAt('a'), () => closed.openAt('a'), () => closed.openDirectoryAt('.'), () => closed.unlinkAt('a'), () => closed.rmdirAt('a'),
      () => closed.renameAt('a', 'b'), () => closed.linkAt('a', 'b'), () => closed.symlinkAt('a', 'b'), () => closed.readlinkAt('a'), () => closed.statAt('.'),
      () => closed.list(), () => closed.sync(), () => open.renameAt('a', 'b', { directory: closed }),
    ];
    for (const call of calls) assert.is(await rejection(call()), 'TIDEMARK_CLOSED');
  }));

  test('another thread uses a directory that was shared', () => inDirectory(filesystem, async (handle, path) => {
    const source = `
      const { workerData } = require('node:worker_threads');
      import('tidemark').then(async ({ IoScheduler }) => {
        const scheduler = new IoScheduler();
        const handle = scheduler.files.attachDirectory(workerData);
        await handle.mkdirAt('made');
        await handle.close();
        await scheduler.close();
      });
    `;
    const worker = new Worker(source, { eval: true, workerData: handle.share() });
    const [code] = (await once(worker, 'exit')) as [number];
    assert.is(code, 0);
    assert.equal(readdirSync(path), ['made']);
    assert.equal((await handle.list()).entries.map(({ name }) => name), ['made']);
    assert.throws(() => files.attachDirectory({} as never), /Expected `shared` to be what `share\(\)` of a DirectoryHandle answered/);
  }));
}

test('what is being opened while the scheduler closes is closed with it', async () => {
  const own = new IoScheduler();
  const path = temporaryDirectory();
  mkdirSync(join(path, 'sub'));
  const opening = [own.files.openDirectory(path), own.files.scoped(path).openDirectory('sub').catch(() => undefined)];
  await own.close();
  assert.ok((await Promise.all(opening)).every((handle) => handle?.closed !== false));
  assert.equal(openPaths().filter((file) => file.startsWith(path)), []);
});

const untraceable = noTracing();
if (untraceable !== undefined) skip('that nothing but sync() syncs', untraceable);
else test('only sync() syncs: the directory itself, once', async () => {
  const path = temporaryDirectory();
  const trace = join(temporaryDirectory(), 'trace');
  const prefix = ['strace', '-f', '-tt', '-y', '-o', trace, '-e', 'trace=fsync,fdatasync,sync,syncfs,unlinkat'];
  const { report } = await runProgram('walker', { what: 'names', path, globs: [], tolerant: false }, { prefix });
  assert.equal(report, { primitive: 'fsync' });
  const calls = parseTrace(readFileSync(trace, 'utf8'));
  // Node tries to sync its pipes at the end, which fails.
  const syncs = calls.filter(({ name, result }) => name !== 'unlinkat' && result === 0);
  assert.equal(syncs.map(({ name, args, result }) => [name, args.replace(/^\d+/, ''), result]), [['fsync', `<${path}>`, 0]]);
  const last = calls.findLast(({ name, args }) => name === 'unlinkat' && args.includes('"missing"'));
  assert.ok(last !== undefined && last.ended < (syncs[0]?.began ?? 0));
});

test.after(() => scheduler.close());
test.run();
