/** Copies: content, holes and shared blocks as seen from outside, on every filesystem, and what is left where one ends early. */
import { spawnSync } from 'node:child_process';
import {
  chmodSync, chownSync, closeSync, fsyncSync, ftruncateSync, linkSync, lstatSync, mkdirSync, openSync, readdirSync, readFileSync, rmSync, statfsSync, statSync, symlinkSync, truncateSync,
  utimesSync, writeFileSync, writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { IoScheduler, type CopyMethod } from 'tidemark';
import { killGroup, noTracing, skip, startProgram, until } from '../fault/tools.js';
import { isOn } from '../fault/trace.js';
import { random } from '../recovery/segment-tools.js';
import { ended } from '../support.js';
import { directoryOn, FILESYSTEMS, type TestFilesystem } from './filesystems.js';
import { callsAs, failureIn, NOBODY, traced, valueOf } from './metadata-tools.js';
import { any, code, refused, rejected, SEED } from './tools.js';

const scheduler = new IoScheduler();
const { files } = scheduler;

const BLOCK = 4096;
const MIB = 1024 ** 2;

type Kind = TestFilesystem['kind'];

/** Methods that do not work within one filesystem. Between two, `read_write` alone does. */
const MISSING: Readonly<Record<Kind, readonly CopyMethod[]>> = {
  ext4: ['reflink'], xfs: [], btrfs: [], tmpfs: ['reflink'], overlay: ['reflink'],
};
const METHODS = ['reflink', 'copy_file_range', 'read_write'] as const;
const PRIMITIVES = { reflink: 'FICLONE', copy_file_range: 'copy_file_range', read_write: 'read_write' } as const;

/** Makes a file of data at the given places, in blocks, and of a length in bytes. */
function makeFile(path: string, data: readonly (readonly [start: number, blocks: number])[], length: number): void {
  const descriptor = openSync(path, 'w');
  for (const [start, blocks] of data) writeSync(descriptor, Buffer.alloc(blocks * BLOCK, `data at ${start}`), 0, blocks * BLOCK, start * BLOCK);
  ftruncateSync(descriptor, length);
  fsyncSync(descriptor);
  closeSync(descriptor);
}

interface Shape {
  readonly what: string;
  readonly data: readonly (readonly [number, number])[];
  readonly length: number;
  /** Bytes of holes. */
  readonly holes: number;
}

const SHAPES: readonly Shape[] = [
  { what: 'an empty file', data: [], length: 0, holes: 0 },
  { what: 'a file of one byte', data: [[0, 1]], length: 1, holes: 0 },
  { what: 'a file without holes', data: [[0, 600]], length: 600 * BLOCK - 17, holes: 0 },
  { what: 'a hole at the start', data: [[64, 64]], length: 128 * BLOCK, holes: 64 * BLOCK },
  { what: 'a hole in the middle', data: [[0, 64], [320, 64]], length: 384 * BLOCK, holes: 256 * BLOCK },
  { what: 'a hole at the end', data: [[0, 64]], length: 256 * BLOCK + 5, holes: 192 * BLOCK + 5 },
  { what: 'nothing but a hole', data: [], length: 5 * MIB + 1, holes: 5 * MIB + 1 },
  { what: 'many holes', data: Array.from({ length: 40 }, (_, index) => [index * 48, 16] as const), length: 40 * 48 * BLOCK, holes: 40 * 32 * BLOCK },
];

/** Bytes on disk, after all of it was written back. */
function allocated(path: string): number {
  const descriptor = openSync(path, 'r');
  fsyncSync(descriptor);
  closeSync(descriptor);
  return statSync(path).blocks * 512;
}

/** Whether filefrag(8) finds all blocks of the file shared with another one. */
function sharesAll(path: string): boolean {
  const { stdout } = spawnSync('filefrag', ['-v', path], { encoding: 'utf8' });
  const extents = stdout.split('\n').filter((line) => /^\s*\d+:/.test(line));
  return extents.length > 0 && extents.every((line) => line.includes('shared') || line.includes('inline'));
}

function checkCopy(from: string, to: string): void {
  assert.ok(readFileSync(to).equals(readFileSync(from)), 'the content is the same');
  assert.is(statSync(to).mode, statSync(from).mode);
  // A filesystem may need some blocks for its own books.
  const [before, after] = [allocated(from), allocated(to)];
  assert.ok(after <= before + 8 * BLOCK, `the copy has ${after} bytes on disk, the original ${before}`);
}

for (const filesystem of FILESYSTEMS) {
  for (const method of METHODS) {
    const missing = MISSING[filesystem.kind].includes(method);
    test(`${filesystem.name}: ${method} ${missing ? 'is not supported' : 'copies files of all shapes'}`, async () => {
      const directory = directoryOn(filesystem);
      for (const [index, shape] of SHAPES.entries()) {
        const [from, to] = [join(directory, `from\n'${index}"`), join(directory, `to\n'${index}"`)];
        makeFile(from, shape.data, shape.length);
        if (missing) {
          assert.is(await code(files.copyFile(from, to, { method })), 'TIDEMARK_NOT_SUPPORTED');
          continue;
        }
        const told: number[] = [];
        const result = await files.copyFile(from, to, { method, onProgress: (bytes) => told.push(bytes) });
        const reflink = method === 'reflink';
        const expected = { bytes: shape.length, copiedBytes: reflink ? 0 : shape.length - shape.holes, holes: reflink ? 0 : shape.holes };
        assert.equal(result, { ...expected, primitive: PRIMITIVES[method], sync: 'fsync', notPreserved: [] }, shape.what);
        checkCopy(from, to);
        assert.is(told.at(-1), shape.length);
        if (reflink && shape.length > BLOCK && shape.data.length > 0) assert.ok(sharesAll(to), `${shape.what}: all blocks are shared`);
      }
      if (missing) assert.is(readdirSync(directory).length, SHAPES.length, 'nothing is left');
    });
  }

  test(`${filesystem.name}: auto takes the first method that is there, and read_write to another filesystem`, async () => {
    const directory = directoryOn(filesystem);
    const from = join(directory, 'from');
    makeFile(from, [[0, 100], [200, 100]], 400 * BLOCK);
    const { primitive } = await files.copyFile(from, join(directory, 'to'));
    assert.is(primitive, MISSING[filesystem.kind].includes('reflink') ? 'copy_file_range' : 'FICLONE');
    checkCopy(from, join(directory, 'to'));
    for (const other of FILESYSTEMS.filter(({ kind }) => kind !== filesystem.kind && !(kind === 'overlay' || filesystem.kind === 'overlay'))) {
      const to = join(directoryOn(other), 'to');
      assert.is((await files.copyFile(from, to)).primitive, 'read_write', other.name);
      checkCopy(from, to);
      assert.is(await code(files.copyFile(from, to, { method: 'copy_file_range', overwrite: true })), 'TIDEMARK_NOT_SUPPORTED');
      assert.is(await code(files.copyFile(from, to, { method: 'reflink', overwrite: true })), 'TIDEMARK_NOT_SUPPORTED');
      checkCopy(from, to);
    }
  });

  test(`${filesystem.name}: what lies at the name is replaced where that is asked for, and kept otherwise`, async () => {
    const directory = directoryOn(filesystem);
    const [from, to, link] = [join(directory, 'from'), join(directory, 'to'), join(directory, 'link')];
    writeFileSync(from, 'new', { mode: 0o640 });
    writeFileSync(to, 'old', { mode: 0o600 });
    symlinkSync('to', link);
    symlinkSync('nowhere', join(directory, 'dangling'));
    for (const name of [to, link, join(directory, 'dangling')]) assert.is(await code(files.copyFile(from, name)), 'TIDEMARK_EXISTS');
    assert.is(readFileSync(to, 'utf8'), 'old');
    const descriptor = openSync(to, 'r');
    await files.copyFile(from, to, { overwrite: true });
    assert.is(readFileSync(descriptor, 'utf8'), 'old', 'whoever has the old file open keeps it');
    closeSync(descriptor);
    assert.is(readFileSync(to, 'utf8'), 'new');
    assert.is(statSync(to).mode & 0o777, 0o640);
    writeFileSync(from, 'newer');
    await files.copyFile(from, link, { overwrite: true, preserve: false });
    assert.ok(lstatSync(link).isSymbolicLink());
    assert.is(readFileSync(to, 'utf8'), 'newer');
    assert.is(statSync(to).mode & 0o777, 0o600);
    assert.equal(readdirSync(directory).sort(), ['dangling', 'from', 'link', 'to']);
  });

  test(`${filesystem.name}: random ranges, copied within a file and from another one, leave what a model in memory has, SEED=${SEED}`, async () => {
    const directory = directoryOn(filesystem);
    const draw = random(SEED);
    const [one, other] = [join(directory, 'one'), join(directory, 'other')];
    makeFile(one, [[0, 20], [40, 20], [80, 3]], 100 * BLOCK);
    makeFile(other, [[10, 30], [60, 20]], 90 * BLOCK + 99);
    const models = new Map([[one, readFileSync(one)], [other, readFileSync(other)]]);
    const seen = new Set<string>();
    for (let i = 0; i < 60; i++) {
      const [source, target] = [draw(2) === 0 ? one : other, draw(2) === 0 ? one : other];
      // Half of them in whole blocks, which can be shared.
      const unit = draw(2) === 0 ? BLOCK : 1;
      const place = (): number => draw(Math.floor((110 * BLOCK) / unit)) * unit;
      const [from, to, length] = [place(), place(), Math.max(unit, Math.floor(place() / 3 / unit) * unit)];
      const [content, old] = [models.get(source) ?? Buffer.alloc(0), models.get(target) ?? Buffer.alloc(0)];
      const part = Buffer.from(content.subarray(from, from + length));
      const what = `${from} ${to} ${length}, SEED=${SEED}, step ${i}`;
      const call = files.copyRange(source, from, target, to, length, { method: draw(3) === 0 ? 'read_write' : 'auto' });
      if (source === target && Math.abs(from - to) < part.length) {
        assert.is(await code(call), 'TIDEMARK_INVALID_ARGUMENT', what);
        continue;
      }
      const result = await call;
      assert.is(result.bytes, part.length, what);
      assert.is(result.sync, 'none');
      seen.add(result.primitive);
      if (part.length === 0) continue;
      const model = Buffer.concat([old, Buffer.alloc(Math.max(0, to + part.length - old.length))]);
      part.copy(model, to);
      models.set(target, model);
      assert.ok(readFileSync(target).equals(model), `differs: ${what}, ${result.primitive}`);
    }
    const expected = MISSING[filesystem.kind].includes('reflink') ? ['copy_file_range', 'read_write'] : ['FICLONERANGE', 'copy_file_range', 'read_write'];
    for (const primitive of expected) assert.ok(seen.has(primitive), `${primitive} was used`);
  });

  test(`${filesystem.name}: a hole that is copied over data becomes a hole, and one behind the end stays one`, async () => {
    const directory = directoryOn(filesystem);
    const [from, to] = [join(directory, 'from'), join(directory, 'to')];
    makeFile(from, [[0, 16], [240, 16]], 512 * BLOCK);
    makeFile(to, [[0, 300]], 300 * BLOCK);
    const result = await files.copyRange(from, 0, to, 0, 512 * BLOCK, { method: 'read_write', durable: true });
    assert.equal(result, { bytes: 512 * BLOCK, copiedBytes: 32 * BLOCK, holes: 480 * BLOCK, primitive: 'read_write', sync: 'fdatasync' });
    checkCopy(from, to);
  });
}

// ---- what is refused, and what is left where one ends early ------------------------------------------------------------

const onDisk = FILESYSTEMS.find(({ name }) => name === 'ext4');
const inMemory = FILESYSTEMS.find(({ name }) => name === 'tmpfs');
/** It has room for a large file. */
const roomy = FILESYSTEMS.find(({ name }) => name === 'xfs');

if (onDisk !== undefined && inMemory !== undefined && roomy !== undefined) {
  const LARGE = 100 * MIB;
  const large = join(directoryOn(inMemory), 'large');
  const readWrite = { method: 'read_write' } as const;
  const makeLarge = (): void => {
    writeFileSync(large, Buffer.alloc(LARGE, 'large file '));
  };
  /** Bytes of a copy that is going on. */
  const building = (directory: string): number => readdirSync(directory).reduce((sum, name) => sum + statSync(join(directory, name)).size, 0);

  test('arguments that cannot be used are refused, and named', async () => {
    const directory = directoryOn(onDisk);
    const [from, to] = [join(directory, 'from'), join(directory, 'to')];
    writeFileSync(from, 'content');
    await refused(files.copyFile(any(7), to), /`from`/);
    await refused(files.copyFile(from, any(undefined)), /`to`/);
    await refused(files.copyFile(from, to, any({ method: 'fast' })), /`method`/);
    await refused(files.copyFile(from, to, any({ overwrite: 1 })), /`overwrite`/);
    await refused(files.copyFile(from, to, any({ durable: 'no' })), /`durable`/);
    await refused(files.copyFile(from, to, any({ onProgress: true })), /`onProgress`/);
    await refused(files.copyFile(from, to, any({ preserve: { modes: true } })), /modes/);
    await refused(files.copyFile(from, to, any({ force: true })), /force/);
    await refused(files.copyRange(from, -1, from, 0, 1), /`sourceOffset`/);
    await refused(files.copyRange(from, 0, from, any('0'), 1), /`targetOffset`/);
    await refused(files.copyRange(from, 0, from, 4, 0), /`length`/);
    await refused(files.copyRange(from, 0, from, 4, any(undefined)), /`length`/);
    assert.equal(readdirSync(directory), ['from']);
  });

  test('a file is not copied onto itself, by whatever name', async () => {
    const directory = directoryOn(onDisk);
    const path = (name: string): string => join(directory, name);
    writeFileSync(path('file'), 'content');
    linkSync(path('file'), path('second name'));
    symlinkSync('file', path('link'));
    for (const name of ['file', 'second name', 'link']) {
      for (const overwrite of [false, true]) await refused(files.copyFile(path('file'), path(name), { overwrite }), /one file/);
    }
    assert.equal(readdirSync(directory).sort(), ['file', 'link', 'second name']);
    assert.is(readFileSync(path('file'), 'utf8'), 'content');
  });

  test('what is no file, is missing, or may not be used', async () => {
    const directory = directoryOn(onDisk);
    const path = (name: string): string => join(directory, name);
    writeFileSync(path('file'), 'content');
    mkdirSync(path('directory'));
    spawnSync('mkfifo', [path('fifo')]);
    for (const [from, to, expected] of [
      ['missing', 'to', 'TIDEMARK_NOT_FOUND'], ['file', 'missing/to', 'TIDEMARK_NOT_FOUND'], ['directory', 'to', 'TIDEMARK_IS_DIRECTORY'], ['fifo', 'to', 'TIDEMARK_NOT_A_FILE'],
      ['file', 'directory', 'TIDEMARK_IS_DIRECTORY'], ['file', 'fifo', 'TIDEMARK_NOT_A_FILE'],
    ] as const) {
      for (const overwrite of [false, true]) assert.is(await code(files.copyFile(path(from), path(to), { overwrite })), expected, `${from} to ${to}`);
    }
    const handle = await files.openRead(path('file'));
    await files.copyFile(handle, path('from a handle'));
    assert.is(readFileSync(path('from a handle'), 'utf8'), 'content');
    await handle.close();
    assert.is(await code(files.copyFile(handle, path('to'))), 'TIDEMARK_CLOSED');
    assert.equal(readdirSync(directory).sort(), ['directory', 'fifo', 'file', 'from a handle']);
    chmodSync(path('file'), 0o600);
    writeFileSync(path('readable'), 'content', { mode: 0o644 });
    const [unreadable, unwritable] = await callsAs(NOBODY, onDisk, [['copyFile', path('file'), path('to')], ['copyFile', path('readable'), path('to')]]);
    assert.is(failureIn(unreadable).code, 'TIDEMARK_PERMISSION');
    assert.is(failureIn(unwritable).code, 'TIDEMARK_PERMISSION');
    mkdirSync(path('open'));
    chmodSync(path('open'), 0o777);
    const [copied] = await callsAs(NOBODY, onDisk, [['copyFile', path('readable'), path('open/to'), { preserve: true }]]);
    assert.equal(valueOf(copied)['notPreserved'], ['uid', 'gid']);
    assert.is(statSync(path('open/to')).uid, NOBODY);
  });

  test('owner, times and attributes go along where that is asked for', async () => {
    const directory = directoryOn(onDisk);
    const [from, to] = [join(directory, 'from'), join(directory, 'to')];
    writeFileSync(from, 'content', { mode: 0o604 });
    chownSync(from, 12, 34);
    utimesSync(from, 1000, 2000.5);
    await files.setXattr(from, 'user.colour', Buffer.from('blue'));
    assert.equal((await files.copyFile(from, to, { preserve: true })).notPreserved, []);
    const { uid, gid, mode, mtimeMs } = statSync(to);
    assert.equal({ uid, gid, mode: mode & 0o7777, mtimeMs }, { uid: 12, gid: 34, mode: 0o604, mtimeMs: 2_000_500 });
    assert.is(Buffer.from((await files.getXattr(to, 'user.colour')).value ?? []).toString(), 'blue');
  });

  test('ranges that cannot be shared, have nothing to copy, or nowhere to go', async () => {
    const directory = directoryOn(roomy);
    const [from, to] = [join(directory, 'from'), join(directory, 'to')];
    makeFile(from, [[0, 8]], 8 * BLOCK);
    makeFile(to, [[0, 8]], 8 * BLOCK);
    const before = readFileSync(to);
    for (const [start, length] of [[1, BLOCK], [0, BLOCK - 1], [BLOCK + 512, 512]] as const) {
      assert.is(await code(files.copyRange(from, start, to, 0, length, { method: 'reflink' })), 'TIDEMARK_NOT_SUPPORTED');
    }
    assert.equal(await files.copyRange(from, 8 * BLOCK, to, 0, BLOCK), { bytes: 0, copiedBytes: 0, holes: 0, primitive: 'none', sync: 'none' });
    assert.is(await code(files.copyRange(from, 0, join(directory, 'missing'), 0, BLOCK)), 'TIDEMARK_NOT_FOUND');
    assert.is(await code(files.copyRange(join(directory, 'missing'), 0, to, 0, BLOCK)), 'TIDEMARK_NOT_FOUND');
    assert.is(await code(files.copyRange(from, 0, directory, 0, BLOCK)), 'TIDEMARK_IS_DIRECTORY');
    assert.is(await code(files.copyRange('/dev/zero', 0, to, 0, BLOCK)), 'TIDEMARK_NOT_A_FILE');
    assert.ok(readFileSync(to).equals(before), 'nothing changed');
    assert.is((await files.copyRange(from, 6 * BLOCK, to, 0, 8 * BLOCK, { method: 'reflink', durable: true })).bytes, 2 * BLOCK, 'up to the end of the source');
    assert.is(await code(files.copyRange(from, 0, to, 0, BLOCK, { signal: AbortSignal.abort(Object.assign(new Error(), { code: 'TIDEMARK_TEST' })) })), 'TIDEMARK_TEST');
  });

  test('files that do not tell how long they are', async () => {
    const directory = directoryOn(onDisk);
    for (const [index, from] of ['/proc/version', '/proc/filesystems', '/sys/kernel/mm/transparent_hugepage/enabled'].entries()) {
      const to = join(directory, `to ${index}`);
      const { bytes, primitive } = await files.copyFile(from, to);
      assert.is(primitive, 'read_write');
      assert.ok(bytes > 0 && readFileSync(to).equals(readFileSync(from)), from);
    }
  });

  test('progress grows up to the length, while others are served', async () => {
    makeLarge();
    const directory = directoryOn(roomy);
    const to = join(directory, 'to');
    const told: number[] = [];
    const settled = { yet: false };
    // All threads have started.
    await Promise.all(Array.from({ length: 40 }, async () => (await files.openRead(large)).close()));
    const copying = files.copyFile(large, to, { ...readWrite, lane: 'bulk', onProgress: (bytes) => told.push(bytes) }).finally(() => (settled.yet = true));
    await until('the copy to begin', 10_000, () => building(directory) > 0);
    await (await files.openRead(large)).close();
    assert.is(settled.yet, false, 'a file was opened and closed meanwhile');
    assert.equal(await copying, { bytes: LARGE, copiedBytes: LARGE, holes: 0, primitive: 'read_write', sync: 'fsync', notPreserved: [] });
    assert.equal(told, [...told].sort((a, b) => a - b));
    assert.is(told.at(-1), LARGE);
    assert.ok(readFileSync(to).equals(readFileSync(large)));
    rmSync(to);
  });

  test('a copy that is aborted ends, and leaves nothing', async () => {
    makeLarge();
    const directory = directoryOn(roomy);
    const control = new AbortController();
    const reason = new Error('enough');
    const copying = rejected(files.copyFile(large, join(directory, 'to'), { ...readWrite, signal: control.signal }));
    await until('the copy to begin', 10_000, () => building(directory) > 0);
    control.abort(reason);
    assert.is(await copying, reason);
    assert.equal(readdirSync(directory), []);
  });

  test('a copy that takes longer than it may is answered, ends, and leaves nothing', async () => {
    makeLarge();
    const directory = directoryOn(roomy);
    let begun = false;
    // On a busy machine it may take a while until a thread takes it up.
    for (let timeoutMs = 20; !begun; timeoutMs *= 2) {
      const error = await rejected(files.copyFile(large, join(directory, 'to'), { ...readWrite, timeoutMs })) as { code: string; begun: boolean };
      assert.is(error.code, 'TIDEMARK_TIMEOUT');
      begun = error.begun;
    }
    await until('the copy to end', 10_000, () => readdirSync(directory).length === 0);
    assert.is(await code(files.copyRange(large, 0, large, LARGE, 1)), undefined, 'threads are free');
    assert.equal(readdirSync(directory), []);
  });

  test('a disk that gets full leaves nothing, and what was to be replaced is kept', async () => {
    makeLarge();
    const directory = directoryOn(roomy);
    const [to, ballast] = [join(directory, 'to'), join(directory, 'ballast')];
    writeFileSync(to, 'old');
    const { bavail, bsize } = statfsSync(directory);
    writeFileSync(ballast, '');
    await files.preallocate(ballast, bavail * bsize - 60 * MIB);
    for (const method of ['auto', 'read_write'] as const) assert.is(await code(files.copyFile(large, to, { method, overwrite: true })), 'TIDEMARK_NO_SPACE');
    assert.equal(readdirSync(directory).sort(), ['ballast', 'to']);
    assert.is(readFileSync(to, 'utf8'), 'old');
    rmSync(ballast);
  });

  test('a source that is cut, or grows, while it is copied', async () => {
    for (const length of [10 * MIB, LARGE + 30 * MIB]) {
      makeLarge();
      const directory = directoryOn(roomy);
      const to = join(directory, 'to');
      const copying = files.copyFile(large, to, { ...readWrite, durable: false });
      await until('the copy to begin', 10_000, () => building(directory) > 0);
      truncateSync(large, length);
      const { bytes } = await copying;
      assert.ok(length < LARGE ? bytes < LARGE : bytes === LARGE, `${bytes} bytes were copied`);
      const copy = readFileSync(to);
      assert.is(copy.length, bytes);
      assert.ok(copy.subarray(0, 10 * MIB).equals(readFileSync(large).subarray(0, 10 * MIB)));
      rmSync(to);
    }
  });

  test('a copy that is killed leaves no file of that name, and the next one clears what it left', async () => {
    makeLarge();
    const directory = directoryOn(roomy);
    const to = join(directory, 'to');
    const child = startProgram('operations', { calls: [['copyFile', large, to, readWrite]] });
    const end = ended(child);
    await until('the copy to begin', 20_000, () => building(directory) > 0);
    killGroup(child);
    await end;
    assert.equal(readdirSync(directory), ['.to.tidemark-0']);
    await files.copyFile(large, to);
    assert.equal(readdirSync(directory), ['to']);
    assert.ok(readFileSync(to).equals(readFileSync(large)));
    rmSync(to);
  });

  test('many copies onto one name: one wins, the others are told, and nothing is left', async () => {
    const directory = directoryOn(onDisk);
    const from = join(directory, 'from');
    makeFile(from, [[0, 500]], 500 * BLOCK);
    const results = await Promise.all(Array.from({ length: 12 }, () => code(files.copyFile(from, join(directory, 'to')))));
    assert.equal(results.toSorted(), [...Array.from({ length: 11 }, () => 'TIDEMARK_EXISTS'), undefined]);
    await Promise.all(Array.from({ length: 12 }, () => files.copyFile(from, join(directory, 'to'), { overwrite: true })));
    checkCopy(from, join(directory, 'to'));
    assert.equal(readdirSync(directory).sort(), ['from', 'to']);
  });

  const untraceable = noTracing();
  if (untraceable !== undefined) skip('the order of syncs', untraceable);
  else {
    test('a durable copy is synced before it gets its name, and its directory after; another one not at all', async () => {
      const directory = directoryOn(onDisk);
      const from = join(directory, 'from');
      writeFileSync(from, 'content');
      const names = ['fsync', 'fdatasync', 'rename', 'renameat', 'renameat2', 'copy_file_range'];
      const durable = (await traced([['copyFile', from, join(directory, 'durable')]], names)).calls.filter(({ args, result }) => args.includes(directory) && result >= 0);
      assert.equal(durable.map(({ name }) => name), ['copy_file_range', 'fsync', 'renameat2', 'fsync']);
      const [copied, first, , second] = durable;
      assert.ok(copied?.args.includes('/.durable.tidemark-0>') === true);
      assert.ok(first !== undefined && isOn(first, join(directory, '.durable.tidemark-0')));
      assert.ok(second !== undefined && isOn(second, directory));
      const other = (await traced([['copyFile', from, join(directory, 'other'), { durable: false }]], names)).calls.filter(({ args, result }) => args.includes(directory) && result >= 0);
      assert.equal(other.map(({ name }) => name), ['copy_file_range', 'renameat2']);
    });
  }
}

test.after(() => scheduler.close());
test.run();
