/**
 * Block devices as sysfs shows them (Documentation/ABI/stable/sysfs-block and testing/sysfs-class-nvme of the kernel).
 *
 * A file that is missing, or cannot be read in a sandbox, is a fact that is not known, never an error.
 */
import { existsSync, readdirSync, readFileSync, realpathSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { told, unknown, type Fact } from '../fact.js';
import type { BlockDevice, BlockDeviceKind, DeviceAtomicWrite } from '../interface/device.js';

/** sysfs counts sizes in these, whatever the sectors of the device are. */
const SYSFS_SECTOR_BYTES = 512;
const BY_NAME = '/sys/class/block';
/** Devices without hardware of their own; what shares NVMe paths is virtual too, but lies elsewhere. */
const VIRTUAL = '/sys/devices/virtual/block/';

/** The name of a device by its number `major:minor`. */
export function blockDeviceName(number: string): string | undefined {
  return folderName(`/sys/dev/block/${number}`);
}

/** The name of a device by the path of its node, such as a link below /dev/mapper. */
export function blockDeviceNameOf(node: string): string | undefined {
  const name = folderName(node);
  return name !== undefined && existsSync(join(BY_NAME, name)) ? name : undefined;
}

function folderName(path: string): string | undefined {
  try {
    return basename(realpathSync(path));
  } catch {
    return undefined;
  }
}

/** The devices and everything that they lie on, each once, the given ones first. */
export function stackOf(names: readonly string[]): readonly BlockDevice[] {
  const found = new Map<string, BlockDevice>();
  const wanted = [...names];
  for (let name = wanted.shift(); name !== undefined; name = wanted.shift()) {
    if (found.has(name)) continue;
    const device = describe(name);
    if (device === undefined) continue;
    found.set(name, device);
    wanted.push(...device.below);
  }
  return [...found.values()];
}

/** All devices of the btrfs filesystem that has one of this name: a mount names only one of them. */
export function btrfsDevices(name: string): readonly string[] {
  for (const id of entries('/sys/fs/btrfs')) {
    const names = entries(join('/sys/fs/btrfs', id, 'devices'));
    if (names.includes(name)) return [name, ...names.filter((other) => other !== name)];
  }
  return [name];
}

function describe(name: string): BlockDevice | undefined {
  const link = join(BY_NAME, name);
  const number = text(join(link, 'dev'));
  if (number === undefined) return undefined;
  const folder = realpathSync(link);
  const isPartition = existsSync(join(folder, 'partition'));
  const disk = isPartition ? dirname(folder) : folder;
  const kind = isPartition ? 'partition' : kindOf(disk);
  const queue = join(BY_NAME, basename(disk), 'queue');
  const subsystem = folderName(join(disk, 'device', 'subsystem'));
  return {
    name,
    path: `/dev/${/^DEVNAME=(.+)$/m.exec(text(join(folder, 'uevent')) ?? '')?.[1] ?? name}`,
    number,
    kind,
    below: isPartition ? [basename(disk)] : entries(join(disk, 'slaves')),
    detail: text(join(disk, kind === 'loop' ? 'loop/backing_file' : 'dm/name')),
    sizeBytes: Number(text(join(folder, 'size')) ?? 0) * SYSFS_SECTOR_BYTES,
    logicalSectorBytes: fact(join(queue, 'logical_block_size'), Number),
    physicalSectorBytes: fact(join(queue, 'physical_block_size'), Number),
    rotational: fact(join(queue, 'rotational'), isOne),
    volatileCache: fact(join(queue, 'write_cache'), (value) => value !== 'write through'),
    forceUnitAccess: fact(join(queue, 'fua'), isOne),
    atomicWrite: atomicWriteOf(queue),
    transport: transportOf(disk, subsystem),
    nvme: subsystem === 'nvme' || subsystem === 'nvme-subsystem',
  };
}

function kindOf(disk: string): BlockDeviceKind {
  if (existsSync(join(disk, 'dm'))) return 'device mapper';
  if (existsSync(join(disk, 'md'))) return 'md';
  if (existsSync(join(disk, 'loop'))) return 'loop';
  return disk.startsWith(VIRTUAL) ? 'virtual' : 'disk';
}

/** Linux 6.11. */
function atomicWriteOf(queue: string): Fact<DeviceAtomicWrite> {
  const bytes = (name: string): number | undefined => {
    const value = text(join(queue, `atomic_write_${name}_bytes`));
    return value === undefined ? undefined : Number(value);
  };
  const unitMinBytes = bytes('unit_min');
  const unitMaxBytes = bytes('unit_max');
  const maxBytes = bytes('max');
  const boundaryBytes = bytes('boundary');
  if (unitMinBytes === undefined || unitMaxBytes === undefined || maxBytes === undefined || boundaryBytes === undefined) {
    return unknown(`${queue} has no atomic_write_*: the kernel is older than 6.11`);
  }
  return told({ unitMinBytes, unitMaxBytes, maxBytes, boundaryBytes }, `${queue}/atomic_write_*`);
}

function transportOf(disk: string, subsystem: string | undefined): Fact<string> {
  const source = join(disk, 'device', 'transport');
  const value = text(source);
  if (value !== undefined) return told(value, source);
  if (subsystem === undefined) return unknown(`${disk} has no device: it is no hardware`);
  // What stands between a SCSI disk and the machine shows in its place in the tree of devices alone.
  const via = subsystem === 'scsi' ? /\/(ata|usb)\d+\//.exec(disk)?.[1] : undefined;
  if (via !== undefined) return told(via, disk);
  if (subsystem === 'nvme-subsystem') return unknown(`${basename(disk)} has several paths, each with a transport of its own`);
  return told(subsystem, join(disk, 'device', 'subsystem'));
}

function isOne(value: string): boolean {
  return value === '1';
}

function fact<T>(path: string, parse: (value: string) => T): Fact<T> {
  const value = text(path);
  return value === undefined ? unknown(`${path} cannot be read`) : told(parse(value), path);
}

function text(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return undefined;
  }
}

function entries(path: string): readonly string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}
