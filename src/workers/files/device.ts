/** What lies below a file, and commands to it past the filesystem. */
import { NotSupportedError, TidemarkError } from '../../platform/errors.js';
import { told, unknown, type Fact } from '../../platform/fact.js';
import type { BlockDevice, StorageDescription } from '../../platform/interface/device.js';
import { atomicUnits, parseController, parseNamespace, type NvmeAtomicUnit, type NvmeController, type NvmeNamespace } from '../../platform/nvme-identify.js';
import type { Platform, RingAbilities } from '../../platform/platform.js';
import type { Target } from '../protocol/operation.js';
import type { OperationContext } from './context.js';
import { withOpen } from './places.js';

/** What an NVMe device says of itself. */
export interface NvmeIdentity {
  /** Path of the device that was asked. */
  readonly device: string;
  readonly namespaceId: number;
  readonly namespace: NvmeNamespace;
  readonly controller: NvmeController;
  /** Bytes that one write command leaves whole: against other commands, and when the power fails. */
  readonly atomic: { readonly normal: NvmeAtomicUnit; readonly powerFail: NvmeAtomicUnit };
}

/** Whether what was written, and not yet flushed, outlives a loss of power. Never a guess. */
export interface PowerLossProtection {
  readonly known: boolean;
  /** Only where it is known. */
  readonly protected?: boolean;
  /** What told it, or why nothing does. */
  readonly evidence: string;
}

export interface StorageProbe extends StorageDescription {
  readonly primitive: 'statx';
  /** Completed writes may be lost with the power until a sync: true where one device below says so, false where all deny it. */
  readonly volatileCache: Fact<boolean>;
  readonly powerLossProtection: PowerLossProtection;
  readonly nvme: Fact<NvmeIdentity>;
  /** The kernel's, whatever backend the scheduler has. */
  readonly ioUring: RingAbilities;
}

export interface NvmeFlushed {
  readonly primitive: 'NVME_IOCTL_IO_CMD';
  readonly device: string;
  readonly namespaceId: number;
}

export interface NvmeIdentified extends NvmeIdentity {
  readonly primitive: 'NVME_IOCTL_ADMIN_CMD';
}

/** Neither reads nor writes the file, so that no permission on it is needed. */
const AS_NAME = { write: false, pathOnly: true } as const;

export const deviceOperations = {
  probe({ platform }: OperationContext, target: Target): StorageProbe {
    return withOpen(platform, target, AS_NAME, (descriptor) => probe(platform, descriptor));
  },

  nvmeFlush({ platform }: OperationContext, target: Target): NvmeFlushed {
    return withOpen(platform, target, AS_NAME, (descriptor) => {
      const disk = nvmeDiskOf('nvmeFlush', platform.device.describe(descriptor));
      return withNamespace(platform, disk, (opened, namespaceId) => {
        platform.nvme.flush(opened, namespaceId, disk.path);
        return { primitive: 'NVME_IOCTL_IO_CMD', device: disk.path, namespaceId };
      });
    });
  },

  nvmeIdentifyNamespace({ platform }: OperationContext, target: Target): NvmeIdentified {
    return withOpen(platform, target, AS_NAME, (descriptor) => {
      const disk = nvmeDiskOf('nvmeIdentifyNamespace', platform.device.describe(descriptor));
      return { primitive: 'NVME_IOCTL_ADMIN_CMD', ...identify(platform, disk) };
    });
  },
};

function probe(platform: Platform, descriptor: number): StorageProbe {
  const description = platform.device.describe(descriptor);
  const nvme = identityOf(platform, description);
  const volatileCache = volatileCacheOf(description.devices, nvme);
  return {
    primitive: 'statx',
    ...description,
    volatileCache,
    powerLossProtection: protectionOf(description.filesystem, volatileCache),
    nvme,
    ioUring: platform.probeRing(),
  };
}

/** The one NVMe disk that a file lies on, itself or in a partition. Throws where there is none, or something in between. */
function nvmeDiskOf(operation: string, { filesystem, devices }: StorageDescription): BlockDevice {
  if (process.env['TIDEMARK_DISABLE_NVME_PASSTHROUGH'] === '1') throw new NotSupportedError(operation, 'TIDEMARK_DISABLE_NVME_PASSTHROUGH is 1');
  if (!devices.known) throw new NotSupportedError(operation, devices.reason);
  const { top, list } = devices.value;
  if (top > 1) throw new NotSupportedError(operation, `the ${filesystem} filesystem lies on ${top} devices: ${list.slice(0, top).map(({ name }) => name).join(', ')}`);
  const [first] = list;
  const disk = first?.kind === 'partition' ? list.find(({ name }) => name === first.below[0]) : first;
  if (disk?.nvme === true) return disk;
  throw new NotSupportedError(operation, `the file lies on ${disk === undefined ? 'a device that is not described' : `${disk.name} (${disk.kind})`}, which is no NVMe namespace`);
}

function withNamespace<T>({ nvme, files }: Platform, disk: BlockDevice, use: (descriptor: number, namespaceId: number) => T): T {
  const { descriptor, namespaceId } = nvme.open(disk);
  try {
    return use(descriptor, namespaceId);
  } finally {
    files.close(descriptor);
  }
}

function identify(platform: Platform, disk: BlockDevice): NvmeIdentity {
  return withNamespace(platform, disk, (descriptor, namespaceId) => {
    const namespace = parseNamespace(platform.nvme.identify(descriptor, 'namespace', namespaceId, disk.path));
    const controller = parseController(platform.nvme.identify(descriptor, 'controller', namespaceId, disk.path));
    return { device: disk.path, namespaceId, namespace, controller, atomic: atomicUnits(namespace, controller) };
  });
}

