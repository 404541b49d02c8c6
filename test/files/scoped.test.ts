/** What is confined to a directory stays inside, whatever paths it is given, and whatever happens to them meanwhile. */
import { execFileSync } from 'node:child_process';
import { lstatSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { IoScheduler, type ScopedFiles } from 'tidemark';
import { noTracing, runProgram, skip } from '../fault/tools.js';
import type { Striven } from '../programs/confined.js';
import { layGrounds, operationsOfHandle, operationsOfScope, stateOf, tryEscapes, WITHOUT_PATH, type Escaped, type Grounds } from './escapes.js';
import { directoryOn, FILESYSTEMS, type TestFilesystem } from './filesystems.js';
import { openPaths } from './tools.js';

const scheduler = new IoScheduler();
const { files } = scheduler;
/** Where tests that do not depend on the filesystem are done. */
const SOME = FILESYSTEMS.filter(({ name }) => name === 'ext4' || name === 'tmpfs');
/** Operations through the swapped door that have to succeed, and as many that have to be refused. */
const ENOUGH = 150;

/** A tracer that makes the kernel look as if it had no openat2, or as if a filter forbade it. */
const TRACERS = Object.fromEntries(['ENOSYS', 'EPERM'].map((error) => (
  [error, ['strace', '-f', '-qq', '--seccomp-bpf', '-o', '/dev/null', '-e', 'trace=openat2', '-e', `inject=openat2:error=${error}`]]))) as Record<'ENOSYS' | 'EPERM', string[]>;

async function rejection(promise: Promise<unknown>): Promise<string | undefined> {
  return promise.then(() => undefined, (error: unknown) => (error as { code?: string }).code ?? String(error));
}

async function pathsOf(scope: ScopedFiles, path: string): Promise<string[]> {
  const paths: string[] = [];
  for await (const entry of scope.scan(path)) paths.push(entry.path);
  return paths.sort();
}

for (const filesystem of FILESYSTEMS) {
  test(`${filesystem.name}: no operation leaves a scope or a directory`, async () => {
    const grounds = layGrounds(directoryOn(filesystem));
    const before = [stateOf(grounds.outside), stateOf(grounds.inside)];
    const scope = files.scoped(grounds.inside);
    const handle = await files.openDirectory(grounds.inside);
    const { tried, wrong } = await tryEscapes([...operationsOfHandle(handle), ...operationsOfScope(scope)], grounds);
    assert.equal(wrong.filter(({ path, code }) => !(path.startsWith('root-magic') && code === 'TIDEMARK_INVALID_PATH')), []);
    assert.ok(tried > 1900, `${tried} attempts`);
    assert.equal([stateOf(grounds.outside), stateOf(grounds.inside)], before);
    await handle.close();
    await scope.close();
    assert.equal(openPaths().filter((path) => path.startsWith(filesystem.directory)), []);
  });
}

test('every method of a scope that takes a path is tried', () => {
  const scope = files.scoped('/');
  const tried = new Set(operationsOfScope(scope).map(({ name }) => name.split(' ')[0]));
  assert.equal(Object.keys(scope).filter((name) => !tried.has(name) && !WITHOUT_PATH.includes(name as keyof ScopedFiles)), []);
});

for (const filesystem of SOME) {
  test(`${filesystem.name}: paths that stay inside work, with \`..\` and links too`, async () => {
    const { inside } = layGrounds(directoryOn(filesystem));
    mkdirSync(join(inside, 'mounted'));
    execFileSync('mount', ['--bind', join(inside, 'a'), join(inside, 'mounted')]);
    symlinkSync('../file', join(inside, 'a', 'to-file'));
    const scope = files.scoped(inside);
    const { inode } = await scope.statx('file');
    assert.is(inode, statSync(join(inside, 'file'), { bigint: true }).ino);
    for (const path of ['./file', 'a/../file', 'a/back/file', 'loop/loop/file', 'a/to-file', 'mounted/../file', 'a//..//./file']) assert.is((await scope.statx(path)).inode, inode, path);
    assert.is((await scope.statx('mounted/file')).inode, statSync(join(inside, 'a', 'file'), { bigint: true }).ino);
    assert.is((await scope.statx('a/to-file', { followLink: false })).kind, 'symlink');
    await scope.mkfifo('a/back/fifo');
    assert.ok(lstatSync(join(inside, 'fifo')).isFIFO());
    execFileSync('umount', [join(inside, 'mounted')]);
    await scope.close();
  });

  outruns(filesystem, []);
}

for (const filesystem of SOME.slice(0, 1)) {
  const missing = noTracing();
  if (missing !== undefined) skip('confinement without openat2', missing);
  else {
    for (const error of ['ENOSYS', 'EPERM'] as const) escapesWithout(filesystem, error);
    outruns(filesystem, TRACERS.ENOSYS);
  }
}

function escapesWithout(filesystem: TestFilesystem, error: 'ENOSYS' | 'EPERM'): void {
  test(`${filesystem.name}: nothing leaves where openat2 answers ${error}`, async () => {
    const grounds = layGrounds(directoryOn(filesystem));
    const before = stateOf(grounds.outside);
    const task = { what: 'escape', grounds, forbidden: [], enough: 0, boundMs: 0 };
    const { report } = await runProgram<{ tried: number; wrong: Escaped[] }>('confined', task, { prefix: TRACERS[error] });
    assert.equal(report.wrong, []);
    assert.ok(report.tried > 1900);
    assert.is(stateOf(grounds.outside), before);
  });
}

/** Swaps the directory `door` for a link that leads outside, and back, as fast as it can. */
const SWAPPER = `
  const { renameSync } = require('node:fs');
  const { workerData: { inside, words } } = require('node:worker_threads');
  const shared = new Int32Array(words);
  const door = inside + '/door', room = inside + '/room', trap = inside + '/trap';
  while (Atomics.load(shared, 0) === 0) {
    renameSync(door, room); renameSync(trap, door);
    renameSync(door, trap); renameSync(room, door);
    Atomics.add(shared, 1, 1);
  }
`;

/** Runs operations through the door while it is swapped. */
async function outrun(grounds: Grounds, prefix: readonly string[]): Promise<{ striven: Striven; swaps: number }> {
  const { inside, outside } = grounds;
  mkdirSync(join(inside, 'door'));
  writeFileSync(join(inside, 'door', 'plain'), 'plain');
  symlinkSync(outside, join(inside, 'trap'));
  const words = new SharedArrayBuffer(8);
  const shared = new Int32Array(words);
  const swapper = new Worker(SWAPPER, { eval: true, workerData: { inside, words } });
  const over = new Promise((resolve, reject) => swapper.once('exit', resolve).once('error', reject));
  const forbidden = [outside, ...readdirSync(outside).map((name) => join(outside, name))].map((path) => String(lstatSync(path, { bigint: true }).ino));
  try {
    const { report } = await runProgram<Striven>('confined', { what: 'strive', grounds, forbidden, enough: ENOUGH, boundMs: 10_000 }, { prefix });
    return { striven: report, swaps: Atomics.load(shared, 1) };
  } finally {
    Atomics.store(shared, 0, 1);
    await over;
  }
}

function outruns(filesystem: TestFilesystem, prefix: readonly string[]): void {
  test(`${filesystem.name}: nothing leaves through a directory that is swapped for a link${prefix.length > 0 ? ', without openat2' : ''}`, async () => {
    const grounds = layGrounds(directoryOn(filesystem));
    const before = stateOf(grounds.outside);
    const { striven: { ends, leaks }, swaps } = await outrun(grounds, prefix);
    assert.equal(leaks, []);
    assert.is(stateOf(grounds.outside), before);
    assert.not(readdirSync(grounds.inside).includes('stolen'));
    const told = JSON.stringify({ ends, swaps });
    // Both ways of the door were met, or nothing was tried.
    assert.ok((ends['ok'] ?? 0) >= ENOUGH && (ends['TIDEMARK_OUTSIDE_ROOT'] ?? 0) >= ENOUGH && swaps > 100, told);
    const known = ['ok', 'TIDEMARK_OUTSIDE_ROOT', 'TIDEMARK_NOT_FOUND', 'TIDEMARK_EXISTS'];
    assert.equal(Object.keys(ends).filter((code) => !known.includes(code)), [], told);
  });
}

for (const filesystem of SOME) {
  test(`${filesystem.name}: a scope stays with its directory, whatever gets the name`, async () => {
    const base = directoryOn(filesystem);
    mkdirSync(join(base, 'home'));
    writeFileSync(join(base, 'home', 'file'), 'first');
    const scope = files.scoped(join(base, 'home'));
    await scope.statx('file');
    renameSync(join(base, 'home'), join(base, 'moved'));
    mkdirSync(join(base, 'home'));
    assert.equal(await pathsOf(scope, '.'), ['file']);
    await scope.mkfifo('made');
    assert.equal(readdirSync(join(base, 'home')), []);
    assert.equal(readdirSync(join(base, 'moved')).sort(), ['file', 'made']);
    rmSync(join(base, 'moved'), { recursive: true });
    assert.is(await rejection(scope.mkfifo('again')), 'TIDEMARK_NOT_FOUND');
    await scope.close();
  });

  test(`${filesystem.name}: a scope within a scope is confined to it`, async () => {
    const { inside } = layGrounds(directoryOn(filesystem));
    const outer = files.scoped(inside);
    const inner = outer.scoped('a').scoped('b');
    await outer.close();
    await inner.mkfifo('fifo');
    assert.ok(lstatSync(join(inside, 'a', 'b', 'fifo')).isFIFO());
    assert.is(await rejection(inner.statx('../file')), 'TIDEMARK_OUTSIDE_ROOT');
    assert.is(await rejection(outer.statx('file')), 'TIDEMARK_CLOSED');
    await inner.close();
  });

  test(`${filesystem.name}: what was opened through a scope outlives it`, async () => {
    const { inside } = layGrounds(directoryOn(filesystem));
    const scope = files.scoped(inside);
    const directory = await scope.openDirectory('a');
    const file = await scope.openRead('file');
    await scope.close();
    await scope.close();
    assert.equal((await directory.list()).entries.map(({ name }) => name).sort(), readdirSync(join(inside, 'a')).sort());
    assert.is(readFileSync(`/proc/self/fd/${file.file.descriptor}`, 'utf8'), 'inside');
    await directory.close();
    await file.close();
  });

  test(`${filesystem.name}: a scope of nothing, or of a file, tells why with each operation`, async () => {
    const { inside } = layGrounds(directoryOn(filesystem));
    for (const name of ['missing', 'file']) {
      const scope = files.scoped(join(inside, name));
      assert.is(await rejection(scope.statx('x')), 'TIDEMARK_NOT_FOUND');
      assert.is(await rejection(scope.count('.')), 'TIDEMARK_NOT_FOUND');
      await scope.close();
    }
    assert.throws(() => files.scoped(''), /Expected `dir` to be a path/);
  });
}

test('a scope that was never used holds no process and no scheduler up', async () => {
  const own = new IoScheduler();
  own.files.scoped('/');
  await own.close();
  assert.is(await rejection(own.files.scoped('/').count('.')), 'TIDEMARK_CLOSED');
});

test.after(() => scheduler.close());
test.run();
