/**
 * The filesystems that operations are tried on: ext4, xfs and btrfs on loop devices, with sectors of 4096 bytes too, tmpfs and
 * overlay. A file that imports this gets a mount namespace of its own, so that nothing stays mounted whatever ends it.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { skip } from '../fault/tools.js';

export interface TestFilesystem {
  /** Such as `xfs-4k`. */
  readonly name: string;
  /** As statfs would call it. */
  readonly kind: 'ext4' | 'xfs' | 'btrfs' | 'tmpfs' | 'overlay';
  readonly sectorBytes: 512 | 4096;
  /** An empty directory on it. */
  readonly directory: string;
}

const MIB = 1024 * 1024;
const IMAGE_BYTES = { ext4: 256 * MIB, xfs: 400 * MIB, btrfs: 256 * MIB } as const;
const MKFS = { ext4: ['-q', '-F', '-b', '4096'], xfs: ['-q', '-f', '-m', 'reflink=1'], btrfs: ['-q', '-f'] } as const;

const INSIDE = 'TIDEMARK_TEST_MOUNT_NAMESPACE';

function run(command: string, ...words: string[]): string {
  const { status, stdout, stderr, error } = spawnSync(command, words, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${command} ${words.join(' ')} failed: ${error?.message ?? stderr.trim()}`);
  return stdout.trim();
}

/**
 * Runs the test file again in a mount namespace, and ends with its exit code; goes on where it is in one already. Answers why
 * there can be none.
 */
function enterNamespace(): string | undefined {
  if (process.env[INSIDE] !== undefined) return undefined;
  if (process.getuid?.() !== 0) return 'mounting filesystems needs root';
  const probe = spawnSync('unshare', ['--mount', '--propagation', 'private', 'true'], { encoding: 'utf8' });
  if (probe.status !== 0) return `no mount namespace: ${probe.error?.message ?? probe.stderr.trim()}`;
  const { status } = spawnSync('unshare', ['--mount', '--propagation', 'private', process.execPath, ...process.execArgv, ...process.argv.slice(1)], {
    stdio: 'inherit',
    env: { ...process.env, [INSIDE]: '1' },
  });
  process.exit(status ?? 1);
}

function mountDisk(base: string, kind: keyof typeof IMAGE_BYTES, sectorBytes: 512 | 4096): TestFilesystem {
  const name = sectorBytes === 512 ? kind : `${kind}-4k`;
  const image = join(base, `${name}.image`);
  const directory = join(base, name);
  writeFileSync(image, '');
  truncateSync(image, IMAGE_BYTES[kind]);
  mkdirSync(directory);
  const loop = run('losetup', '--find', '--show', '--sector-size', String(sectorBytes), image);
  try {
    run(`mkfs.${kind}`, ...MKFS[kind], loop);
    run('mount', '-t', kind, loop, directory);
  } finally {
    // Detached now, it goes away with the mount.
    run('losetup', '--detach', loop);
  }
  return { name, kind, sectorBytes, directory };
}

function mountTmpfs(base: string): TestFilesystem {
  const directory = join(base, 'tmpfs');
  mkdirSync(directory);
  run('mount', '-t', 'tmpfs', '-o', 'size=256m', 'tmpfs', directory);
  return { name: 'tmpfs', kind: 'tmpfs', sectorBytes: 512, directory };
}

function mountOverlay(base: string, below: string): TestFilesystem {
  const directory = join(base, 'overlay');
  const [lower, upper, work] = ['lower', 'upper', 'work'].map((name) => join(below, `overlay-${name}`)) as [string, string, string];
  for (const path of [directory, lower, upper, work]) mkdirSync(path);
  run('mount', '-t', 'overlay', '-o', `lowerdir=${lower},upperdir=${upper},workdir=${work}`, 'overlay', directory);
  return { name: 'overlay', kind: 'overlay', sectorBytes: 512, directory };
}

function mountAll(): readonly TestFilesystem[] {
  const refused = enterNamespace();
  if (refused !== undefined) {
    skip('file operations on other filesystems', refused);
    return [];
  }
  const base = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : '/var/tmp', 'tidemark-filesystems-'));
  const mounted: TestFilesystem[] = [];
  process.on('exit', () => {
    for (const { directory } of mounted.toReversed()) spawnSync('umount', ['--lazy', directory]);
    rmSync(base, { recursive: true, force: true });
  });
  const attempt = (name: string, mount: () => TestFilesystem): TestFilesystem | undefined => {
    try {
      const filesystem = mount();
      mounted.push(filesystem);
      return filesystem;
    } catch (error) {
      skip(`file operations on ${name}`, error instanceof Error ? error.message : String(error));
      return undefined;
    }
  };
  const ext4 = attempt('ext4', () => mountDisk(base, 'ext4', 512));
  for (const kind of ['xfs', 'btrfs'] as const) attempt(kind, () => mountDisk(base, kind, 512));
  for (const kind of ['ext4', 'xfs'] as const) attempt(`${kind} with sectors of 4096 bytes`, () => mountDisk(base, kind, 4096));
  attempt('tmpfs', () => mountTmpfs(base));
  if (ext4 !== undefined) attempt('overlay', () => mountOverlay(base, ext4.directory));
  return mounted;
}

/** All that can be mounted here; those that cannot were told. */
export const FILESYSTEMS: readonly TestFilesystem[] = mountAll();

let directories = 0;

/** A new directory on it. */
export function directoryOn(filesystem: TestFilesystem): string {
  const directory = join(filesystem.directory, `test-${directories++}`);
  mkdirSync(directory);
  return directory;
}
