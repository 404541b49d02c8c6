/** Runs one soak in a process of its own and judges it. */
import { fork } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { join } from 'node:path';
import { ended } from '../support.js';
import { judge, type Finding } from './judge.js';
import type { LoadReport, LoadTask } from './load.js';

export interface Soaked extends LoadReport {
  readonly findings: readonly Finding[];
}

/** What it may take beyond its time: a slow disk, catching up, reading everything back. */
const BEYOND_SECONDS = 180;

/**
 * Every collection in every thread is a full one. Otherwise V8 lets garbage of threads that do little pile up for minutes,
 * which looks like a leak, and hides one.
 */
const COLLECTING = ['--gc-global', '--max-semi-space-size=4'];

/** Runs a soak below `directory`. */
export async function soak(directory: string, task: Omit<LoadTask, 'directory'>): Promise<Soaked> {
  const own = mkdtempSync(join(directory, `${task.backend}-`));
  const child = fork(new URL('./load.js', import.meta.url), [JSON.stringify({ ...task, directory: own } satisfies LoadTask)], {
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    execArgv: COLLECTING,
  });
  const bound = setTimeout(() => child.kill('SIGKILL'), (task.seconds + BEYOND_SECONDS) * 1000);
  const { code, signal, stdout, stderr } = await ended(child);
  clearTimeout(bound);
  if (code !== 0) throw new Error(`the soak ended with ${signal ?? code}\n${stdout}\n${stderr}`);
  const loaded = JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as LoadReport;
  return { ...loaded, problems: [...loaded.problems, ...(stderr === '' ? [] : [stderr])], findings: judge(loaded.samples, task.seconds) };
}
