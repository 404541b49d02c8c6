/** What tests share: temporary directories, backends to test on, and programs to run in processes of their own. */
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { Journal, IoScheduler, type Backend, type JournalOptions } from 'tidemark';

export const BACKENDS: readonly Backend['kind'][] = ['io_uring', 'blocking'];

/** Tests that take chances take more of them in the long form, which `npm run test:crash` runs. */
export const LONG = process.env['TIDEMARK_TEST_FORM'] === 'long';

/** Journals want a real disk: the temporary directory of the system may be memory. */
const base = process.env['TIDEMARK_TEST_DIR'] ?? '/var/tmp';

/** A new directory, removed when the process ends. */
export function temporaryDirectory(): string {
  const directory = mkdtempSync(join(base, 'tidemark-test-'));
  process.on('exit', () => {
    rmSync(directory, { recursive: true, force: true });
  });
  return directory;
}

/** One scheduler per backend, shared by the tests of a file. */
const schedulers = new Map<Backend['kind'], IoScheduler>();

export function schedulerOf(backend: Backend['kind']): IoScheduler {
  let scheduler = schedulers.get(backend);
  if (scheduler === undefined) {
    scheduler = new IoScheduler({ backend });
    schedulers.set(backend, scheduler);
  }
  return scheduler;
}

/** Opens a journal for `use` and closes it in any case. */
export async function withJournal<T>(path: string, options: JournalOptions, use: (journal: Journal) => Promise<T>): Promise<T> {
  const journal = await Journal.open(path, options);
  try {
    return await use(journal);
  } finally {
    await journal.close();
  }
}

export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Waits for a child's end and gives what it printed. */
export function ended(child: ChildProcess): Promise<Ended> {
  let stdout = '';
  let stderr = '';
  child.stdout?.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr?.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  return new Promise((resolve) => {
    child.on('close', (code, signal) => {
      resolve({ code, signal, stdout, stderr });
    });
  });
}

/** Runs an ES module given as text, with `tidemark` importable, in a process of its own. */
export function runModule(source: string, args: readonly string[] = [], environment: NodeJS.ProcessEnv = {}): ChildProcess {
  return spawn(process.execPath, ['--input-type=module', '--eval', source, '--', ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...environment },
  });
}
