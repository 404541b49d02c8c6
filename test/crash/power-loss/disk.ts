/** A disk whose writes are logged, with a filesystem on it, and images of it that were rebuilt from the log. */
import { spawn, spawnSync } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { FaultyDirectory } from '../../faultfs/faultfs.js';
import { until } from '../../fault/tools.js';

export type FilesystemName = 'ext4' | 'xfs' | 'btrfs';

const MIB = 1024 * 1024;
/** About the smallest each of them can be made. */
const IMAGE_BYTES: Readonly<Record<FilesystemName, number>> = { ext4: 64 * MIB, xfs: 320 * MIB, btrfs: 128 * MIB };
/** Without discards: they would only lengthen the log. */
const MKFS_OPTIONS: Readonly<Record<FilesystemName, readonly string[]>> = { ext4: ['-q', '-F', '-b', '4096', '-E', 'nodiscard'], xfs: ['-q', '-f', '-K'], btrfs: ['-q', '-f', '-K'] };
/** An image is a copy of another one, with the same name of its own. */
const MOUNT_OPTIONS: Readonly<Record<FilesystemName, readonly string[]>> = { ext4: [], xfs: ['nouuid'], btrfs: [] };

const UNMOUNT_BOUND_MS = 10_000;

/** Why such a filesystem cannot be made here; undefined when it can. */
export function noFilesystem(name: FilesystemName): string | undefined {
  return spawnSync(`mkfs.${name}`, ['-V']).error === undefined ? undefined : `mkfs.${name} is missing`;
}

/** Runs a command; answers what it printed, rejects when it fails. */
export async function run(command: string, ...words: string[]): Promise<string> {
  const child = spawn(command, words, { stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  let errors = '';
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (errors += chunk.toString()));
  const code = await new Promise<number | null>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', resolve);
  });
  if (code !== 0) throw new Error(`${command} ${words.join(' ')} failed: ${errors.trim()}`);
  return output.trim();
}

/** The kernel may hold what was closed a moment ago. */
export async function unmount(path: string): Promise<void> {
  let failure: unknown;
  await until(`the end of mount ${path}`, UNMOUNT_BOUND_MS, () => run('umount', path).then(() => true, (error: unknown) => {
    failure = error;
    return false;
  })).catch((error: unknown) => {
    throw new Error(String(error), { cause: failure });
  });
}

/** Mounts an image as a disk after the power came back would be: the filesystem mends itself. */
export async function mountCopy(filesystem: FilesystemName, image: string, path: string): Promise<void> {
  await run('mount', '-t', filesystem, '-o', ['loop', ...MOUNT_OPTIONS[filesystem]].join(','), image, path);
}

/** A copy of a sparse file. */
export async function copyImage(from: string, to: string): Promise<void> {
  await run('cp', '--sparse=always', from, to);
}

export interface DiskOptions {
  readonly filesystem: FilesystemName;
  /** Bytes of a logical sector. Default 512. */
  readonly sectorBytes?: 512 | 4096;
  /** The loop device hands writes on as they come, several at a time, each after up to so many milliseconds. */
  readonly jitterMs?: number;
  /** An image to begin with, instead of an empty filesystem. */
  readonly image?: string;
}

/** In a mount namespace of its own: what is mounted goes with the process. */
export class LoggedDisk {
  /** Where the filesystem is mounted. */
  readonly mount: string;
  readonly log: string;
  readonly options: DiskOptions;
  /** The disk as it was when the log began. */
  readonly before: string;
  readonly #faulty: FaultyDirectory;

  private constructor(faulty: FaultyDirectory, directory: string, options: DiskOptions) {
    this.#faulty = faulty;
    this.mount = join(directory, 'filesystem');
    this.log = join(directory, 'log');
    this.before = join(directory, 'before');
    this.options = options;
  }

  /** Makes the disk in a new directory, and mounts it. */
  static async make(directory: string, options: DiskOptions): Promise<LoggedDisk> {
    mkdirSync(directory, { recursive: true });
    const faulty = await FaultyDirectory.start(directory, { logged: { log: join(directory, 'log'), image: 'disk' } });
    const disk = new LoggedDisk(faulty, directory, options);
    try {
      await disk.#fill(join(faulty.source, 'disk'));
      await disk.#mountLogged();
    } catch (error) {
      await faulty.stop();
      throw error;
    }
    return disk;
  }

  async #fill(disk: string): Promise<void> {
    const { filesystem, image, sectorBytes } = this.options;
    mkdirSync(this.mount, { recursive: true });
    if (image === undefined) {
      writeFileSync(disk, '');
      truncateSync(disk, IMAGE_BYTES[filesystem]);
      await run(`mkfs.${filesystem}`, ...MKFS_OPTIONS[filesystem], ...sectorOption(filesystem, sectorBytes), disk);
    } else {
      await copyImage(image, disk);
    }
    await copyImage(disk, this.before);
  }

  /** The file to which a program writes a line `mark <text>` to add a mark to the log. */
  get control(): string {
    return this.#faulty.control;
  }

  /** Unmounts it: the log is complete. */
  async finish(): Promise<void> {
    this.#faulty.clear();
    await unmount(this.mount);
    await this.#faulty.stop();
  }

  async #mountLogged(): Promise<void> {
    const { filesystem, sectorBytes, jitterMs } = this.options;
    const loop = await run('losetup', '--find', '--show', ...(jitterMs === undefined ? [] : ['--direct-io=on']), ...(sectorBytes === undefined ? [] : ['--sector-size', String(sectorBytes)]), join(this.#faulty.mount, 'disk'));
    try {
      await run('mount', '-t', filesystem, ...(MOUNT_OPTIONS[filesystem].length === 0 ? [] : ['-o', MOUNT_OPTIONS[filesystem].join(',')]), loop, this.mount);
    } finally {
      // Detached now, it goes away with the mount.
      await run('losetup', '--detach', loop);
    }
    if (jitterMs !== undefined) this.#faulty.add({ op: 'write', path: '/disk', jitter: jitterMs });
  }
}

function sectorOption(filesystem: FilesystemName, sectorBytes: number | undefined): readonly string[] {
  if (sectorBytes === undefined || filesystem !== 'xfs') return [];
  return ['-s', `size=${sectorBytes}`];
}

/** A directory in memory, where there is room, so that rebuilding disks is not bound by one. */
export function memoryDirectory(fallback: string): string {
  return existsSync('/dev/shm') ? '/dev/shm' : fallback;
}

/** Opens an image to be changed for the time of `use`. */
export function withImage(image: string, use: (descriptor: number) => void): void {
  const descriptor = openSync(image, 'r+');
  try {
    use(descriptor);
  } finally {
    closeSync(descriptor);
  }
}
