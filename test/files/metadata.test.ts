/** What is known of a file, its times and its permissions, on every filesystem: against node:fs, /proc and chattr. */
import { spawnSync } from 'node:child_process';
import { chmodSync, lstatSync, mkdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { release } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { IoScheduler, type FileAttribute, type FileKind, type NewTimes } from 'tidemark';
import { noTracing, skip } from '../fault/tools.js';
import { temporaryDirectory } from '../support.js';
import { directoryOn, FILESYSTEMS, type TestFilesystem } from './filesystems.js';
import { callsAs, checkSyncedAfter, failureIn, NOBODY, ODD_NAMES, python, rejection, traced, valueOf } from './metadata-tools.js';

const scheduler = new IoScheduler();
const { files } = scheduler;

function must(command: string, ...words: string[]): void {
  const { status, stderr, error } = spawnSync(command, words, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${command} ${words.join(' ')} failed: ${error?.message ?? stderr}`);
}

/** One of each kind, by what makes it. */
const MAKE: Readonly<Record<FileKind, (path: string) => void>> = {
  file: (path) => writeFileSync(path, Buffer.alloc(70_000, 1), { mode: 0o640 }),
  directory: (path) => mkdirSync(path),
  symlink: (path) => symlinkSync('nowhere', path),
  fifo: (path) => must('mkfifo', path),
  socket: (path) => void python('import socket; socket.socket(socket.AF_UNIX).bind(a[1])', path),
  block: (path) => must('mknod', path, 'b', '259', '70000'),
  character: (path) => must('mknod', path, 'c', '1', '3'),
};

/** 6.18 is 6018. */
const [major = 0, minor = 0] = release().split('.').map(Number);
const kernel = major * 1000 + minor;

/** What the system says of the mount that holds `path`: its number. */
function mountIdOf(directory: string): number {
  const lines = readFileSync('/proc/self/mountinfo', 'utf8').trim().split('\n').map((line) => line.split(' '));
  return Number(lines.findLast((columns) => columns[4] === directory)?.[0]);
}

for (const filesystem of FILESYSTEMS) {
  const { name } = filesystem;

  test(`${name}: every kind of file is told as it is`, async () => {
    const directory = directoryOn(filesystem);
    for (const [kind, make] of Object.entries(MAKE)) {
      const path = join(directory, kind);
      make(path);
      const found = await files.statx(path, { followLink: false });
      const expected = lstatSync(path, { bigint: true });
      const specialMajor = expected.rdev >> 8n & 0xfffn;
      const specialMinor = expected.rdev & 0xffn | expected.rdev >> 12n & 0xfff00n;
      assert.equal(
        { ...found, mountId: undefined, attributes: undefined, directIo: undefined, atomicWrite: undefined, subvolume: undefined },
        {
          primitive: 'statx', kind,
          size: Number(expected.size), blocks: Number(expected.blocks), blockSize: Number(expected.blksize), links: Number(expected.nlink),
          uid: 0, gid: 0, mode: Number(expected.mode) & 0o7777, inode: expected.ino,
          device: { major: Number(expected.dev >> 8n & 0xfffn), minor: Number(expected.dev & 0xffn | expected.dev >> 12n & 0xfff00n) },
          specialDevice: kind === 'block' || kind === 'character' ? { major: Number(specialMajor), minor: Number(specialMinor) } : undefined,
          atimeNs: expected.atimeNs, mtimeNs: expected.mtimeNs, ctimeNs: expected.ctimeNs, birthtimeNs: expected.birthtimeNs,
          mountId: undefined, attributes: undefined, directIo: undefined, atomicWrite: undefined, subvolume: undefined,
        },
      );
      if (kind === 'block') assert.equal(found.specialDevice, { major: 259, minor: 70_000 });
      assert.is(found.mountId, mountIdOf(filesystem.directory));
    }
  });

  test(`${name}: links are followed or not, handles and odd names do as well`, async () => {
    const directory = directoryOn(filesystem);
    for (const odd of ODD_NAMES) {
      const path = join(directory, odd);
      writeFileSync(path, odd);
      symlinkSync(path, `${path}.link`);
      const { inode, kind } = await files.statx(`${path}.link`);
      assert.is(inode, statSync(path, { bigint: true }).ino);
      assert.is(kind, 'file');
      assert.is((await files.statx(`${path}.link`, { followLink: false })).kind, 'symlink');
      const handle = await files.openRead(path);
      assert.is((await files.statx(handle)).inode, inode);
      await handle.close();
    }
  });

  test(`${name}: times to the nanosecond`, async () => {
    const path = join(directoryOn(filesystem), 'file');
    writeFileSync(path, '');
    const date = new Date('2001-02-03T04:05:06.789Z');
    const cases: readonly [NewTimes, bigint, bigint][] = [
      [{ atime: 1n, mtime: 1_234_567_890_123_456_789n }, 1n, 1_234_567_890_123_456_789n],
      [{ mtime: -1n }, 1n, -1n],
      [{ atime: -1_500_000_000n }, -1_500_000_000n, -1n],
      [{ atime: date, mtime: 1.5 }, 981_173_106_789_000_000n, 1_500_000n],
      [{ atime: 1_700_000_000_000.25, mtime: 0 }, 1_700_000_000_000_250_000n, 0n],
    ];
    for (const [times, atimeNs, mtimeNs] of cases) {
      assert.equal(await files.setTimes(path, times), { primitive: 'utimensat', sync: 'none', atimeNs, mtimeNs });
      const stat = statSync(path, { bigint: true });
      assert.equal([stat.atimeNs, stat.mtimeNs], [atimeNs, mtimeNs]);
    }
    const before = BigInt(Date.now()) * 1_000_000n;
    const { atimeNs, mtimeNs } = await files.setTimes(path, { atime: 'now' });
    assert.is(mtimeNs, 0n);
    // The clock of files is as fine as the timer of the system.
    assert.ok(atimeNs > before - 100_000_000n && atimeNs <= BigInt(Date.now() + 1) * 1_000_000n, `${atimeNs} is now`);
  });

  test(`${name}: times of a link, and times through a handle`, async () => {
    const path = join(directoryOn(filesystem), 'file');
    writeFileSync(path, '');
    symlinkSync(path, `${path}.link`);
    await files.setTimes(path, { mtime: 5n });
    await files.setTimes(`${path}.link`, { mtime: 6n }, { followLink: false });
    assert.equal([lstatSync(`${path}.link`, { bigint: true }).mtimeNs, statSync(path, { bigint: true }).mtimeNs], [6n, 5n]);
    await files.setTimes(`${path}.link`, { mtime: 7n }, { durable: true });
    assert.is(statSync(path, { bigint: true }).mtimeNs, 7n);
    const handle = await files.openRead(path);
    assert.equal((await files.setTimes(handle, { mtime: 8n }, { durable: true })).sync, 'fsync');
    await handle.close();
    assert.is(statSync(path, { bigint: true }).mtimeNs, 8n);
    assert.is((await rejection(files.setTimes(handle, { mtime: 9n }))).code, 'TIDEMARK_CLOSED');
  });

  test(`${name}: a time that the filesystem cannot keep is answered as it was kept`, async () => {
    const path = join(directoryOn(filesystem), 'file');
    writeFileSync(path, '');
    const asked = BigInt(Date.UTC(20_000, 0)) * 1_000_000n;
    const { mtimeNs } = await files.setTimes(path, { mtime: asked });
    assert.is(mtimeNs, (await files.statx(path)).mtimeNs);
    assert.is(mtimeNs === asked, filesystem.kind === 'btrfs' || filesystem.kind === 'tmpfs', `${mtimeNs}`);
  });

  test(`${name}: permission bits`, async () => {
    const path = join(directoryOn(filesystem), 'file');
    writeFileSync(path, '');
    symlinkSync(path, `${path}.link`);
    const modeOf = (): number => statSync(path).mode & 0o7777;
    assert.equal(await files.chmod(path, 0o4755), { primitive: 'fchmodat', sync: 'none' });
    assert.is(modeOf(), 0o4755);
    assert.equal(await files.chmod(`${path}.link`, 0, { durable: true }), { primitive: 'fchmod', sync: 'fsync' });
    assert.is(modeOf(), 0);
    const handle = await files.openRead(path);
    assert.equal(await files.chmod(handle, 0o7777), { primitive: 'fchmod', sync: 'none' });
    await handle.close();
    assert.is(modeOf(), 0o7777);
  });

  test(`${name}: what others may not`, async () => {
    const path = join(directoryOn(filesystem), 'file');
    writeFileSync(path, '', { mode: 0o600 });
    const own = join(directoryOn(filesystem), 'own');
    writeFileSync(own, '');
    must('chown', String(NOBODY), own);
    chmodSync(own, 0o200);
    const [stat, times, mode, writeOnly, setgid] = await callsAs(NOBODY, filesystem, [
      ['statx', path], ['setTimes', path, { mtime: 1 }], ['chmod', path, 0o666], ['setTimes', own, { mtime: 1 }, { durable: true }], ['chmod', own, 0o2600],
    ]);
    assert.is(valueOf(stat)['mode'], 0o600);
    for (const refused of [times, mode]) assert.equal([failureIn(refused).code, failureIn(refused).path], ['TIDEMARK_PERMISSION', path]);
    assert.is(valueOf(writeOnly)['mtimeNs'], '1000000');
    assert.is(valueOf(setgid)['primitive'], 'fchmodat');
    assert.is(statSync(own).mode & 0o7777, 0o600);
  });
}

/** Flags that a file may get from chattr, and which filesystems know them. What statx does not know is undefined. */
const FLAGS: readonly [flag: string, attribute: FileAttribute, known: readonly TestFilesystem['kind'][]][] = [
  ['i', 'immutable', ['ext4', 'xfs', 'btrfs', 'tmpfs', 'overlay']],
  ['a', 'appendOnly', ['ext4', 'xfs', 'btrfs', 'tmpfs', 'overlay']],
  ['d', 'noDump', ['ext4', 'xfs', 'btrfs', 'tmpfs', 'overlay']],
  // ext4 keeps the flag, though it compresses nothing.
  ['c', 'compressed', ['ext4', 'btrfs', 'overlay']],
];

for (const filesystem of FILESYSTEMS) {
  test(`${filesystem.name}: attributes of the file are told where the filesystem knows them`, async () => {
    for (const [flag, attribute, known] of FLAGS) {
      const path = join(directoryOn(filesystem), `flag-${flag}`);
      writeFileSync(path, '');
      const before = (await files.statx(path)).attributes[attribute];
      const changed = spawnSync('chattr', [`+${flag}`, path]).status === 0;
      const after = (await files.statx(path)).attributes[attribute];
      if (changed) spawnSync('chattr', [`-${flag}`, path]);
      assert.equal([before, after, changed], known.includes(filesystem.kind) ? [false, true, true] : [before, before, changed], `${flag}: ${String(before)} ${String(after)} ${String(changed)}`);
    }
    assert.is((await files.statx(filesystem.directory)).attributes.mountRoot, true);
    assert.is((await files.statx(directoryOn(filesystem))).attributes.mountRoot, false);
  });

  test(`${filesystem.name}: direct IO is told as the device has it`, async () => {
    const path = join(directoryOn(filesystem), 'file');
    writeFileSync(path, '');
    const { directIo } = await files.statx(path);
    const aligned = { ext4: filesystem.sectorBytes, xfs: filesystem.sectorBytes, btrfs: undefined, tmpfs: undefined, overlay: 512 }[filesystem.kind];
    assert.is(directIo?.offsetAlignment, aligned);
  });

  test(`${filesystem.name}: subvolumes and atomic writes are told where there are any`, async () => {
    const path = join(directoryOn(filesystem), 'file');
    writeFileSync(path, '');
    const { subvolume, atomicWrite, blockSize } = await files.statx(path);
    // The subvolume that a btrfs begins with.
    assert.is(subvolume, kernel >= 6_010 && filesystem.kind === 'btrfs' ? 5n : undefined);
    // xfs does them by copy on write, a block at least; the others would need a device that does them.
    if (filesystem.kind === 'xfs' && kernel >= 6_016) assert.equal([atomicWrite?.sizeMin, atomicWrite?.segmentsMax], [blockSize, 1]);
    else assert.is(atomicWrite?.sizeMax ?? 0, 0);
  });
}

const nowhere = join(temporaryDirectory(), 'missing');
const REFUSED: readonly [string, () => Promise<unknown>, string, string][] = [
  ['a missing file', () => files.statx(nowhere), 'TIDEMARK_NOT_FOUND', nowhere],
  ['times of a missing file', () => files.setTimes(nowhere, { mtime: 1 }), 'TIDEMARK_NOT_FOUND', nowhere],
  ['the mode of a missing file, durable', () => files.chmod(nowhere, 0o600, { durable: true }), 'TIDEMARK_NOT_FOUND', nowhere],
  ['no times', () => files.setTimes(nowhere, {}), 'TIDEMARK_INVALID_ARGUMENT', '`times`'],
  ['a time that is none', () => files.setTimes(nowhere, { mtime: new Date(NaN) }), 'TIDEMARK_INVALID_ARGUMENT', '`times.mtime`'],
  ['a time too far away', () => files.setTimes(nowhere, { atime: 2n ** 80n }), 'TIDEMARK_INVALID_ARGUMENT', '`times.atime`'],
  ['birth', () => files.setTimes(nowhere, { birthtime: 1 } as never), 'TIDEMARK_INVALID_ARGUMENT', '`birthtime`'],
  ['no mode', () => files.chmod(nowhere, undefined as never), 'TIDEMARK_INVALID_ARGUMENT', '`mode`'],
  ['a mode with the kind of file', () => files.chmod(nowhere, 0o100644), 'TIDEMARK_INVALID_ARGUMENT', '`mode`'],
  ['a path that is none', () => files.statx(7 as never), 'TIDEMARK_INVALID_ARGUMENT', '`target`'],
  ['an unknown option', () => files.chmod(nowhere, 0, { followLink: false } as never), 'TIDEMARK_INVALID_ARGUMENT', '`followLink`'],
];

for (const [what, call, code, part] of REFUSED) {
  test(`refused: ${what}`, async () => {
    const error = await rejection(call());
    assert.is(error.code, code);
    assert.ok(error.message.includes(part), error.message);
  });
}

test('what cannot be synced is not changed either', async () => {
  const path = join(temporaryDirectory(), 'fifo');
  must('mkfifo', '-m', '600', path);
  assert.is((await rejection(files.chmod(path, 0o644, { durable: true }))).code, 'TIDEMARK_NOT_SUPPORTED');
  assert.is(statSync(path).mode & 0o7777, 0o600);
});

const reason = noTracing();
if (reason !== undefined) skip('the sync of metadata', reason);
else {
  test('durable syncs the file after the change, else nothing is synced', async () => {
    const directory = temporaryDirectory();
    const [times, mode, open, quick] = ['times', 'mode', 'open', 'quick'].map((name) => join(directory, name)) as [string, string, string, string];
    for (const path of [times, mode, open, quick]) writeFileSync(path, '');
    const { calls } = await traced([
      ['setTimes', times, { mtime: 1 }, { durable: true }], ['chmod', mode, 0o600, { durable: true }], ['chmod', `file:${open}`, 0o600, { durable: true }],
      ['setTimes', quick, { mtime: 1 }], ['chmod', quick, 0o600],
    ], ['utimensat', 'fchmod', 'fchmodat', 'fsync', 'fdatasync']);
    checkSyncedAfter(calls, 'utimensat', times);
    checkSyncedAfter(calls, 'fchmod', mode);
    checkSyncedAfter(calls, 'fchmod', open);
    assert.equal(calls.filter(({ args }) => args.includes(quick)).map(({ name }) => name), ['utimensat', 'fchmodat']);
    assert.is(calls.length, 8);
  });
}

test.after(() => scheduler.close());
test.run();
