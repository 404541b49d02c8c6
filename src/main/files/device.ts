/** What lies below a file, and commands to it past the filesystem. */
import type { NvmeFlushed, NvmeIdentified, StorageProbe } from '../../workers/files/device.js';
import type { Caller, OperationOptions } from './caller.js';
import type { DirectoryHandle } from './directory-handle.js';
import type { FileHandle } from './file-handle.js';

export interface DeviceOperations {
  /**
   * Tells what the storage below a file or directory is and promises: filesystem and mount, alignment of direct IO, atomic
   * writes, the stack of block devices with sectors and caches, what an NVMe device says of itself, and the kernel's io_uring.
   * A block device stands for itself. A symbolic link is followed.
   *
   * Every value comes with its source; what the system does not tell is `undefined` with the reason, never a default. It reads
   * no file and needs no permission on it. For a directory, direct IO and atomic writes are those of a file without a name
   * that is made there (`O_TMPFILE`). NVMe data need the permission that {@link nvmeIdentifyNamespace} needs.
   *
   * System calls: statx(2), fstatfs(2), io_uring_setup(2), io_uring_register(2), ioctl(2); files below /proc and /sys. Nothing
   * on disk changes. Errors: those of finding the file.
   */
  probe(target: string | FileHandle | DirectoryHandle, options?: OperationOptions): Promise<StorageProbe>;

  /**
   * Sends an NVMe flush (opcode 00h) to the namespace that holds a file, by ioctl(2) NVME_IOCTL_IO_CMD.
   *
   * Durable afterwards: what writes that were complete before the call had handed to the device. That is so for `O_DIRECT`
   * writes over blocks that were written and synced before, without a change of length. It is no fsync: what lies in the page
   * cache, and the filesystem's metadata (size, allocation, names), are as volatile as before.
   *
   * Rejects with `NotSupportedError` where the file does not lie on a single NVMe namespace or a partition of it, or with
   * `TIDEMARK_DISABLE_NVME_PASSTHROUGH=1` in the environment; with `TIDEMARK_PERMISSION` and the device's path without
   * CAP_SYS_ADMIN (from Linux 6.2 on it is enough to be allowed to read the device); with `TIDEMARK_IO` when the device
   * refuses. There is no fallback. It is never tried again.
   */
  nvmeFlush(target: string | FileHandle | DirectoryHandle, options?: OperationOptions): Promise<NvmeFlushed>;

  /**
   * Asks the NVMe namespace that holds a file, and its controller, who they are (identify, CNS 00h and 01h), by ioctl(2)
   * NVME_IOCTL_ADMIN_CMD. Rejects as {@link nvmeFlush} does.
   */
  nvmeIdentifyNamespace(target: string | FileHandle | DirectoryHandle, options?: OperationOptions): Promise<NvmeIdentified>;
}

export function deviceOperations(caller: Caller): DeviceOperations {
  return {
    async probe(target, options) {
      return caller.run('probe', [caller.target('target', target)], caller.options(options, []));
    },
    async nvmeFlush(target, options) {
      return caller.run('nvmeFlush', [caller.target('target', target)], caller.options(options, []));
    },
    async nvmeIdentifyNamespace(target, options) {
      return caller.run('nvmeIdentifyNamespace', [caller.target('target', target)], caller.options(options, []));
    },
  };
}
