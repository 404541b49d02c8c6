/** FIFOs, sockets and devices, on every filesystem, against `stat`. */
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, lstatSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { IoScheduler, type MknodOptions } from 'tidemark';
import { noTracing, skip } from '../fault/tools.js';
import { isOn } from '../fault/trace.js';
import { temporaryDirectory } from '../support.js';
import { directoryOn, FILESYSTEMS } from './filesystems.js';
import { callsAs, failureIn, NOBODY, ODD_NAMES, rejection, traced, valueOf } from './metadata-tools.js';

// Modes are exact then.
process.umask(0);
const scheduler = new IoScheduler();
const { files } = scheduler;

/** Kind, permissions and device number (hexadecimal), as the system tells them. */
function told(path: string): string {
  const { stdout, stderr, status } = spawnSync('stat', ['--format=%F %a %t:%T', '--', path], { encoding: 'utf8' });
  if (status !== 0) throw new Error(stderr);
  return stdout.trim();
}

const KINDS: readonly [MknodOptions, string][] = [
  [{ kind: 'file' }, 'regular empty file 600 0:0'],
  [{ kind: 'fifo', mode: 0o622 }, 'fifo 622 0:0'],
  [{ kind: 'socket', mode: 0o777 }, 'socket 777 0:0'],
  [{ kind: 'character', major: 1, minor: 3, mode: 0o666 }, 'character special file 666 1:3'],
  [{ kind: 'block', major: 259, minor: 70_000, mode: 0 }, 'block special file 0 103:11170'],
  [{ kind: 'character', major: 511, minor: 262_143, mode: 0o7777 }, 'character special file 7777 1ff:3ffff'],
];

/** The largest device numbers of Linux. xfs keeps no major number above 511, and no minor number above 262143. */
const LARGEST: readonly [MknodOptions, string][] = [
  [{ kind: 'block', major: 4095, minor: 1_048_575 }, 'fff:fffff'],
  [{ kind: 'block', major: 512, minor: 0 }, '200:0'],
  [{ kind: 'block', major: 0, minor: 262_144 }, '0:40000'],
];

for (const filesystem of FILESYSTEMS) {
  const { name } = filesystem;

  test(`${name}: every kind is made as it was asked for`, async () => {
    const directory = directoryOn(filesystem);
    for (const [index, [options, expected]] of KINDS.entries()) {
      const path = join(directory, `${index}`);
      assert.equal(await files.mknod(path, options), { primitive: 'mknodat', sync: 'fsync' });
      assert.is(told(path), expected);
    }
    for (const [options, number] of LARGEST) {
      const path = join(directory, number);
      if (filesystem.kind === 'xfs') {
        const error = await rejection(files.mknod(path, options));
        assert.is(error.code, 'TIDEMARK_NOT_SUPPORTED');
        assert.match(error.message, `the filesystem xfs keeps no device number ${options.major ?? ''}:${options.minor ?? ''}`);
        assert.not.ok(existsSync(path));
      } else {
        await files.mknod(path, options);
        assert.is(told(path), `block special file 600 ${number}`);
      }
    }
    for (const odd of ODD_NAMES) {
      assert.equal(await files.mkfifo(join(directory, odd), { durable: false }), { primitive: 'mknodat', sync: 'none' });
      assert.is(told(join(directory, odd)), 'fifo 600 0:0');
    }
  });

  test(`${name}: a name that is taken stays what it is`, async () => {
    const directory = directoryOn(filesystem);
    const [file, link] = [join(directory, 'file'), join(directory, 'link')];
    writeFileSync(file, 'content');
    symlinkSync('nowhere', link);
    for (const durable of [true, false]) {
      for (const path of [file, link]) {
        const error = await rejection(files.mkfifo(path, { durable }));
        assert.is(error.code, 'TIDEMARK_EXISTS');
        assert.ok(error.message.includes(`'${path}'`), error.message);
      }
    }
    assert.is(lstatSync(file).size, 7);
    assert.not.ok(existsSync(join(directory, 'nowhere')));
  });

  test(`${name}: what others may not`, async () => {
    const directory = directoryOn(filesystem);
    chmodSync(directory, 0o777);
    const closed = directoryOn(filesystem);
    chmodSync(closed, 0o755);
    const [device, fifo, socket, refused] = await callsAs(NOBODY, filesystem, [
      ['mknod', join(directory, 'device'), { kind: 'block', major: 7, minor: 0 }], ['mkfifo', join(directory, 'fifo')],
      ['mknod', join(directory, 'socket'), { kind: 'socket' }], ['mkfifo', join(closed, 'fifo')],
    ]);
    assert.is(failureIn(device).code, 'TIDEMARK_PERMISSION');
    assert.match(failureIn(device).message, 'CAP_MKNOD');
    assert.not.ok(existsSync(join(directory, 'device')));
    for (const made of [fifo, socket]) assert.equal(valueOf(made), { primitive: 'mknodat', sync: 'fsync' });
    assert.equal([failureIn(refused).code, failureIn(refused).path], ['TIDEMARK_PERMISSION', join(closed, 'fifo')]);
  });
}

