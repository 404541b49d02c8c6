/** Space of files: what each filesystem does, seen from outside, and random sequences held against a model in memory. */
import { spawnSync } from 'node:child_process';
import { closeSync, constants, fsyncSync, mkdirSync, openSync, readFileSync, rmSync, statSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { IoScheduler, type SpaceResult } from 'tidemark';
import { noTracing, skip, until } from '../fault/tools.js';
import { random } from '../recovery/segment-tools.js';
import { directoryOn, FILESYSTEMS, type TestFilesystem } from './filesystems.js';
import { traced } from './metadata-tools.js';
import { any, code, refused, rejected, SEED } from './tools.js';

const scheduler = new IoScheduler();
const { files } = scheduler;

const BLOCK = 4096;
const BLOCKS = 64;

type Kind = TestFilesystem['kind'];
type Operation = 'preallocate' | 'punchHole' | 'zeroRange' | 'collapseRange' | 'insertRange' | 'writeZeroes' | 'truncate';

/** Who lacks what. All that is not named here works. */
const MISSING: Readonly<Record<Kind, readonly Operation[]>> = {
  ext4: [],
  xfs: [],
  overlay: [],
  btrfs: ['collapseRange', 'insertRange'],
  tmpfs: ['zeroRange', 'collapseRange', 'insertRange'],
};

/** `writeZeroes` depends on the device: loop devices write nothing by themselves. */
const PRIMITIVES: Readonly<Record<Operation, string>> = {
  preallocate: 'fallocate',
  punchHole: 'FALLOC_FL_PUNCH_HOLE',
  zeroRange: 'FALLOC_FL_ZERO_RANGE',
  collapseRange: 'FALLOC_FL_COLLAPSE_RANGE',
  insertRange: 'FALLOC_FL_INSERT_RANGE',
  writeZeroes: 'pwrite',
  truncate: 'ftruncate',
};

/** Bytes that the file has on disk. */
function allocated(path: string): number {
  const descriptor = openSync(path, constants.O_RDONLY);
  // Blocks are chosen, and counted, when data is written back.
  fsyncSync(descriptor);
  closeSync(descriptor);
  return statSync(path).blocks * 512;
}

function content(blocks: number): Buffer {
  return Buffer.from(Array.from({ length: blocks * BLOCK }, (_, index) => 1 + ((index * 7 + Math.floor(index / BLOCK)) % 255)));
}

function makeFile(filesystem: TestFilesystem, bytes = content(BLOCKS)): { path: string; bytes: Buffer } {
  const path = join(directoryOn(filesystem), 'file with a\n\'quote"');
  writeFileSync(path, bytes);
  return { path, bytes };
}

/** What each operation does to a file of {@link BLOCKS} blocks that are all there. */
interface Case {
  readonly operation: Operation;
  readonly what: string;
  readonly call: (path: string) => Promise<SpaceResult>;
  /** What it makes of the content. */
  readonly result: (bytes: Buffer) => Buffer;
  /** Blocks that the file has afterwards: at least, at most; more than that where a filesystem keeps blocks for its own books. */
  readonly blocks: readonly [number, number];
}

const zeros = (blocks: number): Buffer => Buffer.alloc(blocks * BLOCK);
const filled = (bytes: Buffer, start: number, end: number): Buffer => {
  const grown = Buffer.concat([bytes, Buffer.alloc(Math.max(0, end - bytes.length))]);
  return grown.fill(0, start, end);
};

const CASES: readonly Case[] = [
  { operation: 'preallocate', what: 'behind the end, the length kept', call: (path) => files.preallocate(path, 96 * BLOCK), result: (bytes) => bytes, blocks: [96, 100] },
  { operation: 'preallocate', what: 'and the length with it', call: (path) => files.preallocate(path, { offset: 80 * BLOCK, length: 16 * BLOCK }, { mode: 'extend' }), result: (bytes) => filled(bytes, 64 * BLOCK, 96 * BLOCK), blocks: [80, 84] },
  { operation: 'preallocate', what: 'what is there already', call: (path) => files.preallocate(path, 100, { mode: 'extend', durable: true }), result: (bytes) => bytes, blocks: [64, 66] },
  { operation: 'punchHole', what: 'of whole blocks', call: (path) => files.punchHole(path, 16 * BLOCK, 32 * BLOCK), result: (bytes) => filled(bytes, 16 * BLOCK, 48 * BLOCK), blocks: [32, 34] },
  { operation: 'punchHole', what: 'with parts of blocks at its ends', call: (path) => files.punchHole(path, 16 * BLOCK - 5, 32 * BLOCK + 10, { durable: true }), result: (bytes) => filled(bytes, 16 * BLOCK - 5, 48 * BLOCK + 5), blocks: [32, 34] },
  { operation: 'punchHole', what: 'that reaches behind the end', call: (path) => files.punchHole(path, 60 * BLOCK, 90 * BLOCK), result: (bytes) => filled(bytes, 60 * BLOCK, 64 * BLOCK), blocks: [60, 62] },
  { operation: 'zeroRange', what: 'keeps the blocks', call: (path) => files.zeroRange(path, 16 * BLOCK, 32 * BLOCK), result: (bytes) => filled(bytes, 16 * BLOCK, 48 * BLOCK), blocks: [64, 66] },
  { operation: 'zeroRange', what: 'lengthens the file', call: (path) => files.zeroRange(path, 60 * BLOCK + 1, 10 * BLOCK, { durable: true }), result: (bytes) => filled(bytes, 60 * BLOCK + 1, 70 * BLOCK + 1), blocks: [70, 74] },
  { operation: 'zeroRange', what: 'keeps the length where it shall', call: (path) => files.zeroRange(path, 60 * BLOCK, 10 * BLOCK, { keepSize: true }), result: (bytes) => filled(bytes, 60 * BLOCK, 64 * BLOCK), blocks: [64, 74] },
  { operation: 'collapseRange', what: 'moves what follows down', call: (path) => files.collapseRange(path, 16 * BLOCK, 8 * BLOCK), result: (bytes) => Buffer.concat([bytes.subarray(0, 16 * BLOCK), bytes.subarray(24 * BLOCK)]), blocks: [56, 58] },
  { operation: 'insertRange', what: 'moves what follows up', call: (path) => files.insertRange(path, 16 * BLOCK, 8 * BLOCK, { durable: true }), result: (bytes) => Buffer.concat([bytes.subarray(0, 16 * BLOCK), zeros(8), bytes.subarray(16 * BLOCK)]), blocks: [64, 66] },
  { operation: 'writeZeroes', what: 'over data', call: (path) => files.writeZeroes(path, 16 * BLOCK + 7, 10 * BLOCK), result: (bytes) => filled(bytes, 16 * BLOCK + 7, 26 * BLOCK + 7), blocks: [64, 66] },
  // xfs keeps more behind a file that has grown, for a while.
  { operation: 'writeZeroes', what: 'over data and behind it', call: (path) => files.writeZeroes(path, 60 * BLOCK + 7, 10 * BLOCK, { durable: true }), result: (bytes) => filled(bytes, 60 * BLOCK + 7, 70 * BLOCK + 7), blocks: [71, 256] },
  { operation: 'truncate', what: 'shorter', call: (path) => files.truncate(path, 10 * BLOCK + 3), result: (bytes) => bytes.subarray(0, 10 * BLOCK + 3), blocks: [11, 12] },
  { operation: 'truncate', what: 'longer, by a hole', call: (path) => files.truncate(path, 1000 * BLOCK, { durable: true }), result: (bytes) => filled(bytes, 64 * BLOCK, 1000 * BLOCK), blocks: [64, 66] },
  { operation: 'truncate', what: 'to nothing', call: (path) => files.truncate(path, 0), result: () => Buffer.alloc(0), blocks: [0, 0] },
];

for (const filesystem of FILESYSTEMS) {
  for (const { operation, what, call, result, blocks } of CASES) {
    const missing = MISSING[filesystem.kind].includes(operation);
    test(`${filesystem.name}: ${operation} ${missing ? 'is not supported' : what}`, async () => {
      const { path, bytes } = makeFile(filesystem);
      allocated(path);
      if (missing) {
        assert.is(await code(call(path)), 'TIDEMARK_NOT_SUPPORTED');
        assert.ok(readFileSync(path).equals(bytes), 'nothing changed');
        return;
      }
      const expected = result(Buffer.from(bytes));
      const { primitive, size } = await call(path);
      assert.is(primitive, PRIMITIVES[operation]);
      assert.is(size, expected.length);
      assert.ok(readFileSync(path).equals(expected), 'the content is as it should be');
      const had = allocated(path) / BLOCK;
      assert.ok(had >= blocks[0] && had <= blocks[1], `${had} blocks, expected from ${blocks[0]} to ${blocks[1]}`);
    });
  }
}

/** How a file's blocks are marked: `unwritten` ones read as zeros until they are written. */
function extentFlags(path: string): string {
  const { stdout } = spawnSync('filefrag', ['-v', path], { encoding: 'utf8' });
  return stdout.split('\n').filter((line) => /^\s*\d+:/.test(line)).map((line) => line.split(':').at(-1)?.trim() ?? '').join(';');
}

for (const filesystem of FILESYSTEMS.filter(({ kind }) => kind === 'ext4' || kind === 'xfs')) {
  test(`${filesystem.name}: blocks that are reserved or zeroed are marked as not written, blocks of written zeros are not`, async () => {
    const { path } = makeFile(filesystem, Buffer.alloc(0));
    await files.preallocate(path, 16 * BLOCK, { mode: 'extend', durable: true });
    assert.match(extentFlags(path), /unwritten/);
    await files.writeZeroes(path, 0, 16 * BLOCK, { durable: true });
    assert.not.match(extentFlags(path), /unwritten/);
    await files.zeroRange(path, 0, 16 * BLOCK, { durable: true });
    assert.match(extentFlags(path), /unwritten/);
  });
}

const untraceable = noTracing();
if (untraceable !== undefined) skip('the calls behind operations on space', untraceable);
for (const filesystem of untraceable === undefined ? FILESYSTEMS.filter(({ name }) => name === 'ext4' || name === 'tmpfs') : []) {
  test(`${filesystem.name}: one system call each, nothing written in its place, and a sync where that is asked for`, async () => {
    const { path } = makeFile(filesystem, content(1));
    const durable = { durable: true };
    const { calls, answers } = await traced([
      ['preallocate', path, 16 * BLOCK, durable], ['punchHole', path, 0, BLOCK], ['zeroRange', path, 0, BLOCK, durable], ['writeZeroes', path, 0, BLOCK, durable], ['truncate', path, 9, durable],
      ['truncate', path, 8],
    ], ['fallocate', 'ftruncate', 'pwrite64', 'fsync', 'fdatasync']);
    const lacksZeroRange = MISSING[filesystem.kind].includes('zeroRange');
    assert.equal(calls.filter(({ args }) => args.includes(filesystem.directory)).map(({ name }) => name), [
      'fallocate', 'fsync',
      'fallocate',
      ...(lacksZeroRange ? [] : ['fallocate', 'fsync']),
      'pwrite64', 'fsync',
      'ftruncate', 'fsync',
      'ftruncate',
    ]);
    assert.equal(answers.map((answer) => ('value' in answer ? answer.value['sync'] : answer.failure.code)), ['fsync', 'none', lacksZeroRange ? 'TIDEMARK_NOT_SUPPORTED' : 'fsync', 'fsync', 'fsync', 'none']);
  });
}

// ---- random sequences ------------------------------------------------------------------------------------------------

const STEPS = 120;
/** No file gets longer than this. */
const BYTES_MAX = 1024 * 1024;

/** One random change of a file and of its model. */
async function step(path: string, model: Buffer, kind: Kind, draw: (below: number) => number): Promise<{ model: Buffer; what: string }> {
  const available = (Object.keys(PRIMITIVES) as Operation[]).filter((operation) => !MISSING[kind].includes(operation));
  const operation = available[draw(available.length)] ?? 'truncate';
  const offset = draw(BYTES_MAX / 2);
  const length = 1 + draw(BYTES_MAX / 4);
  const end = offset + length;
  const what = `${operation} ${offset} ${length}`;
  switch (operation) {
    case 'preallocate': {
      const mode = draw(2) === 0 ? 'extend' : 'keepSize';
      await files.preallocate(path, { offset, length }, { mode });
      return { model: mode === 'extend' ? filled(model, model.length, Math.max(end, model.length)) : model, what };
    }
    case 'punchHole':
      await files.punchHole(path, offset, length);
      return { model: filled(model, offset, end).subarray(0, model.length), what };
    case 'zeroRange': {
      const keepSize = draw(2) === 0;
      await files.zeroRange(path, offset, length, { keepSize });
      return { model: keepSize ? filled(model, offset, end).subarray(0, model.length) : filled(model, offset, end), what };
    }
    case 'writeZeroes':
      await files.writeZeroes(path, offset, length);
      return { model: filled(model, offset, end), what };
    case 'truncate':
      await files.truncate(path, offset);
      return { model: filled(model, model.length, Math.max(offset, model.length)).subarray(0, offset), what };
    case 'collapseRange':
    case 'insertRange':
      return { model: await shift(operation, path, model, offset - (offset % BLOCK), BLOCK * (1 + draw(16))), what };
  }
}

/** Ranges that do not end, or start, before the end of the file are refused. */
async function shift(operation: 'collapseRange' | 'insertRange', path: string, model: Buffer, offset: number, length: number): Promise<Buffer> {
  const refused = operation === 'collapseRange' ? offset + length >= model.length : offset >= model.length;
  const rejected = await code(files[operation](path, offset, length));
  assert.is(rejected, refused ? 'TIDEMARK_INVALID_ARGUMENT' : undefined);
  if (refused) return model;
  const [head, tail] = [model.subarray(0, offset), model.subarray(operation === 'collapseRange' ? offset + length : offset)];
  return Buffer.concat(operation === 'collapseRange' ? [head, tail] : [head, Buffer.alloc(length), tail]);
}

for (const filesystem of FILESYSTEMS) {
  test(`${filesystem.name}: ${STEPS} random changes leave what a model in memory has, SEED=${SEED}`, async () => {
    const draw = random(SEED);
    const made = makeFile(filesystem);
    let model = made.bytes;
    const done: string[] = [];
    for (let i = 0; i < STEPS; i++) {
      if (model.length > BYTES_MAX) await files.truncate(made.path, BYTES_MAX / 2);
      model = model.subarray(0, model.length > BYTES_MAX ? BYTES_MAX / 2 : model.length);
      // Data between the zeros, or soon there are only zeros.
      const at = draw(BYTES_MAX / 2);
      const data = Buffer.alloc(1 + draw(20_000), 1 + draw(255));
      writeAt(made.path, data, at);
      model = filled(model, model.length, Math.max(model.length, at + data.length));
      data.copy(model, at);
      const next = await step(made.path, model, filesystem.kind, draw);
      model = next.model;
      done.push(next.what);
      assert.ok(readFileSync(made.path).equals(model), `differs after ${done.slice(-3).join(', ')}; SEED=${SEED}`);
    }
  });
}

function writeAt(path: string, data: Buffer, offset: number): void {
  const descriptor = openSync(path, 'r+');
  writeSync(descriptor, data, 0, data.length, offset);
  closeSync(descriptor);
}

// ---- what is refused -------------------------------------------------------------------------------------------------

const [first] = FILESYSTEMS;
if (first !== undefined) {
  const range = ['punchHole', 'zeroRange', 'collapseRange', 'insertRange', 'writeZeroes'] as const;

  test('arguments that cannot be used are refused, and named', async () => {
    const { path, bytes } = makeFile(first);
    for (const name of range) {
      for (const [offset, length, argument] of [[-1, 1, 'offset'], [0, 0, 'length'], [0, -1, 'length'], [0.5, 1, 'offset'], [0, 2 ** 53, 'length'], ['0', 1, 'offset'], [0, undefined, 'length']]) {
        await refused(files[name](path, any(offset), any(length)), new RegExp(`\`${String(argument)}\``));
      }
      await refused(files[name](any(7), 0, 1), /`target`/);
      await refused(files[name](path, 0, 1, any({ durabel: true })), /durabel/);
      await refused(files[name](path, 0, 1, any({ durable: 1 })), /`durable`/);
    }
    await refused(files.preallocate(path, 0), /`space`/);
    await refused(files.preallocate(path, any({ offset: 0 })), /`space.length`/);
    await refused(files.preallocate(path, any({ offset: 0, length: 1, size: 2 })), /size/);
    await refused(files.preallocate(path, 1, any({ mode: 'shrink' })), /`mode`/);
    await refused(files.zeroRange(path, 0, 1, any({ keepSize: 'yes' })), /`keepSize`/);
    await refused(files.truncate(path, -1), /`length`/);
    await refused(files.truncate(path, any(undefined)), /`length`/);
    // Parts of blocks cannot be moved.
    await refused(files.collapseRange(path, 1, BLOCK), /block size/);
    await refused(files.insertRange(path, BLOCK, 100), /block size/);
    assert.ok(readFileSync(path).equals(bytes), 'nothing changed');
  });

  test('what is no file, or is not there, or is closed', async () => {
    const directory = directoryOn(first);
    const { path } = makeFile(first);
    const fifo = join(directory, 'fifo');
    spawnSync('mkfifo', [fifo]);
    mkdirSync(join(directory, 'directory'));
    for (const [target, expected] of [
      [join(directory, 'missing'), 'TIDEMARK_NOT_FOUND'], [join(path, 'below a file'), 'TIDEMARK_NOT_FOUND'], [join(directory, 'directory'), 'TIDEMARK_IS_DIRECTORY'],
      [fifo, 'TIDEMARK_NOT_A_FILE'], ['/dev/null', 'TIDEMARK_NOT_A_FILE'],
    ] as const) {
      for (const call of [() => files.punchHole(target, 0, BLOCK), () => files.preallocate(target, BLOCK), () => files.truncate(target, 0)]) assert.is(await code(call()), expected, target);
    }
    const handle = await files.openWriteAt(path);
    await handle.close();
    assert.is(await code(files.punchHole(handle, 0, BLOCK)), 'TIDEMARK_CLOSED');
  });

  test('reserving more than the disk has fails, and the length stays', async () => {
    const { path, bytes } = makeFile(first);
    assert.is(await code(files.preallocate(path, 8 * 1024 ** 3, { mode: 'extend' })), 'TIDEMARK_NO_SPACE');
    assert.is(statSync(path).size, bytes.length);
    assert.ok(readFileSync(path).equals(bytes));
    // The first parts are reserved.
    rmSync(path);
  });

  test('a signal that was aborted, and one that is aborted while zeros are written', async () => {
    const { path, bytes } = makeFile(first);
    const reason = new Error('enough');
    assert.is(await rejected(files.truncate(path, 0, { signal: AbortSignal.abort(reason) })), reason);
    assert.ok(readFileSync(path).equals(bytes));
    const control = new AbortController();
    const writing = files.writeZeroes(path, 0, 128 * 1024 ** 2, { signal: control.signal });
    await until('the first zeros', 10_000, () => statSync(path).size > bytes.length);
    control.abort(reason);
    assert.is(await rejected(writing), reason);
    const { size } = statSync(path);
    assert.ok(size > 0 && size < 128 * 1024 ** 2, `it stopped at ${size} bytes`);
    await new Promise((resolve) => setImmediate(resolve));
    assert.is(statSync(path).size, size, 'nothing goes on');
  });
}

for (const filesystem of FILESYSTEMS) {
  test(`${filesystem.name}: what cannot be reserved is refused before anything is`, async () => {
    const { path, bytes } = makeFile(filesystem);
    const before = allocated(path);
    assert.is(await code(files.preallocate(path, 2 ** 40)), 'TIDEMARK_NO_SPACE');
    assert.is(await code(files.preallocate(path, 2 ** 40, { mode: 'extend' })), 'TIDEMARK_NO_SPACE');
    assert.equal([allocated(path), statSync(path).size], [before, bytes.length]);
  });
}

test('a handle that is open for reading is refused', async () => {
  const [filesystem] = FILESYSTEMS;
  if (filesystem === undefined) return;
  const { path, bytes } = makeFile(filesystem);
  const handle = await files.openRead(path);
  const calls: readonly (() => Promise<unknown>)[] = [
    () => files.truncate(handle, 0), () => files.preallocate(handle, BLOCK), () => files.punchHole(handle, 0, BLOCK), () => files.zeroRange(handle, 0, BLOCK),
    () => files.writeZeroes(handle, 0, BLOCK), () => files.collapseRange(handle, 0, BLOCK), () => files.insertRange(handle, 0, BLOCK), () => files.copyRange(path, 0, handle, BLOCK, BLOCK),
  ];
  for (const [index, call] of calls.entries()) {
    await call().then(() => assert.unreachable(`case ${index}`), (error: unknown) => {
      assert.equal([index, (error as { code: string }).code], [index, 'TIDEMARK_INVALID_ARGUMENT']);
      assert.match((error as Error).message, /`target` to be open for writing, got a handle from openRead/);
    });
  }
  await handle.close();
  assert.ok(readFileSync(path).equals(bytes));
});

test.after(() => scheduler.close());
test.run();
