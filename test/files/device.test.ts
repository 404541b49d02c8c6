/** What is told about the storage below files, compared with what lsblk, blockdev, findmnt and sysfs tell. */
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { InvalidArgumentError, IoScheduler, NotSupportedError, type BlockDevice, type Fact, type StorageProbe, type TidemarkError } from 'tidemark';
import { skip } from '../fault/tools.js';
import { nvme, segments } from '../internals.js';
import { directoryOn, FILESYSTEMS, type TestFilesystem } from './filesystems.js';

const scheduler = new IoScheduler();
const { files } = scheduler;

const OPERATIONS = ['probe', 'nvmeFlush', 'nvmeIdentifyNamespace'] as const;

function tell(command: string, ...words: string[]): string {
  const { status, stdout, stderr, error } = spawnSync(command, words, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${command} ${words.join(' ')}: ${error?.message ?? stderr}`);
  return stdout.trim();
}

function valueOf<T>(fact: Fact<T>): T {
  if (!fact.known) throw new Error(`not known: ${fact.reason}`);
  assert.ok(fact.source.length > 0);
  return fact.value;
}

function reasonOf(fact: Fact<unknown>): string {
  if (fact.known) throw new Error(`known: ${JSON.stringify(fact.value)}`);
  return fact.reason;
}

function onlyDevice(probe: StorageProbe): BlockDevice {
  const { top, list } = valueOf(probe.devices);
  assert.is(top, 1);
  assert.is(list.length, 1);
  return list[0] as BlockDevice;
}

async function codeOf(promise: Promise<unknown>): Promise<string> {
  return promise.then(() => 'resolved', (error: unknown) => (error as TidemarkError).code);
}

/** Which of them lie on a loop device, and what statx is known to tell for files there. */
const EXPECTED: Readonly<Record<TestFilesystem['kind'], { readonly loop: boolean; readonly direct: boolean; readonly atomic: boolean }>> = {
  ext4: { loop: true, direct: true, atomic: true },
  xfs: { loop: true, direct: true, atomic: true },
  btrfs: { loop: true, direct: false, atomic: false },
  tmpfs: { loop: false, direct: false, atomic: false },
  overlay: { loop: false, direct: true, atomic: true },
};

for (const filesystem of FILESYSTEMS) {
  const { name, kind, sectorBytes } = filesystem;
  const expected = EXPECTED[kind];
  const directory = directoryOn(filesystem);
  const path = join(directory, "a 'file'\nwith \"quotes\"");
  writeFileSync(path, 'content');

  test(`${name}: filesystem and mount`, async () => {
    const { filesystem: found, mount, primitive } = await files.probe(path);
    const { point, type, source, options } = valueOf(mount);
    assert.is(primitive, 'statx');
    assert.is(found, kind);
    assert.is(point, filesystem.directory);
    const told = (field: string): string => tell('findmnt', '--noheadings', '--first-only', '--output', field, '--mountpoint', filesystem.directory);
    assert.equal([type, source], [told('FSTYPE'), told('SOURCE')]);
    assert.equal([...options].sort(), [...new Set(told('OPTIONS').split(','))].sort());
  });

  if (expected.loop) {
    test(`${name}: the loop device, as others see it`, async () => {
      const loop = onlyDevice(await files.probe(path));
      assert.is(loop.kind, 'loop');
      assert.is(loop.nvme, false);
      assert.is(loop.path, valueOf((await files.probe(path)).mount).source);
      assert.is(loop.logicalSectorBytes.value, sectorBytes);
      assert.equal([loop.logicalSectorBytes.value, loop.physicalSectorBytes.value, loop.sizeBytes].map(String), tell('blockdev', '--getss', '--getpbsz', '--getsize64', loop.path).split('\n'));
      const [size, rotational, number] = tell('lsblk', '-bdno', 'SIZE,ROTA,MAJ:MIN', loop.path).split(/\s+/);
      assert.equal([String(loop.sizeBytes), valueOf(loop.rotational) ? '1' : '0', loop.number], [size, rotational, number]);
      const queue = `/sys/block/${loop.name}/queue`;
      assert.is(valueOf(loop.volatileCache), readFileSync(`${queue}/write_cache`, 'utf8').trim() === 'write back');
      assert.is(valueOf(loop.forceUnitAccess), readFileSync(`${queue}/fua`, 'utf8').trim() === '1');
      assert.is(loop.detail, readFileSync(`/sys/block/${loop.name}/loop/backing_file`, 'utf8').trim());
      assert.match(reasonOf(loop.transport), /no hardware/);
    });

    test(`${name}: of power loss only what the cache tells`, async () => {
      const { volatileCache, powerLossProtection } = await files.probe(path);
      assert.is(volatileCache.value, true);
      assert.is(powerLossProtection.known, false);
      assert.is(powerLossProtection.protected, undefined);
      assert.match(powerLossProtection.evidence, /write_cache/);
    });
  } else {
    test(`${name}: no block device`, async () => {
      const { devices, volatileCache, nvme: identity } = await files.probe(path);
      for (const fact of [devices, volatileCache, identity]) assert.match(reasonOf(fact), new RegExp(`no block device: ${kind} is mounted from '${kind}'`));
    });
  }

  test(`${name}: direct IO and atomic writes, of the file and of a directory by an unnamed one`, async () => {
    for (const [target, whose] of [[path, /of the file itself/], [directory, /unnamed file in the directory/]] as const) {
      const { directIo, atomicWrite } = await files.probe(target);
      if (expected.direct) {
        const direct = valueOf(directIo);
        assert.ok(direct.available);
        assert.is(direct.offsetAlignment % sectorBytes, 0);
      }
      if (expected.atomic) assert.type(valueOf(atomicWrite).unitMaxBytes, 'number');
      for (const [fact, known] of [[directIo, expected.direct], [atomicWrite, expected.atomic]] as const) {
        assert.is(fact.known, known);
        assert.match(fact.known ? fact.source : fact.reason, whose);
      }
    }
    assert.equal(readdirSync(directory), ["a 'file'\nwith \"quotes\""]);
  });

  test(`${name}: no NVMe, so no flush`, async () => {
    const handle = await files.openRead(path);
    for (const target of [path, directory, handle]) {
      for (const operation of ['nvmeFlush', 'nvmeIdentifyNamespace'] as const) {
        await files[operation](target).then(() => assert.unreachable(), (error: unknown) => {
          assert.instance(error, NotSupportedError);
          assert.match((error as NotSupportedError).reason, expected.loop ? /loop\d+ \(loop\), which is no NVMe/ : /no block device/);
        });
      }
    }
    assert.is(nvme.flushDeviceOf(segments.platform, handle.file.descriptor), undefined);
    await handle.close();
    assert.is(await codeOf(files.probe(handle)), 'TIDEMARK_CLOSED');
  });
}

for (const filesystem of FILESYSTEMS) {
  test(`${filesystem.name}: overwriting without an NVMe device is a direct write, or none`, async () => {
    const path = join(directoryOn(filesystem), 'file');
    const old = Buffer.alloc(8192, 1);
    writeFileSync(path, old);
    const { direct } = await files.readAll(path, { direct: true });
    const writing = files.writeAt(path, Buffer.alloc(4096, 2), 4096, { method: 'overwrite' });
    if (!direct) {
      assert.is(await codeOf(writing), 'TIDEMARK_NOT_SUPPORTED');
      assert.equal(readFileSync(path), old);
      return;
    }
    const { sync, bytesWritten } = await writing;
    assert.ok(sync === 'RWF_DSYNC' || sync === 'fdatasync', sync);
    assert.is(bytesWritten, 4096);
    assert.equal(readFileSync(path), Buffer.concat([Buffer.alloc(4096, 1), Buffer.alloc(4096, 2)]));
    assert.is(await codeOf(files.writeAt(path, old, 0, { method: 'overwrite', atomic: true })), 'TIDEMARK_INVALID_ARGUMENT');
  });
}

test('a handle tells the same as its path, and a link the same as its file', async () => {
  const [filesystem] = FILESYSTEMS;
  if (filesystem === undefined) return;
  const directory = directoryOn(filesystem);
  const path = join(directory, 'file');
  writeFileSync(path, '');
  symlinkSync('file', join(directory, 'link'));
  const handle = await files.openRead(path);
  const probe = await files.probe(path);
  assert.equal(await files.probe(handle), probe);
  assert.equal(await files.probe(join(directory, 'link')), probe);
  await handle.close();
});

test('btrfs on two devices names both', async () => {
  const refused = await onDisks(2, async (base, loops) => {
    const mount = join(base, 'mount');
    mkdirSync(mount);
    tell('mkfs.btrfs', '-q', '-f', '-d', 'single', ...loops);
    tell('btrfs', 'device', 'scan', ...loops);
    tell('mount', '-t', 'btrfs', loops[0] ?? '', mount);
    try {
      const { top, list } = valueOf((await files.probe(mount)).devices);
      assert.is(top, 2);
      assert.equal(list.map(({ path }) => path).sort(), [...loops].sort());
      await files.nvmeFlush(mount).then(() => assert.unreachable(), (error: unknown) => assert.match((error as Error).message, /lies on 2 devices/));
    } finally {
      tell('umount', mount);
    }
  });
  if (refused !== undefined) skip('btrfs on two devices', refused);
});

test('xfs with its log on another device names both', async () => {
  const refused = await onDisks(2, async (base, [disk = '', log = '']) => {
    const mount = join(base, 'mount');
    mkdirSync(mount);
    tell('mkfs.xfs', '-q', '-f', '-l', `logdev=${log},size=64m`, disk);
    tell('mount', '-t', 'xfs', '-o', `logdev=${log}`, disk, mount);
    try {
      const { top, list } = valueOf((await files.probe(mount)).devices);
      assert.equal([top, list.map(({ path }) => path)], [2, [disk, log]]);
      await files.nvmeFlush(mount).then(() => assert.unreachable(), (error: unknown) => assert.match((error as Error).message, /lies on 2 devices/));
    } finally {
      tell('umount', mount);
    }
  });
  if (refused !== undefined) skip('xfs with its log on another device', refused);
});

test('a partition lies on its disk; a block device stands for itself', async () => {
  const refused = await onDisks(1, async (_, [loop = '']) => {
    // Without a table: the kernel is told where it begins and how long it is, in sectors of 512 bytes.
    tell('addpart', loop, '1', '2048', '32768');
    const probe = await files.probe(`${loop}p1`);
    assert.is(probe.filesystem, 'none');
    assert.match(reasonOf(probe.mount), /block device/);
    const { top, list: [partition, disk] } = valueOf(probe.devices);
    assert.is(top, 1);
    assert.equal([partition?.kind, partition?.path, partition?.sizeBytes], ['partition', `${loop}p1`, 16 * 1024 * 1024]);
    assert.equal(partition?.below, [disk?.name]);
    assert.equal([disk?.kind, disk?.path], ['loop', loop]);
    assert.is(partition?.logicalSectorBytes.value, 512);
  });
  if (refused !== undefined) skip('partitions', refused);
});

/** Gives `use` loop devices of their own; answers why there are none. */
async function onDisks(count: number, use: (base: string, loops: readonly string[]) => Promise<void>): Promise<string | undefined> {
  if (FILESYSTEMS.length === 0) return 'there is no mount namespace';
  const base = mkdtempSync('/var/tmp/tidemark-device-');
  const loops: string[] = [];
  try {
    for (let index = 0; index < count; index++) {
      const image = join(base, `image-${index}`);
      writeFileSync(image, '');
      truncateSync(image, 512 * 1024 * 1024);
      loops.push(tell('losetup', '--find', '--show', '--partscan', image));
    }
    await use(base, loops);
    return undefined;
  } finally {
    for (const loop of loops) spawnSync('losetup', ['--detach', loop]);
    rmSync(base, { recursive: true, force: true });
  }
}

test('the disk of this machine, as lsblk sees it', async () => {
  const source = tell('findmnt', '--noheadings', '--output', 'SOURCE', '--target', '/var/tmp').replace(/\[.*/, '');
  if (!source.startsWith('/dev/')) {
    skip('the disk of this machine', `/var/tmp is mounted from ${source}`);
    return;
  }
  const { list: [device] } = valueOf((await files.probe('/var/tmp')).devices);
  const [number, logical, physical, rotational, size] = tell('lsblk', '-bdno', 'MAJ:MIN,LOG-SEC,PHY-SEC,ROTA,SIZE', source).split(/\s+/);
  assert.equal(
    [device?.number, device?.logicalSectorBytes.value, device?.physicalSectorBytes.value, device?.rotational.value === true ? 1 : 0, device?.sizeBytes].map(String),
    [number, logical, physical, rotational, size],
  );
});

test('proc has no filesystem name here, no devices, and no file can be made there', async () => {
  const { filesystem, directIo, devices, powerLossProtection } = await files.probe('/proc');
  assert.is(filesystem, '0x9fa0');
  assert.match(reasonOf(directIo), /O_TMPFILE.*EOPNOTSUPP/);
  assert.match(reasonOf(devices), /mounted from 'proc'/);
  assert.is(powerLossProtection.known, false);
});

test('tmpfs is lost with the power', async () => {
  const filesystem = FILESYSTEMS.find(({ kind }) => kind === 'tmpfs');
  if (filesystem === undefined) return;
  const { powerLossProtection } = await files.probe(filesystem.directory);
  assert.equal(powerLossProtection, { known: true, protected: false, evidence: 'tmpfs keeps files in memory' });
});

test('what the kernel\'s io_uring can do', async () => {
  const { ioUring } = await files.probe('/');
  if (!ioUring.available) {
    assert.ok(ioUring.reason.length > 0);
    return;
  }
  for (const operation of ['READ', 'WRITE', 'WRITE_FIXED', 'FSYNC', 'FALLOCATE']) assert.ok(ioUring.operations.includes(operation), operation);
  for (const feature of ['SINGLE_MMAP', 'NODROP']) assert.ok(ioUring.features.includes(feature), feature);
});

test('a file that may not be read is probed all the same, one that is not there is not found', async () => {
  const [filesystem] = FILESYSTEMS;
  if (filesystem === undefined) return;
  const directory = directoryOn(filesystem);
  const path = join(directory, 'secret');
  writeFileSync(path, '');
  chmodSync(path, 0);
  chmodSync(dirname(filesystem.directory), 0o711);
  const before = statSync(path, { bigint: true });
  const { stdout, stderr } = spawnSync('setpriv', ['--reuid=65534', '--clear-groups', process.execPath, '--input-type=module', '--eval', `
    import { IoScheduler } from ${JSON.stringify(import.meta.resolve('tidemark'))};
    const scheduler = new IoScheduler();
    console.log(JSON.stringify([(await scheduler.files.probe(${JSON.stringify(path)})).directIo, (await scheduler.files.probe(${JSON.stringify(directory)})).directIo]));
    await scheduler.close();`], { encoding: 'utf8' });
  assert.is(stderr, '');
  const [ofFile, ofDirectory] = JSON.parse(stdout) as [Fact<unknown>, Fact<unknown>];
  valueOf(ofFile);
  // No file can be made by somebody who may not write there.
  assert.match(reasonOf(ofDirectory), /O_TMPFILE.*EACCES/);
  assert.equal(statSync(path, { bigint: true }), before);
  for (const operation of OPERATIONS) {
    assert.is(await codeOf(files[operation](join(directory, 'nothing'))), 'TIDEMARK_NOT_FOUND');
    assert.is(await codeOf(files[operation](join(path, 'nothing'))), 'TIDEMARK_NOT_FOUND');
  }
});

test('bad arguments', async () => {
  for (const operation of OPERATIONS) {
    for (const target of [undefined, 3, '', 'a\0b', {}, null]) {
      await files[operation](target as never).then(() => assert.unreachable(), (error: unknown) => {
        assert.instance(error, InvalidArgumentError);
        assert.match((error as Error).message, /`target`/);
      });
    }
    await files[operation]('/', { deep: true } as never).then(() => assert.unreachable(), (error: unknown) => assert.instance(error, InvalidArgumentError));
  }
});

test.after(() => scheduler.close());
test.run();
