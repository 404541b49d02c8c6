/** What the tests of faults share: programs to run, and what the machine must be able to do for a test. */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { closeSync, existsSync, openSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { IoScheduler, JournalReader, NotSupportedError, type Backend, type JournalRecord } from 'tidemark';
import { examine, readSegments } from '../segments.js';
import { BACKENDS, ended, type Ended } from '../support.js';

const BOUND_MS = 30_000;

export interface ProgramOptions {
  /** Words before the command, such as those of a tracer. */
  readonly prefix?: readonly string[];
  readonly environment?: NodeJS.ProcessEnv;
  /** User and group to run as. */
  readonly uid?: number;
  /** Milliseconds after which the program and its tracer are killed. */
  readonly boundMs?: number;
}

export interface Finished<Report> extends Ended {
  readonly report: Report;
}

/** Prints why a test is missing. Call it in place of the test. */
export function skip(what: string, reason: string): void {
  console.log(`SKIPPED ${what}: ${reason}`);
}

/** Starts a program of `test/programs` in a process group of its own. */
export function startProgram(name: string, task: unknown, options: ProgramOptions = {}): ChildProcess {
  const program = fileURLToPath(new URL(`../programs/${name}.js`, import.meta.url));
  const words = [...(options.prefix ?? []), process.execPath, program, JSON.stringify(task)];
  const command = words.shift() ?? process.execPath;
  const markers = openSync('/dev/null', 'w');
  const child = spawn(command, words, {
    stdio: ['ignore', 'pipe', 'pipe', markers],
    env: { ...process.env, ...options.environment },
    detached: true,
    ...(options.uid !== undefined && { uid: options.uid, gid: options.uid }),
  });
  closeSync(markers);
  return child;
}

/** Runs a program to its end, with a bound, and parses the line it reported. */
export async function runProgram<Report>(name: string, task: unknown, options: ProgramOptions = {}): Promise<Finished<Report>> {
  const child = startProgram(name, task, options);
  const boundMs = options.boundMs ?? BOUND_MS;
  const bound = { passed: false };
  const timer = setTimeout(() => {
    bound.passed = true;
    killGroup(child);
  }, boundMs);
  const result = await ended(child);
  clearTimeout(timer);
  if (bound.passed) throw new Error(`${name} did not end within ${boundMs} ms\n${result.stdout}\n${result.stderr}`);
  const line = result.stdout.trim().split('\n').at(-1) ?? '';
  try {
    return { ...result, report: JSON.parse(line) as Report };
  } catch {
    throw new Error(`${name} reported nothing: exit code ${result.code}, signal ${result.signal}\n${result.stdout}\n${result.stderr}`);
  }
}

/** A tracer that is killed leaves its child running: the whole group has to go. */
export function killGroup(child: ChildProcess): void {
  try {
    if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
  } catch {
    // It has ended.
  }
}

setFlagsFromString('--expose-gc');
/** Collects garbage, now. */
export const collect = runInNewContext('gc') as (options?: { type: 'minor' }) => void;

/** Waits until nothing holds what these refer to: what a WeakRef was made of lives to the end of its turn. */
export async function collected(references: readonly WeakRef<object>[]): Promise<void> {
  await until('nothing to be kept', 10_000, () => {
    collect();
    return references.every((reference) => reference.deref() === undefined);
  });
}

/** Resolves when `condition` holds, rejects after `boundMs`. */
export async function until(what: string, boundMs: number, condition: () => boolean | Promise<boolean>): Promise<void> {
  const end = performance.now() + boundMs;
  while (!(await condition())) {
    if (performance.now() > end) throw new Error(`${what} did not come within ${boundMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

export const TICK_MS = 10;

/** Ticks for `durationMs` and answers how late the latest tick was, in milliseconds, and how many there were. */
export function latestTick(durationMs: number): Promise<{ latestMs: number; ticks: number }> {
  return new Promise((resolve) => {
    const end = performance.now() + durationMs;
    let latestMs = 0;
    let ticks = 0;
    let due = performance.now() + TICK_MS;
    const timer = setInterval(() => {
      const now = performance.now();
      latestMs = Math.max(latestMs, now - due);
      due = now + TICK_MS;
      ticks++;
      if (now < end) return;
      clearInterval(timer);
      resolve({ latestMs, ticks });
    }, TICK_MS);
  });
}

/** All records of a journal, and how it ends. */
export async function recordsOf(path: string, from = 0): Promise<{ records: JournalRecord[]; state: string | undefined }> {
  if (statSync(path).isDirectory()) {
    const verdict = examine(path);
    return { records: (await readSegments(path)).filter(({ start }) => start >= from), state: verdict.kind === 'clean' ? 'clean-end' : verdict.kind };
  }
  const reader = await JournalReader.open(path, { from });
  const records: JournalRecord[] = [];
  for await (const record of reader) records.push(record);
  const state = reader.tail?.state;
  await reader.close();
  return { records, state };
}

// ---- what the machine can do ---------------------------------------------------------------------------------------

/** The backends that run here; says which do not. */
export async function usableBackends(): Promise<readonly Backend['kind'][]> {
  const usable: Backend['kind'][] = [];
  for (const backend of BACKENDS) {
    const scheduler = new IoScheduler({ backend });
    try {
      await scheduler.backend();
      usable.push(backend);
    } catch (error) {
      if (!(error instanceof NotSupportedError)) throw error;
      skip(`all tests on ${backend}`, error.reason);
    }
    await scheduler.close();
  }
  return usable;
}

function succeeds(command: string, words: readonly string[]): boolean {
  return spawnSync(command, words, { stdio: 'ignore' }).status === 0;
}

/** Why no process can be traced here; undefined when it can. */
export function noTracing(): string | undefined {
  return succeeds('strace', ['-f', '-o', '/dev/null', '-e', 'inject=fdatasync:error=EIO:when=1', 'true']) ? undefined : 'strace is missing or may not trace';
}

export function noRoot(): string | undefined {
  return process.getuid?.() === 0 ? undefined : 'it needs root';
}

/** Why no filesystem can be mounted in a namespace of its own; undefined when it can. */
export function noMounts(): string | undefined {
  return noRoot() ?? (succeeds('unshare', ['-m', '--propagation', 'private', 'true']) ? undefined : 'no mount namespace can be made');
}

/** Why no filesystem image can be mounted; undefined when it can. */
export function noLoopDevices(): string | undefined {
  if (!existsSync('/dev/loop-control')) return 'there are no loop devices';
  if (!succeeds('mkfs.ext4', ['-V'])) return 'mkfs.ext4 is missing';
  return noMounts() ?? (succeeds('losetup', ['--find']) ? undefined : 'no loop device is free');
}

// ---- filesystems of a test's own -----------------------------------------------------------------------------------

const NAMESPACE_MARK = 'TIDEMARK_TEST_NAMESPACE';

/**
 * Runs the test file again inside a mount namespace of its own, where there can be one, and ends with it: whatever
 * happens to it, its mounts go away. Call it before anything else.
 */
export async function inMountNamespace(url: string): Promise<void> {
  if (process.env[NAMESPACE_MARK] !== undefined || noMounts() !== undefined) return;
  const words = ['-m', '--propagation', 'private', process.execPath, fileURLToPath(url)];
  const child = spawn('unshare', words, { stdio: 'inherit', env: { ...process.env, [NAMESPACE_MARK]: '1' } });
  const code = await new Promise<number | null>((resolve) => {
    child.on('close', resolve);
  });
  process.exit(code ?? 1);
}

/** Makes a filesystem image of `mib` MiB and mounts it; answers how to unmount it. Only in a namespace of its own. */
export function mountImage(image: string, mount: string, mib: number): () => void {
  if (process.env[NAMESPACE_MARK] === undefined) throw new Error('mounts belong into a namespace of their own');
  const must = (command: string, ...words: string[]): void => {
    const { status, stderr } = spawnSync(command, words, { encoding: 'utf8' });
    if (status !== 0) throw new Error(`${command} ${words.join(' ')} failed: ${stderr}`);
  };
  writeFileSync(image, '');
  truncateSync(image, mib * 1024 * 1024);
  must('mkfs.ext4', '-q', '-F', '-m', '0', image);
  // `loop` frees the device with the mount.
  must('mount', '-o', 'loop', image, mount);
  // However the process ends: what holds a mount cannot be removed. Before the handlers that remove directories.
  const atExit = (): void => {
    spawnSync('umount', ['-l', mount]);
  };
  process.prependListener('exit', atExit);
  return () => {
    process.off('exit', atExit);
    must('umount', mount);
    rmSync(image);
  };
}
