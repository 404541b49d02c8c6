/** Starts and steers `faultfs.c`: a directory in which operations fail as told, or a disk image whose writes are logged. */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { noMounts, until } from '../fault/tools.js';

export type Operation = 'write' | 'read' | 'fsync' | 'fsyncdir' | 'open' | 'create' | 'rename' | 'unlink' | 'fallocate' | 'truncate';

/** What happens to operations of a kind; `rules.h` explains each word. */
export interface Rule {
  readonly op: Operation;
  /** Part of the path, seen from the mount. */
  readonly path?: string;
  readonly skip?: number;
  readonly count?: number;
  readonly errno?: number;
  readonly short?: number;
  readonly delay?: number;
  readonly jitter?: number;
  readonly lie?: 1;
  readonly hold?: 1;
}

const START_BOUND_MS = 5_000;
const STOP_BOUND_MS = 5_000;

const sources = fileURLToPath(new URL('../../../test/faultfs/', import.meta.url));
const built = fileURLToPath(new URL('./', import.meta.url));
const UNITS = ['faultfs.c', 'rules.c', 'device_log.c'];

/** Why faultfs cannot run here; undefined when it can. */
export function noFaultfs(): string | undefined {
  if (!existsSync('/dev/fuse')) return 'there is no /dev/fuse';
  if (spawnSync('cc', ['--version']).error !== undefined) return 'there is no C compiler';
  if (spawnSync('pkg-config', ['--exists', 'fuse3']).status !== 0) return 'the development files of libfuse 3 are missing (Debian: libfuse3-dev, pkg-config)';
  return noMounts();
}

/** Builds the program if its sources are newer; answers its path. */
function program(): string {
  const target = join(built, 'faultfs');
  const newest = Math.max(...[...UNITS, 'rules.h', 'device_log.h'].map((name) => statSync(join(sources, name)).mtimeMs));
  if (existsSync(target) && statSync(target).mtimeMs > newest) return target;
  const flags = spawnSync('pkg-config', ['--cflags', '--libs', 'fuse3'], { encoding: 'utf8' }).stdout.trim().split(/\s+/);
  // Another test may build it at the same time.
  const unfinished = `${target}.${process.pid}`;
  const units = UNITS.map((name) => join(sources, name));
  const { status, stderr } = spawnSync('cc', ['-O2', '-Wall', '-Wextra', '-Werror', ...units, '-o', unfinished, ...flags, '-lpthread'], { encoding: 'utf8' });
  if (status !== 0) throw new Error(`faultfs cannot be built:\n${stderr}`);
  renameSync(unfinished, target);
  return target;
}

export class FaultyDirectory {
  /** Where operations go through the rules. */
  readonly mount: string;
  /** The same files, without. */
  readonly source: string;
  /** Commands for it, one per line. */
  readonly control: string;
  readonly #process: ChildProcess;
  #said = '';
  readonly #kill = (): void => {
    this.#process.kill('SIGKILL');
    spawnSync('umount', ['-l', this.mount]);
  };

  private constructor(process_: ChildProcess, source: string, mount: string) {
    this.#process = process_;
    this.source = source;
    this.mount = mount;
    this.control = join(mount, '.control');
    process_.stderr?.on('data', (chunk: Buffer) => (this.#said += chunk.toString()));
    // It belongs to the mount namespace, which would live as long as it does. Before the handlers that remove directories: those fail at a mount.
    process.prependListener('exit', this.#kill);
  }

  /**
   * Mounts it below `directory`, in the mount namespace of this process. `logged`: every write to that file goes to the log.
   * `removeOpen`: files that are open are removed at once, and not renamed first.
   */
  static async start(directory: string, { logged, removeOpen = false }: { readonly logged?: { readonly log: string; readonly image: string }; readonly removeOpen?: boolean } = {}): Promise<FaultyDirectory> {
    const source = join(directory, 'source');
    const mount = join(directory, 'mount');
    for (const path of [source, mount]) mkdirSync(path, { recursive: true });
    const words = [...(removeOpen ? ['--remove-open'] : []), source, mount, ...(logged === undefined ? [] : [logged.log, logged.image])];
    const process_ = spawn(program(), words, { stdio: ['ignore', 'ignore', 'pipe'] });
    const faulty = new FaultyDirectory(process_, source, mount);
    await until('the mount of faultfs', START_BOUND_MS, () => {
      if (process_.exitCode !== null) throw new Error(`faultfs ended with exit code ${process_.exitCode}: ${faulty.#said}`);
      return existsSync(faulty.control);
    });
    return faulty;
  }

  add(rule: Rule): void {
    writeFileSync(this.control, `rule ${Object.entries(rule).map(([key, value]) => `${key}=${value}`).join(' ')}\n`);
  }

  /** Drops all rules, lets go of what they hold, and counts from 0. */
  clear(): void {
    writeFileSync(this.control, 'clear\n');
  }

  /** How often each operation was asked for since the rules were cleared. */
  counts(): Readonly<Record<Operation, number>> {
    return Object.fromEntries(this.#report().filter(([name]) => name !== 'rule').map(([name, count]) => [name, Number(count)])) as Record<Operation, number>;
  }

  /** How often each rule applied, in the order in which they were added. */
  hits(): number[] {
    return this.#report().filter(([name]) => name === 'rule').map(([, , hits]) => Number(hits));
  }

  #report(): string[][] {
    return readFileSync(this.control, 'utf8').trim().split('\n').map((line) => line.split(' '));
  }

  async stop(): Promise<void> {
    if (this.#process.exitCode !== null) throw new Error(`faultfs ended too early: ${this.#said}`);
    this.clear();
    const end = once(this.#process, 'close') as Promise<[code: number | null, signal: string | null]>;
    await until('the end of the mount', STOP_BOUND_MS, () => spawnSync('umount', [this.mount]).status === 0);
    const [code, signal] = await end;
    process.off('exit', this.#kill);
    if (code !== 0) throw new Error(`faultfs ended with ${signal ?? code}: ${this.#said}`);
  }
}
