/** Opening of files: what is made, what is refused, direct IO, and handles that other threads use. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, readlinkSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { FileHandle, IoScheduler, type OpenOrCreateOptions, type SharedHandle } from 'tidemark';
import { noTracing, runProgram, skip, until } from '../fault/tools.js';
import { temporaryDirectory } from '../support.js';
import { directoryOn, FILESYSTEMS } from './filesystems.js';
import { flagsOf, O_APPEND, O_DIRECT, O_DSYNC, openPaths } from './tools.js';

const scheduler = new IoScheduler();
const { files } = scheduler;

const openers = {
  openRead: (path: string, options: OpenOrCreateOptions = {}) => files.openRead(path, { ...(options.direct !== undefined && { direct: options.direct }) }),
  openAppend: (path: string, options: OpenOrCreateOptions = {}) => files.openAppend(path, options),
  openWriteAt: (path: string, options: OpenOrCreateOptions = {}) => files.openWriteAt(path, options),
};

/** Alignment of direct IO; undefined: the filesystem has none. */
const DIRECT: Readonly<Record<string, number | undefined>> = {
  'ext4': 512, 'xfs': 512, 'btrfs': 4096, 'ext4-4k': 4096, 'xfs-4k': 4096, 'tmpfs': undefined, 'overlay': 512,
};

function codeOf(promise: Promise<unknown>): Promise<string> {
  return promise.then(() => 'resolved', (error: unknown) => String((error as { code?: unknown }).code));
}

for (const filesystem of FILESYSTEMS) {
  test(`${filesystem.name}: a new file is made once`, async () => {
    const path = join(directoryOn(filesystem), "it's\na file");
    const handle = await files.openWriteNew(path);
    assert.is(statSync(path).mode & 0o7777, 0o600);
    assert.is(readlinkSync(`/proc/self/fd/${handle.file.descriptor}`), path);
    assert.is(await codeOf(files.openWriteNew(path)), 'TIDEMARK_EXISTS');
    await files.writeAt(handle, 'content', 3);
    assert.is(readFileSync(path, 'latin1'), '\0\0\0content');
    await handle.close();
  });

  test(`${filesystem.name}: direct IO is what the kernel says it is`, async () => {
    const alignment = DIRECT[filesystem.name];
    const directory = directoryOn(filesystem);
    for (const name of (['openWriteNew', 'openWriteAt', 'openRead'] as const)) {
      const handle = await files[name](join(directory, 'direct'), { direct: true });
      assert.equal([name, handle.direct.active, handle.direct.alignment], [name, alignment !== undefined, alignment ?? 1]);
      assert.is((flagsOf(handle) & O_DIRECT) !== 0, handle.direct.active);
      assert.is(handle.direct.reason === '', handle.direct.active);
      await handle.close();
    }
    const append = await files.openAppend(join(directory, 'direct'), { direct: true });
    assert.equal([append.direct.active, flagsOf(append) & O_DIRECT], [false, 0]);
    assert.match(append.direct.reason, 'the file ends');
    await append.close();
  });

  test(`${filesystem.name}: files are opened as asked`, async () => {
    const directory = directoryOn(filesystem);
    const path = join(directory, 'file');
    for (const [name, open] of Object.entries(openers)) assert.equal([name, await codeOf(open(path, { create: false }))], [name, 'TIDEMARK_NOT_FOUND']);
    assert.is(await codeOf(files.openWriteAt(path)), 'TIDEMARK_NOT_FOUND');
    const append = await files.openAppend(path, { mode: 0o640 });
    assert.is(statSync(path).mode & 0o7777, 0o640);
    assert.is(flagsOf(append) & (O_APPEND | O_DSYNC), O_APPEND);
    const made = await files.openWriteAt(join(directory, 'made'), { create: true, dsync: true });
    assert.is(flagsOf(made) & (O_APPEND | O_DSYNC), O_DSYNC);
    await append.close();
    await made.close();
    writeFileSync(path, 'kept');
    await (await files.openWriteAt(path)).close();
    await (await files.openAppend(path)).close();
    assert.is(readFileSync(path, 'latin1'), 'kept');
  });
}

const directory = temporaryDirectory();

