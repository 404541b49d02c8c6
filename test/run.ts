/**
 * Runs every test file in a process of its own, several at a time, and adds up what uvu counts.
 *
 *     node build/test/run.js [--jobs N] [--long] [part of a file name …]
 *
 * With `--long` those that take chances take many more of them, and tell what they did.
 * A file whose source has a line `// Runs alone: <reason>` gets the machine for itself, after all others: it measures time.
 * Each file is reported when it ends. The last line is `N passed, N failed`. A file that crashes, hangs or counts no test is
 * a failure.
 */
import { spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

/** Most files wait for the disk more than they compute; beyond four they wait for each other. */
const JOBS = Math.min(4, Math.max(2, availableParallelism()));
const FILE_TIMEOUT_MS = 1_200_000;
const LONG_FILE_TIMEOUT_MS = 3 * 3_600_000;
const RUNS_ALONE = /^\/\/ Runs alone: \S/m;
/** Directories whose files take longest come first, so that no long one begins last. */
const ORDER = ['crash', 'conformance', 'recovery', 'fault'];
const here = dirname(fileURLToPath(import.meta.url));

interface Result {
  readonly passed: number;
  readonly failed: number;
  readonly output: string;
  readonly problem: string | undefined;
}

function runFile(file: string): Promise<Result> {
  return new Promise((resolve) => {
    const env = long ? { ...process.env, TIDEMARK_TEST_FORM: 'long' } : process.env;
    const child = spawn(process.execPath, [file], { stdio: ['ignore', 'pipe', 'pipe'], env });
    let output = '';
    let timedOut = false;
    const timer = setTimeout(() => {
      timedOut = true;
      child.kill('SIGKILL');
    }, timeoutMs);
    child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()));
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      const count = (name: string): number => [...output.matchAll(new RegExp(`^\\s*${name}:\\s+(\\d+)`, 'gm'))].reduce((sum, match) => sum + Number(match[1]), 0);
      const total = count('Total');
      const passed = count('Passed');
      const failed = total - passed;
      const problem = timedOut ? `did not end within ${timeoutMs / 1000} s`
        : total === 0 && !/^SKIPPED/m.test(output) ? 'counted no test'
        : code !== 0 && failed === 0 ? `ended with ${signal ?? `exit code ${code}`}`
        : undefined;
      resolve({ passed, failed, output, problem });
    });
  });
}

function rank(file: string): number {
  const place = ORDER.findIndex((directory) => file.startsWith(directory));
  return place === -1 ? ORDER.length : place;
}

const { values, positionals: wanted } = parseArgs({ allowPositionals: true, options: { jobs: { type: 'string' }, long: { type: 'boolean', default: false } } });
const { long } = values;
const timeoutMs = long ? LONG_FILE_TIMEOUT_MS : FILE_TIMEOUT_MS;
const jobs = Number(values.jobs ?? JOBS);
if (!Number.isInteger(jobs) || jobs < 1) throw new Error(`Expected \`--jobs\` to be a positive integer, got '${values.jobs}'`);
const files = readdirSync(here, { recursive: true, encoding: 'utf8' })
  .filter((file) => file.endsWith('.test.js') && (wanted.length === 0 || wanted.some((part) => file.includes(part))))
  .sort((a, b) => rank(a) - rank(b) || (a < b ? -1 : 1));
let passed = 0;
let failed = 0;

async function runAndTell(file: string): Promise<void> {
  const started = performance.now();
  const result = await runFile(join(here, file));
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  passed += result.passed;
  failed += result.failed + (result.problem === undefined ? 0 : 1);
  const bad = result.failed > 0 || result.problem !== undefined;
  console.log(`${bad ? 'FAIL' : 'ok  '} ${relative('.', file)}: ${result.passed} passed, ${result.failed} failed, ${seconds} s${result.problem === undefined ? '' : `: ${result.problem}`}`);
  for (const line of result.output.split('\n')) {
    if (bad || long || line.startsWith('SKIPPED')) console.log(`     ${line}`);
  }
}

async function runAll(queue: string[], lanes: number): Promise<void> {
  const lane = async (): Promise<void> => {
    for (let file = queue.shift(); file !== undefined; file = queue.shift()) await runAndTell(file);
  };
  await Promise.all(Array.from({ length: lanes }, lane));
}

const runsAlone = (file: string): boolean => RUNS_ALONE.test(readFileSync(join(here, file), 'utf8'));
await runAll(files.filter((file) => !runsAlone(file)), jobs);
await runAll(files.filter(runsAlone), 1);
if (files.length === 0) {
  console.log('no test file matches');
  failed++;
}
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;
