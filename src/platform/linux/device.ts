/** What statx(2), the list of mounts and sysfs tell about the storage below a file. */
import { readFileSync } from 'node:fs';
import { told, unknown, type Fact } from '../fact.js';
import { native } from '../ffi.js';
import type { DeviceCalls, FileAtomicWrite, Mount, StorageDescription } from '../interface/device.js';
import type { DirectIo } from '../platform.js';
import { blockDeviceName, blockDeviceNameOf, btrfsDevices, stackOf } from './block-devices.js';
import { check } from './calls.js';
import { files } from './files.js';
import { O_DIRECTORY } from './open-flags.js';
import { S_IFMT, STATX, STATX_MASK, statxOf } from './statx.js';

const S_IFDIR = 0o040000;
const S_IFBLK = 0o060000;
const O_RDWR = 0o2;
const O_CLOEXEC = 0o2000000;
/** It holds O_DIRECTORY, so that kernels that do not know it refuse (include/uapi/asm-generic/fcntl.h). */
const O_TMPFILE = 0o20000000 | O_DIRECTORY;

const openat = native('openat', 'int', ['int', 'str', 'int', 'uint32_t']);

function describe(descriptor: number): StorageDescription {
  const stat = statxOf(descriptor, STATX_MASK.basic | STATX_MASK.mountId | STATX_MASK.directAlignment | STATX_MASK.atomicWrites);
  // The node of a device lies on a filesystem too, which has nothing to do with the device.
  const isDevice = typeOf(stat) === S_IFBLK;
  const filesystem = isDevice ? 'none' : files.filesystem(descriptor).name;
  const mount: Fact<Mount> = isDevice ? unknown('a block device stands for itself, not for a filesystem') : mountOf(stat);
  return { filesystem, mount, ...abilitiesOf(descriptor, stat, filesystem), devices: devicesOf(stat, filesystem, mount) };
}

type Abilities = Pick<StorageDescription, 'directIo' | 'atomicWrite'>;

function typeOf(stat: DataView): number {
  return stat.getUint16(STATX.mode, true) & S_IFMT;
}

/** A directory has no such abilities: a file that is made there, without a name, stands for those that could be. */
function abilitiesOf(descriptor: number, stat: DataView, filesystem: string): Abilities {
  if (typeOf(stat) !== S_IFDIR) return abilitiesFrom(stat, filesystem, 'of the file itself');
  let unnamed: number;
  try {
    unnamed = check(openat(descriptor, '.', O_TMPFILE | O_RDWR | O_CLOEXEC, 0o600), 'openat');
  } catch (error) {
    const reason = `it takes a file to tell, and none could be made in the directory (O_TMPFILE): ${error instanceof Error ? error.message : String(error)}`;
    return { directIo: unknown(reason), atomicWrite: unknown(reason) };
  }
  try {
    return abilitiesFrom(statxOf(unnamed, STATX_MASK.directAlignment | STATX_MASK.atomicWrites), filesystem, 'of an unnamed file in the directory (O_TMPFILE)');
  } finally {
    files.close(unnamed);
  }
}

function abilitiesFrom(stat: DataView, filesystem: string, whose: string): Abilities {
  const mask = stat.getUint32(STATX.mask, true);
  const silent = (field: string, since: string): Fact<never> =>
    unknown(`statx does not answer ${field} ${whose}: ${filesystem} does not tell, or the kernel is older than ${since}`);
  const word = (offset: number): number => stat.getUint32(offset, true);
  const direct: DirectIo = word(STATX.directOffsetAlignment) === 0
    ? { available: false, reason: 'statx reports no direct IO for this file' }
    : { available: true, offsetAlignment: word(STATX.directOffsetAlignment), memoryAlignment: word(STATX.directMemoryAlignment) };
  const atomic: FileAtomicWrite = { unitMinBytes: word(STATX.atomicWriteMin), unitMaxBytes: word(STATX.atomicWriteMax), segmentsMax: word(STATX.atomicWriteSegments) };
  return {
    directIo: (mask & STATX_MASK.directAlignment) === 0 ? silent('STATX_DIOALIGN', '6.1') : told(direct, `statx STATX_DIOALIGN ${whose}`),
    atomicWrite: (mask & STATX_MASK.atomicWrites) === 0 ? silent('STATX_WRITE_ATOMIC', '6.11') : told(atomic, `statx STATX_WRITE_ATOMIC ${whose}`),
  };
}

