/** The topics about file operations: `replace`, `small-reads`, `reflink`, `direct`. */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { FileCell, FileFigures } from './file-cell.js';

export interface FileTopicOptions {
  readonly directory: string;
  readonly seconds: number;
  readonly repetitions: number;
}

const MIB = 1024 * 1024;
const GIB = 1024 * MIB;

function measure(cell: FileCell): FileFigures {
  const program = fileURLToPath(new URL('./file-cell.js', import.meta.url));
  return JSON.parse(execFileSync(process.execPath, [program, JSON.stringify(cell)], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] })) as FileFigures;
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? NaN;
}

const round = (value: number, digits = 0): string => value.toLocaleString('en', { maximumFractionDigits: digits, minimumFractionDigits: digits });

/** The contestants in turns; for each all its figures. */
function inTurns<Name extends string>(names: readonly Name[], repetitions: number, run: (name: Name) => FileFigures): Record<Name, FileFigures[]> {
  const figures = Object.fromEntries(names.map((name) => [name, [] as FileFigures[]])) as Record<Name, FileFigures[]>;
  for (let repetition = 0; repetition < repetitions; repetition++) {
    for (let index = 0; index < names.length; index++) {
      const name = names[(index + repetition) % names.length] as Name;
      figures[name].push(run(name));
    }
  }
  return figures;
}

const medianOf = (figures: readonly FileFigures[], field: Exclude<keyof FileFigures, 'describe'>): number => median(figures.map((one) => one[field] ?? NaN));

/** On new filesystems too: ext4 looks for a free inode past those that were deleted in the last minutes, whoever did that. */
export function replaceTopic({ directory, seconds, repetitions }: FileTopicOptions): void {
  console.log(`\natomic replacement of files of 4 KiB, in turns, median of ${repetitions} x ${seconds} s`);
  console.log('| on | in flight | tidemark/s | write-file-atomic/s | ratio | p99 ms | its p99 ms |\n|---|---|---|---|---|---|---|');
  const measureIn = (place: string, where: string): void => {
    for (const concurrency of [1, 64]) {
      const { tidemark, 'write-file-atomic': other } = inTurns(['tidemark', 'write-file-atomic'], repetitions, (contestant) => measure({ topic: 'replace', contestant, concurrency, bytes: 4096, seconds, directory: where }));
      const [ours, theirs] = [medianOf(tidemark, 'perSecond'), medianOf(other, 'perSecond')];
      console.log(`| ${place} | ${concurrency} | ${round(ours)} | ${round(theirs)} | ${round(ours / theirs, 2)} | ${round(medianOf(tidemark, 'p99Us') / 1000, 1)} | ${round(medianOf(other, 'p99Us') / 1000, 1)} |`);
    }
  };
  measureIn('the directory', directory);
  for (const kind of ['ext4', 'xfs'] as const) {
    withNewFilesystem(kind, directory, (mount) => {
      measureIn(`new ${kind}`, mount);
    });
  }
}

export function smallReadsTopic({ directory, repetitions }: FileTopicOptions): void {
  console.log(`\nreads of 4 KiB that the page cache has, 10,000 of them, in turns, median of ${repetitions}; a job of libuv's pool (pbkdf2) beside them`);
  console.log('| in flight | tidemark/s | fs/promises/s | ratio | pool job beside tidemark, ms | beside fs/promises | alone |\n|---|---|---|---|---|---|---|');
  for (const concurrency of [1, 32, 256]) {
    const { tidemark, 'fs-promises': other } = inTurns(['tidemark', 'fs-promises'], repetitions, (contestant) => measure({ topic: 'small-reads', contestant, concurrency, bytes: 4096, reads: 10_000, directory }));
    const [ours, theirs] = [medianOf(tidemark, 'perSecond'), medianOf(other, 'perSecond')];
    console.log(`| ${concurrency} | ${round(ours)} | ${round(theirs)} | ${round(ours / theirs, 2)} | ${round(medianOf(tidemark, 'poolJobMs'), 2)} | ${round(medianOf(other, 'poolJobMs'), 2)} | ${round(medianOf(tidemark, 'poolJobAloneMs'), 2)} |`);
  }
}

