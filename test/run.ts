/**
 * Runs every test file in a process of its own, one after the other, and adds up what uvu counts.
 *
 *     node build/test/run.js [part of a file name …]
 *
 * The last line is `N passed, N failed`. A file that crashes, hangs or counts no test is a failure.
 */
import { spawn } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

const FILE_TIMEOUT_MS = 300_000;
const here = dirname(fileURLToPath(import.meta.url));

interface Result {
  readonly passed: number;
  readonly failed: number;
  readonly output: string;
  readonly problem: string | undefined;
}

function runFile(file: string): Promise<Result> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [file], { stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    let timedOut = false;
    const timer = setTimeout(() => {
      timedOut = true;
      child.kill('SIGKILL');
    }, FILE_TIMEOUT_MS);
    child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()));
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      const count = (name: string): number => [...output.matchAll(new RegExp(`^\\s*${name}:\\s+(\\d+)`, 'gm'))].reduce((sum, match) => sum + Number(match[1]), 0);
      const total = count('Total');
      const passed = count('Passed');
      const failed = total - passed;
      const problem = timedOut ? `did not end within ${FILE_TIMEOUT_MS / 1000} s`
        : total === 0 && !/^SKIPPED/m.test(output) ? 'counted no test'
        : code !== 0 && failed === 0 ? `ended with ${signal ?? `exit code ${code}`}`
        : undefined;
      resolve({ passed, failed, output, problem });
    });
  });
}

const wanted = process.argv.slice(2);
const files = readdirSync(here, { recursive: true, encoding: 'utf8' })
  .filter((file) => file.endsWith('.test.js') && (wanted.length === 0 || wanted.some((part) => file.includes(part))))
  .sort();
let passed = 0;
let failed = 0;
for (const file of files) {
  const started = performance.now();
  const result = await runFile(join(here, file));
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  passed += result.passed;
  failed += result.failed + (result.problem === undefined ? 0 : 1);
  const bad = result.failed > 0 || result.problem !== undefined;
  console.log(`${bad ? 'FAIL' : 'ok  '} ${relative('.', file)}: ${result.passed} passed, ${result.failed} failed, ${seconds} s${result.problem === undefined ? '' : `: ${result.problem}`}`);
  for (const line of result.output.split('\n')) {
    if (bad || line.startsWith('SKIPPED')) console.log(`     ${line}`);
  }
}
if (files.length === 0) {
  console.log('no test file matches');
  failed++;
}
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;