function identityOf(platform: Platform, description: StorageDescription): Fact<NvmeIdentity> {
  try {
    const disk = nvmeDiskOf('nvmeIdentifyNamespace', description);
    return told(identify(platform, disk), `NVMe identify of ${disk.path}`);
  } catch (error) {
    if (!(error instanceof TidemarkError)) throw error;
    return unknown(error instanceof NotSupportedError ? error.reason : error.message);
  }
}

/** Of the lowest devices alone: what lies above them passes flushes on, and has no memory of its own that counts. */
export function volatileCacheOf(devices: StorageDescription['devices'], nvme: Fact<NvmeIdentity>): Fact<boolean> {
  if (nvme.known && !nvme.value.controller.volatileCache) return told(false, `NVMe identify of ${nvme.value.device}: VWC says that there is no volatile write cache`);
  if (!devices.known) return devices;
  const lowest = devices.value.list.filter(({ below }) => below.length === 0);
  const caches = lowest.map(({ volatileCache }) => volatileCache);
  const caching = caches.find(({ value }) => value === true);
  if (caching !== undefined) return caching;
  const silent = caches.find(({ known }) => !known);
  if (silent !== undefined) return silent;
  const other = lowest.find(({ kind }) => kind !== 'disk');
  if (other !== undefined) return unknown(`${other.name} (${other.kind}) is not where bytes stay, and what is behind it is not told`);
  if (lowest.length === 0) return unknown('no device is described');
  if (nvme.known) return unknown(`${nvme.value.device} says that it has a volatile write cache, and the kernel was told that there is none (queue/write_cache)`);
  return told(false, caches.map((cache) => (cache.known ? cache.source : '')).join(', '));
}

function protectionOf(filesystem: string, volatileCache: Fact<boolean>): PowerLossProtection {
  if (filesystem === 'tmpfs') return { known: true, protected: false, evidence: 'tmpfs keeps files in memory' };
  if (volatileCache.known && !volatileCache.value) return { known: true, protected: true, evidence: `no volatile write cache is reported: ${volatileCache.source}` };
  if (!volatileCache.known) return { known: false, evidence: `nothing tells of a volatile write cache: ${volatileCache.reason}` };
  return { known: false, evidence: `there is a volatile write cache (${volatileCache.source}), and nothing tells whether it outlives a loss of power` };
}

// ---- the flush of direct writes ------------------------------------------------------------------------------------

/** Filesystems that overwrite allocated blocks in place. Others put new data elsewhere, which takes their metadata to find. */
const OVERWRITING = ['ext4', 'xfs'];

/** By the number of the filesystem; undefined: no NVMe, or not permitted. */
const flushDisks = new Map<string, BlockDevice | undefined>();

/**
 * Whether {@link flushBelow} can make direct writes to this file durable. The first time it tries with a flush, after that it
 * knows, for this thread. Undefined: the file lies on no single NVMe namespace, on a filesystem that does not overwrite in
 * place, NVMe commands are not permitted, or `TIDEMARK_DISABLE_NVME_PASSTHROUGH=1`.
 */
export function flushDeviceOf(platform: Platform, descriptor: number): 'nvme flush' | undefined {
  return flushDiskOf(platform, descriptor) === undefined ? undefined : 'nvme flush';
}

/**
 * Flushes the volatile cache of the NVMe namespace below a file for which {@link flushDeviceOf} said that this goes.
 *
 * Durable afterwards: data that `O_DIRECT` writes, complete before the call, handed to the device. Not durable: what lies in
 * the page cache, such as a write that the filesystem took back from direct IO; and the filesystem's metadata: size,
 * allocation, times, names. So it serves for one thing alone: overwriting, without a change of length, blocks that were
 * written before and synced since. Not for blocks that are only reserved (`fallocate`), nor for ones shared with another file
 * (a reflink): those need metadata to be found. A failed flush is final, as a failed sync is.
 */
export function flushBelow(platform: Platform, descriptor: number): void {
  const disk = flushDiskOf(platform, descriptor);
  if (disk === undefined) throw new NotSupportedError('nvme flush', 'the file lies on no NVMe namespace that may be flushed');
  flush(platform, disk);
}

function flushDiskOf(platform: Platform, descriptor: number): BlockDevice | undefined {
  const number = platform.device.filesystemNumber(descriptor);
  if (flushDisks.has(number)) return flushDisks.get(number);
  const disk = tryFlush(platform, descriptor);
  flushDisks.set(number, disk);
  return disk;
}

function tryFlush(platform: Platform, descriptor: number): BlockDevice | undefined {
  if (!OVERWRITING.includes(platform.files.filesystem(descriptor).name)) return undefined;
  try {
    const disk = nvmeDiskOf('nvme flush', platform.device.describe(descriptor));
    flush(platform, disk);
    return disk;
  } catch (error) {
    if (error instanceof TidemarkError && (error.code === 'TIDEMARK_NOT_SUPPORTED' || error.code === 'TIDEMARK_PERMISSION')) return undefined;
    throw error;
  }
}

/** Opens the node each time: a descriptor that a thread kept would stay open when the thread is terminated. */
function flush(platform: Platform, disk: BlockDevice): void {
  withNamespace(platform, disk, (descriptor, namespaceId) => {
    platform.nvme.flush(descriptor, namespaceId, disk.path);
  });
}
