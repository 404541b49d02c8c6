/** `tidemark bench`: how fast appends become durable here. Short; it compares machines and options, not libraries. */
import { join } from 'node:path';
import { createHistogram, type RecordableHistogram } from 'node:perf_hooks';
import { InvalidArgumentError as InvalidValueError, Option, type Command } from 'commander';
import { segmentName } from '../../workers/protocol/segment.js';
import { Journal } from '../journal.js';
import type { IoSchedulerOptions } from '../scheduler.js';
import type { Layout } from '../storage.js';
import { describeMachine, probeFile, withTemporaryFile } from './machine.js';
import { BACKEND_CHOICES, LAYOUT_CHOICES, parseInteger, parseRecordBytes, print, printJson, printTable, schedulerFor } from './support.js';

interface BenchOptions {
  readonly seconds: number;
  readonly concurrency: readonly number[];
  readonly size: number;
  readonly layout: Layout;
  readonly backend?: IoSchedulerOptions['backend'];
  readonly json?: true;
}

interface Level {
  readonly concurrency: number;
  readonly appends: number;
  readonly seconds: number;
  readonly appendsPerSecond: number;
  readonly p50Us: number;
  readonly p99Us: number;
}

const SECONDS_MAX = 3600;
const CONCURRENCY_MAX = 65_536;

/** Part of a level's time that is spent before measuring begins. */
const WARM_UP = 0.1;

export function addBench(program: Command): void {
  program
    .command('bench')
    .description('measure durable appends for a few seconds, in a temporary journal that is removed again')
    .argument('[directory]', 'where the journal is written', '.')
    .option('--seconds <n>', 'time per level of concurrency', parseSeconds, 2)
    .option('--concurrency <list>', 'appends that wait at once, separated by commas', parseConcurrency, [1, 64, 1024])
    .option('--size <bytes>', 'bytes of a record (suffixes k, M)', parseRecordBytes, 1024)
    .addOption(new Option('--layout <layout>', 'layout of the journal').choices(LAYOUT_CHOICES).default('segments'))
    .addOption(new Option('--backend <backend>', 'who writes').choices(BACKEND_CHOICES))
    .option('--json', 'print JSON')
    .action(bench);
}

function parseSeconds(value: string): number {
  const seconds = /^\d+(\.\d+)?$/.test(value) ? Number(value) : Number.NaN;
  if (!(seconds > 0 && seconds <= SECONDS_MAX)) throw new InvalidValueError(`Expected a number of seconds above 0, at most ${SECONDS_MAX}.`);
  return seconds;
}

function parseConcurrency(value: string): readonly number[] {
  return value.split(',').map(parseInteger(1, CONCURRENCY_MAX));
}

async function bench(directory: string, options: BenchOptions): Promise<void> {
  await withTemporaryFile(directory, 'bench', (path, signal) => measureAll(path, options, signal));
}

async function measureAll(path: string, options: BenchOptions, signal: AbortSignal): Promise<void> {
  const scheduler = schedulerFor(options.backend);
  try {
    await using journal = await Journal.open(path, { scheduler, layout: options.layout });
    const { layout } = journal;
    const { filesystem, dsyncWrites } = probeFile(layout === 'file' ? path : join(path, segmentName(0)));
    const { backend, directActive, directReason } = journal;
    const sync = directActive && dsyncWrites && backend.kind === 'io_uring' ? 'dsync writes' : 'writes, then fdatasync';
    const setting = { machine: describeMachine(), filesystem, layout, backend, directActive, directReason, sync, recordBytes: options.size };
    if (options.json !== true) await printSetting(setting);
    const levels: Level[] = [];
    for (const concurrency of options.concurrency) {
      const level = await measure(journal, concurrency, options, signal);
      levels.push(level);
      if (options.json !== true) await print(row(concurrency, Math.round(level.appendsPerSecond), level.p50Us.toFixed(0), level.p99Us.toFixed(0)));
    }
    if (options.json === true) await printJson({ ...setting, levels });
  } finally {
    await scheduler.close();
  }
}

/** Keeps `concurrency` appends waiting until the time is over. Throws the reason of `signal`. */
async function measure(journal: Journal, concurrency: number, { seconds, size }: BenchOptions, signal: AbortSignal): Promise<Level> {
  const record = Buffer.alloc(size, 'tidemark ');
  const latencies = createHistogram();
  await appendUntil(journal, record, concurrency, performance.now() + seconds * WARM_UP * 1000, latencies, signal);
  latencies.reset();
  const startedMs = performance.now();
  const appends = await appendUntil(journal, record, concurrency, startedMs + seconds * 1000, latencies, signal);
  const elapsed = (performance.now() - startedMs) / 1000;
  return {
    concurrency,
    appends,
    seconds: elapsed,
    appendsPerSecond: appends / elapsed,
    p50Us: latencies.percentile(50) / 1000,
    p99Us: latencies.percentile(99) / 1000,
  };
}

async function appendUntil(
  journal: Journal,
  record: Buffer,
  concurrency: number,
  endMs: number,
  latencies: RecordableHistogram,
  signal: AbortSignal,
): Promise<number> {
  let appends = 0;
  const loop = async (): Promise<void> => {
    for (let before = performance.now(); before < endMs && !signal.aborted;) {
      await journal.append(record);
      const after = performance.now();
      latencies.record(Math.max(1, Math.round((after - before) * 1e6)));
      appends++;
      before = after;
    }
  };
  await Promise.all(Array.from({ length: concurrency }, loop));
  signal.throwIfAborted();
  return appends;
}

async function printSetting(setting: {
  readonly machine: ReturnType<typeof describeMachine>;
  readonly filesystem: string;
  readonly layout: Layout;
  readonly backend: Journal['backend'];
  readonly directReason: string;
  readonly sync: string;
  readonly recordBytes: number;
}): Promise<void> {
  const { machine, backend } = setting;
  await printTable([
    ['machine', `${machine.platform}, ${machine.processors}, ${machine.kernel}, node ${machine.node}`],
    ['filesystem', setting.filesystem],
    ['layout', setting.layout],
    ['backend', `${backend.kind}: ${backend.reason}`],
    ['writes', `${setting.directReason}; ${setting.sync}`],
    ['record', `${setting.recordBytes} bytes`],
  ]);
  await print(`\n${row('concurrency', 'appends/s', 'p50 us', 'p99 us')}`);
}

function row(...columns: readonly (string | number)[]): string {
  return `${columns.map((column) => String(column).padStart(12)).join('')}\n`;
}
