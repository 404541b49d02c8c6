/**
 * The benchmark: `npm run bench -- [options]`.
 *
 * Every cell runs in a process of its own. Contestants take turns within each repetition, so that what disturbs the
 * machine disturbs them alike; the tables show medians, and the ratio to the hand-written group commit.
 */
import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, readFileSync } from 'node:fs';
import { cpus, release } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { IoScheduler } from 'tidemark';
import { Bench } from 'tinybench';
import type { Cell, Figures } from './cell.js';
import { CONTESTANTS, type Contestant } from './contestants.js';
import { directTopic, reflinkTopic, replaceTopic, smallReadsTopic } from './files.js';
import { microbenchmarks } from './micro.bench.js';

const { values: options } = parseArgs({
  options: {
    topics: { type: 'string', default: 'durable,not-awaited,threads,supply,opening,replace,small-reads,reflink,direct,micro' },
    contestants: { type: 'string', default: 'tidemark,tidemark-blocking,fs-group' },
    concurrency: { type: 'string', default: '1,16,64,256,1024,4096' },
    sizes: { type: 'string', default: '128,1024,4096' },
    threads: { type: 'string', default: '1,2,4' },
    seconds: { type: 'string', default: '2' },
    repetitions: { type: 'string', default: '5' },
    directory: { type: 'string', default: '/var/tmp' },
    json: { type: 'boolean', default: false },
  },
});

const numbers = (list: string): number[] => list.split(',').map(Number);
const topics = options.topics.split(',');
const seconds = Number(options.seconds);
const repetitions = Number(options.repetitions);
const { directory } = options;
mkdirSync(directory, { recursive: true });

function runCell(cell: Cell): Promise<Figures> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [fileURLToPath(new URL('./cell.js', import.meta.url)), JSON.stringify(cell)], { stdio: ['ignore', 'pipe', 'inherit'] });
    let output = '';
    child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
    child.on('close', (code) => {
      if (code === 0) resolve(JSON.parse(output) as Figures);
      else reject(new Error(`the cell ${JSON.stringify(cell)} ended with exit code ${code}`));
    });
  });
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? NaN;
}

function medianOf(figures: readonly Figures[], field: 'perSecond' | 'p50Us' | 'p99Us' | 'loopP99Ms' | 'cpuSecondsPerMillion'): number {
  return median(figures.map((one) => one[field] ?? NaN));
}

const round = (value: number, digits = 0): string => value.toLocaleString('en', { maximumFractionDigits: digits, minimumFractionDigits: digits });

function command(name: string, ...args: string[]): string {
  try {
    return execFileSync(name, args, { encoding: 'utf8' }).trim();
  } catch {
    return 'unknown';
  }
}

async function describeMachine(): Promise<void> {
  const scheduler = new IoScheduler();
  const backend = await scheduler.backend();
  await scheduler.close();
  const [source = 'unknown', filesystem = 'unknown'] = command('findmnt', '-n', '-o', 'SOURCE,FSTYPE', '-T', directory).split(/\s+/);
  const disk = source.replace('/dev/', '');
  let cache = 'unknown';
  try {
    cache = readFileSync(`/sys/block/${disk}/queue/write_cache`, 'utf8').trim();
  } catch {
    // A partition or a stacked device: its cache is not told there.
  }
  const [cpu] = cpus();
  console.log(`machine: ${cpus().length} x ${cpu?.model ?? 'unknown'}, kernel ${release()}, node ${process.version}`);
  console.log(`disk: ${filesystem} on ${source}, write cache: ${cache}`);
  console.log(`backend: ${backend.kind} (${backend.reason}), ${backend.setupFlags.join(' | ')}, sealing: ${backend.sealing}`);
}

async function durable(): Promise<void> {
  const contestants = options.contestants.split(',').map((name) => {
    const found = CONTESTANTS.find((contestant) => contestant === name);
    if (found === undefined) throw new Error(`Expected --contestants to be of ${CONTESTANTS.join(', ')}, got '${name}'`);
    return found;
  });
  for (const recordBytes of numbers(options.sizes)) {
    console.log(`\ndurable appends, ${recordBytes} B records, one thread, median of ${repetitions} x ${seconds} s`);
    console.log('| appenders | contestant | appends/s | of fs-group | p50 µs | p99 µs | loop p99 ms | CPU s per million |');
    console.log('|---|---|---|---|---|---|---|---|');
    for (const concurrency of numbers(options.concurrency)) {
      const results = new Map<Contestant, Figures[]>(contestants.map((contestant) => [contestant, []]));
      for (let repetition = 0; repetition < repetitions; repetition++) {
        const order = contestants.map((_, i) => contestants[(i + repetition) % contestants.length] as Contestant);
        for (const contestant of order) {
          results.get(contestant)?.push(await runCell({ topic: 'durable', contestant, concurrency, recordBytes, seconds, directory }));
        }
      }
      const base = medianOf(results.get('fs-group') ?? [], 'perSecond');
      for (const [contestant, figures] of results) {
        const rate = medianOf(figures, 'perSecond');
        const cells = [
          concurrency, contestant, round(rate), `${round(rate / base, 2)}x`, round(medianOf(figures, 'p50Us')), round(medianOf(figures, 'p99Us')),
          round(medianOf(figures, 'loopP99Ms'), 1), round(medianOf(figures, 'cpuSecondsPerMillion'), 1),
        ];
        console.log(`| ${cells.join(' | ')} |`);
        if (options.json) console.log(JSON.stringify({ topic: 'durable', recordBytes, concurrency, contestant, figures }));
      }
    }
  }
}

