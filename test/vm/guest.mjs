/**
 * Runs in the virtual machine of nvme.sh: node guest.mjs <bytes of a logical block> <bytes of the disk> <serial number>.
 * Prints a line `PASS what` or `FAIL what: why` for each check. An ext4 filesystem on /dev/nvme0n1 is mounted at /mnt.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, closeSync, constants, openSync, readFileSync, renameSync, symlinkSync, unlinkSync, writeFileSync, writeSync } from 'node:fs';
import { release } from 'node:os';
import { IoScheduler, Journal, JournalReader } from 'tidemark';
import { NativeMemory } from './node_modules/tidemark/dist/platform/ffi.js';
import { selectPlatform } from './node_modules/tidemark/dist/platform/select.js';
import { flushBelow, flushDeviceOf } from './node_modules/tidemark/dist/workers/files/device.js';

const DISK = '/dev/nvme0n1';
/** Has a partition, and no filesystem. */
const PARTITIONED = '/dev/nvme1n1';
const FILE = '/mnt/file';
const NOBODY = 65534;
const FLUSHES = 3;
const [blockBytes, diskBytes, serial] = [Number(process.argv[2]), Number(process.argv[3]), process.argv[4]];
const scheduler = new IoScheduler({ backend: 'io_uring', fileWorkers: 1 });
const { files } = scheduler;

let failed = false;

async function check(what, work) {
  try {
    await work();
    console.log(`PASS ${what}`);
  } catch (error) {
    failed = true;
    console.log(`FAIL ${what}: ${error instanceof Error ? error.message : error}`.replaceAll('\n', ' '));
  }
}

/** Runs a piece of code in a process of its own, and answers what it prints. */
function inProcess(code, options = {}) {
  const { stdout, stderr, status } = spawnSync('/bin/node', ['--input-type=module', '--eval', code], { cwd: '/app', encoding: 'utf8', ...options });
  assert.equal(status, 0, stderr);
  return stdout.trim();
}

/** What a method of `files` with the file rejects with: its code, and its message. */
function rejectionOf(method, options) {
  return inProcess(`
    import { IoScheduler } from 'tidemark';
    const scheduler = new IoScheduler();
    const answer = await scheduler.files.${method}('${FILE}').then(() => 'resolved', (error) => error.code + ' ' + error.message);
    await scheduler.close();
    console.log(answer);`, options);
}

// ---- marks in the log of the disk -----------------------------------------------------------------------------------

const disk = openSync(DISK, constants.O_WRONLY | constants.O_DIRECT);
const block = new NativeMemory(4096, 4096);

/** Written behind the filesystem, so that it disturbs nothing; reaches the disk at once, without a flush. */
function writeBlock(text) {
  block.bytes.fill(0);
  Buffer.from(block.bytes.buffer, block.bytes.byteOffset, block.bytes.length).write(`${text}\n`);
  writeSync(disk, block.bytes, 0, block.bytes.length, diskBytes - block.bytes.length);
}

/** The host counts the flushes that `work` causes. */
async function counted(expected, name, work) {
  writeBlock(`TIDEMARK-VM begin ${expected} ${name}`);
  await work();
  writeBlock(`TIDEMARK-VM end ${expected} ${name}`);
}

// ---- checks ---------------------------------------------------------------------------------------------------------

writeFileSync(FILE, Buffer.alloc(64 * 1024, 1), { flush: true });
// What mounting and the file left to write is written, so that nobody but the checks causes flushes.
spawnSync('/bin/busybox', ['sync']);

await check('probe tells NVMe, sectors and a volatile cache', async () => {
  const probe = await files.probe(FILE);
  assert.equal(probe.filesystem, 'ext4');
  assert.equal(probe.mount.value.point, '/mnt');
  const [device, ...below] = probe.devices.value.list;
  assert.deepEqual(below, []);
  assert.equal(device.path, DISK);
  assert.equal(device.kind, 'disk');
  assert.equal(device.nvme, true);
  assert.equal(device.transport.value, 'pcie');
  assert.equal(device.sizeBytes, diskBytes);
  assert.equal(device.logicalSectorBytes.value, blockBytes);
  assert.equal(readFileSync('/sys/block/nvme0n1/queue/write_cache', 'utf8').trim(), 'write back');
  assert.equal(device.volatileCache.value, true);
  assert.equal(probe.volatileCache.value, true);
  assert.equal(probe.powerLossProtection.known, false);
  assert.equal(probe.directIo.value.offsetAlignment, blockBytes);
  assert.equal(probe.nvme.value.controller.serial, serial);
  assert.equal(probe.ioUring.available, true);
  assert.ok(probe.ioUring.operations.includes('URING_CMD'));
});