/** A filesystem in a file of the directory, for the time of `use`; needs root. */
function withNewFilesystem(kind: 'ext4' | 'xfs', directory: string, use: (mount: string) => void): void {
  const base = mkdtempSync(join(directory, 'tidemark-bench-'));
  const image = join(base, 'image');
  const mount = join(base, kind);
  try {
    writeFileSync(image, '');
    truncateSync(image, 4 * GIB);
    mkdirSync(mount);
    execFileSync(`mkfs.${kind}`, ['-q', image]);
    execFileSync('mount', ['-o', 'loop', image, mount]);
  } catch (error) {
    console.log(`(a new ${kind} is left out, for it could not be mounted: ${String(error).split('\n')[0]})`);
    rmSync(base, { recursive: true });
    return;
  }
  try {
    use(mount);
  } finally {
    execFileSync('umount', [mount]);
    rmSync(base, { recursive: true });
  }
}

export function reflinkTopic({ directory, repetitions }: FileTopicOptions): void {
  withNewFilesystem('xfs', directory, (mount) => {
    const file = join(mount, 'file');
    execFileSync('dd', ['if=/dev/zero', `of=${file}`, 'bs=1M', 'count=1024', 'conv=fsync', 'status=none']);
    const figures = measure({ topic: 'reflink', file, copies: Math.max(5, repetitions) });
    console.log(`\ncopyFile of 1 GiB on xfs, durable, median: ${round((figures.p50Us ?? NaN) / 1000, 1)} ms (${figures.describe ?? ''})`);
  });
}

export function directTopic({ directory, repetitions }: FileTopicOptions): void {
  if (spawnSync('fio', ['--version']).status !== 0) {
    console.log('\nsequential direct IO: left out, for fio is not installed');
    return;
  }
  const file = join(directory, `tidemark-bench-direct-${process.pid}`);
  try {
    execFileSync('dd', ['if=/dev/zero', `of=${file}`, 'bs=1M', 'count=1024', 'conv=fsync', 'status=none']);
    console.log(`\nsequential direct IO of 1 GiB in blocks of 1 MiB, in turns, median of ${repetitions}, MiB/s`);
    console.log('| | blocks in flight | tidemark | fio | ratio |\n|---|---|---|---|---|');
    for (const kind of ['read', 'write'] as const) {
      for (const concurrency of [0, 1, 2, 4]) {
        const { tidemark, fio } = inTurns(['tidemark', 'fio'], repetitions, (name) => (name === 'fio' ? runFio(kind, file, concurrency) : measure({ topic: 'direct', kind, file, blockBytes: MIB, totalBytes: GIB, concurrency })));
        const [ours, theirs] = [medianOf(tidemark, 'perSecond') / MIB, medianOf(fio, 'perSecond') / MIB];
        console.log(`| ${kind} | ${concurrency === 0 ? 'all in one call' : concurrency} | ${round(ours)} | ${round(theirs)} | ${round(ours / theirs, 2)} |`);
      }
    }
  } finally {
    rmSync(file, { force: true });
  }
}

/** One process over one file, as many blocks in flight as the other has. */
function runFio(kind: 'read' | 'write', file: string, concurrency: number): FileFigures {
  const output = execFileSync('fio', [
    '--name=sequential', `--filename=${file}`, `--rw=${kind}`, '--bs=1M', '--size=1G', '--direct=1', '--end_fsync=1', '--overwrite=1', '--invalidate=0',
    ...(concurrency <= 1 ? ['--ioengine=psync'] : ['--ioengine=io_uring', `--iodepth=${concurrency}`]), '--output-format=json',
  ], { encoding: 'utf8' });
  const report = JSON.parse(output.slice(output.indexOf('{'))) as { jobs: [Record<'read' | 'write', { bw_bytes: number; runtime: number }> & { job_runtime: number }] };
  const [job] = report.jobs;
  return { perSecond: job[kind].bw_bytes };
}
