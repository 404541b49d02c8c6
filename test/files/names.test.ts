/** Names on every filesystem: what each call does, what it refuses, what is synced. */
import { chmodSync, existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, readlinkSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { IoScheduler, InvalidArgumentError, IoError } from 'tidemark';
import { noTracing, runProgram, skip } from '../fault/tools.js';
import { parseTrace, type Call } from '../fault/trace.js';
import type { FilesTask, FilesReport } from '../programs/files-caller.js';
import { temporaryDirectory } from '../support.js';
import { directoryOn, FILESYSTEMS } from './filesystems.js';

const scheduler = new IoScheduler();
const { files } = scheduler;
const SYNCED = 'fsync';

async function refused(what: Promise<unknown>, code: string, path?: string): Promise<void> {
  try {
    await what;
  } catch (error) {
    assert.instance(error, IoError);
    assert.is((error as IoError).code, code);
    if (path !== undefined) assert.is((error as IoError).path, path);
    return;
  }
  assert.unreachable(`expected ${code}`);
}

async function codeOf(what: Promise<unknown>): Promise<unknown> {
  return what.then(() => 'nothing', (error: unknown) => (error as { code: unknown }).code);
}

/** Where a filesystem cannot exchange names or keep one free, it would be noticed here: all of these can. */
for (const filesystem of FILESYSTEMS) {
  test(`${filesystem.name}: renaming replaces, refuses, exchanges`, async () => {
    const directory = directoryOn(filesystem);
    // Nothing is special in a name but the slash.
    const [a, b] = [join(directory, "a'\n\"b"), join(directory, 'ü $(b)')];
    writeFileSync(a, 'one');
    writeFileSync(b, 'two');
    await refused(files.renameNoReplace(a, b), 'TIDEMARK_EXISTS', b);
    assert.equal(await files.exchange(a, b), { primitive: 'renameat2', sync: SYNCED });
    assert.equal([a, b].map((path) => readFileSync(path, 'utf8')), ['two', 'one']);
    assert.equal(await files.rename(a, b), { primitive: 'renameat', sync: SYNCED });
    assert.equal(readdirSync(directory), ['ü $(b)']);
    assert.is(readFileSync(b, 'utf8'), 'two');
    assert.equal(await files.renameNoReplace(b, a, { durable: false }), { primitive: 'renameat2', sync: 'none' });
    assert.is(readFileSync(a, 'utf8'), 'two');
    await refused(files.exchange(a, b), 'TIDEMARK_NOT_FOUND');
    await refused(files.rename(b, a), 'TIDEMARK_NOT_FOUND', b);
  });

  test(`${filesystem.name}: directories are made, moved, exchanged with files, and removed when empty`, async () => {
    const directory = directoryOn(filesystem);
    const inDirectory = (name: string): string => join(directory, name);
    assert.equal(await files.makeDirectory(inDirectory('a'), { mode: 0o700 }), { primitive: 'mkdirat', created: 1, sync: SYNCED });
    assert.is(statSync(inDirectory('a')).mode & 0o7777, 0o700);
    await refused(files.makeDirectory(inDirectory('a')), 'TIDEMARK_EXISTS', inDirectory('a'));
    await refused(files.makeDirectory(inDirectory('b/c/d')), 'TIDEMARK_NOT_FOUND');
    assert.equal(await files.makeDirectory(inDirectory('b/c/d'), { recursive: true }), { primitive: 'mkdirat', created: 3, sync: SYNCED });
    assert.is((await files.makeDirectory(inDirectory('b/c/d'), { recursive: true })).created, 0);
    writeFileSync(inDirectory('file'), '');
    await refused(files.makeDirectory(inDirectory('file'), { recursive: true }), 'TIDEMARK_EXISTS');
    await refused(files.makeDirectory(inDirectory('file/x'), { recursive: true }), 'TIDEMARK_NOT_FOUND');
    await refused(files.removeDirectory(inDirectory('b')), 'TIDEMARK_NOT_EMPTY', inDirectory('b'));
    await refused(files.rename(inDirectory('a'), inDirectory('b')), 'TIDEMARK_NOT_EMPTY', inDirectory('b'));
    await refused(files.rename(inDirectory('b'), inDirectory('b/c/e')), 'TIDEMARK_IO', inDirectory('b'));
    await refused(files.exchange(inDirectory('b'), inDirectory('b/c')), 'TIDEMARK_IO');
    await refused(files.unlink(inDirectory('b')), 'TIDEMARK_IS_DIRECTORY', inDirectory('b'));
    await files.exchange(inDirectory('file'), inDirectory('b/c/d'));
    assert.is(lstatSync(inDirectory('b/c/d')).isFile(), true);
    await files.removeDirectory(inDirectory('file'));
    await files.rename(inDirectory('b'), inDirectory('a'));
    assert.equal(readdirSync(directory), ['a']);
    assert.equal(await files.unlink(inDirectory('a/c/d')), { primitive: 'unlinkat', sync: SYNCED });
    await files.removeDirectory(inDirectory('a/c'), { durable: false });
    assert.equal(readdirSync(inDirectory('a')), []);
  });

  test(`${filesystem.name}: links are made and read, and never followed`, async () => {
    const directory = directoryOn(filesystem);
    const [file, link, second] = ['file', 'link', 'second'].map((name) => join(directory, name)) as [string, string, string];
    writeFileSync(file, 'content');
    assert.equal(await files.symlink('./file\n"', link), { primitive: 'symlinkat', sync: SYNCED });
    assert.is(readlinkSync(link), './file\n"');
    assert.equal(await files.readlink(link), { primitive: 'readlinkat', target: './file\n"' });
    await refused(files.symlink('file', link), 'TIDEMARK_EXISTS', link);
    await refused(files.readlink(file), 'TIDEMARK_IO', file);
    assert.equal(await files.hardlink(file, second), { primitive: 'linkat', sync: SYNCED });
    assert.is(statSync(second).ino, statSync(file).ino);
    await refused(files.hardlink(file, link), 'TIDEMARK_EXISTS', link);
    await refused(files.hardlink(join(directory, 'missing'), join(directory, 'new')), 'TIDEMARK_NOT_FOUND', join(directory, 'missing'));
    await files.hardlink(link, join(directory, 'link2'));
    assert.is(lstatSync(join(directory, 'link2')).ino, lstatSync(link).ino);
    await files.unlink(link);
    assert.is(existsSync(file), true);
    await files.rename(join(directory, 'link2'), file);
    assert.is(readlinkSync(file), './file\n"');
    assert.is(statSync(second).nlink, 1);
  });
}

const [first, other] = FILESYSTEMS;

if (first !== undefined && other !== undefined) {
  test('names on two filesystems cannot change places or be one file', async () => {
    const [a, b] = [join(directoryOn(first), 'a'), join(directoryOn(other), 'b')];
    writeFileSync(a, '');
    await refused(files.rename(a, b), 'TIDEMARK_CROSS_DEVICE', a);
    await refused(files.hardlink(a, b), 'TIDEMARK_CROSS_DEVICE');
  });
}

if (first !== undefined) {
  test('what is no path, mode or option is refused before anything happens', async () => {
    const directory = directoryOn(first);
    const cases: readonly (() => Promise<unknown>)[] = [
      () => files.rename('', join(directory, 'x')),
      () => files.rename(directory, 7 as never),
      () => files.exchange(directory, 'a\0b'),
      () => files.symlink('', join(directory, 'x')),
      () => files.makeDirectory(join(directory, 'x'), { mode: 0o10000 }),
      () => files.makeDirectory(join(directory, 'x'), { recursive: 1 as never }),
      () => files.unlink(join(directory, 'x'), { durable: 'yes' as never }),
      () => files.hardlink(directory, join(directory, 'x'), { follow: true } as never),
    ];
    for (const [index, call] of cases.entries()) {
      const error = await call().then(() => undefined, (caught: unknown) => caught);
      assert.instance(error, InvalidArgumentError, `case ${index}`);
    }
    assert.equal(readdirSync(directory), []);
    await refused(files.makeDirectory(join(directory, 'n'.repeat(256))), 'TIDEMARK_INVALID_PATH');
    await refused(files.symlink('t'.repeat(5000), join(directory, 'x')), 'TIDEMARK_INVALID_PATH');
  });

  test('who may not write to a directory is told so, and whoever may not read it cannot make it durable', async () => {
    const directory = directoryOn(first);
    chmodSync(dirname(first.directory), 0o755);
    mkdirSync(join(directory, 'dropbox'));
    chmodSync(join(directory, 'dropbox'), 0o733);
    const asNobody = async (steps: FilesTask['steps']): Promise<FilesReport> => (await runProgram<FilesReport>('files-caller', { steps }, { uid: 65534 })).report;
    const inside = join(directory, 'dropbox', 'made');
    const report = await asNobody([
      ['makeDirectory', join(directory, 'x')],
      ['makeDirectory', inside],
      ['makeDirectory', inside, { durable: false }],
    ]);
    assert.equal(report.map((step) => step.error?.code), ['TIDEMARK_PERMISSION', 'TIDEMARK_PERMISSION', undefined]);
    assert.is(statSync(inside).isDirectory(), true);
  });
}

// ---- from outside ------------------------------------------------------------------------------------------------------

const CALLS = 'fsync,renameat,renameat2,linkat,unlinkat,symlinkat,mkdirat,write';

async function traced(steps: FilesTask['steps'], directory: string, inject: readonly string[] = []): Promise<{ calls: Call[]; report: FilesReport }> {
  const log = join(directory, '.trace');
  const prefix = ['strace', '-f', '-tt', '-y', '-s', '200', '-o', log, '-e', `trace=${CALLS}`, ...inject.flatMap((rule) => ['-e', `inject=${rule}`])];
  const { report } = await runProgram<FilesReport>('files-caller', { steps, marks: true }, { prefix });
  const calls = parseTrace(readFileSync(log, 'utf8'));
  const from = calls.findIndex(({ name, args }) => name === 'write' && args.startsWith('3<') && args.includes('"begin'));
  return { calls: calls.slice(from + 1).filter(({ name, args }) => (name === 'write' ? args.startsWith('3<') : !args.includes('<socket:') && !args.includes('<pipe:'))), report };
}

/** A call in short: its name, and for syncs and marks of what. */
function short({ name, args }: Call, directory: string): string {
  if (name === 'write') return /"(\w+)/.exec(args)?.[1] ?? '';
  return name === 'fsync' ? `fsync ${(/<([^>]*)>/.exec(args)?.[1] ?? '').replace(directory, '.')}` : name;
}

const missing = noTracing();
if (missing !== undefined || first === undefined) skip('the syncs of directories', missing ?? 'no filesystem');
else {
  test('the directories of all names are synced after the change, once each, the new name first', async () => {
    const directory = directoryOn(first);
    for (const name of ['a', 'b']) mkdirSync(join(directory, name));
    const path = (name: string): string => join(directory, name);
    const { calls } = await traced([
      ['makeDirectory', path('a/1/2'), { recursive: true }],
      ['symlink', 'x', path('a/link')],
      ['rename', path('a/link'), path('a/moved')],
      ['rename', path('a/moved'), path('b/moved')],
      ['exchange', path('b/moved'), path('a/1')],
      ['hardlink', path('a/1'), path('b/second')],
      ['unlink', path('b/second')],
      ['unlink', path('a/1'), { durable: false }],
    ], directory);
    assert.equal(calls.map((call) => short(call, directory)), [
      'mkdirat', 'mkdirat', 'fsync ./a', 'fsync ./a/1', 'done',
      'symlinkat', 'fsync ./a', 'done',
      'renameat', 'fsync ./a', 'done',
      'renameat', 'fsync ./b', 'fsync ./a', 'done',
      'renameat2', 'fsync ./a', 'fsync ./b', 'done',
      'linkat', 'fsync ./b', 'done',
      'unlinkat', 'fsync ./b', 'done',
      'unlinkat', 'done',
    ]);
  });

  test('without RENAME_NOREPLACE a file is linked and unlinked, a directory and an exchange are refused', async () => {
    const directory = directoryOn(first);
    const path = (name: string): string => join(directory, name);
    writeFileSync(path('file'), 'content');
    writeFileSync(path('taken'), '');
    mkdirSync(path('dir'));
    const { report } = await traced([
      ['renameNoReplace', path('file'), path('taken')],
      ['renameNoReplace', path('file'), path('moved')],
      ['renameNoReplace', path('dir'), path('dir2')],
      ['exchange', path('moved'), path('taken')],
    ], directory, ['renameat2:error=EINVAL']);
    assert.equal(report.map(({ result, error }) => error?.code ?? (result as { primitive: string }).primitive),
      ['TIDEMARK_EXISTS', 'linkat+unlinkat', 'TIDEMARK_NOT_SUPPORTED', 'TIDEMARK_NOT_SUPPORTED']);
    assert.match(report[3]?.error?.message ?? '', /RENAME_EXCHANGE.*ext4/);
    assert.equal(readdirSync(directory).filter((name) => name !== '.trace').sort(), ['dir', 'moved', 'taken']);
    assert.is(readFileSync(path('moved'), 'utf8'), 'content');
  });

  test('the directory that is synced is the one that holds the name, however the path ends', async () => {
    const directory = directoryOn(first);
    mkdirSync(join(directory, 'a/b'), { recursive: true });
    symlinkSync('a/b', join(directory, 'link'));
    const cases: readonly (readonly [method: string, path: string, synced: string])[] = [
      ['syncParentDir', 'a/b', './a'], ['syncParentDir', 'a/b/', './a'], ['syncParentDir', 'a/b/.', './a'], ['syncParentDir', 'a/b/..', '.'],
      ['syncParentDir', 'link/.', './a'], ['syncParentDir', 'link/..', '.'], ['syncParentDir', 'link', '.'], ['makeDirectory', 'a/b/.', './a'], ['makeDirectory', 'link/..', '.'],
    ];
    const { calls, report } = await traced(cases.map(([method, path]) => [method, `${directory}/${path}`, ...(method === 'makeDirectory' ? [{ recursive: true }] : [])]), directory);
    assert.equal(report.map(({ error }) => error), cases.map(() => undefined));
    const syncs = calls.map((call) => short(call, directory)).filter((call) => call.startsWith('fsync'));
    assert.equal(syncs, cases.map(([, , synced]) => `fsync ${synced}`));
  });

  test('a failed sync of the directory rejects, is not tried again, and the change stays', async () => {
    const directory = directoryOn(first);
    const { calls, report } = await traced([['makeDirectory', join(directory, 'x')]], directory, ['fsync:error=EIO:when=1']);
    assert.is(report[0]?.error?.code, 'TIDEMARK_IO');
    assert.is(report[0]?.error?.path, directory);
    assert.equal(calls.map((call) => short(call, directory)), ['mkdirat', 'fsync .', 'done']);
    assert.is(existsSync(join(directory, 'x')), true);
  });
}

test('a slash at the end says that it is a directory', async () => {
  const directory = temporaryDirectory();
  const path = (name: string): string => join(directory, name);
  writeFileSync(path('file'), 'content');
  mkdirSync(path('dir'));
  symlinkSync('dir', path('link'));
  const calls: readonly (() => Promise<unknown>)[] = [
    () => files.unlink(`${path('file')}/`), () => files.unlink(`${path('link')}/`), () => files.rename(path('file'), `${path('new')}/`),
    () => files.rename(`${path('file')}/`, path('new')), () => files.replaceFile(`${path('file')}/`, ''), () => files.replaceFile(`${path('new')}/`, ''),
    () => files.copyFile(path('file'), `${path('new')}/`), () => files.hardlink(path('file'), `${path('new')}/`),
  ];
  for (const [index, call] of calls.entries()) assert.equal([index, await codeOf(call())], [index, 'TIDEMARK_NOT_FOUND']);
  assert.equal(readdirSync(directory).sort(), ['dir', 'file', 'link']);
  await files.makeDirectory(`${path('made')}/`);
  await files.rename(`${path('made')}/`, `${path('moved')}/`);
  await files.removeDirectory(`${path('moved')}/`);
  assert.is(readFileSync(path('file'), 'utf8'), 'content');
});

test('behind a link, `..` leads where it does for the system', async () => {
  const directory = temporaryDirectory();
  const path = (name: string): string => join(directory, name);
  mkdirSync(path('releases/42'), { recursive: true });
  symlinkSync('releases/42', path('current'));
  for (const base of [directory, relative(process.cwd(), directory), `./${relative(process.cwd(), directory)}`]) {
    const through = `${base}/current/../settings`;
    await files.replaceFile(through, base);
    assert.is(readFileSync(through, 'utf8'), base);
    assert.is(readFileSync(path('releases/settings'), 'utf8'), base);
    assert.equal(await codeOf(files.unlink(`${base}/missing/../current`)), 'TIDEMARK_NOT_FOUND');
    await files.makeDirectory(`${base}/current/../a//b/./c/`, { recursive: true });
    assert.equal((await files.removeDirectory(`${base}/current/../a/b/c/`)).primitive, 'unlinkat');
    await files.unlink(through);
    await files.removeDirectory(path('releases/a/b'));
    await files.removeDirectory(path('releases/a'));
  }
  assert.equal([readdirSync(directory).sort(), readdirSync(path('releases'))], [['current', 'releases'], ['42']]);
});

test.after(() => scheduler.close());
test.run();