await check('identify tells what the device was made with', async () => {
  const { primitive, device, namespaceId, namespace, controller, atomic } = await files.nvmeIdentifyNamespace('/mnt');
  assert.equal(primitive, 'NVME_IOCTL_ADMIN_CMD');
  assert.equal(device, DISK);
  assert.equal(namespaceId, 1);
  assert.equal(namespace.blockBytes, blockBytes);
  assert.equal(namespace.sizeBlocks, diskBytes / blockBytes);
  assert.equal(namespace.sizeBytes, diskBytes);
  assert.equal(namespace.metadataBytes, 0);
  assert.equal(controller.model, 'QEMU NVMe Ctrl');
  assert.equal(controller.serial, serial);
  assert.equal(controller.volatileCache, true);
  assert.equal(atomic.powerFail.bytes, blockBytes);
});

await check('a partition is found on its namespace', async () => {
  const { value: { list: [partition, namespace] } } = (await files.probe(`${PARTITIONED}p1`)).devices;
  assert.deepEqual([partition.kind, partition.nvme, partition.below], ['partition', true, ['nvme1n1']]);
  assert.deepEqual([namespace.kind, namespace.nvme, namespace.path], ['disk', true, PARTITIONED]);
  assert.deepEqual(await files.nvmeFlush(`${PARTITIONED}p1`), { primitive: 'NVME_IOCTL_IO_CMD', device: PARTITIONED, namespaceId: 1 });
});

await check('nvmeFlush', async () => {
  const handle = await files.openRead(FILE);
  await counted(FLUSHES, 'nvmeFlush', async () => {
    for (let i = 0; i < FLUSHES; i++) {
      // QEMU leaves out a flush that has nothing to flush.
      writeBlock(`something to flush: ${i}`);
      assert.deepEqual(await files.nvmeFlush(i === 0 ? handle : FILE), { primitive: 'NVME_IOCTL_IO_CMD', device: DISK, namespaceId: 1 });
    }
  });
  await handle.close();
});

await check('a probe causes no flush', () => counted(0, 'probe', async () => void (await files.probe(FILE))));

await check('the flush of direct writes is tried once, then used', async () => {
  const platform = selectPlatform();
  const descriptor = openSync(FILE, 'r+');
  await counted(1, 'flushDeviceOf, twice', async () => {
    for (let i = 0; i < 2; i++) assert.equal(flushDeviceOf(platform, descriptor), 'nvme flush');
  });
  await counted(1, 'flushBelow', async () => flushBelow(platform, descriptor));
  closeSync(descriptor);
});

// A thread's first one tries the device with a flush of its own.
await files.writeAt(FILE, Buffer.alloc(4096), 0, { method: 'overwrite' });

await check("'overwrite' flushes the device for blocks that are there, and is a direct write where the file grows", async () => {
  const bytes = Buffer.alloc(8192, 7);
  await counted(1, 'overwrite', async () => {
    const { sync, direct } = await files.writeAt(FILE, bytes, 4096, { method: 'overwrite' });
    assert.deepEqual([sync, direct], ['nvme flush', true]);
  });
  assert.deepEqual(readFileSync(FILE).subarray(4096, 4096 + bytes.length), bytes);
  const { sync } = await files.writeAt(FILE, bytes, 64 * 1024, { method: 'overwrite' });
  assert.notEqual(sync, 'nvme flush');
  assert.equal(readFileSync(FILE).length, 64 * 1024 + bytes.length);
});

await check('a file that lies on no disk is flushed by nobody', async () => {
  writeFileSync('/tmp/file', 'x');
  const descriptor = openSync('/tmp/file', 'r');
  assert.equal(flushDeviceOf(selectPlatform(), descriptor), undefined);
  closeSync(descriptor);
  await assert.rejects(files.nvmeFlush('/tmp/file'), { code: 'TIDEMARK_NOT_SUPPORTED', message: /no block device/ });
});

