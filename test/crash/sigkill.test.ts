/**
 * Kills processes that append, hundreds of times, at random moments, and looks whether they told the truth.
 *
 * `TIDEMARK_SEED` repeats the moments of an earlier run.
 */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Journal, JournalError, type Backend, type JournalOptions } from 'tidemark';
import { schedulerOf, temporaryDirectory } from '../support.js';
import { recordsOf, usableBackends } from '../fault/tools.js';
import type { CrashTask } from '../programs/crash-child.js';
import { randomOf } from '../programs/records.js';
import { Claims, trimmedBelow } from './claims.js';

const LIVES = 144;
/** Processes at a time, each with a journal of its own. */
const LANES = 3;
/** Lives of one journal. */
const LIVES_PER_JOURNAL = 6;
/** A life counts from the first acknowledgement of its last thread, and from its first trim where the log is trimmed. */
const LIFE_MS_MIN = 5;
const LIFE_MS_MAX = 60;
const THREADS = 4;
/** One of so many processes is killed while it starts, opens and recovers. */
const KILLED_EARLY_EVERY = 4;
const EARLY_MS_MAX = 600;
/** Much less than the slowest disk gives, much more than nothing. */
const ACKNOWLEDGED_MIN = LIVES * 20;
const CHEATING_LIVES_MAX = 20;
const CHILD_BOUND_MS = 60_000;
/** How long the kernel may need to let go of a killed process's files. */
const UNLOCK_BOUND_MS = 5_000;

const seed = Number(process.env['TIDEMARK_SEED'] ?? Date.now() % 1_000_000);
console.log(`seed ${seed}`);

const child = fileURLToPath(new URL('../programs/crash-child.js', import.meta.url));
const test = suite('what was acknowledged outlives SIGKILL');
const directory = temporaryDirectory();
const backends = await usableBackends();

function isKilledEarly(life: number): boolean {
  return life % KILLED_EARLY_EVERY === 0;
}

/** Runs one child until it is killed; answers what its threads claimed. */
function live(task: CrashTask, random: () => number): Promise<Claims> {
  const early = isKilledEarly(task.life);
  const delayMs = early ? random() * EARLY_MS_MAX : LIFE_MS_MIN + random() * (LIFE_MS_MAX - LIFE_MS_MIN);
  const process_ = spawn(process.execPath, [child, JSON.stringify(task)], { stdio: ['ignore', 'ignore', 'pipe', 'pipe'] });
  const claims = new Claims(task.life);
  let text = '';
  let errors = '';
  let started = false;
  const killSoon = (): void => {
    if (started) return;
    started = true;
    setTimeout(() => process_.kill('SIGKILL'), delayMs);
  };
  const awaited = [...Array.from({ length: THREADS }, (_, i) => `+ ${i} `), ...(task.trims ? ['trim '] : [])];
  process_.stdio[3]?.on('data', (chunk: Buffer) => {
    text += chunk.toString('latin1');
    if (!started && awaited.every((line) => text.includes(line))) killSoon();
  });
  process_.stderr?.on('data', (chunk: Buffer) => (errors += chunk.toString()));
  if (early) killSoon();
  const bound = setTimeout(() => process_.kill('SIGABRT'), CHILD_BOUND_MS);
  return new Promise((resolve, reject) => {
    process_.on('close', (code, signal) => {
      clearTimeout(bound);
      if (signal !== 'SIGKILL') {
        reject(new Error(`the child of life ${task.life} ended with ${signal ?? code} before it was killed\n${errors}`));
        return;
      }
      for (const line of text.split('\n')) claims.hear(line);
      resolve(claims);
    });
  });
}