test('what is no regular file is refused, at once, and no descriptor is left', async () => {
  const made = { directory: join(directory, 'directory'), fifo: join(directory, 'fifo'), socket: join(directory, 'socket') };
  mkdirSync(made.directory);
  execFileSync('mkfifo', [made.fifo]);
  const server = createServer().listen(made.socket);
  const expected = { [made.directory]: 'TIDEMARK_IS_DIRECTORY', [made.fifo]: 'TIDEMARK_NOT_A_FILE', [made.socket]: 'TIDEMARK_NOT_A_FILE', '/dev/null': 'TIDEMARK_NOT_A_FILE' };
  const openBefore = openPaths();
  for (const [path, code] of Object.entries(expected)) {
    for (const [name, open] of Object.entries(openers)) assert.equal([path, name, await codeOf(open(path))], [path, name, code]);
    assert.is(await codeOf(files.readAll(path)), code);
    assert.is(await codeOf(files.writeAll(path, 'x')), code);
  }
  assert.equal(openPaths().filter((path) => Object.hasOwn(expected, path)), openBefore.filter((path) => Object.hasOwn(expected, path)));
  server.close();
});

test('a link that leads nowhere is not created through', async () => {
  const link = join(directory, 'link');
  symlinkSync(join(directory, 'nowhere'), link);
  assert.is(await codeOf(files.openWriteNew(link)), 'TIDEMARK_EXISTS');
  assert.is(await codeOf(files.openAppend(link)), 'TIDEMARK_NOT_FOUND');
  assert.is(await codeOf(files.writeAll(link, 'x')), 'TIDEMARK_NOT_FOUND');
  assert.not(existsSync(join(directory, 'nowhere')));
});

test('bad arguments are refused before anything happens', async () => {
  const bad: readonly [Promise<unknown>, RegExp][] = [
    [files.openRead(7 as unknown as string), /`path`.*7 \(number\)/],
    [files.openRead('x', { direct: 'yes' as unknown as boolean }), /`direct` to be a boolean/],
    [files.openRead('x', { create: true } as object), /Unknown option `create`/],
    [files.openWriteNew('x', { mode: 0o10000 }), /`mode`/],
    [files.openWriteAt('x', { create: 1 as unknown as boolean }), /`create`/],
  ];
  for (const [promise, message] of bad) {
    await promise.then(() => assert.unreachable(), (error: unknown) => {
      assert.is((error as { code: string }).code, 'TIDEMARK_INVALID_ARGUMENT');
      assert.match((error as Error).message, message);
    });
  }
  assert.throws(() => FileHandle.attach({} as SharedHandle), /`shared`/);
});

/** A thread that does with a shared handle what it is told, on a scheduler of its own. */
function userOf(shared: SharedHandle, source: string): Worker {
  return new Worker(`
    const { parentPort, workerData } = require('node:worker_threads');
    import('tidemark').then(async ({ FileHandle, IoScheduler }) => {
      const scheduler = new IoScheduler({ fileWorkers: 1 });
      const { files } = scheduler;
      const handle = FileHandle.attach(workerData);
      const answer = await (async () => { ${source} })().catch((error) => error.code);
      await scheduler.close();
      parentPort.postMessage(answer);
    });`, { eval: true, workerData: shared });
}

function answerOf(worker: Worker): Promise<unknown> {
  return new Promise((resolve, reject) => {
    worker.once('message', resolve).once('error', reject);
  });
}

test('threads share a handle: both write and read, and close waits for what the other one does', async () => {
  const path = join(directory, 'shared');
  const handle = await files.openWriteNew(path);
  const user = userOf(handle.share(), `
    for (let i = 0; i < 100; i++) await files.writeAt(handle, 'b', 2 * i + 1);
    return (await files.readRange(handle, 1, 1)).data.toString();`);
  const answer = answerOf(user);
  for (let i = 0; i < 100; i++) await files.writeAt(handle, 'a', 2 * i);
  assert.is(await answer, 'b');
  assert.is(readFileSync(path, 'latin1'), 'ab'.repeat(100));

  // A write of 256 MiB is under way in the other thread when this one closes.
  const writing = answerOf(userOf(handle.share(), `
    const { bytesWritten } = await files.writeAt(handle, new Uint8Array(new SharedArrayBuffer(256 * 1024 * 1024)), 0);
    return [bytesWritten, handle.closed, await files.readRange(handle, 0, 1).catch((error) => error.code)];`));
  await until('the write', 10_000, () => statSync(path).size >= 4 * 1024 * 1024);
  await handle.close();
  assert.is(statSync(path).size, 256 * 1024 * 1024);
  assert.equal(await writing, [256 * 1024 * 1024, true, 'TIDEMARK_CLOSED']);
  assert.is(await codeOf(files.readRange(handle, 0, 1)), 'TIDEMARK_CLOSED');
  assert.not(openPaths().includes(path));
});

