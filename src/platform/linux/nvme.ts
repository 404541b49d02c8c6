/** NVMe commands through ioctl(2) on the node of a namespace (include/uapi/linux/nvme_ioctl.h). */
import { EACCES, EINVAL, EIO, ENODEV, ENOENT, ENOTTY, ENXIO, EPERM, errnoName, ioError } from '../errno.js';
import { IoError, NotSupportedError } from '../errors.js';
import { lastErrno, native, NativeMemory, whileHeld } from '../ffi.js';
import type { BlockDevice } from '../interface/device.js';
import type { NvmeCalls } from '../interface/nvme.js';
import { IDENTIFY_BYTES } from '../nvme-identify.js';
import { files } from './files.js';
import { STATX, STATX_MASK, statxOf } from './statx.js';

const IOCTL = {
  /** _IO('N', 0x40): the namespace's number. */
  ID: { request: 0x4e40, name: 'NVME_IOCTL_ID' },
  /** _IOWR('N', 0x41, struct nvme_admin_cmd) and _IOWR('N', 0x43, struct nvme_passthru_cmd), both of 72 bytes. */
  ADMIN_CMD: { request: 0xc0484e41, name: 'NVME_IOCTL_ADMIN_CMD' },
  IO_CMD: { request: 0xc0484e43, name: 'NVME_IOCTL_IO_CMD' },
} as const;

/** struct nvme_passthru_cmd: offsets in bytes. A timeout of 0 is the kernel's own. */
const COMMAND = { opcode: 0, namespaceId: 4, address: 24, dataLength: 36, dword10: 40, bytes: 72 } as const;
const OPCODE = { flush: 0x00, identify: 0x06 } as const;
/** Dword 10 of identify (CNS). */
const WHAT = { namespace: 0x00, controller: 0x01 } as const;

const PAGE_BYTES = 4096;

const ioctl = native('ioctl', 'int', ['int', 'unsigned long', 'void *']);

function open(device: BlockDevice): { readonly descriptor: number; readonly namespaceId: number } {
  const { path, number } = device;
  let descriptor: number;
  try {
    // For reading: a node that was open for writing makes udev look at the disk again when it is closed.
    descriptor = files.open(path, { write: false });
  } catch (error) {
    if (!(error instanceof IoError)) throw error;
    if (error.errno === EACCES || error.errno === EPERM) throw notPermitted(error.errno, 'open', path);
    // As in a container that has no such node: the file is there all the same.
    if (error.errno === ENOENT || error.errno === ENXIO || error.errno === ENODEV) throw new NotSupportedError('nvme', `the node ${path} of the disk cannot be opened (${error.errnoName})`);
    throw error;
  }
  try {
    const stat = statxOf(descriptor, STATX_MASK.basic, path);
    const found = `${stat.getUint32(STATX.specialMajor, true)}:${stat.getUint32(STATX.specialMinor, true)}`;
    if (found !== number) throw new NotSupportedError('nvme', `${path} is device ${found}, not ${number}`);
    return { descriptor, namespaceId: call(descriptor, IOCTL.ID, null, path) };
  } catch (error) {
    files.close(descriptor);
    throw error;
  }
}

/** Answers 0 or more as the request means it. Never again after a failure: what it did before is not known. */
function call(descriptor: number, { request, name }: { readonly request: number; readonly name: string }, argument: Uint8Array | null, path: string): number {
  const result = ioctl(descriptor, request, argument);
  if (result >= 0) return result;
  const errno = lastErrno();
  if (errno === ENOTTY || errno === EINVAL) throw new NotSupportedError('nvme', `${path} takes no NVMe commands: ${name} answered ${errnoName(errno)}`);
  if (errno === EACCES || errno === EPERM) throw notPermitted(errno, name, path);
  throw ioError(errno, name, path);
}

function notPermitted(errno: number, syscall: string, path: string): IoError {
  return new IoError('TIDEMARK_PERMISSION', {
    errno, errnoName: errnoName(errno), syscall, path,
    explanation: `NVMe commands need CAP_SYS_ADMIN (from Linux 6.2 on flush and identify need only to read ${path})`,
  });
}

interface Command {
  readonly opcode: number;
  readonly namespaceId: number;
  readonly data?: NativeMemory;
  readonly dword10?: number;
}

function send(descriptor: number, ioctlOf: { readonly request: number; readonly name: string }, { opcode, namespaceId, data, dword10 }: Command, path: string): void {
  const command = new NativeMemory(COMMAND.bytes, 8);
  const view = new DataView(command.buffer, command.bytes.byteOffset, COMMAND.bytes);
  view.setUint8(COMMAND.opcode, opcode);
  view.setUint32(COMMAND.namespaceId, namespaceId, true);
  view.setUint32(COMMAND.dword10, dword10 ?? 0, true);
  if (data !== undefined) {
    view.setBigUint64(COMMAND.address, BigInt(data.address), true);
    view.setUint32(COMMAND.dataLength, data.bytes.length, true);
  }
  const status = whileHeld(data, () => call(descriptor, ioctlOf, command.bytes, path));
  if (status === 0) return;
  throw new IoError('TIDEMARK_IO', { errno: EIO, errnoName: 'EIO', syscall: ioctlOf.name, path, explanation: `the device answered NVMe status 0x${status.toString(16)} to opcode 0x${opcode.toString(16)}` });
}

export const nvme: NvmeCalls = {
  open,
  flush: (descriptor, namespaceId, path) => {
    send(descriptor, IOCTL.IO_CMD, { opcode: OPCODE.flush, namespaceId }, path);
  },
  identify: (descriptor, what, namespaceId, path) => {
    const data = new NativeMemory(IDENTIFY_BYTES, PAGE_BYTES);
    // Identify of the controller has no namespace.
    send(descriptor, IOCTL.ADMIN_CMD, { opcode: OPCODE.identify, namespaceId: what === 'namespace' ? namespaceId : 0, data, dword10: WHAT[what] }, path);
    return data.bytes;
  },
};
