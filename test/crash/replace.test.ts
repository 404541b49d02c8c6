/**
 * Kills processes that replace files, at random moments: each file is then exactly one of the versions that it may be, and the
 * next replacement leaves no temporary file.
 *
 * `TIDEMARK_SEED` repeats the moments of an earlier run.
 */
import { spawn } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { IoScheduler } from 'tidemark';
import { randomOf } from '../programs/records.js';
import type { ReplacerTask } from '../programs/replacer.js';
import { LONG, temporaryDirectory } from '../support.js';
import { Claims, liesAboutReplaced } from './claims.js';

const KILLS = LONG ? 1000 : 60;
/** Processes at a time, each in a directory of its own. */
const LANES = 4;
const FILES = 5;
/** A process is killed so many acknowledgements and then so many milliseconds after it began. */
const ACKNOWLEDGED_MAX = 40;
const DELAY_MS_MAX = 4;
const CHILD_BOUND_MS = 60_000;
const CHEATING_KILLS_MAX = 40;
/** How long the kernel may need to let go of a killed process's files. */
const UNLOCK_BOUND_MS = 5_000;

const seed = Number(process.env['TIDEMARK_SEED'] ?? Date.now() % 1_000_000);
console.log(`seed ${seed}`);

const test = suite('what was replaced outlives SIGKILL');
const base = temporaryDirectory();
const program = fileURLToPath(new URL('../programs/replacer.js', import.meta.url));
const scheduler = new IoScheduler({ fileWorkers: 2 });

/** Runs a process until it is killed; what it said goes to the claims. */
function live(task: ReplacerTask, claims: Claims, random: () => number): Promise<void> {
  const wanted = Math.floor(random() * ACKNOWLEDGED_MAX);
  const delayMs = random() * DELAY_MS_MAX;
  const child = spawn(process.execPath, [program, JSON.stringify(task)], { stdio: ['ignore', 'ignore', 'pipe', 'pipe'] });
  let text = '';
  let errors = '';
  let dying = false;
  child.stdio[3]?.on('data', (chunk: Buffer) => {
    text += chunk.toString('latin1');
    if (dying || text.split('+ ').length - 1 < wanted) return;
    dying = true;
    setTimeout(() => child.kill('SIGKILL'), delayMs);
  });
  child.stderr?.on('data', (chunk: Buffer) => (errors += chunk.toString()));
  const bound = setTimeout(() => child.kill('SIGABRT'), CHILD_BOUND_MS);
  return new Promise((resolve, reject) => {
    child.on('close', (code, signal) => {
      clearTimeout(bound);
      if (signal !== 'SIGKILL') reject(new Error(`the process ended with ${signal ?? code} before it was killed\n${errors}`));
      // The last line may be cut off.
      for (const line of text.split('\n').slice(0, -1)) claims.hear(line);
      resolve();
    });
  });
}

interface LaneResult {
  readonly lies: string[];
  acknowledged: number;
  /** Kills that left temporary files. */
  left: number;
}

function temporaryIn(directory: string): string[] {
  return readdirSync(directory).filter((name) => name.includes('tidemark'));
}

/** One directory, whose files are replaced by one process after the other. */
async function lane(number: number, kills: number, acknowledgesEarly = false): Promise<LaneResult> {
  const directory = join(base, String(number));
  mkdirSync(directory);
  const random = randomOf(seed * 1000 + number);
  const claims = new Claims();
  const result: LaneResult = { lies: [], acknowledged: 0, left: 0 };
  for (let kill = 0; kill < kills; kill++) {
    const firstVersion = 1 + Math.max(-1, ...Array.from({ length: FILES }, (_, file) => claims.ofThread(file).announced));
    await live({ directory, files: FILES, firstVersion, acknowledgesEarly }, claims, random);
    result.lies.push(...liesAboutReplaced(directory, claims, FILES).map((lie) => `lane ${number}, kill ${kill}: ${lie}`));
    // A file that should be there may be missing: nothing further can be asked of it.
    if (result.lies.length > 0) break;
    if (temporaryIn(directory).length > 0) result.left++;
    // Half of the time the next process finds what is left itself.
    if (random() < 0.5 && kill < kills - 1) continue;
    result.lies.push(...(await leftAfterReplacing(directory, claims)));
  }
  result.acknowledged = claims.acknowledged;
  return result;
}

/**
 * Each file is replaced by what it is. Nothing temporary may be left by that, as soon as the kernel has let go of the locks: of a
 * file whose sync was still going on in a ring it does so after the end of the process.
 */
async function leftAfterReplacing(directory: string, claims: Claims): Promise<string[]> {
  const acknowledged = Array.from({ length: FILES }, (_, file) => file).filter((file) => claims.ofThread(file).acknowledged.size > 0);
  const end = performance.now() + UNLOCK_BOUND_MS;
  for (;;) {
    for (const file of acknowledged) {
      const path = join(directory, `replaced-${file}`);
      await scheduler.files.replaceFile(path, readFileSync(path));
    }
    const left = temporaryIn(directory).filter((name) => acknowledged.some((file) => name.startsWith(`.replaced-${file}.`)));
    if (left.length === 0 || performance.now() > end) return left.map((name) => `${name} is left for ever`);
  }
}

test(`${KILLS} kills`, async () => {
  const results = await Promise.all(Array.from({ length: LANES }, (_, number) => lane(number, KILLS / LANES)));
  const sum = (of: (result: LaneResult) => number): number => results.reduce((total, result) => total + of(result), 0);
  const [acknowledged, left] = [sum((result) => result.acknowledged), sum((result) => result.left)];
  console.log(`${acknowledged} acknowledged; ${left} of ${KILLS} kills left temporary files`);
  assert.equal(results.flatMap(({ lies }) => lies).slice(0, 5), [], `seed ${seed}`);
  assert.ok(acknowledged >= KILLS * 5, `${acknowledged} replacements were acknowledged`);
  assert.ok(left >= KILLS / 10, `only ${left} kills left something to clear`);
});

test('a process that acknowledges before it replaces is caught', async () => {
  const { lies } = await lane(LANES, CHEATING_KILLS_MAX, true);
  assert.ok(lies.some((lie) => lie.endsWith('was acknowledged and is lost')), 'the check found nothing');
});

test.after(() => scheduler.close());
test.run();