test('the umask takes bits away', async () => {
  const path = join(temporaryDirectory(), 'fifo');
  process.umask(0o027);
  try {
    await files.mkfifo(path, { mode: 0o666 });
  } finally {
    process.umask(0);
  }
  assert.is(told(path), 'fifo 640 0:0');
});

const nowhere = join(temporaryDirectory(), 'missing', 'fifo');
const REFUSED: readonly [string, () => Promise<unknown>, string, string][] = [
  ['a missing directory', () => files.mkfifo(nowhere), 'TIDEMARK_NOT_FOUND', dirname(nowhere)],
  ['a missing directory, not durable', () => files.mkfifo(nowhere, { durable: false }), 'TIDEMARK_NOT_FOUND', dirname(nowhere)],
  ['a name that is too long', () => files.mkfifo(join(temporaryDirectory(), 'x'.repeat(256))), 'TIDEMARK_INVALID_PATH', 'mknodat'],
  ['no kind', () => files.mknod(nowhere, {} as never), 'TIDEMARK_INVALID_ARGUMENT', '`kind`'],
  ['no options', () => files.mknod(nowhere, undefined as never), 'TIDEMARK_INVALID_ARGUMENT', '`kind`'],
  ['another kind', () => files.mknod(nowhere, { kind: 'door' as never }), 'TIDEMARK_INVALID_ARGUMENT', '`kind`'],
  ['a device without a number', () => files.mknod(nowhere, { kind: 'block', major: 7 }), 'TIDEMARK_INVALID_ARGUMENT', '`minor`'],
  ['a FIFO with a number', () => files.mknod(nowhere, { kind: 'fifo', major: 7 }), 'TIDEMARK_INVALID_ARGUMENT', '`major`'],
  ['a number that no device has', () => files.mknod(join(temporaryDirectory(), 'device'), { kind: 'block', major: 4096, minor: 0 }), 'TIDEMARK_INVALID_ARGUMENT', '4096:0'],
  ['a mode with the kind of file', () => files.mkfifo(nowhere, { mode: 0o10600 }), 'TIDEMARK_INVALID_ARGUMENT', '`mode`'],
  ['an unknown option', () => files.mkfifo(nowhere, { kind: 'fifo' } as never), 'TIDEMARK_INVALID_ARGUMENT', '`kind`'],
];

for (const [what, call, code, part] of REFUSED) {
  test(`refused: ${what}`, async () => {
    const error = await rejection(call());
    assert.is(error.code, code);
    assert.ok(error.message.includes(part), error.message);
  });
}

const reason = noTracing();
if (reason !== undefined) skip('the sync of directories', reason);
else {
  test('the directory is synced after the name was made, unless durable is false', async () => {
    const directory = temporaryDirectory();
    const { calls } = await traced([['mkfifo', join(directory, 'kept')], ['mkfifo', join(directory, 'quick'), { durable: false }]], ['mknod', 'mknodat', 'fsync', 'fdatasync']);
    assert.equal(calls.map(({ name }) => name), ['mknodat', 'fsync', 'mknodat']);
    assert.ok(calls[0] !== undefined && isOn(calls[0], directory), 'made in the open directory');
    assert.ok(calls[1] !== undefined && isOn(calls[1], directory), 'which was synced');
  });
}

test.after(() => scheduler.close());
test.run();
