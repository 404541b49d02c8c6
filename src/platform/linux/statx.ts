/** statx(2): the structure and its flags (include/uapi/linux/stat.h). */
import { native } from '../ffi.js';
import { check } from './calls.js';

/** Offsets in struct statx. Times are 64-bit seconds, then 32-bit nanoseconds. */
export const STATX = {
  mask: 0,
  blockSize: 4,
  attributes: 8,
  links: 16,
  uid: 20,
  gid: 24,
  mode: 28,
  inode: 32,
  size: 40,
  blocks: 48,
  attributesMask: 56,
  accessTime: 64,
  birthTime: 80,
  changeTime: 96,
  modifyTime: 112,
  specialMajor: 128,
  specialMinor: 132,
  deviceMajor: 136,
  deviceMinor: 140,
  mountId: 144,
  directMemoryAlignment: 152,
  directOffsetAlignment: 156,
  subvolume: 160,
  atomicWriteMin: 168,
  atomicWriteMax: 172,
  atomicWriteSegments: 176,
  bytes: 256,
} as const;

/** What may be asked for, and what of it was answered. */
export const STATX_MASK = {
  basic: 0x7ff,
  birthTime: 0x800,
  /** Linux 5.8. */
  mountId: 0x1000,
  /** Linux 6.1. */
  directAlignment: 0x2000,
  /** Linux 6.10. */
  subvolume: 0x8000,
  /** Linux 6.11. */
  atomicWrites: 0x10000,
} as const;

/** Bits of `attributes`, and of the mask that tells which of them the filesystem knows. */
export const STATX_ATTRIBUTE = {
  compressed: 0x4,
  immutable: 0x10,
  appendOnly: 0x20,
  noDump: 0x40,
  encrypted: 0x800,
  automount: 0x1000,
  mountRoot: 0x2000,
  verity: 0x10_0000,
  dax: 0x20_0000,
  atomicWrites: 0x40_0000,
} as const;

export const S_IFMT = 0o170000;

const c = {
  statx: native('statx', 'int', ['int', 'str', 'int', 'uint32_t', 'void *']),
};

export function statx(directory: number, path: string, flags: number, mask: number, named?: string): DataView {
  const memory = new SharedArrayBuffer(STATX.bytes);
  check(c.statx(directory, path, flags, mask, new Uint8Array(memory)), 'statx', named);
  return new DataView(memory);
}