/** Recovers a journal as its next user would, and answers its end, number of records, and where it begins. */
async function recovered(path: string, backend: Backend['kind'], options: JournalOptions): Promise<Found> {
  const bound = performance.now() + UNLOCK_BOUND_MS;
  // Not trimming: what is there is counted. Where a life was killed before it had made the journal, this one makes it.
  for (;;) {
    try {
      const journal = await Journal.open(path, { ...options, scheduler: schedulerOf(backend), preallocate: 0, logBufferBytes: 65_536 });
      const { durableLsn: end, openReport } = journal;
      const first = trimmedBelow(journal);
      await journal.close();
      return { end, records: openReport?.records ?? -1, first };
    } catch (error) {
      const locked = error instanceof JournalError && error.code === 'TIDEMARK_LOCKED';
      if (!locked || performance.now() > bound) throw error;
      stillLocked++;
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  }
}

let stillLocked = 0;

interface Found {
  readonly end: number;
  readonly records: number;
  /** What is below was trimmed. */
  readonly first: number;
}

/** What the records from `from` on say against the claims of a life. */
async function lies(path: string, from: number, first: number, claims: Claims): Promise<{ lies: string[]; records: number }> {
  const { records, state } = await recordsOf(path, from);
  const found = claims.lies(records, first, from);
  if (state !== 'clean-end') found.push(`the recovered journal ends with ${state}`);
  return { lies: found, records: records.length };
}

interface LaneResult {
  acknowledged: number;
  threads: number;
  /** Lives that told of a trim. */
  trimmed: number;
  readonly lies: string[];
}

/** Several lives of one journal after the other. */
async function lane(path: string, first: number, lives: number, task: Pick<CrashTask, 'backend' | 'options' | 'trims' | 'cheats'>): Promise<LaneResult> {
  const result: LaneResult = { acknowledged: 0, threads: 0, trimmed: 0, lies: [] };
  let before: Found = { end: 0, records: 0, first: 0 };
  for (let life = first; life < first + lives; life++) {
    const random = randomOf(seed * 1000 + life);
    const claims = await live({ ...task, path, life }, random);
    const after = await recovered(path, task.backend, task.options);
    const checked = await lies(path, before.end, after.first, claims);
    if (claims.trimmedTo > 0) result.trimmed++;
    if (after.first < claims.trimmedTo) checked.lies.push(`the log begins at LSN ${after.first}, and was trimmed up to ${claims.trimmedTo}`);
    if (after.first === before.first && after.records !== before.records + checked.records) {
      checked.lies.push(`recovery counted ${after.records} records, ${before.records} and ${checked.records} were read`);
    }
    result.lies.push(...checked.lies.slice(0, 5).map((lie) => `life ${life}: ${lie}`));
    result.acknowledged += claims.acknowledged;
    result.threads += claims.threads;
    before = after;
  }
  return result;
}

const variants = backends.flatMap((backend) => [
  { backend, name: 'file, direct', options: { layout: 'file', direct: true, preallocate: 1024 * 1024 } },
  { backend, name: 'file, buffered', options: { layout: 'file', direct: false, preallocate: 0 } },
  // So small that a life sees many of them.
  { backend, name: 'segments, direct', options: { layout: 'segments', direct: true, segmentBytes: 256 * 1024 } },
  { backend, name: 'segments, buffered, trimmed', options: { layout: 'segments', direct: false, segmentBytes: 64 * 1024, logBufferBytes: 64 * 1024 }, trims: true },
] satisfies { backend: Backend['kind']; name: string; options: JournalOptions; trims?: boolean }[]);

let nextLife = 0;
for (const variant of variants) {
  const { backend, options, trims = false } = variant;
  const lives = LIVES / variants.length;
  const firstLife = nextLife;
  nextLife += lives;
  test(`${lives} times on ${variant.backend}, ${variant.name}`, async () => {
    const journals = Array.from({ length: Math.ceil(lives / LIVES_PER_JOURNAL) }, (_, i) => ({
      path: join(directory, `${variant.backend}-${variant.name.replaceAll(', ', '-')}-${i}`),
      first: firstLife + i * LIVES_PER_JOURNAL,
      lives: Math.min(LIVES_PER_JOURNAL, lives - i * LIVES_PER_JOURNAL),
    }));
    assert.ok(journals.length <= LANES, 'each journal has a lane');
    const results = await Promise.all(journals.map(({ path, first, lives: count }) => lane(path, first, count, { backend, options, trims, cheats: false })));
    const acknowledged = results.reduce((sum, { acknowledged: count }) => sum + count, 0);
    const threads = results.reduce((sum, { threads: count }) => sum + count, 0);
    const late = Array.from({ length: lives }, (_, i) => firstLife + i).filter((life) => !isKilledEarly(life)).length;
    console.log(`${variant.backend}, ${variant.name}: ${acknowledged} acknowledged, locked ${stillLocked} times, seed ${seed}`);
    assert.equal(results.flatMap(({ lies: told }) => told), []);
    const trimmed = results.reduce((sum, { trimmed: count }) => sum + count, 0);
    if (trims) assert.ok(trimmed >= late, `${trimmed} of ${lives} lives trimmed something`);
    assert.ok(acknowledged > ACKNOWLEDGED_MIN / variants.length, `${acknowledged} records were acknowledged`);
    assert.ok(threads >= THREADS * late, `${threads} threads of ${lives} lives acknowledged something`);
  });
}

test('a process that acknowledges before it appends is caught', async () => {
  for (const { backend, name, options, trims = false } of variants) {
    if (trims || name.includes('file, direct')) continue;
    // A life that is killed early, or has nothing in flight when it is, lies without harm.
    const caught: string[] = [];
    const isCaught = (): boolean => caught.some((lie) => lie.endsWith('was acknowledged and is lost'));
    for (let lives = 0; lives < CHEATING_LIVES_MAX && !isCaught(); lives += 2) {
      caught.push(...(await lane(join(directory, `cheat-${backend}-${name.slice(0, 4)}-${lives}`), nextLife, 2, { backend, options, trims, cheats: true })).lies);
      nextLife += 2;
    }
    assert.ok(isCaught(), `the check found only: ${caught.join('; ')}`);
  }
});

test.run();
