/** Which filesystem an open file lies on. */
import { native } from '../ffi.js';
import type { Filesystem } from '../platform.js';
import { check } from './calls.js';

const fstatfs = native('fstatfs', 'int', ['int', 'void *']);

/**
 * Filesystems by magic number (statfs(2)). `dsyncWrites`: a write with `RWF_DSYNC` was tested, or is documented, to be
 * durable at completion. Others get a write and then `fdatasync`, which is defined everywhere.
 */
const FILESYSTEMS: ReadonlyMap<number, Filesystem> = new Map([
  [0xef53, { name: 'ext4', dsyncWrites: true }],
  [0x58465342, { name: 'xfs', dsyncWrites: true }],
  [0x9123683e, { name: 'btrfs', dsyncWrites: true }],
  [0xf2f52010, { name: 'f2fs', dsyncWrites: true }],
  [0x01021994, { name: 'tmpfs', dsyncWrites: false }],
  [0x794c7630, { name: 'overlay', dsyncWrites: false }],
  [0x65735546, { name: 'fuse', dsyncWrites: false }],
  [0x6969, { name: 'nfs', dsyncWrites: false }],
  [0x01021997, { name: '9p', dsyncWrites: false }],
  [0xff534d42, { name: 'cifs', dsyncWrites: false }],
  [0x2fc12fc1, { name: 'zfs', dsyncWrites: false }],
]);

export function filesystem(descriptor: number): Filesystem {
  const memory = new SharedArrayBuffer(256);
  check(fstatfs(descriptor, new Uint8Array(memory)), 'fstatfs');
  // f_type is the first member, a machine word; every known magic number fits 32 bits.
  const magic = new DataView(memory).getUint32(0, true);
  return FILESYSTEMS.get(magic) ?? { name: `0x${magic.toString(16)}`, dsyncWrites: false };
}