/** proc_pid_mountinfo(5): `id parent major:minor root point options [fields ...] - type source options`. */
function mountOf(stat: DataView): Fact<Mount> {
  if ((stat.getUint32(STATX.mask, true) & STATX_MASK.mountId) === 0) return unknown('statx answers no STATX_MNT_ID: the kernel is older than 5.8');
  const id = stat.getBigUint64(STATX.mountId, true).toString();
  let list: string;
  try {
    list = readFileSync('/proc/self/mountinfo', 'utf8');
  } catch (error) {
    return unknown(`the list of mounts cannot be read: ${error instanceof Error ? error.message : String(error)}`);
  }
  const line = list.split('\n').find((candidate) => candidate.startsWith(`${id} `));
  if (line === undefined) return unknown(`/proc/self/mountinfo has no mount ${id}: it belongs to another namespace`);
  const [before = '', after = ''] = line.split(' - ');
  const [, , , , point = '', options = ''] = before.split(' ');
  const [type = '', source = '', more = ''] = after.split(' ');
  const allOptions = [...new Set([...options.split(','), ...more.split(',')].map(unescaped))];
  return told({ point: unescaped(point), type, source: unescaped(source), options: allOptions }, `/proc/self/mountinfo, mount ${id}`);
}

/** The list writes space, tab, newline, backslash and # as `\` and three octal digits, byte by byte. */
function unescaped(field: string): string {
  return field.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
}

function devicesOf(stat: DataView, filesystem: string, mount: Fact<Mount>): StorageDescription['devices'] {
  const isDevice = typeOf(stat) === S_IFBLK;
  const major = stat.getUint32(isDevice ? STATX.specialMajor : STATX.deviceMajor, true);
  const minor = stat.getUint32(isDevice ? STATX.specialMinor : STATX.deviceMinor, true);
  const number = `${major}:${minor}`;
  if (major !== 0) {
    const name = blockDeviceName(number);
    if (name === undefined) return unknown(`/sys/dev/block/${number} cannot be read`);
    const others = isDevice || !mount.known ? [] : otherDevicesOf(mount.value);
    if (others.includes(undefined)) return unknown(`the mount has options that name further devices, which cannot be found: ${number} is not the only one`);
    const names = [name, ...others as string[]];
    return told({ top: names.length, list: stackOf(names) }, `/sys/dev/block/${number}${names.length > 1 ? ' and the options of the mount' : ''}`);
  }
  // Major 0: the filesystem made the number up, as btrfs does for each subvolume, and all do that lie on no device.
  if (!mount.known) return unknown(`device number ${number} names no device, and of the mount is not known: ${mount.reason}`);
  const { source } = mount.value;
  const name = source.startsWith('/') ? blockDeviceNameOf(source) : undefined;
  if (name === undefined) return unknown(`no block device: ${filesystem} is mounted from '${source}', and its device number ${number} is anonymous`);
  const names = filesystem === 'btrfs' ? btrfsDevices(name) : [name];
  return told({ top: names.length, list: stackOf(names) }, `source of the mount, ${source}`);
}

/** xfs(5): where the log and the files of the realtime section lie, if not on the device that was mounted. */
const OTHER_DEVICE = /^(?:logdev|rtdev)=(.+)$/;

function otherDevicesOf({ options }: Mount): (string | undefined)[] {
  return options.flatMap((option) => OTHER_DEVICE.exec(option)?.[1] ?? []).map((path) => blockDeviceNameOf(path));
}

export const device: DeviceCalls = {
  describe,
  filesystemNumber: (descriptor) => files.status(descriptor).device,
};
