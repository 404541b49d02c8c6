/** Runs lives of journals (test/programs/faulty-lives.ts) on disks that fail as told, several at a time. */
import { spawn, type ChildProcess } from 'node:child_process';
import { cpSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface, type Interface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import * as assert from 'uvu/assert';
import { Claims } from '../crash/claims.js';
import { FaultyDirectory } from '../faultfs/faultfs.js';
import type { FaultReport, FaultTask } from '../programs/faulty-lives.js';
import { recordOf } from '../programs/records.js';
import { basesIn } from '../segments.js';
import { ended, schedulerOf, withJournal, type Ended } from '../support.js';
import { killGroup, recordsOf } from './tools.js';

/** A life has bounds of its own for all that it waits for. */
const LIFE_BOUND_MS = 60_000;
const END_BOUND_MS = 10_000;

/** A journal to begin with, and what was said of it. */
export interface History {
  readonly path: string;
  readonly said: readonly string[];
}

export interface LifeOptions extends Omit<FaultTask, 'path' | 'control'> {
  readonly history?: History;
}

export interface Lived {
  /** Where the journal lies; its disk does no harm any more. */
  readonly path: string;
  readonly report: FaultReport;
  readonly claims: Claims;
}

function startLives(): ChildProcess {
  const program = fileURLToPath(new URL('../programs/faulty-lives.js', import.meta.url));
  return spawn(process.execPath, ['--no-warnings', program], { stdio: ['pipe', 'pipe', 'pipe'], detached: true });
}

function claimsOf(...saids: readonly (readonly string[])[]): Claims {
  const claims = new Claims();
  for (const line of saids.flat()) claims.hear(line);
  return claims;
}

/** Lives once, in a process of its own, which has to end by itself. */
export async function liveOnce(task: FaultTask): Promise<Lived> {
  const child = startLives();
  const timer = setTimeout(() => killGroup(child), LIFE_BOUND_MS);
  child.stdin?.end(`${JSON.stringify(task)}\n`);
  const { code, stdout, stderr } = await ended(child);
  clearTimeout(timer);
  assert.is(code, 0, `${stdout}\n${stderr}`);
  const report = JSON.parse(stdout) as FaultReport;
  return { path: task.path, report, claims: claimsOf(report.said) };
}

/** One disk, and the process that lives on it. */
class Lane {
  readonly #faulty: FaultyDirectory;
  readonly #child: ChildProcess;
  readonly #ended: Promise<Ended>;
  readonly #answers: AsyncIterator<string>;
  readonly #lines: Interface;
  #lives = 0;

  static async start(directory: string): Promise<Lane> {
    return new Lane(await FaultyDirectory.start(directory));
  }

  private constructor(faulty: FaultyDirectory) {
    this.#faulty = faulty;
    const child = startLives();
    assert.ok(child.stdout !== null);
    this.#child = child;
    this.#lines = createInterface({ input: child.stdout });
    this.#answers = this.#lines[Symbol.asyncIterator]();
    this.#ended = ended(child);
  }

  async live({ history, ...options }: LifeOptions): Promise<Lived> {
    const name = `journal-${this.#lives++}`;
    const path = join(this.#faulty.mount, name);
    if (history !== undefined) cpSync(history.path, join(this.#faulty.source, name), { recursive: true });
    const task: FaultTask = { ...options, path, control: this.#faulty.control };
    this.#child.stdin?.write(`${JSON.stringify(task)}\n`);
    const timer = setTimeout(() => killGroup(this.#child), LIFE_BOUND_MS);
    const line = await this.#answers.next();
    clearTimeout(timer);
    if (line.done === true) throw new Error(`the process ended: ${JSON.stringify(await this.#ended)}`);
    const report = JSON.parse(line.value) as FaultReport | { readonly broken: string };
    if ('broken' in report) throw new Error(report.broken);
    return { path, report, claims: claimsOf(history?.said ?? [], report.said) };
  }

  /** The process ends by itself: what threads, timers or descriptors it left behind would keep it. */
  async end(): Promise<Ended> {
    this.#child.stdin?.end();
    const timer = setTimeout(() => killGroup(this.#child), END_BOUND_MS);
    const end = await this.#ended;
    clearTimeout(timer);
    this.#lines.close();
    await this.#faulty.stop();
    return end;
  }
}

/** Lives everything on `count` disks below a directory, in any order. */
export class Lanes {
  readonly #directory: string;
  readonly #count: number;
  readonly #waiting: ((lane: Lane) => Promise<void>)[] = [];

  constructor(directory: string, count: number) {
    this.#directory = directory;
    this.#count = count;
  }

  /** `verify` runs before the next life begins on that disk. */
  add(options: LifeOptions, verify: (lived: Lived) => Promise<void>): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting.push((lane) => lane.live(options).then(verify).then(resolve, reject));
    });
  }

  /** Answers how each process ended. */
  run(): Promise<Ended[]> {
    return Promise.all(Array.from({ length: this.#count }, async (_, i) => {
      const directory = join(this.#directory, `lane-${i}`);
      mkdirSync(directory);
      const lane = await Lane.start(directory);
      for (let next = this.#waiting.shift(); next !== undefined; next = this.#waiting.shift()) await next(lane);
      return lane.end();
    }));
  }
}

/** Opens the journal once more, appends to it, and compares it with all that was said. */
export async function assertKept({ path, claims }: Pick<Lived, 'path' | 'claims'>, backend: 'io_uring' | 'blocking', layout: 'file' | 'segments'): Promise<void> {
  claims.hear('life 1');
  claims.hear('! 0 0');
  const end = await withJournal(path, { scheduler: schedulerOf(backend), layout, preallocate: 0, newSegments: 'plain', segmentBytes: 64 * 1024 }, (journal) =>
    journal.append(recordOf({ life: 1, thread: 0, sequence: 0 })));
  claims.hear(`+ 0 0 ${end}`);
  const { records, state } = await recordsOf(path);
  assert.is(state, 'clean-end');
  assert.is(records.at(-1)?.end, end);
  const first = layout === 'segments' ? basesIn(path)[0] ?? 0 : 0;
  assert.ok(first <= claims.trimmedTo, `nothing but what was trimmed is missing: the log begins at ${first}, trimmed was up to ${claims.trimmedTo}`);
  assert.equal(claims.lies(records, first), []);
}
