/**
 * Loads a process for a long time and looks whether it stays as it was. See CONTRIBUTING.md.
 *
 *     SOAK_SECONDS=600 SOAK_SEED=1 node build/test/soak/run.js
 */
import { usableBackends } from '../fault/tools.js';
import { temporaryDirectory } from '../support.js';
import { LEAKS, type Leak } from './leaks.js';
import { soak, type Soaked } from './soak.js';

const APPENDS_PER_SECOND = 2000;

function numberFrom(name: string, fallback: number): number {
  const value = Number(process.env[name] ?? fallback);
  if (!Number.isInteger(value) || value < 1) throw new Error(`Expected \`${name}\` to be a positive integer, got '${process.env[name]}'`);
  return value;
}

function leakFrom(value: string | undefined): Leak | undefined {
  if (value === undefined || value in LEAKS) return value as Leak | undefined;
  throw new Error(`Expected \`SOAK_LEAK\` to be one of ${Object.keys(LEAKS).join(', ')}, got '${value}'`);
}

function print({ samples, appended, kept, segmentsTrimmed, segmentsRecycled, visits, findings, problems }: Soaked): void {
  const total = appended.reduce((sum, count) => sum + count, 0);
  console.log(`${total} records appended, ${kept} kept; ${segmentsTrimmed} segments trimmed, ${segmentsRecycled} used again; ${visits} journals opened and closed beside it; ${samples.length} samples`);
  console.log(`${''.padEnd(16)} ${['second tenth', 'last tenth', 'limit'].map((head) => head.padStart(12)).join(' ')}`);
  for (const { name, before, after, limit, steady } of findings) {
    console.log(`${name.padEnd(16)} ${[before, after, limit].map((value) => value.toFixed(2).padStart(12)).join(' ')}${steady ? '' : '  TOO MUCH'}`);
  }
  for (const problem of problems) console.log(`WRONG: ${problem}`);
}

const seconds = numberFrom('SOAK_SECONDS', 600);
const seed = numberFrom('SOAK_SEED', 1 + (Date.now() % 1_000_000));
const leak = leakFrom(process.env['SOAK_LEAK']);
const wanted = process.env['TIDEMARK_BACKEND'];
const directory = temporaryDirectory();
const backends = (await usableBackends()).filter((backend) => wanted === undefined || backend === wanted);
if (backends.length === 0) throw new Error('no backend can be used');
for (const backend of backends) {
  const share = seconds / backends.length;
  console.log(`\n${backend}, ${share} s, ${APPENDS_PER_SECOND} appends per second, SOAK_SEED=${seed}`);
  const soaked = await soak(directory, { backend, seconds: share, seed, appendsPerSecond: APPENDS_PER_SECOND, ...(leak && { leak }) });
  print(soaked);
  if (soaked.problems.length > 0 || soaked.findings.some(({ steady }) => !steady)) process.exitCode = 1;
}
console.log(process.exitCode === 1 ? '\nnot steady' : '\nsteady');
