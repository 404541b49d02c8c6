/** Reads and writes: exact bytes on every filesystem against a model in memory, and the system calls behind them. */
import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { alignedBuffer, IoScheduler, type FileHandle, type WriteMethod } from 'tidemark';
import { noTracing, runProgram, skip } from '../fault/tools.js';
import type { TransferStep } from '../programs/transfers.js';
import { temporaryDirectory } from '../support.js';
import { traceSteps } from './calls.js';
import { directoryOn, FILESYSTEMS, type TestFilesystem } from './filesystems.js';

const scheduler = new IoScheduler({ fileWorkers: 3 });
const { files } = scheduler;

const MIB = 1024 * 1024;
const SEED = Number(process.env['TIDEMARK_TEST_SEED'] ?? Date.now() % 2 ** 31);
console.log(`TIDEMARK_TEST_SEED=${SEED}`);

/** Numbers from a seed (a linear congruential generator, Numerical Recipes). */
function randomOf(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

const noise = Buffer.from(Uint8Array.from({ length: 3 * MIB + 8192 }, (_, i) => Math.imul(i + 1, 2_654_435_761) >>> 24));

/** Bytes that differ from call to call. */
function someBytes(random: (below: number) => number, length: number): Buffer {
  const at = random(8192);
  return Buffer.from(noise.subarray(at, at + length));
}

/** What a file should hold. */
class Model {
  bytes = Buffer.alloc(0);

  write(data: Uint8Array, offset: number): void {
    if (data.length === 0) return;
    this.resize(Math.max(this.bytes.length, offset + data.length));
    this.bytes.set(data, offset);
  }

  resize(length: number): void {
    const next = Buffer.alloc(length);
    next.set(this.bytes.subarray(0, length));
    this.bytes = next;
  }

  check(path: string, what: string): void {
    const found = readFileSync(path);
    assert.is(found.length, this.bytes.length, `${what}: length`);
    if (!found.equals(this.bytes)) assert.unreachable(`${what}: differs from byte ${found.findIndex((byte, i) => byte !== this.bytes[i])} on`);
  }
}

function codeOf(promise: Promise<unknown>): Promise<string> {
  return promise.then(() => 'resolved', (error: unknown) => String((error as { code?: unknown }).code));
}

// ---- exact bytes ---------------------------------------------------------------------------------------------------

const EDGES = [0, 1, 511, 512, 513, 4095, 4096, 4097, MIB - 1, MIB, MIB + 1];
const LENGTHS = [0, 1, 512, 4095, 4097, MIB - 4096, MIB, MIB + 1];

/** A view of memory that is aligned, or not, private or shared. */
function inMemory(data: Uint8Array, random: (below: number) => number): Uint8Array {
  switch (random(3)) {
    case 0: return data;
    case 1: {
      const view = alignedBuffer(data.length);
      view.set(data);
      return view;
    }
    default: {
      const view = new Uint8Array(new SharedArrayBuffer(data.length + 3), 3);
      view.set(data);
      return view;
    }
  }
}

async function tryEdges(handle: FileHandle, path: string): Promise<void> {
  const random = randomOf(SEED);
  const model = new Model();
  for (const offset of EDGES) {
    for (const length of LENGTHS) {
      const what = `${length} bytes at ${offset}`;
      const data = someBytes(random, length);
      const { bytesWritten } = await files.writeAt(handle, inMemory(data, random), offset);
      assert.is(bytesWritten, length);
      model.write(data, offset);
      assert.is(statSync(path).size, model.bytes.length, `${what}: length`);
      const { data: read } = await files.readRange(handle, offset, length);
      assert.ok(read.equals(model.bytes.subarray(offset, offset + length)), `${what}: read`);
    }
    model.check(path, `all lengths at ${offset}`);
    // The next ones begin behind the end, at it, or before it.
    model.resize(random(2 * MIB));
    truncateSync(path, model.bytes.length);
  }
}

/** Cuts bytes into pieces, some of them empty. */
function inPieces(data: Buffer, random: (below: number) => number): Buffer[] {
  const pieces: Buffer[] = [];
  for (let at = 0; at < data.length;) {
    const length = Math.min([0, 1, 512, 4096, random(10_000)][random(5)] ?? 0, data.length - at);
    pieces.push(data.subarray(at, at + length));
    at += length;
  }
  return pieces;
}

async function tryRandomly(handle: FileHandle, path: string, steps: number): Promise<void> {
  const random = randomOf(SEED + 1);
  const model = new Model();
  const somewhere = (): number => Math.max(0, (EDGES[random(EDGES.length)] ?? 0) + random(3) * 512 - random(2));
  for (let step = 0; step < steps; step++) {
    const offset = somewhere();
    const length = random(4) === 0 ? somewhere() : random(9000);
    const what = `step ${step}, ${length} bytes at ${offset}`;
    const expected = (): Buffer => model.bytes.subarray(offset, offset + length);
    switch (random(6)) {
      case 0: {
        const data = someBytes(random, length);
        await files.writeVector(handle, inPieces(data, random), offset);
        model.write(data, offset);
        break;
      }
      case 1: {
        const lengths = inPieces(Buffer.alloc(length), random).map((piece) => piece.length);
        const { data, bytesRead } = await files.readVector(handle, lengths, offset);
        assert.equal([data.length, bytesRead], [lengths.length, expected().length], what);
        assert.ok(Buffer.concat(data).equals(expected()), what);
        break;
      }
      case 2: {
        const buffers = inPieces(Buffer.alloc(length), random).map((piece) => alignedBuffer(piece.length));
        const { data, bytesRead } = await files.readVector(handle, buffers, offset);
        assert.is(bytesRead, expected().length, what);
        assert.ok(Buffer.concat(data).equals(expected()), what);
        break;
      }
      case 3: {
        const into = random(2) === 0 ? alignedBuffer(length) : new Uint8Array(new SharedArrayBuffer(length + 7), 7);
        const { data } = await files.readRange(handle, offset, length, { into });
        assert.is(data.buffer, into.buffer);
        assert.ok(data.equals(expected()), what);
        break;
      }
      case 4:
        model.resize(random(MIB + 9000));
        truncateSync(path, model.bytes.length);
        break;
      default: {
        const data = someBytes(random, length);
        await files.writeAt(handle, inMemory(data, random), offset);
        model.write(data, offset);
      }
    }
    model.check(path, what);
  }
  const { data } = await files.readAll(handle);
  assert.ok(data.equals(model.bytes), 'readAll');
}

for (const filesystem of FILESYSTEMS) {
  for (const direct of [false, true]) {
    const how = `${filesystem.name}, ${direct ? 'direct' : 'buffered'}`;
    test(`${how}: transfers at the edges of sectors and steps move exactly their bytes`, async () => {
      const path = join(directoryOn(filesystem), 'file');
      const handle = await files.openWriteNew(path, { direct });
      assert.is(handle.direct.active, direct && filesystem.kind !== 'tmpfs');
      await tryEdges(handle, path);
      await handle.close();
    });

    test(`${how}: transfers of all kinds leave what the model holds`, async () => {
      const path = join(directoryOn(filesystem), 'file');
      const handle = await files.openWriteNew(path, { direct });
      await tryRandomly(handle, path, 40);
      await handle.close();
    });

    test(`${how}: by path`, async () => {
      const path = join(directoryOn(filesystem), "by 'path'\n");
      const made = await files.writeAll(path, noise.subarray(0, 5000), { direct });
      assert.equal([made.created, made.bytesWritten, made.direct], [true, 5000, direct && filesystem.kind !== 'tmpfs']);
      assert.is(made.directReason === '', made.direct);
      assert.is((await files.writeAll(path, 'čtyři', { direct })).created, false);
      assert.is(readFileSync(path, 'utf8'), 'čtyři');
      await files.writeAt(path, 'tři', 10, { direct });
      await files.append(path, '!');
      assert.is(readFileSync(path, 'utf8'), 'čtyři\0\0\0tři!');
      assert.equal((await files.readAll(path, { direct })).data, readFileSync(path));
      assert.is((await files.readRange(path, 10, 100, { direct })).data.toString(), 'tři!');
      assert.equal((await files.readVector(path, [1, 3, 5], 9)).data.map(String), ['\0', 'tř', 'i!']);
    });
  }
}

// ---- how bytes become durable --------------------------------------------------------------------------------------

/** Where there are atomic writes of 4096 bytes. */
const ATOMIC: Readonly<Record<string, boolean>> = { 'xfs': true, 'xfs-4k': true };

const WITH_DSYNC: readonly string[] = ['ext4', 'xfs', 'btrfs'];

/** What each method does with a short write to an open file, and by path to one that is new. */
function tracedCases(filesystem: TestFilesystem, path: string): readonly (readonly [TransferStep, sync: string, calls: readonly string[]])[] {
  const dsync = WITH_DSYNC.includes(filesystem.kind);
  const cheapest = dsync ? 'RWF_DSYNC' : 'fdatasync';
  const one = dsync ? ['pwritev2 file RWF_DSYNC'] : ['pwrite64 file', 'fdatasync file'];
  const oneAppended = dsync ? ['pwritev2 file RWF_DSYNC|RWF_APPEND'] : ['pwritev2 file RWF_APPEND', 'fdatasync file'];
  const large = ['pwrite64 file', 'pwrite64 file', 'pwrite64 file'];
  const write = { operation: 'writeAt', path, bytes: 1000 } as const;
  return [
    [{ operation: 'writeAll', path, bytes: 1000 }, cheapest, ['fsync .', ...one]],
    [{ operation: 'writeAll', path, bytes: 1000, options: { method: 'none' } }, 'none', ['ftruncate file', 'pwrite64 file']],
    // Where nothing is written, no write makes durable that the file was emptied.
    [{ operation: 'writeAll', path, bytes: 0 }, 'fdatasync', ['ftruncate file', 'fdatasync file']],
    [{ operation: 'append', path, bytes: 0 }, 'fdatasync', ['fdatasync file']],
    [{ operation: 'writeVector', path, bytes: 0, options: { method: 'auto' } }, 'fdatasync', ['fdatasync file']],
    [{ operation: 'writeAll', path, bytes: 2 * MIB + 1 }, 'fdatasync', ['ftruncate file', ...large, 'fdatasync file']],
    [{ ...write, bytes: 2 * MIB + 1, options: { method: 'sync' } }, 'fsync', [...large, 'fsync file']],
    [{ ...write, options: { method: 'data' } }, 'fdatasync', ['pwrite64 file', 'fdatasync file']],
    [{ operation: 'append', path, bytes: 1000 }, cheapest, oneAppended],
    [{ operation: 'append', path, bytes: 1000, options: { method: 'sync' } }, 'fsync', ['pwritev2 file RWF_APPEND', 'fsync file']],
    [{ operation: 'writeVector', path, bytes: 1000 }, cheapest, dsync ? ['pwritev2 file RWF_DSYNC'] : ['pwritev2 file', 'fdatasync file']],
    [{ operation: 'openWriteAt', path }, '', []],
    [{ ...write, onHandle: true }, 'none', ['pwrite64 file']],
    [{ ...write, onHandle: true, options: { method: 'auto' } }, cheapest, one],
  ];
}

/** Direct writes: whole sectors in one call, an end inside a sector, and one behind the end of the file. */
function directCases(filesystem: TestFilesystem, path: string): ReturnType<typeof tracedCases> {
  const dsync = WITH_DSYNC.includes(filesystem.kind);
  const one = dsync ? ['pwritev2 file RWF_DSYNC'] : ['pwrite64 file', 'fdatasync file'];
  const through = { operation: 'writeAt', path, onHandle: true, options: { method: 'direct' } } as const;
  return [
    // statx tells nothing on btrfs: a read is tried.
    [{ operation: 'openWriteAt', path, options: { direct: true, create: true, durable: false } }, '', filesystem.kind === 'btrfs' ? ['pread64 file'] : []],
    [{ ...through, bytes: 8192 }, dsync ? 'RWF_DSYNC' : 'fdatasync', one],
    // Less than a sector: more would go straight as far as it fills sectors, if its memory happened to be aligned.
    [{ ...through, bytes: 300 }, 'fdatasync', ['pread64 file', 'pwrite64 file', 'fdatasync file']],
    [{ ...through, bytes: 300, offset: 8192 }, 'fdatasync', ['pread64 file', 'pwrite64 file', 'ftruncate file', 'fdatasync file']],
    ...(ATOMIC[filesystem.name] !== true ? [] : [
      [{ ...through, bytes: 4096, options: { method: 'none', atomic: true } }, 'none', ['pwritev2 file RWF_ATOMIC']],
      [{ ...through, bytes: 4096, options: { method: 'auto', atomic: true } }, 'RWF_DSYNC', ['pwritev2 file RWF_DSYNC|RWF_ATOMIC']],
    ] as const),
  ];
}

const untraceable = noTracing();
for (const filesystem of FILESYSTEMS) {
  if (untraceable !== undefined) {
    skip(`${filesystem.name}: writes as the kernel sees them`, untraceable);
    continue;
  }
  test(`${filesystem.name}: each method makes the calls that it names, in order, before it resolves`, async () => {
    const directory = directoryOn(filesystem);
    const withDirect = filesystem.kind !== 'tmpfs';
    const cases = [...tracedCases(filesystem, join(directory, 'file')), ...(withDirect ? directCases(filesystem, join(directory, 'direct')) : [])];
    const traced = await traceSteps(cases.map(([step]) => step), directory);
    assert.is(traced.length, cases.length);
    cases.forEach(([step, sync, calls], index) => {
      const what = JSON.stringify(step);
      assert.equal([what, traced[index]?.calls], [what, calls.map((call) => call.replace(' file', step.path.endsWith('direct') ? ' direct' : ' file'))]);
      if (sync !== '') assert.equal([what, traced[index]?.answer['sync']], [what, sync]);
    });
  });
}

test('a failed sync rejects, and is not tried again', async () => {
  const [filesystem] = FILESYSTEMS;
  if (filesystem === undefined || untraceable !== undefined) return;
  const directory = directoryOn(filesystem);
  const path = join(directory, 'file');
  writeFileSync(path, '');
  const [written, synced] = await traceSteps([
    { operation: 'writeAt', path, bytes: 1000, options: { method: 'data' } }, { operation: 'syncData', path },
  ], directory, ['-e', 'inject=fdatasync:error=EIO']);
  assert.equal([written?.calls, written?.answer['code']], [['pwrite64 file', 'fdatasync file'], 'TIDEMARK_IO']);
  assert.equal([synced?.calls, synced?.answer['code']], [['fdatasync file'], 'TIDEMARK_IO']);
});

test('the method direct is refused where there is no direct IO', async () => {
  for (const filesystem of FILESYSTEMS) {
    const path = join(directoryOn(filesystem), 'file');
    const expected = filesystem.kind === 'tmpfs' ? 'TIDEMARK_NOT_SUPPORTED' : 'resolved';
    assert.equal([filesystem.name, await codeOf(files.writeAll(path, 'x', { method: 'direct' }))], [filesystem.name, expected]);
    const handle = await files.openWriteAt(path);
    assert.is(await codeOf(files.writeAt(handle, 'x', 0, { method: 'direct' })), 'TIDEMARK_NOT_SUPPORTED');
    await handle.close();
  }
});

for (const filesystem of FILESYSTEMS) {
  test(`${filesystem.name}: atomic writes are atomic writes, or refused`, async () => {
    const path = join(directoryOn(filesystem), 'file');
    writeFileSync(path, noise.subarray(0, 16_384));
    const handle = await files.openWriteAt(path, { direct: true });
    const write = (bytes: number, offset: number): Promise<string> => codeOf(files.writeAt(handle, Buffer.alloc(bytes, 'a'), offset, { atomic: true, method: 'auto' }));
    assert.is(await write(4096, 8192), ATOMIC[filesystem.name] === true ? 'resolved' : 'TIDEMARK_NOT_SUPPORTED');
    const expected = Buffer.from(noise.subarray(0, 16_384));
    if (ATOMIC[filesystem.name] === true) expected.fill('a', 8192, 12_288);
    for (const [bytes, offset] of [[4095, 0], [4096, 512], [0, 0], [12_288, 0]] as const) assert.is(await write(bytes, offset), 'TIDEMARK_NOT_SUPPORTED');
    assert.ok(readFileSync(path).equals(expected));
    await handle.close();
  });
}

// ---- ends, bounds, and what goes wrong -----------------------------------------------------------------------------

const [ground] = FILESYSTEMS;
const base = ground === undefined ? temporaryDirectory() : directoryOn(ground);

test('many short reads at once each get their own bytes', async () => {
  const path = join(base, 'many');
  writeFileSync(path, noise);
  const random = randomOf(SEED + 2);
  for (const direct of [false, true]) {
    const handle = await files.openRead(path, { direct });
    const closed = await files.openRead(path);
    await closed.close();
    const reads = Array.from({ length: 600 }, () => {
      const offset = random(noise.length + 1000);
      const length = random(2) === 0 ? random(40_000) : random(600);
      return { offset, length, result: files.readRange(random(20) === 0 ? path : handle, offset, length) };
    });
    assert.is(await codeOf(files.readRange(closed, 0, 10)), 'TIDEMARK_CLOSED');
    assert.is(await codeOf(files.readRange(`${path}.missing`, 0, 10)), 'TIDEMARK_NOT_FOUND');
    for (const { offset, length, result } of reads) {
      assert.ok((await result).data.equals(noise.subarray(offset, offset + length)), `${length} bytes at ${offset}`);
    }
    await handle.close();
  }
});

test('many short writes at once each put their own bytes', async () => {
  const path = join(base, 'written');
  const handle = await files.openWriteNew(path);
  await Promise.all(Array.from({ length: 500 }, (_, i) => files.writeAt(handle, Buffer.from(noise.subarray(i * 100, i * 100 + 100)), i * 100)));
  assert.ok(readFileSync(path).equals(noise.subarray(0, 50_000)));
  await handle.close();
});

test('vectors have any number of pieces', async () => {
  const path = join(base, 'vector');
  const handle = await files.openWriteNew(path);
  const pieces = Array.from({ length: 5000 }, (_, i) => noise.subarray(i * 7, i * 7 + 7));
  const { bytesWritten, primitive } = await files.writeVector(handle, pieces, 3);
  assert.equal([bytesWritten, primitive], [35_000, 'pwritev2']);
  assert.ok(readFileSync(path).subarray(3).equals(noise.subarray(0, 35_000)));
  const shared = new SharedArrayBuffer(40_000);
  const { data, primitive: reading, bytesRead } = await files.readVector(handle, pieces.map((_, i) => new Uint8Array(shared, i * 8, 8)), 3);
  assert.equal([data.length, bytesRead, reading], [5000, 35_000, 'preadv2']);
  assert.ok(Buffer.concat(data).equals(noise.subarray(0, 35_000)));
  assert.equal(await files.writeVector(handle, [], 0).then((result) => result.bytesWritten), 0);
  await handle.close();
});

test('appends of several at once stay whole, also beside a handle at an offset', async () => {
  const path = join(base, 'appended');
  const [appending, writing] = [await files.openAppend(path), await files.openWriteAt(path)];
  await Promise.all(Array.from({ length: 300 }, (_, i) => files.append(i % 2 === 0 ? appending : writing, `${String(i).padStart(9, '0')}\n`)));
  const lines = readFileSync(path, 'latin1').trimEnd().split('\n').map(Number);
  assert.equal(lines.toSorted((a, b) => a - b), Array.from({ length: 300 }, (_, i) => i));
  assert.is(await codeOf(files.writeAt(appending, 'x', 0)), 'TIDEMARK_INVALID_ARGUMENT');
  const direct = await files.openWriteAt(path, { direct: true });
  if (direct.direct.active) assert.is(await codeOf(files.append(direct, 'x')), 'TIDEMARK_NOT_SUPPORTED');
  for (const handle of [appending, writing, direct]) await handle.close();
});

test('whole files of any kind of length are read', async () => {
  const path = join(base, 'whole');
  writeFileSync(path, '');
  assert.is((await files.readAll(path)).data.length, 0);
  assert.match((await files.readAll('/proc/self/status')).data.toString(), /^Name:/);
  writeFileSync(path, noise);
  assert.ok((await files.readAll(path)).data.equals(noise));
  assert.ok((await files.readRange(path, 5, 2 ** 32)).data.equals(noise.subarray(5)));
  assert.is((await files.readRange(path, 2 ** 40, 10)).data.length, 0);
  assert.is((await files.readAll(path, { maxBytes: noise.length })).data.length, noise.length);
  assert.is(await codeOf(files.readAll(path, { maxBytes: noise.length - 1 })), 'TIDEMARK_TOO_LARGE');
  assert.is(await codeOf(files.readAll('/proc/self/status', { maxBytes: 10 })), 'TIDEMARK_TOO_LARGE');
});

/** Files that tell no length, and have several steps of it. */
const unsized = '/proc/kallsyms';
const isLong = existsSync(unsized) && statSync(unsized).size === 0 && readFileSync(unsized).length > 2 * MIB + 100;
if (!isLong) skip('ranges of files that tell no length', `${unsized} is no such file here`);
else test('ranges of files that tell no length are read to their end', async () => {
  // Modules come and go: what was the same before and after was so meanwhile.
  for (let attempt = 0; attempt < 10; attempt++) {
    const before = readFileSync(unsized);
    const [whole, part] = [await files.readRange(unsized, 0, 2 ** 32 - 1), await files.readRange(unsized, 100, 2 * MIB)];
    if (!readFileSync(unsized).equals(before)) continue;
    assert.ok(whole.data.equals(before));
    assert.ok(part.data.equals(before.subarray(100, 100 + 2 * MIB)));
    return;
  }
  assert.unreachable(`${unsized} never stayed the same`);
});

test('names are taken, or not, as asked', async () => {
  const path = join(base, 'name');
  assert.is(await codeOf(files.writeAll(path, 'x', { create: false })), 'TIDEMARK_NOT_FOUND');
  assert.is(await codeOf(files.writeAt(path, 'x', 0)), 'TIDEMARK_NOT_FOUND');
  assert.is(await codeOf(files.append(path, 'x', { create: false })), 'TIDEMARK_NOT_FOUND');
  assert.is(await codeOf(files.writeVector(path, ['x'], 0)), 'TIDEMARK_NOT_FOUND');
  await files.writeAll(path, 'x', { exclusive: true, mode: 0o644 });
  assert.is(statSync(path).mode & 0o777, 0o644);
  assert.is(await codeOf(files.writeAll(path, 'y', { exclusive: true })), 'TIDEMARK_EXISTS');
  assert.is(readFileSync(path, 'latin1'), 'x');
});

test('bad arguments are refused before anything happens', async () => {
  const path = join(base, 'bad');
  writeFileSync(path, 'x');
  const handle = await files.openRead(path);
  const gib = new Uint8Array(2 ** 30);
  const bad: readonly [Promise<unknown>, RegExp][] = [
    [files.readRange(path, -1, 1), /`offset`/], [files.readRange(path, 0.5, 1), /`offset`/], [files.readRange(path, 2 ** 53, 1), /`offset`/],
    [files.readRange(path, 0, Number.NaN), /`length`/], [files.readRange(path, 0, undefined as never), /`length`/],
    [files.readRange(path, 0, 1, { into: new Uint8Array(9) }), /SharedArrayBuffer/], [files.readRange(path, 0, 9, { into: alignedBuffer(8) }), /`into`/],
    [files.readRange(path, 0, 1, { method: 'none' } as object), /Unknown option `method`/], [files.readAll({} as never), /`target`.*a path or a FileHandle/],
    [files.writeAt(path, 7 as never, 0), /`data`/], [files.writeAt(path, 'x', 0, { method: 'fast' as WriteMethod }), /`method`/],
    [files.append(path, 'x', { method: 'direct' as 'data' }), /`method`/], [files.writeAll(handle as never, 'x'), /`path`/],
    [files.writeAt(handle, 'x', 0), /`target`.*open for writing.*openRead/], [files.append(handle, 'x'), /openRead/], [files.writeVector(handle, ['x'], 0), /openRead/],
    [files.writeVector(path, 'x' as never, 0), /`buffers`/], [files.writeAll(path, 'y', { create: false, exclusive: true }), /`exclusive`/],
    [files.writeVector(path, Array.from({ length: 2 ** 23 }, () => gib), 0), /the sum of `buffers`/], [files.writeVector(path, [7 as never], 0), /`buffers\[0\]`/],
    [files.readVector(path, [alignedBuffer(1), 7] as never, 0), /`pieces\[1\]`/], [files.readVector(path, [-1], 0), /`pieces\[0\]`/],
    [files.readAll(path, { onProgress: 7 as never }), /`onProgress`/], [files.readAll(path, { maxBytes: -1 }), /`maxBytes`/],
  ];
  for (const [promise, message] of bad) {
    await promise.then(() => assert.unreachable(String(message)), (error: unknown) => {
      assert.is((error as { code: string }).code, 'TIDEMARK_INVALID_ARGUMENT');
      assert.match((error as Error).message, message);
    });
  }
  assert.throws(() => alignedBuffer(-1), /`bytes`/);
  await handle.close();
  assert.is(readFileSync(path, 'latin1'), 'x');
});

test('what may not be read or written is refused', async () => {
  if (process.getuid?.() !== 0) return;
  const directory = temporaryDirectory();
  chmodSync(directory, 0o755);
  const path = join(directory, 'file');
  writeFileSync(path, 'x', { mode: 0o600 });
  const steps: TransferStep[] = [
    { operation: 'writeAll', path, bytes: 1 }, { operation: 'writeAt', path, bytes: 1 }, { operation: 'append', path, bytes: 1 },
    { operation: 'syncData', path }, { operation: 'writeAll', path: `${path}.new`, bytes: 1 },
  ];
  const { report } = await runProgram<{ code: string }[]>('transfers', steps, { uid: 65_534 });
  assert.equal(report.map(({ code }) => code), steps.map(() => 'TIDEMARK_PERMISSION'));
  assert.is(readFileSync(path, 'latin1'), 'x');
});

test('an aborted write stops between two steps', async () => {
  const path = join(base, 'aborted');
  const data = new Uint8Array(new SharedArrayBuffer(200 * MIB));
  const controller = new AbortController();
  const reason = new Error('enough');
  const progress: number[] = [];
  const handle = await files.openWriteNew(path);
  const writing = files.writeVector(handle, Array.from({ length: 10 }, () => data), 0, {
    signal: controller.signal,
    onProgress: (bytes) => {
      progress.push(bytes);
      if (bytes > 0) controller.abort(reason);
    },
  });
  await writing.then(() => assert.unreachable(), (error: unknown) => {
    assert.is(error, reason);
  });
  const { size } = statSync(path);
  assert.ok(size > 0 && size < 10 * data.length && size % MIB === 0, `${size} bytes`);
  assert.ok((progress.at(-1) ?? 0) <= size);
  await handle.close();
  assert.is(statSync(path).size, size);
  rmSync(path);
});

/** Fills a filesystem but for `freeBytes`. */
function fill(directory: string, freeBytes: number): void {
  const reserve = join(directory, 'reserve');
  execFileSync('fallocate', ['-l', String(freeBytes), reserve]);
  let number = 0;
  for (const size of [64 * MIB, 8 * MIB, MIB, 65_536, 4096]) {
    for (;;) {
      try {
        execFileSync('fallocate', ['-l', String(size), join(directory, `filler-${number++}`)], { stdio: 'ignore' });
      } catch {
        break;
      }
    }
  }
  rmSync(reserve);
}

function tinyTmpfs(): string {
  const directory = join(base, 'tiny');
  mkdirSync(directory);
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1600k', 'tmpfs', directory]);
  return directory;
}

if (ground === undefined) skip('full disks', 'no filesystem can be mounted');
else {
  const full: readonly [string, boolean, () => string][] = [
    ['tmpfs', false, tinyTmpfs],
    ...FILESYSTEMS.filter(({ name }) => name === 'ext4' || name === 'xfs').map((filesystem): [string, boolean, () => string] => [filesystem.name, true, () => {
      const directory = directoryOn(filesystem);
      fill(directory, 1600 * 1024);
      return directory;
    }]),
  ];
  for (const [name, direct, prepare] of full) {
    test(`${name}: a full disk is told, with what was written by then`, async () => {
      const directory = prepare();
      const path = join(directory, 'file');
      writeFileSync(path, '');
      const handle = await files.openWriteAt(path, { direct });
      assert.is(handle.direct.active, direct);
      const error = await files.writeAt(handle, noise, 0).then(() => assert.unreachable(), (caught: unknown) => caught as { code: string; bytesDone: number; path: string });
      assert.equal([error?.code, error?.path], ['TIDEMARK_NO_SPACE', path]);
      const done = error?.bytesDone ?? 0;
      const found = readFileSync(path);
      assert.ok(done >= MIB && done < noise.length, `${done} bytes were written`);
      assert.ok(found.length >= done && found.subarray(0, done).equals(noise.subarray(0, done)));
      assert.is(found.length, done);
      await handle.close();
      if (direct) rmSync(directory, { recursive: true });
    });
  }
}

test.after(() => scheduler.close());
test.run();