await check('TIDEMARK_DISABLE_NVME_PASSTHROUGH=1 turns it off', () => counted(0, 'turned off', async () => {
  const off = { env: { ...process.env, TIDEMARK_DISABLE_NVME_PASSTHROUGH: '1' } };
  for (const method of ['nvmeFlush', 'nvmeIdentifyNamespace']) {
    assert.match(rejectionOf(method, off), /^TIDEMARK_NOT_SUPPORTED .*TIDEMARK_DISABLE_NVME_PASSTHROUGH/);
  }
  const answer = inProcess(`
    import { openSync } from 'node:fs';
    import { selectPlatform } from '/app/node_modules/tidemark/dist/platform/select.js';
    import { flushDeviceOf } from '/app/node_modules/tidemark/dist/workers/files/device.js';
    console.log(flushDeviceOf(selectPlatform(), openSync('${FILE}', 'r')));`, off);
  assert.equal(answer, 'undefined');
}));

await check('without rights it says so, and names the device', async () => {
  const nobody = { uid: NOBODY, gid: NOBODY };
  for (const method of ['nvmeFlush', 'nvmeIdentifyNamespace']) {
    assert.match(rejectionOf(method, nobody), /^TIDEMARK_PERMISSION open '\/dev\/nvme0n1': .*CAP_SYS_ADMIN/);
  }
});

await check('to read the device is enough from Linux 6.2 on, and not before', async () => {
  const [major, minor] = release().split('.').map(Number);
  chmodSync(DISK, 0o644);
  const answer = rejectionOf('nvmeFlush', { uid: NOBODY, gid: NOBODY });
  chmodSync(DISK, 0o600);
  if (major > 6 || (major === 6 && minor >= 2)) assert.equal(answer, 'resolved');
  else assert.match(answer, /^TIDEMARK_PERMISSION NVME_IOCTL_IO_CMD '\/dev\/nvme0n1': .*CAP_SYS_ADMIN/);
});

await check('probe without rights tells all but what the NVMe device says', async () => {
  const probe = JSON.parse(inProcess(`
    import { IoScheduler } from 'tidemark';
    const scheduler = new IoScheduler();
    console.log(JSON.stringify(await scheduler.files.probe('${FILE}')));
    await scheduler.close();`, { uid: NOBODY, gid: NOBODY }));
  assert.equal(probe.volatileCache.value, true);
  assert.equal(probe.devices.value.list[0].nvme, true);
  assert.match(probe.nvme.reason, /\/dev\/nvme0n1.*CAP_SYS_ADMIN/);
});

await check('no node of the disk, or one of another disk, gets no command', async () => {
  renameSync(DISK, '/dev/elsewhere');
  await assert.rejects(files.nvmeFlush(FILE), { code: 'TIDEMARK_NOT_SUPPORTED', message: /\/dev\/nvme0n1 .*ENOENT/ });
  assert.match(inProcess(`
    import { IoScheduler } from 'tidemark';
    const scheduler = new IoScheduler();
    console.log((await scheduler.files.writeAt('${FILE}', Buffer.alloc(4096), 0, { method: 'overwrite' })).sync);
    await scheduler.close();`), /^(RWF_DSYNC|fdatasync)$/);
  symlinkSync(PARTITIONED, DISK);
  await assert.rejects(files.nvmeFlush(FILE), { code: 'TIDEMARK_NOT_SUPPORTED', message: /\/dev\/nvme0n1 is device \d+:\d+, not \d+:\d+/ });
  unlinkSync(DISK);
  renameSync('/dev/elsewhere', DISK);
  assert.equal((await files.nvmeFlush(FILE)).device, DISK);
});

await check('what the kernel was told of the cache does not outweigh the device', async () => {
  const setting = '/sys/block/nvme0n1/queue/write_cache';
  writeFileSync(setting, 'write through');
  const { volatileCache, powerLossProtection, devices } = await files.probe(FILE);
  writeFileSync(setting, 'write back');
  assert.equal(devices.value.list[0].volatileCache.value, false);
  assert.match(volatileCache.reason, /\/dev\/nvme0n1 says/);
  assert.equal(powerLossProtection.known, false);
});

await check('a journal appends over io_uring, and is read back', async () => {
  const journal = await Journal.open('/mnt/journal', { scheduler, segmentBytes: 4 * 1024 * 1024 });
  assert.equal(journal.backend.kind, 'io_uring');
  const records = Array.from({ length: 50 }, (_, index) => Buffer.from(`record ${index}`));
  await Promise.all(records.map((record) => journal.append(record)));
  await journal.close();
  const reader = await JournalReader.open('/mnt/journal');
  const found = [];
  for await (const { payload } of reader) found.push(Buffer.from(payload));
  await reader.close();
  assert.deepEqual(found, records);
});

await scheduler.close();
closeSync(disk);
process.exitCode = failed ? 1 : 0;
