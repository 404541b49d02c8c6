/** What a system tells about the storage below a file. */
import type { Fact } from '../fact.js';
import type { DirectIo } from '../platform.js';

export interface Mount {
  /** Where the filesystem is mounted. */
  readonly point: string;
  /** The filesystem's type in the system's words, such as `fuse.sshfs`. */
  readonly type: string;
  /** What is mounted: a device's path, or any other word for filesystems without one. */
  readonly source: string;
  /** Options of this mount and of the filesystem, such as `rw`, `noatime`. */
  readonly options: readonly string[];
}

/** What a filesystem promises of one write that is asked to be atomic. Bytes. */
export interface FileAtomicWrite {
  /** 0, as the other two: this file has no such writes. */
  readonly unitMinBytes: number;
  readonly unitMaxBytes: number;
  /** Pieces of memory that such a write may gather. */
  readonly segmentsMax: number;
}

/** What a device promises of one write, before any filesystem. Bytes; all 0: nothing. */
export interface DeviceAtomicWrite {
  readonly unitMinBytes: number;
  readonly unitMaxBytes: number;
  readonly maxBytes: number;
  /** A write that crosses a multiple of it is not atomic; 0: no such lines. */
  readonly boundaryBytes: number;
}

export type BlockDeviceKind = 'disk' | 'partition' | 'loop' | 'device mapper' | 'md' | 'virtual';

export interface BlockDevice {
  /** Such as `nvme0n1p2`. */
  readonly name: string;
  readonly path: string;
  /** Which the system tells devices apart by; on Linux `major:minor`. */
  readonly number: string;
  /** `virtual`: no hardware that the system knows of, such as a RAM disk or a network block device. */
  readonly kind: BlockDeviceKind;
  /** Names of the devices that it lies on: a partition's disk, the parts of a stack. */
  readonly below: readonly string[];
  /** The file that a loop device shows; the name of a device-mapper target. */
  readonly detail: string | undefined;
  readonly sizeBytes: number;
  /** The least that the device reads or writes. */
  readonly logicalSectorBytes: Fact<number>;
  /** The least that it writes without reading first. */
  readonly physicalSectorBytes: Fact<number>;
  readonly rotational: Fact<boolean>;
  /**
   * True: completed writes may be lost with the power until a flush ("write back"). False: the system knows of no such cache
   * ("write through").
   */
  readonly volatileCache: Fact<boolean>;
  /** Single writes can be made durable without a flush of all (force unit access). */
  readonly forceUnitAccess: Fact<boolean>;
  readonly atomicWrite: Fact<DeviceAtomicWrite>;
  /** How it is attached: `pcie`, `tcp`, `rdma` and the like for NVMe; `virtio`, `ata`, `usb`, `scsi`, ... */
  readonly transport: Fact<string>;
  readonly nvme: boolean;
}

export interface StorageDescription {
  /** Such as `ext4`; `none` for a block device; the number that the system has for it where it has no name here. */
  readonly filesystem: string;
  readonly mount: Fact<Mount>;
  readonly directIo: Fact<DirectIo>;
  readonly atomicWrite: Fact<FileAtomicWrite>;
  /**
   * The devices below: first those that the filesystem itself lies on (`top` of them), then what these lie on.
   */
  readonly devices: Fact<{ readonly top: number; readonly list: readonly BlockDevice[] }>;
}

export interface DeviceCalls {
  /** Asks about an open file or directory, which may be open as a name only (`pathOnly`). A block device stands for itself. */
  describe(descriptor: number): StorageDescription;
  /** A number that equals for two files exactly when they lie on the same filesystem, to remember answers by. */
  filesystemNumber(descriptor: number): string;
}
