/** Files replaced as a whole: contents, metadata, links, temporary files and who may touch them, the order of the calls. */
import { chmodSync, chownSync, closeSync, existsSync, linkSync, lstatSync, mkdirSync, openSync, readdirSync, readFileSync, readlinkSync, readSync, statSync, symlinkSync, unlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { spawnSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { IoScheduler, InvalidArgumentError, type ReplaceOptions } from 'tidemark';
import { collected, noTracing, runProgram, skip, until } from '../fault/tools.js';
import { parseTrace, type Call } from '../fault/trace.js';
import { segments } from '../internals.js';
import type { FilesReport, FilesTask } from '../programs/files-caller.js';
import { directoryOn, FILESYSTEMS } from './filesystems.js';
import { ACL, attributesOf, removeAttribute, setAttribute } from './metadata-tools.js';

const scheduler = new IoScheduler();
const { files } = scheduler;
const SLOTS = 4;

async function codeOf(what: Promise<unknown>): Promise<unknown> {
  return what.then(() => 'nothing', (error: unknown) => (error as { code: unknown }).code);
}

/** Empty where it has gone meanwhile, as the descriptor of the listing itself. */
function readlink(path: string): string {
  try {
    return readlinkSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return '';
    throw error;
  }
}

const modeOf = (path: string): number => statSync(path).mode & 0o7777;
const slot = (name: string, n: number): string => `.${name}.tidemark-${n}`;

/** node has no call for attributes. */
const { selectPlatform } = await (import(new URL('../../../dist/platform/select.js', import.meta.url).href) as Promise<typeof import('../../dist/platform/select.js')>);
const { attributes } = selectPlatform();

function attribute(path: string, value?: string): string {
  const at = { directory: undefined, path, followLink: true };
  if (value !== undefined) attributes.set(at, 'user.note', Buffer.from(value), 'set');
  return Buffer.from(attributes.get(at, 'user.note').value ?? []).toString();
}

/** The lock that a replacement holds on its temporary file; answers how to let go. */
function hold(path: string): () => void {
  writeFileSync(path, 'in use');
  const descriptor = openSync(path, 'r+');
  assert.is(segments.platform.files.tryLock(descriptor), true);
  return () => {
    closeSync(descriptor);
  };
}

for (const filesystem of FILESYSTEMS) {
  test(`${filesystem.name}: contents of every size, in files old and new`, async () => {
    const directory = directoryOn(filesystem);
    const path = join(directory, "it's\n\"new\"");
    const first = await files.replaceFile(path, 'ünï');
    assert.equal(first, { primitive: 'renameat', contentSync: 'fsync', sync: 'fsync', bytes: 5, created: true });
    assert.is(readFileSync(path, 'utf8'), 'ünï');
    assert.is(modeOf(path), 0o600);
    const before = openSync(path, 'r');
    linkSync(path, join(directory, 'second'));
    for (const size of [0, 1, 64, 65, 4096, 300_000, 9 * 1024 * 1024 + 1]) {
      const content = new Uint8Array(size).map((_, i) => i * 7 + size);
      assert.equal(await files.replaceFile(path, content), { primitive: 'renameat', contentSync: 'fsync', sync: 'fsync', bytes: size, created: false });
      assert.ok(readFileSync(path).equals(content), `${size} bytes`);
    }
    const old = Buffer.alloc(10);
    assert.is(old.toString('utf8', 0, readSync(before, old)), 'ünï');
    closeSync(before);
    assert.is(readFileSync(join(directory, 'second'), 'utf8'), 'ünï');
    assert.equal(readdirSync(directory).sort(), ["it's\n\"new\"", 'second']);
  });

  test(`${filesystem.name}: what is to be preserved is, and nothing else`, async () => {
    const directory = directoryOn(filesystem);
    const path = join(directory, 'file');
    const make = (mode: number): void => {
      writeFileSync(path, 'old');
      chownSync(path, 1234, 2345);
      chmodSync(path, mode);
      attribute(path, 'kept');
      utimesSync(path, 1_000_000, 2_000_000.5);
    };
    const cases: readonly (readonly [ReplaceOptions, { mode: number; uid: number; mtimeMs: number | undefined; note: string }])[] = [
      [{}, { mode: 0o751, uid: 0, mtimeMs: undefined, note: '' }],
      [{ preserve: false, mode: 0o644 }, { mode: 0o644, uid: 0, mtimeMs: undefined, note: '' }],
      [{ preserve: true }, { mode: 0o4751, uid: 1234, mtimeMs: 2_000_000_500, note: 'kept' }],
      [{ preserve: { mode: false, owner: true }, mode: 0o640 }, { mode: 0o640, uid: 1234, mtimeMs: undefined, note: '' }],
      [{ preserve: { times: true } }, { mode: 0o751, uid: 0, mtimeMs: 2_000_000_500, note: '' }],
      [{ preserve: { xattrs: true } }, { mode: 0o751, uid: 0, mtimeMs: undefined, note: 'kept' }],
    ];
    for (const [options, expected] of cases) {
      make(options.preserve === true ? 0o4751 : 0o751);
      const { contentSync } = await files.replaceFile(path, 'new', options);
      const { uid, mtimeMs } = statSync(path);
      assert.is(contentSync, 'fsync');
      assert.is(readFileSync(path, 'utf8'), 'new');
      assert.equal({ mode: modeOf(path), uid, note: attribute(path) }, { mode: expected.mode, uid: expected.uid, note: expected.note }, JSON.stringify(options));
      if (expected.mtimeMs === undefined) assert.ok(mtimeMs > Date.now() - 60_000);
      else assert.is(mtimeMs, expected.mtimeMs);
    }
    // With another owner than it was meant for, this bit would let programs run as him.
    make(0o4751);
    assert.is(await codeOf(files.replaceFile(path, 'new')), 'TIDEMARK_PERMISSION');
    assert.equal([readFileSync(path, 'utf8'), modeOf(path), readdirSync(directory)], ['old', 0o4751, ['file']]);
  });

  test(`${filesystem.name}: nobody gets access who had none, where there are access control lists`, async () => {
    const directory = directoryOn(filesystem);
    const path = join(directory, 'file');
    const list = 'system.posix_acl_access';
    const listOf = (): string | undefined => attributesOf(path)[list];
    const make = (mode: number): void => {
      writeFileSync(path, 'old', { mode });
      chmodSync(path, mode);
    };
    // The list of the file: without it, the bits of its mask would be the group's.
    make(0o640);
    setAttribute(path, list, ACL);
    await files.replaceFile(path, 'new');
    assert.equal([modeOf(path), listOf()], [0o660, ACL]);
    // With the list and another mode, the mode is the most that anybody in the list may.
    await files.replaceFile(path, 'new', { preserve: { mode: false, xattrs: true }, mode: 0o604 });
    assert.equal([modeOf(path), typeof listOf()], [0o604, 'string']);
    // The list that the directory gives to new files: the one that is replaced has none.
    setAttribute(directory, 'system.posix_acl_default', ACL);
    await files.unlink(path);
    make(0o640);
    removeAttribute(path, list);
    chmodSync(path, 0o640);
    await files.replaceFile(path, 'new');
    assert.equal([modeOf(path), listOf()], [0o640, undefined]);
    await files.batch().write(path, 'newer').commit();
    assert.equal([modeOf(path), listOf()], [0o640, undefined]);
  });

  test(`${filesystem.name}: a link stays, the file that it leads to is replaced`, async () => {
    const directory = directoryOn(filesystem);
    const inDirectory = (name: string): string => join(directory, name);
    mkdirSync(inDirectory('a/b'), { recursive: true });
    mkdirSync(inDirectory('c'));
    symlinkSync('../c', inDirectory('a/way'));
    symlinkSync('way/../a/link', inDirectory('a/first'));
    symlinkSync(inDirectory('c/file'), inDirectory('a/link'));
    symlinkSync('loop', inDirectory('loop'));
    assert.is((await files.replaceFile(inDirectory('a/first'), 'one')).created, true);
    assert.is((await files.replaceFile(inDirectory('a/first'), 'two')).created, false);
    assert.is(lstatSync(inDirectory('a/first')).isSymbolicLink(), true);
    assert.is(lstatSync(inDirectory('c/file')).isFile(), true);
    assert.is(readFileSync(inDirectory('c/file'), 'utf8'), 'two');
    assert.is(await codeOf(files.replaceFile(inDirectory('loop'), '')), 'TIDEMARK_INVALID_PATH');
    assert.equal([readdirSync(inDirectory('a')).sort(), readdirSync(inDirectory('c'))], [['b', 'first', 'link', 'way'], ['file']]);
  });

  test(`${filesystem.name}: what is no file is refused, and stays`, async () => {
    const directory = directoryOn(filesystem);
    mkdirSync(join(directory, 'dir'));
    spawnSync('mkfifo', [join(directory, 'fifo')]);
    assert.is(await codeOf(files.replaceFile(join(directory, 'dir'), '')), 'TIDEMARK_IS_DIRECTORY');
    assert.is(await codeOf(files.replaceFile(join(directory, 'fifo'), '')), 'TIDEMARK_NOT_A_FILE');
    assert.is(await codeOf(files.replaceFile(join(directory, 'missing/file'), '')), 'TIDEMARK_NOT_FOUND');
    assert.equal(readdirSync(directory).sort(), ['dir', 'fifo']);
  });

  test(`${filesystem.name}: many at a time, also of one file, in good order`, async () => {
    const directory = directoryOn(filesystem);
    const results = await Promise.all(Array.from({ length: 200 }, (_, i) => files.replaceFile(join(directory, `file-${i % 50 < 40 ? i % 50 : 0}`), `version ${i}`)));
    assert.ok(results.filter(({ created }) => created).length >= 40);
    assert.equal(readdirSync(directory).length, 40);
    for (const name of readdirSync(directory)) assert.match(readFileSync(join(directory, name), 'utf8'), /^version \d+$/);
    // One thread: a group, in the order of the calls.
    const ordered = new IoScheduler({ fileWorkers: 1 });
    const path = join(directory, 'ordered');
    await Promise.all(Array.from({ length: 20 }, (_, i) => ordered.files.replaceFile(path, `version ${i}`)));
    assert.is(readFileSync(path, 'utf8'), 'version 19');
    await ordered.close();
  });

  test(`${filesystem.name}: left-overs go with the next replacement, whatever their slot; what is used or no left-over stays`, async () => {
    const directory = directoryOn(filesystem);
    const inDirectory = (n: number): string => join(directory, slot('file', n));
    const path = join(directory, 'file');
    for (let n = 0; n < SLOTS; n++) writeFileSync(inDirectory(n), 'left over', { mode: 0o444 });
    await files.replaceFile(path, 'one');
    assert.equal(readdirSync(directory), ['file']);

    const release = hold(inDirectory(0));
    writeFileSync(inDirectory(2), 'left over');
    await files.replaceFile(path, 'two');
    assert.equal(readdirSync(directory).sort(), [slot('file', 0), 'file']);
    writeFileSync(join(directory, slot('other', 3)), '');
    writeFileSync(join(directory, '.tidemark-3'), 'nobody\'s');
    assert.equal(await files.removeLeftovers(directory), { primitive: 'unlinkat', sync: 'fsync', removed: [slot('other', 3)], kept: [slot('file', 0)] });
    release();
    assert.equal((await files.removeLeftovers(directory)).removed, [slot('file', 0)]);
    assert.equal(await files.removeLeftovers(directory), { primitive: 'unlinkat', sync: 'none', removed: [], kept: [] });

    mkdirSync(inDirectory(0));
    symlinkSync('file', inDirectory(1));
    spawnSync('mkfifo', [inDirectory(2)]);
    await files.replaceFile(path, 'three');
    mkdirSync(inDirectory(3));
    assert.is(await codeOf(files.replaceFile(path, 'four')), 'TIDEMARK_EXISTS');
    assert.is(readFileSync(path, 'utf8'), 'three');
  });

  test(`${filesystem.name}: links that lead nowhere, or in circles, are no left-overs`, async () => {
    const directory = directoryOn(filesystem);
    const slots = Array.from({ length: SLOTS }, (_, n) => slot('file', n));
    const path = join(directory, 'file');
    symlinkSync(slots[0] ?? '', join(directory, slots[0] ?? ''));
    for (const name of slots.slice(1, -1)) symlinkSync('nowhere', join(directory, name));
    await files.replaceFile(path, 'one');
    assert.is(readFileSync(path, 'utf8'), 'one');
    symlinkSync('nowhere', join(directory, slots.at(-1) ?? ''));
    assert.is(await codeOf(files.replaceFile(path, 'two', { timeoutMs: 10_000 })), 'TIDEMARK_EXISTS');
    assert.is(await codeOf(files.copyFile(path, join(directory, 'copy'))), 'nothing');
    const { removed, kept } = await files.removeLeftovers(directory);
    assert.equal([removed, [...kept].sort(), readdirSync(directory).sort()], [[], slots, [...slots, 'copy', 'file']]);
  });
}

const [filesystem] = FILESYSTEMS;

if (filesystem !== undefined) {
  test('names as long as they may be', async () => {
    const directory = directoryOn(filesystem);
    for (const name of ['n'.repeat(255), 'ü'.repeat(127), `${'n'.repeat(254)}1`]) {
      await files.replaceFile(join(directory, name), name);
      await files.replaceFile(join(directory, name), name);
      assert.is(readFileSync(join(directory, name), 'utf8'), name);
    }
    assert.is(readdirSync(directory).length, 3);
  });

  test('who finds all slots taken waits, and can be called off', async () => {
    const directory = directoryOn(filesystem);
    const path = join(directory, 'file');
    const held = Array.from({ length: SLOTS }, (_, n) => hold(join(directory, slot('file', n))));
    const controller = new AbortController();
    const called = files.replaceFile(path, 'never', { signal: controller.signal });
    const waiting = files.replaceFile(path, 'in the end');
    await until('both are with a thread', 5000, () => scheduler.fileStats().normal.waiting === 0);
    controller.abort(new Error('no more'));
    const reason = await called.then(() => undefined, (error: unknown) => error);
    assert.is((reason as Error).message, 'no more');
    assert.is(existsSync(path), false);
    held[2]?.();
    await waiting;
    assert.is(readFileSync(path, 'utf8'), 'in the end');
    assert.equal(readdirSync(directory).sort(), [0, 1, 3].map((n) => slot('file', n)).concat('file'));
    for (const release of held.filter((_, n) => n !== 2)) release();
  });

  test('calls that time out while every thread waits keep nothing of what they were given', async () => {
    const directory = directoryOn(filesystem);
    const held = Array.from({ length: SLOTS }, (_, n) => hold(join(directory, slot('file', n))));
    const own = new IoScheduler({ fileWorkers: 1 });
    const waiting = own.files.replaceFile(join(directory, 'file'), '');
    await until('the only thread waits', 5000, () => own.fileStats().normal.waiting === 0);
    const references: WeakRef<Uint8Array>[] = [];
    const timedOut = (): Promise<unknown> => {
      const data = new Uint8Array(100_000);
      references.push(new WeakRef(data));
      return codeOf(own.files.writeAll(join(directory, 'other'), data, { timeoutMs: 1 }));
    };
    assert.equal(await Promise.all(Array.from({ length: 20 }, timedOut)), Array.from({ length: 20 }, () => 'TIDEMARK_TIMEOUT'));
    await collected(references);
    const error = await own.files.rename(join(directory, 'one'), join(directory, 'two'), { timeoutMs: 1 }).then(() => undefined, (caught: unknown) => caught as Error & { path: string });
    assert.equal([error?.message, error?.path], [`rename of '${directory}/one' took longer than 1 ms; it had not begun`, `${directory}/one`]);
    for (const release of held) release();
    await waiting;
    await own.close();
    assert.equal(readdirSync(directory), ['file']);
  });

  test('a long one is called off before the rename, and leaves nothing', async () => {
    const directory = directoryOn(filesystem);
    const path = join(directory, 'file');
    await files.replaceFile(path, 'old');
    const controller = new AbortController();
    const replacing = files.replaceFile(path, new Uint8Array(new SharedArrayBuffer(150 * 1024 * 1024)), { signal: controller.signal });
    await until('it writes', 5000, () => existsSync(join(directory, slot('file', 0))));
    controller.abort();
    assert.is(await replacing.then(() => undefined, (error: unknown) => (error as Error).name), 'AbortError');
    assert.is(readFileSync(path, 'utf8'), 'old');
    assert.equal(readdirSync(directory), ['file']);
  });

  test('a thread that is ended while it replaces a file leaves nothing that others have to wait for', async () => {
    const directory = directoryOn(filesystem);
    const path = join(directory, 'file');
    await files.replaceFile(path, 'old');
    const temporary = join(directory, slot('file', 0));
    let before = 0n;
    for (let n = 0; n <= SLOTS; n++) {
      const worker = new Worker(new URL('../programs/endless-replacer.js', import.meta.url), { workerData: path });
      const failed = new Promise((_, reject) => worker.once('error', reject));
      await Promise.race([failed, until('it writes', 20_000, () => {
        const found = statSync(temporary, { bigint: true, throwIfNoEntry: false });
        if (found === undefined || found.size === 0n || found.birthtimeNs === before) return false;
        before = found.birthtimeNs;
        return true;
      })]);
      await worker.terminate();
    }
    await files.replaceFile(path, 'new', { timeoutMs: 20_000 });
    assert.equal([readFileSync(path, 'utf8'), readdirSync(directory)], ['new', ['file']]);
    const open = readdirSync('/proc/self/fd').map((descriptor) => readlink(`/proc/self/fd/${descriptor}`));
    assert.equal(open.filter((target) => target.includes('.tidemark-')), []);
  });

  test('a file that goes while its new content is written is made anew', async () => {
    const directory = directoryOn(filesystem);
    const path = join(directory, 'file');
    writeFileSync(path, 'old', { mode: 0o644 });
    const replacing = files.replaceFile(path, new Uint8Array(new SharedArrayBuffer(150 * 1024 * 1024)), { mode: 0o640 });
    await until('it writes', 5000, () => existsSync(join(directory, slot('file', 0))));
    unlinkSync(path);
    assert.is((await replacing).bytes, 150 * 1024 * 1024);
    assert.equal([modeOf(path), statSync(path).size, readdirSync(directory)], [0o640, 150 * 1024 * 1024, ['file']]);
  });

  test('what cannot be preserved is an error, and nothing has changed', async () => {
    const directory = directoryOn(filesystem);
    chmodSync(dirname(filesystem.directory), 0o755);
    chmodSync(directory, 0o777);
    const path = join(directory, 'file');
    writeFileSync(path, 'old', { mode: 0o644 });
    const steps: FilesTask['steps'] = [['replaceFile', path, 'new', { preserve: { owner: true } }], ['replaceFile', path, 'new']];
    const { report } = await runProgram<FilesReport>('files-caller', { steps: steps.slice(0, 1) }, { uid: 65534 });
    assert.equal([report[0]?.error?.code, report[0]?.error?.path], ['TIDEMARK_PERMISSION', path]);
    assert.match(report[0]?.error?.message ?? '', /uid, gid/);
    assert.equal([readFileSync(path, 'utf8'), statSync(path).uid, readdirSync(directory)], ['old', 0, ['file']]);
    await runProgram<FilesReport>('files-caller', { steps: steps.slice(1) }, { uid: 65534 });
    assert.equal([readFileSync(path, 'utf8'), statSync(path).uid, modeOf(path)], ['new', 65534, 0o644]);
  });

  test('bytes that are no more reject the call that was given them, and none that goes with it', async () => {
    const directory = directoryOn(filesystem);
    const gone = new Uint8Array(5);
    const held = Array.from({ length: 3 }, (_, n) => files.replaceFile(join(directory, `first-${n}`), 'x'));
    const calls = ['a', 'b', 'gone', 'c'].map((name) => codeOf(files.replaceFile(join(directory, name), name === 'gone' ? gone : name)));
    structuredClone(gone, { transfer: [gone.buffer] });
    assert.equal(await Promise.all(calls), ['nothing', 'nothing', 'TIDEMARK_INVALID_ARGUMENT', 'nothing']);
    await Promise.all(held);
    assert.equal(readdirSync(directory).sort(), ['a', 'b', 'c', 'first-0', 'first-1', 'first-2']);
  });

  test('a name that is too long is told with its path', async () => {
    const path = join(directoryOn(filesystem), 'n'.repeat(256));
    const error = await files.replaceFile(path, '').then(() => undefined, (caught: unknown) => caught as { code: string; path: string });
    assert.equal([error?.code, error?.path], ['TIDEMARK_INVALID_PATH', path]);
  });

  test('arguments that cannot be used are refused', async () => {
    const path = join(directoryOn(filesystem), 'file');
    const cases: readonly (() => Promise<unknown>)[] = [
      () => files.replaceFile(path, 7 as never),
      () => files.replaceFile(path, new Uint16Array(1) as never),
      () => files.replaceFile(path, '', { mode: -1 }),
      () => files.replaceFile(path, '', { preserve: 'all' as never }),
      () => files.replaceFile(path, '', { preserve: { owners: true } as never }),
      () => files.replaceFile(path, '', { preserve: { owner: 1 as never } }),
      () => files.removeLeftovers(''),
    ];
    for (const [index, call] of cases.entries()) {
      assert.instance(await call().then(() => undefined, (error: unknown) => error), InvalidArgumentError, `case ${index}`);
    }
    assert.is(existsSync(path), false);
  });
}

// ---- from outside ------------------------------------------------------------------------------------------------------

const CALLS = 'pwrite64,fdatasync,fsync,renameat,unlinkat,fchmod,write';

async function traced(steps: FilesTask['steps'], directory: string, inject: readonly string[] = []): Promise<{ calls: string[]; report: FilesReport }> {
  const log = `${directory}.trace`;
  const prefix = ['strace', '-f', '-tt', '-y', '-s', '200', '-o', log, '-e', `trace=${CALLS}`, ...inject.flatMap((rule) => ['-e', `inject=${rule}`])];
  const { report } = await runProgram<FilesReport>('files-caller', { steps, marks: true }, { prefix });
  const calls = parseTrace(readFileSync(log, 'utf8'));
  const from = calls.findIndex(({ name, args }) => name === 'write' && args.startsWith('3<') && args.includes('"begin'));
  const ours = calls.slice(from + 1).filter(({ name, args }) => (name === 'write' ? args.startsWith('3<') : args.includes(directory)));
  return { calls: ours.map((call) => short(call, directory)), report };
}

/** A call in short: its name and what it was on. */
function short({ name, args }: Call, directory: string): string {
  if (name === 'write') return /"(\w+)/.exec(args)?.[1] ?? '';
  const names = name === 'renameat' || name === 'unlinkat' ? [...args.matchAll(/"([^"]*)"/g)].map((match) => match[1]) : [(/<([^>]*)>/.exec(args)?.[1] ?? '').replace(directory, '.')];
  return [name, ...names].join(' ');
}

const untraceable = noTracing();
if (untraceable !== undefined || filesystem === undefined) skip('the order of the calls', untraceable ?? 'no filesystem');
else {
  test('write, sync, rename, sync of the directory, and only then it resolves', async () => {
    const directory = directoryOn(filesystem);
    const path = join(directory, 'file');
    writeFileSync(path, 'old', { mode: 0o600 });
    const temporary = slot('file', 0);
    const { calls } = await traced([['replaceFile', path, 'new'], ['replaceFile', path, 'new', { preserve: false, mode: 0o640 }]], directory);
    assert.equal(calls, [
      `pwrite64 ./${temporary}`, `fsync ./${temporary}`, `renameat ${temporary} file`, 'fsync .', 'done',
      `pwrite64 ./${temporary}`, `fchmod ./${temporary}`, `fsync ./${temporary}`, `renameat ${temporary} file`, 'fsync .', 'done',
    ]);
  });

  test('a failed write or sync leaves the old content and no temporary file; none is tried again', async () => {
    const cases = [
      ['pwrite64:error=ENOSPC:when=1', 'TIDEMARK_NO_SPACE', ['pwrite64']],
      ['fsync:error=EIO:when=1', 'TIDEMARK_IO', ['pwrite64', 'fsync']],
      ['renameat:error=EIO:when=1', 'TIDEMARK_IO', ['pwrite64', 'fsync', 'renameat']],
    ] as const;
    for (const [rule, code, before] of cases) {
      const directory = directoryOn(filesystem);
      const path = join(directory, 'file');
      writeFileSync(path, 'old', { mode: 0o600 });
      const { calls, report } = await traced([['replaceFile', path, 'new']], directory, [rule]);
      assert.equal([report[0]?.error?.code, report[0]?.error?.path], [code, path]);
      assert.equal(calls.map((call) => call.split(' ')[0]), [...before, 'unlinkat', 'done']);
      assert.equal([readFileSync(path, 'utf8'), readdirSync(directory)], ['old', ['file']]);
    }
  });

  test('a failed sync of the directory rejects: the new content is there, but may be lost', async () => {
    const directory = directoryOn(filesystem);
    const path = join(directory, 'file');
    const { report } = await traced([['replaceFile', path, 'new']], directory, ['fsync:error=EIO:when=2']);
    assert.equal([report[0]?.error?.code, report[0]?.error?.path, report[0]?.error?.syscall], ['TIDEMARK_IO', directory, 'fsync']);
    assert.equal([readFileSync(path, 'utf8'), readdirSync(directory)], ['new', ['file']]);
  });
}

test.after(() => scheduler.close());
test.run();