test('neither close nor another use waits for a thread that was terminated in the middle of an operation', async () => {
  const path = join(directory, 'terminated');
  const handle = await files.openWriteNew(path);
  const words = new Int32Array(new SharedArrayBuffer(4));
  const hoarder = new Worker(`
    const { workerData: [shared, words, url] } = require('node:worker_threads');
    import(url).then(({ FileHandle }) => {
      for (let i = 0; i < 64; i++) FileHandle.attach(shared).enter();
      Atomics.store(words, 0, 1);
    });
    setInterval(() => undefined, 1000);`, { eval: true, workerData: [handle.share(), words, import.meta.resolve('tidemark')] });
  await until('all uses that there may be', 10_000, () => Atomics.load(words, 0) === 1);
  assert.is(await codeOf(files.writeAt(handle, 'x', 0)), 'TIDEMARK_QUEUE_FULL');
  await hoarder.terminate();
  assert.is((await files.writeAt(handle, 'x', 0)).bytesWritten, 1);

  const user = userOf(handle.share(), 'for (;;) await files.writeAt(handle, new Uint8Array(new SharedArrayBuffer(64 * 1024 * 1024)), 0);');
  await until('the write', 10_000, () => statSync(path).size > 1);
  const ended = user.terminate();
  const closed = handle.close();
  assert.is(await Promise.race([closed.then(() => 'closed'), delay(10_000, 'not closed', { ref: false })]), 'closed');
  await ended;
  assert.not(openPaths().includes(path));
});

const untraceable = noTracing();
if (untraceable !== undefined) skip('that close waits for the system call of a thread that was terminated', untraceable);
else test('close waits for the system call that a terminated thread has left', async () => {
  const prefix = ['strace', '-f', '-qq', '--seccomp-bpf', '-o', '/dev/null', '-e', 'trace=pwrite64', '-e', 'inject=pwrite64:delay_enter=1000000:when=2'];
  const { report } = await runProgram('held-write', { path: join(directory, 'held') }, { prefix });
  assert.equal(report, { before: 'first', after: 'first second' });
});

test('an attached handle does not close the file of its owner', async () => {
  const handle = await files.openWriteNew(join(directory, 'owned'), { direct: true });
  const attached = FileHandle.attach(structuredClone(handle.share()));
  assert.equal(attached.direct, handle.direct);
  await attached.close();
  assert.is((await files.writeAt(handle, 'x', 0)).bytesWritten, 1);
  await handle.close();
  assert.is(await codeOf(files.readRange(attached, 0, 1)), 'TIDEMARK_CLOSED');
});

test('a scheduler that closes closes the handles that are left', async () => {
  const own = new IoScheduler();
  const path = join(directory, 'left');
  const handle = await own.files.openWriteNew(path);
  assert.ok(openPaths().includes(path));
  await own.close();
  assert.is(handle.closed, true);
  assert.not(openPaths().includes(path));
});

test('where no thread can start, the error says what is missing', async () => {
  const own = new IoScheduler({ workerUrl: new URL('file:///nowhere/entry.js') });
  await own.files.readAll(join(directory, 'any')).then(() => assert.unreachable(), (error: unknown) => {
    assert.is((error as { code: string }).code, 'TIDEMARK_WORKER_DIED');
    assert.match((error as Error).message, /nowhere.entry\.js/);
  });
  await own.close();
});

test('many handles are closed at once, however few calls may wait', async () => {
  const own = new IoScheduler({ lanes: { urgent: { concurrency: 1, queueMax: 1 } } });
  const path = join(directory, 'many');
  writeFileSync(path, '');
  const handles = [];
  for (let n = 0; n < 20; n++) handles.push(await own.files.openRead(path));
  await Promise.all(handles.slice(10).map((handle) => handle.close()));
  await own.close();
  assert.not(openPaths().includes(path));
});

test.after(() => scheduler.close());
test.run();
