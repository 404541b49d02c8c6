/** Scans, finds and counts: exactly what is there, page by page, and an end that is clean however it comes. */
import { execFileSync } from 'node:child_process';
import { chmodSync, closeSync, existsSync, linkSync, mkdirSync, openSync, readdirSync, rmSync, statSync, symlinkSync, truncateSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { IoScheduler, type ScanEntry, type ScanOptions } from 'tidemark';
import { noRoot, runProgram, skip } from '../fault/tools.js';
import { fileOperations, linux } from '../internals.js';
import type { Walked } from '../programs/walker.js';
import { temporaryDirectory } from '../support.js';
import { directoryOn, FILESYSTEMS, type TestFilesystem } from './filesystems.js';

const scheduler = new IoScheduler();
const { files } = scheduler;
/** More than a page holds. */
const MANY = 6000;
const NOBODY = 65_534;

async function all(entries: AsyncIterable<ScanEntry>): Promise<ScanEntry[]> {
  const found: ScanEntry[] = [];
  for await (const entry of entries) found.push(entry);
  return found;
}

async function pathsOf(entries: AsyncIterable<ScanEntry>): Promise<string[]> {
  return (await all(entries)).map(({ path }) => path).sort();
}

async function rejection(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(() => undefined, (error: unknown) => error);
}

async function codeOf(promise: Promise<unknown>): Promise<string> {
  return (await rejection(promise) as { code: string }).code;
}

/** Descriptors of this process that lead to a filesystem. */
function descriptorsOn(filesystem: TestFilesystem): number {
  return readdirSync('/proc/self/fd', { withFileTypes: true })
    .filter(({ name }) => existsSync(`/proc/self/fd/${name}`) && statSync(`/proc/self/fd/${name}`).dev === statSync(filesystem.directory).dev).length;
}

/** `count` names in a directory, cheap ones: they are all one file. */
function fill(directory: string, count: number): void {
  mkdirSync(directory, { recursive: true });
  let original = '';
  for (let i = 0; i < count; i++) {
    const name = join(directory, `name-${i}`);
    // A file has at most 65000 names on ext4 and fewer per directory on btrfs.
    if (i % 500 === 0) writeFileSync((original = name), 'x'.repeat(10));
    else linkSync(original, name);
  }
}

const SOME = FILESYSTEMS.filter(({ name }) => name === 'ext4' || name === 'tmpfs');

for (const filesystem of FILESYSTEMS) {
  const { name } = filesystem;

  const some = SOME.includes(filesystem);
  const directories = some ? 140 : 20;
  test(`${name}: ${MANY + directories * 100} entries, each of them once`, async () => {
    const path = directoryOn(filesystem);
    fill(join(path, 'flat'), MANY);
    for (let i = 0; i < directories; i++) fill(join(path, `d${i % 10}`, `e${i}`), 100);
    symlinkSync('flat', join(path, 'link'));
    const entries = await all(files.scan(path));
    const wanted = new Set(execFileSync('find', [path, '-mindepth', '1', '-printf', '%P\n'], { encoding: 'utf8', maxBuffer: 2 ** 26 }).trim().split('\n'));
    assert.equal(entries.filter((entry) => !wanted.has(entry.path)), []);
    assert.is(new Set(entries.map((entry) => entry.path)).size, wanted.size);
    assert.is(entries.length, wanted.size);
    const seen = new Set(['']);
    for (const entry of entries) {
      const names = entry.path.split('/');
      assert.is(entry.name, names.at(-1));
      assert.is(entry.depth, names.length);
      assert.ok(seen.has(names.slice(0, -1).join('/')), `${entry.path} comes before its directory`);
      if (entry.kind === 'directory') seen.add(entry.path);
    }
    const kinds = { files: MANY + directories * 100, directories: directories + 11, links: 1, others: 0 };
    assert.equal(await files.count(path), { primitive: 'getdents64', ...kinds, bytes: undefined });
    assert.equal(await files.count(path, { bytes: true }), { primitive: 'getdents64', ...kinds, bytes: 10 * kinds.files });
    assert.equal(await pathsOf(files.scan(path, { recursive: false })), readdirSync(path).sort());
    assert.is(descriptorsOn(filesystem), 0);
  });

  test(`${name}: names are removed while they are scanned, and none is missed`, async () => {
    const path = directoryOn(filesystem);
    fill(join(path, 'flat'), MANY);
    let removed = 0;
    for await (const entry of files.scan(path)) {
      if (entry.kind !== 'file') continue;
      unlinkSync(join(path, entry.path));
      removed++;
    }
    assert.is(removed, MANY);
    assert.equal(readdirSync(join(path, 'flat')), []);
  });

  test(`${name}: a tree that vanishes meanwhile ends the scan early, without an error`, async () => {
    const path = directoryOn(filesystem);
    for (let i = 0; i < 60; i++) fill(join(path, 'tree', `d${i}`), 100);
    const found: string[] = [];
    for await (const entry of files.scan(path)) {
      if (found.length === 0) rmSync(join(path, 'tree'), { recursive: true });
      found.push(entry.path);
    }
    assert.ok(found.length > 0 && found.length < 6061, `${found.length} entries`);
    assert.is(new Set(found).size, found.length);
  });

  test(`${name}: 300 directories deep, far beyond PATH_MAX`, async () => {
    const path = directoryOn(filesystem);
    let handle = await files.openDirectory(path);
    const step = 'a-name-of-thirty-five-characters-ë';
    for (let depth = 0; depth < 300; depth++) {
      await handle.mkdirAt(step);
      const next = await handle.openDirectoryAt(step);
      await handle.close();
      handle = next;
    }
    await (await handle.openAt('bottom', { write: true, create: true })).close();
    await handle.close();
    const entries = await all(files.scan(path));
    assert.is(entries.length, 301);
    assert.equal(entries.at(-1)?.path, `${`${step}/`.repeat(300)}bottom`);
    assert.is(entries.at(-1)?.depth, 301);
    const told: string[] = [];
    const followed = await all(files.scan(path, { followLinks: true, onError: (error, where) => told.push(`${where.split('/').length} ${(error as { code?: string }).code ?? ''}`) }));
    // By their paths, as links have to be: as far as the system takes them.
    assert.ok(followed.length > 100 && followed.length < 150, `${followed.length} entries`);
    assert.equal(told, [`${followed.length} TIDEMARK_INVALID_PATH`]);
    assert.is(descriptorsOn(filesystem), 0);
    execFileSync('rm', ['-r', path]);
  });
}

for (const filesystem of SOME) {
  const { name } = filesystem;

  test(`${name}: leaving the loop, aborting and failing end it and leave nothing open`, async () => {
    const path = directoryOn(filesystem);
    fill(join(path, 'flat'), MANY);
    for await (const entry of files.scan(join(path, 'flat'))) {
      assert.is(entry.kind, 'file');
      // Read in part, and the one where it began.
      assert.is(descriptorsOn(filesystem), 2);
      break;
    }
    assert.is(descriptorsOn(filesystem), 0);

    const controller = new AbortController();
    const reason = new Error('enough');
    let entries = 0;
    const aborted = async (): Promise<void> => {
      for await (const entry of files.scan(path, { signal: controller.signal })) {
        assert.ok(entry.path.startsWith('flat'));
        if (++entries === 10) controller.abort(reason);
      }
    };
    assert.is(await rejection(aborted()), reason);
    assert.is(entries, 10);
    assert.is(await rejection(all(files.scan(path, { signal: AbortSignal.abort(reason) }))), reason);
    assert.is(await rejection(files.count(path, { signal: AbortSignal.abort(reason) })), reason);
    const failing = async (): Promise<void> => {
      for await (const entry of files.scan(path)) throw new Error(entry.path);
    };
    assert.is((await rejection(failing()) as Error).message, 'flat');
    assert.is(descriptorsOn(filesystem), 0);
  });

  test(`${name}: links are followed where it is asked for, and loops end`, async () => {
    const path = directoryOn(filesystem);
    mkdirSync(join(path, 'a', 'b'), { recursive: true });
    mkdirSync(join(path, 'beside'));
    writeFileSync(join(path, 'a', 'b', 'file'), '');
    writeFileSync(join(path, 'beside', 'other'), '');
    const links = { 'a/up': '..', 'a/itself': '.', 'a/b/beside': '../../beside', 'a/file': 'b/file', 'a/dangling': 'nothing' };
    for (const [link, target] of Object.entries(links)) symlinkSync(target, join(path, link));
    const plain = ['a', 'a/b', 'a/b/beside', 'a/b/file', 'a/dangling', 'a/file', 'a/itself', 'a/up', 'beside', 'beside/other'];
    assert.equal(await pathsOf(files.scan(path)), plain);
    const followed = await all(files.scan(path, { followLinks: true }));
    assert.equal(followed.map((entry) => entry.path).sort(), [...plain, 'a/b/beside/other'].sort());
    assert.is(followed.find((entry) => entry.path === 'a/b/beside')?.kind, 'symlink');
    // Outside the start, but inside nothing that confines it.
    assert.equal(await pathsOf(files.scan(join(path, 'a', 'b'), { followLinks: true })), ['beside', 'beside/other', 'file']);
    // From within a scope nothing outside is entered: that is told.
    const scope = files.scoped(join(path, 'a', 'b'));
    assert.equal(await pathsOf(scope.scan('.')), ['beside', 'file']);
    assert.is(await codeOf(all(scope.scan('.', { followLinks: true }))), 'TIDEMARK_OUTSIDE_ROOT');
    await scope.close();
    symlinkSync('circle', join(path, 'circle'));
    assert.is(await codeOf(all(files.scan(path, { followLinks: true }))), 'TIDEMARK_INVALID_PATH');
  });

  test(`${name}: names that are not UTF-8 come with their bytes, and such directories are not entered`, async () => {
    const path = directoryOn(filesystem);
    const odd = Buffer.concat([Buffer.from(`${path}/`), Buffer.from([0xff, 0x64])]);
    mkdirSync(odd);
    writeFileSync(Buffer.concat([odd, Buffer.from('/hidden')]), '');
    // The text that stands for it is a directory's name, too.
    fill(join(path, '\ufffdd'), 3);
    writeFileSync(Buffer.concat([Buffer.from(`${path}/`), Buffer.from([0xfe])]), '');
    const error = await rejection(all(files.scan(path))) as { code: string; message: string };
    assert.is(error.code, 'TIDEMARK_INVALID_PATH');
    assert.match(error.message, /not UTF-8/);
    const told: string[] = [];
    const entries = await all(files.scan(path, { onError: (_, where) => told.push(where) }));
    assert.equal(told, ['\ufffdd']);
    assert.equal(entries.filter(({ nameBytes }) => nameBytes !== undefined).map((entry) => [entry.kind, [...entry.nameBytes ?? []]]).sort(), [['directory', [0xff, 0x64]], ['file', [0xfe]]]);
    assert.is(entries.length, 6);
    assert.equal(await files.count(path, { onError: () => undefined, bytes: true }), { primitive: 'getdents64', files: 4, directories: 2, links: 0, others: 0, bytes: 30 });
  });
}

const TREE = ['src/main/a.ts', 'src/main/b.js', 'src/main/deep/c.ts', 'src/lib/d.ts', 'src/.hidden/e.ts', 'docs/f.md', 'docs/g.ts', 'h.ts', '.i.ts', 'odd [x]/j.ts', '!k.ts', 'with{brace/l.ts'];

/** Globs, and what they find of the tree. */
const FINDS: readonly (readonly [globs: string | readonly string[], found: readonly string[], dot?: boolean])[] = [
  ['*.ts', ['!k.ts', 'h.ts']],
  ['*.ts', ['!k.ts', '.i.ts', 'h.ts'], true],
  ['**/*.ts', ['!k.ts', 'docs/g.ts', 'h.ts', 'odd [x]/j.ts', 'src/lib/d.ts', 'src/main/a.ts', 'src/main/deep/c.ts', 'with{brace/l.ts']],
  ['src/**/*.ts', ['src/.hidden/e.ts', 'src/lib/d.ts', 'src/main/a.ts', 'src/main/deep/c.ts'], true],
  ['src/*/*.ts', ['src/lib/d.ts', 'src/main/a.ts']],
  ['src/main/**', ['src/main', 'src/main/a.ts', 'src/main/b.js', 'src/main/deep', 'src/main/deep/c.ts']],
  ['src/{main,lib}/?.ts', ['src/lib/d.ts', 'src/main/a.ts']],
  ['{src/main,docs}/*.{js,md}', ['docs/f.md', 'src/main/b.js']],
  ['s[rq]c/@(lib|main/deep)/*', ['src/lib/d.ts', 'src/main/deep/c.ts']],
  [['docs/*', 'h.ts', 'h.*'], ['docs/f.md', 'docs/g.ts', 'h.ts']],
  ['./docs/*.md', ['docs/f.md']],
  ['odd \\[x\\]/*', ['odd [x]/j.ts']],
  ['!k.ts', ['!k.ts']],
  ['src', ['src']],
  ['h.ts/*', []],
  ['nothing/**', []],
];

test('globs find what they name', async () => {
  const path = temporaryDirectory();
  for (const file of TREE) {
    mkdirSync(join(path, file, '..'), { recursive: true });
    writeFileSync(join(path, file), '');
  }
  for (const [globs, found, dot] of FINDS) assert.equal(await pathsOf(files.find(path, globs, dot === undefined ? {} : { dot })), found, String(globs));
});

test('what cannot be used as an argument is told at once', async () => {
  const wrong: readonly (readonly [RegExp, () => unknown])[] = [
    [/Expected `path` to be a path/, () => files.scan('')],
    [/Expected `recursive` to be a boolean/, () => files.scan('/', { recursive: 1 as never })],
    [/Expected `followLinks` to be a boolean/, () => files.find('/', '*', { followLinks: 'yes' as never })],
    [/Expected `onError` to be a function/, () => files.scan('/', { onError: true as never })],
    [/Unknown option `depth`/, () => files.scan('/', { depth: 3 } as ScanOptions)],
    [/Unknown option `recursive`/, () => files.find('/', '*', { recursive: false } as never)],
    [/Expected `globs` to be a glob or several/, () => files.find('/', [])],
    [/Expected `globs` to be globs, strings of/, () => files.find('/', ['a', 7 as never])],
    [/Expected `globs` to be globs, strings of/, () => files.find('/', '')],
    [/Expected `globs` to be globs, strings of/, () => files.find('/', '*'.repeat(4097))],
    [/Expected `globs` to be relative/, () => files.find('/', '/etc/*')],
    [/Expected `globs` to be relative/, () => files.find('/', 'a/../*')],
  ];
  for (const [message, call] of wrong) assert.throws(call, message);
  const path = temporaryDirectory();
  writeFileSync(join(path, 'file'), '');
  for (const start of ['missing', 'file']) {
    assert.is(await codeOf(all(files.scan(join(path, start)))), 'TIDEMARK_NOT_FOUND');
    assert.is(await codeOf(all(files.scan(join(path, start), { followLinks: true, onError: () => undefined }))), 'TIDEMARK_NOT_FOUND');
  }
  assert.is(await codeOf(all(files.scan('x'.repeat(100_000)))), 'TIDEMARK_INVALID_PATH');
});

const unprivileged = noRoot();
if (unprivileged !== undefined) skip('scans of what may not be read', unprivileged);
else test('what may not be read is told, and not looked at where nothing can match', async () => {
  const path = temporaryDirectory();
  chmodSync(path, 0o755);
  for (const directory of ['open', 'shut']) fill(join(path, directory), 2);
  chmodSync(join(path, 'shut'), 0);
  const walk = async (task: object): Promise<Walked> => (await runProgram<Walked>('walker', { path, globs: [], tolerant: false, ...task }, { uid: NOBODY })).report;
  const open = ['open', 'open/name-0', 'open/name-1'];
  assert.equal(await walk({ what: 'scan', tolerant: true }), { paths: [...open, 'shut'], told: ['shut TIDEMARK_PERMISSION'] });
  assert.is((await walk({ what: 'scan' })).rejected, 'TIDEMARK_PERMISSION');
  assert.is((await walk({ what: 'scan', path: join(path, 'shut'), tolerant: true })).rejected, 'TIDEMARK_PERMISSION');
  assert.is((await walk({ what: 'find', globs: ['*/name-1'] })).rejected, 'TIDEMARK_PERMISSION');
  for (const globs of [['open/*'], ['o*/*'], ['open/**', 'nothing/x'], ['{open,other}/*'], ['open/*', 'shut']]) {
    const { paths, rejected } = await walk({ what: 'find', globs });
    assert.is(rejected, undefined, String(globs));
    assert.ok(paths.includes('open/name-1'));
  }
});

test('a directory on the way that became a link meanwhile is passed over, also where the link stays inside', () => {
  const path = temporaryDirectory();
  mkdirSync(join(path, 'real/inner'), { recursive: true });
  writeFileSync(join(path, 'real/inner/file'), '');
  symlinkSync('real', join(path, 'swapped'));
  const root = openSync(path, 'r');
  const context = { platform: linux, checkAborted: () => undefined, progress: () => undefined, move: () => undefined } as never;
  const page = (directory: string): unknown => {
    const { found, failures, pending } = fileOperations.scanPage(context, { path: '.', root }, undefined, { reading: undefined, pending: [{ path: directory, depth: 2, way: [] }] },
      { recursive: true, followLinks: false, tell: 'entries', globs: undefined });
    return [found.flatMap(({ entries }) => entries.map(({ name }) => name)), failures, pending];
  };
  try {
    assert.equal(page('real/inner'), [['file'], [], []]);
    assert.equal(page('swapped/inner'), [[], [], []]);
  } finally {
    closeSync(root);
  }
});

const ext4 = FILESYSTEMS.find(({ name }) => name === 'ext4');
if (ext4 !== undefined) test('kinds are looked up where the filesystem does not tell them with the names', async () => {
  const base = directoryOn(ext4);
  const [image, mounted] = [join(base, 'image'), join(base, 'mounted')];
  mkdirSync(mounted);
  writeFileSync(image, '');
  truncateSync(image, 16 * 1024 * 1024);
  execFileSync('mkfs.ext4', ['-q', '-F', '-O', '^filetype', image]);
  execFileSync('mount', ['-o', 'loop', image, mounted]);
  try {
    fill(join(mounted, 'directory'), 3);
    symlinkSync('directory', join(mounted, 'link'));
    await files.mkfifo(join(mounted, 'fifo'));
    const kinds = Object.fromEntries((await all(files.scan(mounted))).map(({ path, kind }) => [path, kind]));
    assert.equal(kinds, {
      'lost+found': 'directory', 'directory': 'directory', 'directory/name-0': 'file', 'directory/name-1': 'file', 'directory/name-2': 'file', 'link': 'symlink', 'fifo': 'fifo',
    });
  } finally {
    execFileSync('umount', [mounted]);
  }
});

test.after(() => scheduler.close());
test.run();