async function notAwaited(): Promise<void> {
  console.log(`\nnot-awaited appends (tryAppend, 64 B, one thread), 2,000,000 records until all are durable, median of ${repetitions}`);
  const figures: Figures[] = [];
  for (let repetition = 0; repetition < repetitions; repetition++) {
    figures.push(await runCell({ topic: 'not-awaited', recordBytes: 64, records: 2_000_000, directory }));
  }
  console.log(`${round(medianOf(figures, 'perSecond'))} appends/s (${figures[0]?.describe ?? ''})`);
}

async function threads(): Promise<void> {
  console.log(`\nproducer threads on one journal, 1,024 B records, 1,024 appenders in all, median of ${repetitions} x ${seconds} s`);
  for (const count of numbers(options.threads)) {
    const figures: Figures[] = [];
    for (let repetition = 0; repetition < repetitions; repetition++) {
      figures.push(await runCell({ topic: 'threads', threads: count, concurrency: 1024, recordBytes: 1024, seconds, directory }));
    }
    console.log(`${count} threads: ${round(medianOf(figures, 'perSecond'))} appends/s (${figures[0]?.describe ?? ''})`);
  }
}

/** Which kind of new segment suits which load: what `auto` chooses, beside each of the others. */
async function supply(): Promise<void> {
  console.log(`\nsegments of a journal that starts with nothing, 1,024 B records, median of ${repetitions} x ${seconds * 3} s`);
  console.log('| appenders | trimmed and used again | new segments | appends/s | p50 µs | p99 µs | last run |');
  console.log('|---|---|---|---|---|---|---|');
  for (const concurrency of [1, 64, 1024]) {
    const kinds = [['auto', true], ['auto', false], ['zeroed', false], ['plain', false]] as const;
    const results = kinds.map((): Figures[] => []);
    for (let repetition = 0; repetition < repetitions; repetition++) {
      for (const [i, [newSegments, recycle]] of kinds.entries()) {
        results[i]?.push(await runCell({ topic: 'supply', newSegments, recycle, concurrency, recordBytes: 1024, seconds: seconds * 3, directory }));
      }
    }
    kinds.forEach(([newSegments, recycle], i) => {
      const figures = results[i] ?? [];
      const cells = [concurrency, recycle ? 'yes' : 'no', newSegments, round(medianOf(figures, 'perSecond')), round(medianOf(figures, 'p50Us')), round(medianOf(figures, 'p99Us')), figures.at(-1)?.describe ?? ''];
      console.log(`| ${cells.join(' | ')} |`);
    });
  }
}

async function opening(): Promise<void> {
  console.log('\nopening a journal with segments of 1 MiB, full of 4 KiB records, median and most of 20');
  for (const segments of [10, 100, 1000]) {
    const figures = await runCell({ topic: 'opening', segments, directory });
    console.log(`${segments} segments: ${round((figures.p50Us ?? NaN) / 1000, 1)} ms, most ${round((figures.p99Us ?? NaN) / 1000, 1)} ms (${figures.describe})`);
  }
}

async function micro(): Promise<void> {
  console.log('\nparts of the data path, no disk');
  const bench = new Bench({ time: 500 });
  microbenchmarks(bench);
  await bench.run();
  console.table(bench.table());
}

await describeMachine();
if (topics.includes('durable')) await durable();
if (topics.includes('not-awaited')) await notAwaited();
if (topics.includes('threads')) await threads();
if (topics.includes('supply')) await supply();
if (topics.includes('opening')) await opening();
const fileOptions = { directory, seconds, repetitions };
if (topics.includes('replace')) replaceTopic(fileOptions);
if (topics.includes('small-reads')) smallReadsTopic(fileOptions);
if (topics.includes('reflink')) reflinkTopic(fileOptions);
if (topics.includes('direct')) directTopic(fileOptions);
if (topics.includes('micro')) await micro();
