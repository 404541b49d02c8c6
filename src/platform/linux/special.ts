/** mknod(2). */
import { EPERM, ioError } from '../errno.js';
import { InvalidArgumentError } from '../errors.js';
import { native } from '../ffi.js';
import type { DeviceNumber } from '../interface/metadata.js';
import type { At } from '../interface/places.js';
import type { SpecialCalls, SpecialKind } from '../interface/special.js';
import { patiently } from './calls.js';
import { AT_FDCWD } from './open-flags.js';

/** inode(7). */
const TYPE: Readonly<Record<SpecialKind, number>> = { fifo: 0o010000, character: 0o020000, block: 0o060000, file: 0o100000, socket: 0o140000 };
/** Device numbers have 32 bits (include/linux/kdev_t.h). */
const MAJOR_MAX = 2 ** 12 - 1;
const MINOR_MAX = 2 ** 20 - 1;

const c = {
  mknodat: native('mknodat', 'int', ['int', 'str', 'uint32_t', 'uint64_t']),
};

function make(at: At, kind: SpecialKind, mode: number, device: DeviceNumber): { readonly primitive: 'mknodat' } {
  const bits = TYPE[kind] | mode;
  const number = deviceBits(device);
  const errno = patiently(() => c.mknodat(at.directory ?? AT_FDCWD, at.path, bits, number));
  if (errno === 0) return { primitive: 'mknodat' };
  const isDevice = kind === 'character' || kind === 'block';
  throw ioError(errno, 'mknodat', undefined, errno === EPERM && isDevice ? { explanation: 'only root (CAP_MKNOD) makes devices' } : {});
}

/** As makedev(3) does: the upper bits of the minor number lie above the major one. */
function deviceBits({ major, minor }: DeviceNumber): number {
  if (major > MAJOR_MAX || minor > MINOR_MAX) {
    throw new InvalidArgumentError(`Expected a device number of at most ${MAJOR_MAX}:${MINOR_MAX}, got ${major}:${minor}`);
  }
  return ((minor & ~0xff) << 12 | major << 8 | (minor & 0xff)) >>> 0;
}

export const special: SpecialCalls = { make };
