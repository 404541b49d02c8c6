import { closeSync, fstatSync, openSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { IoUring, NotSupportedError } from 'tidemark';
import { temporaryDirectory } from '../support.js';

const test = suite('io_uring as an object');
const directory = temporaryDirectory();
let files = 0;

function newFile(): { path: string; descriptor: number } {
  const path = join(directory, `file-${files++}`);
  return { path, descriptor: openSync(path, 'w+') };
}

function available(): boolean {
  try {
    void IoUring.create({ entries: 4 }).close();
    return true;
  } catch (error) {
    if (!(error instanceof NotSupportedError)) throw error;
    console.log(`SKIPPED io_uring as an object: ${error.reason}`);
    return false;
  }
}

async function withRing(use: (ring: IoUring) => Promise<void>, options?: Parameters<typeof IoUring.create>[0]): Promise<void> {
  const ring = IoUring.create(options);
  try {
    await use(ring);
  } finally {
    await ring.close();
  }
}

async function rejection(promise: Promise<unknown>): Promise<Error & { code?: string; errnoName?: string }> {
  try {
    await promise;
  } catch (error) {
    return error as Error;
  }
  throw new Error('expected a rejection');
}

const many = Buffer.from(Uint8Array.from({ length: 300_000 }, (_, i) => (i * 7) & 255));

if (available()) {
  for (const { name, data } of [
    { name: 'no byte', data: Buffer.alloc(0) },
    { name: 'one byte', data: new Uint8Array([42]) },
    { name: 'memory small enough to move', data: Uint8Array.from({ length: 64 }, (_, i) => i) },
    { name: 'a slice of a pool', data: Buffer.from('hello, ring') },
    { name: 'much', data: many },
  ]) {
    test(`writes and reads ${name}`, () => withRing(async (ring) => {
      const { path, descriptor } = newFile();
      assert.is(await ring.writeAt(descriptor, data, 3), data.length);
      const expected = data.length === 0 ? Buffer.alloc(0) : Buffer.concat([Buffer.alloc(3), data]);
      assert.ok(readFileSync(path).equals(expected));
      const target = new Uint8Array(data.length + 10);
      assert.is(await ring.readAt(descriptor, target, 3), data.length, 'the end of the file cuts the read');
      assert.ok(Buffer.from(target).equals(Buffer.concat([data, Buffer.alloc(10)])));
      ring.closeFile(descriptor);
    }));

    test(`writes and syncs ${name} in one chain`, () => withRing(async (ring) => {
      const { path, descriptor } = newFile();
      assert.is(await ring.writeLinkedFsync(descriptor, data, 0), data.length);
      assert.ok(readFileSync(path).equals(Buffer.from(data)));
      ring.closeFile(descriptor);
    }));
  }

  test('more operations than the ring holds wait their turn', () => withRing(async (ring) => {
    const { path, descriptor } = newFile();
    await Promise.all(Array.from({ length: 1000 }, (_, i) => ring.writeAt(descriptor, Buffer.alloc(100, i), i * 100)));
    await ring.fdatasync(descriptor);
    assert.ok(readFileSync(path).equals(Buffer.concat(Array.from({ length: 1000 }, (_, i) => Buffer.alloc(100, i)))));
    ring.closeFile(descriptor);
  }, { entries: 4 }));

  test('registered buffers: parts of them, and memory that may move is refused', () => withRing(async (ring) => {
    const { path, descriptor } = newFile();
    const buffer = new Uint8Array(new SharedArrayBuffer(8192));
    for (let i = 0; i < buffer.length; i++) buffer[i] = i & 255;
    ring.registerBuffers([buffer]);
    assert.is(await ring.writeFixed(descriptor, { buffer: 0, start: 100, bytes: 1000 }, 5), 1000);
    assert.ok(readFileSync(path).equals(Buffer.concat([Buffer.alloc(5), buffer.subarray(100, 1100)])));
    assert.is(await ring.readFixed(descriptor, { buffer: 0, start: 4096, bytes: 50 }, 5), 50);
    assert.equal(buffer.slice(4096, 4146), buffer.slice(100, 150));
    assert.is((await rejection(ring.writeFixed(descriptor, { buffer: 1 }, 0))).code, 'TIDEMARK_INVALID_ARGUMENT');
    assert.is((await rejection(ring.writeFixed(descriptor, { buffer: 0, start: 8000, bytes: 1000 }, 0))).code, 'TIDEMARK_INVALID_ARGUMENT');
    assert.throws(() => ring.registerBuffers([new Uint8Array(10)]), /SharedArrayBuffer/);
    ring.closeFile(descriptor);
  }));

  test('sixteen registered files, more by descriptor', () => withRing(async (ring) => {
    const open = Array.from({ length: 20 }, newFile);
    assert.is(ring.fileSlots, 16);
    assert.equal(open.map(({ descriptor }) => ring.registerFile(descriptor)), [...Array<boolean>(16).fill(true), ...Array<boolean>(4).fill(false)]);
    await Promise.all(open.map(({ descriptor }, i) => ring.writeAt(descriptor, Buffer.from(`file ${i}`), 0)));
    open.forEach(({ path }, i) => {
      assert.is(readFileSync(path, 'utf8'), `file ${i}`);
    });
    for (const { descriptor } of open) ring.closeFile(descriptor);
  }));

  test('a closed descriptor leaves the table: its number reaches the new file', () => withRing(async (ring) => {
    const old = newFile();
    assert.ok(ring.registerFile(old.descriptor));
    await ring.writeAt(old.descriptor, Buffer.from('old'), 0);
    ring.closeFile(old.descriptor);
    assert.throws(() => fstatSync(old.descriptor), /EBADF/);
    const next = newFile();
    assert.is(next.descriptor, old.descriptor, 'the system gives the lowest free number');
    await ring.writeAt(next.descriptor, Buffer.from('new'), 0);
    assert.is(readFileSync(old.path, 'utf8'), 'old');
    assert.is(readFileSync(next.path, 'utf8'), 'new');
    closeSync(next.descriptor);
  }));

  test('errors name the call and the error number', () => withRing(async (ring) => {
    const { path, descriptor } = newFile();
    closeSync(descriptor);
    for (const call of [
      () => ring.writeAt(descriptor, Buffer.from('x'), 0),
      () => ring.readAt(descriptor, Buffer.alloc(100), 0),
      () => ring.fdatasync(descriptor),
      () => ring.writeLinkedFsync(descriptor, Buffer.from('x'), 0),
    ]) {
      const error = await rejection(call());
      assert.is(error.code, 'TIDEMARK_IO');
      assert.is(error.errnoName, 'EBADF');
    }
    const readOnly = openSync(path, 'r');
    assert.is((await rejection(ring.writeAt(readOnly, Buffer.from('x'), 0))).errnoName, 'EBADF');
    for (const [offset, descriptorGiven] of [[-1, readOnly], [0.5, readOnly], [0, -1], [0, 1.5]] as const) {
      assert.is((await rejection(ring.writeAt(descriptorGiven, Buffer.from('x'), offset))).code, 'TIDEMARK_INVALID_ARGUMENT');
    }
    closeSync(readOnly);
  }));

  test('close waits for all steps of what was called', async () => {
    // A read that meets the end of the file takes two of them.
    const [short, other] = [newFile(), newFile()];
    const ring = IoUring.create();
    await ring.writeAt(short.descriptor, Buffer.from('ten bytes.'), 0);
    const reads = [ring.readAt(short.descriptor, new Uint8Array(4096), 0), ring.readAt(short.descriptor, Buffer.alloc(100), 5)];
    const written = ring.writeLinkedFsync(other.descriptor, many, 0);
    await ring.close();
    assert.equal(await Promise.all([...reads, written]), [10, 5, many.length]);
    assert.ok(readFileSync(other.path).equals(many));
    for (const { descriptor } of [short, other]) closeSync(descriptor);
  });

  test('close waits for what is in flight, then refuses', async () => {
    const ring = IoUring.create();
    const { path, descriptor } = newFile();
    const written = ring.writeAt(descriptor, many, 0);
    await ring.close();
    assert.is(await written, many.length);
    assert.ok(readFileSync(path).equals(many));
    assert.is((await rejection(ring.writeAt(descriptor, many, 0))).code, 'TIDEMARK_CLOSED');
    closeSync(descriptor);
  });

  test('a hundred rings leave no descriptor behind', async () => {
    const count = (): number => readdirSync('/proc/self/fd').length;
    await IoUring.create().close();
    const before = count();
    for (let i = 0; i < 100; i++) await IoUring.create({ entries: 8 }).close();
    assert.is(count(), before);
  });

  test('a polling kernel thread', () => withRing(async (ring) => {
    const { path, descriptor } = newFile();
    assert.ok(ring.setupFlags.includes('SQPOLL'));
    await Promise.all(Array.from({ length: 50 }, (_, i) => ring.writeAt(descriptor, Buffer.from([i]), i)));
    assert.equal([...readFileSync(path)], Array.from({ length: 50 }, (_, i) => i));
    ring.closeFile(descriptor);
  }, { sqpoll: true }));
}

test('bad options are named', () => {
  for (const [options, name] of [[{ entries: 3 }, 'entries'], [{ entries: '8' }, 'entries'], [{ sqpoll: 1 }, 'sqpoll'], [{ depth: 4 }, 'depth']] as const) {
    assert.throws(() => IoUring.create(options as never), (error: Error) => error.message.includes(`\`${name}\``));
  }
});

test.run();
