/** What is known of a file, its times and its permissions: statx(2), utimensat(2), fchmodat(2). */
import { ioError } from '../errno.js';
import { native } from '../ffi.js';
import type { FileAttribute, FileKind, Metadata, MetadataCalls, NewTime, Subject } from '../interface/metadata.js';
import { patiently } from './calls.js';
import { AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_NOFOLLOW } from './open-flags.js';
import { S_IFMT, STATX, STATX_ATTRIBUTE, STATX_MASK, statx } from './statx.js';

/** inode(7). */
const KINDS: ReadonlyMap<number, FileKind> = new Map([
  [0o010000, 'fifo'],
  [0o020000, 'character'],
  [0o040000, 'directory'],
  [0o060000, 'block'],
  [0o100000, 'file'],
  [0o120000, 'symlink'],
  [0o140000, 'socket'],
]);

/** In place of nanoseconds (sys/stat.h). */
const UTIME_NOW = 0x3fffffffn;
const UTIME_OMIT = 0x3ffffffen;
const SECOND = 1_000_000_000n;

const EVERYTHING = Object.values(STATX_MASK).reduce((all, bit) => all | bit, 0);
const ATTRIBUTES = Object.entries(STATX_ATTRIBUTE).map(([name, bit]) => [name as FileAttribute, BigInt(bit)] as const);

const c = {
  utimensat: native('utimensat', 'int', ['int', 'str', 'void *', 'int']),
  futimens: native('futimens', 'int', ['int', 'void *']),
  fchmod: native('fchmod', 'int', ['int', 'uint32_t']),
  fchmodat: native('fchmodat', 'int', ['int', 'str', 'uint32_t', 'int']),
};

/** The descriptor and the flags by which the `*at` calls take a subject that has a name. */
function named(subject: Exclude<Subject, number>): { readonly directory: number; readonly flags: number } {
  return { directory: subject.directory ?? AT_FDCWD, flags: subject.followLink ? 0 : AT_SYMLINK_NOFOLLOW };
}

function stat(subject: Subject): { readonly primitive: 'statx'; readonly metadata: Metadata } {
  if (typeof subject === 'number') return { primitive: 'statx', metadata: read(statx(subject, '', AT_EMPTY_PATH, EVERYTHING)) };
  const { directory, flags } = named(subject);
  return { primitive: 'statx', metadata: read(statx(directory, subject.path, flags, EVERYTHING)) };
}

function read(memory: DataView): Metadata {
  const word = (field: number): number => memory.getUint32(field, true);
  const long = (field: number): bigint => memory.getBigUint64(field, true);
  const time = (field: number): bigint => memory.getBigInt64(field, true) * SECOND + BigInt(word(field + 8));
  const answered = word(STATX.mask);
  const where = <T>(bit: number, value: () => T): T | undefined => ((answered & bit) === 0 ? undefined : value());
  const mode = memory.getUint16(STATX.mode, true);
  const kind = KINDS.get(mode & S_IFMT) ?? 'file';
  const isDevice = kind === 'block' || kind === 'character';
  return {
    kind,
    size: Number(long(STATX.size)),
    blocks: Number(long(STATX.blocks)),
    blockSize: word(STATX.blockSize),
    links: word(STATX.links),
    uid: word(STATX.uid),
    gid: word(STATX.gid),
    mode: mode & ~S_IFMT,
    inode: long(STATX.inode),
    device: { major: word(STATX.deviceMajor), minor: word(STATX.deviceMinor) },
    specialDevice: isDevice ? { major: word(STATX.specialMajor), minor: word(STATX.specialMinor) } : undefined,
    atimeNs: time(STATX.accessTime),
    mtimeNs: time(STATX.modifyTime),
    ctimeNs: time(STATX.changeTime),
    birthtimeNs: where(STATX_MASK.birthTime, () => time(STATX.birthTime)),
    mountId: where(STATX_MASK.mountId, () => Number(long(STATX.mountId))),
    subvolume: where(STATX_MASK.subvolume, () => long(STATX.subvolume)),
    attributes: attributesOf(long(STATX.attributes), long(STATX.attributesMask)),
    directIo: where(STATX_MASK.directAlignment, () => ({
      memoryAlignment: word(STATX.directMemoryAlignment),
      offsetAlignment: word(STATX.directOffsetAlignment),
    })),
    atomicWrite: where(STATX_MASK.atomicWrites, () => ({
      sizeMin: word(STATX.atomicWriteMin),
      sizeMax: word(STATX.atomicWriteMax),
      segmentsMax: word(STATX.atomicWriteSegments),
    })),
  };
}

function attributesOf(set: bigint, known: bigint): Metadata['attributes'] {
  const attributes: Partial<Record<FileAttribute, boolean | undefined>> = {};
  for (const [name, bit] of ATTRIBUTES) attributes[name] = (known & bit) === 0n ? undefined : (set & bit) !== 0n;
  return attributes as Metadata['attributes'];
}

function setTimes(subject: Subject, atime: NewTime, mtime: NewTime): { readonly primitive: 'utimensat' } {
  // Two struct timespec of two 64-bit words each: 64-bit systems.
  const times = new BigInt64Array(new SharedArrayBuffer(64), 0, 4);
  times.set([...timespec(atime), ...timespec(mtime)]);
  const errno = patiently(() => {
    if (typeof subject === 'number') return c.futimens(subject, times);
    const { directory, flags } = named(subject);
    return c.utimensat(directory, subject.path, times, flags);
  });
  if (errno !== 0) throw ioError(errno, 'utimensat');
  return { primitive: 'utimensat' };
}

/** Nanoseconds count upwards from the second before. */
function timespec(time: NewTime): readonly [bigint, bigint] {
  if (time === undefined) return [0n, UTIME_OMIT];
  if (time === 'now') return [0n, UTIME_NOW];
  const nanoseconds = ((time % SECOND) + SECOND) % SECOND;
  return [(time - nanoseconds) / SECOND, nanoseconds];
}

function chmod(subject: Subject, mode: number): { readonly primitive: 'fchmod' | 'fchmodat' } {
  const open = typeof subject === 'number';
  const primitive = open ? 'fchmod' : 'fchmodat';
  const errno = patiently(() => (open ? c.fchmod(subject, mode) : c.fchmodat(subject.directory ?? AT_FDCWD, subject.path, mode, 0)));
  if (errno !== 0) throw ioError(errno, primitive);
  return { primitive };
}

export const metadata: MetadataCalls = { stat, setTimes, chmod };
