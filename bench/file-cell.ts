/** One measurement of file operations, in a process of its own; prints its figures as JSON. */
import { pbkdf2 } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { promisify } from 'node:util';
import { alignedBuffer, IoScheduler } from 'tidemark';
import writeFileAtomic from 'write-file-atomic';

export type FileCell =
  | { readonly topic: 'replace'; readonly contestant: 'tidemark' | 'write-file-atomic'; readonly concurrency: number; readonly bytes: number; readonly seconds: number; readonly directory: string }
  | { readonly topic: 'small-reads'; readonly contestant: 'tidemark' | 'fs-promises'; readonly concurrency: number; readonly bytes: number; readonly reads: number; readonly directory: string }
  | { readonly topic: 'reflink'; readonly file: string; readonly copies: number }
  | { readonly topic: 'direct'; readonly kind: 'read' | 'write'; readonly file: string; readonly blockBytes: number; readonly totalBytes: number; /** Calls in flight; 0: all of it in one call. */ readonly concurrency: number };

export interface FileFigures {
  readonly perSecond: number;
  readonly p50Us?: number;
  readonly p99Us?: number;
  readonly cpuUsPerOperation?: number;
  /** How long a job of libuv's pool took beside it, and by itself: milliseconds, medians. */
  readonly poolJobMs?: number;
  readonly poolJobAloneMs?: number;
  readonly describe?: string;
}

const deriveKey = promisify(pbkdf2);

/** `concurrency` loops over `work` until `more` says no; answers how often, how long in all, and latencies. */
async function loops(concurrency: number, more: () => boolean, work: (number: number) => Promise<unknown>): Promise<FileFigures & { readonly count: number }> {
  const latencies: number[] = [];
  let count = 0;
  const started = performance.now();
  const loop = async (): Promise<void> => {
    while (more()) {
      const before = performance.now();
      await work(count++);
      latencies.push(performance.now() - before);
    }
  };
  await Promise.all(Array.from({ length: concurrency }, loop));
  const tookMs = performance.now() - started;
  latencies.sort((a, b) => a - b);
  const at = (share: number): number => (latencies[Math.floor(latencies.length * share)] ?? NaN) * 1000;
  return { count, perSecond: (latencies.length / tookMs) * 1000, p50Us: at(0.5), p99Us: at(0.99) };
}

async function replace(cell: FileCell & { topic: 'replace' }): Promise<FileFigures> {
  const directory = mkdtempSync(join(cell.directory, 'tidemark-bench-'));
  const scheduler = new IoScheduler();
  const data = Buffer.alloc(cell.bytes, 0x61);
  const name = (number: number): string => join(directory, `file-${number % cell.concurrency}`);
  const { contestant } = cell;
  const work = (number: number): Promise<unknown> => (contestant === 'tidemark' ? scheduler.files.replaceFile(name(number), data) : writeFileAtomic(name(number), data));
  try {
    // Threads start and files exist before the clock does.
    await Promise.all(Array.from({ length: cell.concurrency }, (_, number) => work(number)));
    const until = performance.now() + cell.seconds * 1000;
    const before = process.cpuUsage();
    const figures = await loops(cell.concurrency, () => performance.now() < until, work);
    const { user, system } = process.cpuUsage(before);
    return { ...figures, cpuUsPerOperation: (user + system) / figures.count };
  } finally {
    await scheduler.close();
    rmSync(directory, { recursive: true });
  }
}

const FILE_BYTES = 64 * 1024 * 1024;
/** A round is over in a tenth of a second: one alone would tell of the garbage collector. */
const READ_ROUNDS = 5;
const WARM_UP_MS = 1500;

async function smallReads(cell: FileCell & { topic: 'small-reads' }): Promise<FileFigures> {
  mkdirSync(cell.directory, { recursive: true });
  const path = join(cell.directory, `tidemark-bench-reads-${process.pid}`);
  writeFileSync(path, Buffer.alloc(FILE_BYTES, 0x61));
  const scheduler = new IoScheduler();
  const handle = await scheduler.files.openRead(path);
  const plain = await open(path);
  const { bytes, contestant } = cell;
  const offset = (number: number): number => ((number * 7919) % (FILE_BYTES / bytes)) * bytes;
  const work = (number: number): Promise<unknown> => (contestant === 'tidemark'
    ? scheduler.files.readRange(handle, offset(number), bytes)
    : plain.read(Buffer.allocUnsafe(bytes), 0, bytes, offset(number)));
  const poolJob = async (): Promise<number> => {
    const before = performance.now();
    await deriveKey('password', 'salt', 2000, 32, 'sha256');
    return performance.now() - before;
  };
  try {
    // Both are compiled while they work.
    const warm = performance.now() + WARM_UP_MS;
    await loops(cell.concurrency, () => performance.now() < warm, work);
    let left = 0;
    const alone = await medianJob(poolJob, 20);
    const rounds: FileFigures[] = [];
    for (let round = 0; round < READ_ROUNDS; round++) {
      left = cell.reads;
      rounds.push(await loops(cell.concurrency, () => left-- > 0, work));
    }
    const figures = rounds.sort((a, b) => a.perSecond - b.perSecond)[Math.floor(READ_ROUNDS / 2)] as FileFigures;
    // Once more, for long enough, to see how a job of libuv's pool fares beside it.
    let going = true;
    const background = loops(cell.concurrency, () => going, work);
    const beside = await medianJob(poolJob, 20);
    going = false;
    await background;
    return { ...figures, poolJobMs: beside, poolJobAloneMs: alone };
  } finally {
    await plain.close();
    await handle.close();
    await scheduler.close();
    rmSync(path);
  }
}

async function medianJob(job: () => Promise<number>, times: number): Promise<number> {
  const took: number[] = [];
  for (let time = 0; time < times; time++) took.push(await job());
  return took.sort((a, b) => a - b)[Math.floor(times / 2)] ?? NaN;
}

async function reflink(cell: FileCell & { topic: 'reflink' }): Promise<FileFigures> {
  const scheduler = new IoScheduler();
  let describe = '';
  try {
    await scheduler.files.copyFile(cell.file, `${cell.file}.copy`, { overwrite: true });
    let left = cell.copies;
    const figures = await loops(1, () => left-- > 0, async () => {
      describe = (await scheduler.files.copyFile(cell.file, `${cell.file}.copy`, { overwrite: true })).primitive;
    });
    return { ...figures, describe: `${describe}, ${statSync(`${cell.file}.copy`).size} bytes` };
  } finally {
    await scheduler.close();
    rmSync(`${cell.file}.copy`, { force: true });
  }
}

async function direct(cell: FileCell & { topic: 'direct' }): Promise<FileFigures> {
  const scheduler = new IoScheduler();
  const { files } = scheduler;
  const { blockBytes, concurrency, totalBytes } = cell;
  const handle = await (cell.kind === 'read' ? files.openRead(cell.file, { direct: true }) : files.openWriteAt(cell.file, { direct: true }));
  const oneCall = concurrency === 0;
  const buffers = Array.from({ length: Math.max(1, concurrency) }, () => alignedBuffer(oneCall ? totalBytes : blockBytes));
  for (const buffer of buffers) buffer.fill(0x62);
  const work = async (number: number): Promise<void> => {
    const buffer = buffers.pop() ?? alignedBuffer(blockBytes);
    if (cell.kind === 'read') await files.readRange(handle, number * buffer.length, buffer.length, { into: buffer });
    else await files.writeAt(handle, buffer, number * buffer.length);
    buffers.push(buffer);
  };
  try {
    // The threads that will work are started by work.
    if (!oneCall) await Promise.all(Array.from({ length: concurrency }, (_, number) => work(number)));
    else await files.syncData(handle);
    let left = oneCall ? 1 : totalBytes / blockBytes;
    const started = performance.now();
    const figures = await loops(Math.max(1, concurrency), () => left-- > 0, work);
    if (cell.kind === 'write') await files.syncData(handle);
    const perSecond = (totalBytes / (performance.now() - started)) * 1000;
    return { ...figures, perSecond, describe: handle.direct.active ? 'direct' : handle.direct.reason };
  } finally {
    await handle.close();
    await scheduler.close();
  }
}

const cell = JSON.parse(process.argv[2] ?? '') as FileCell;
const figures = await (cell.topic === 'replace' ? replace(cell) : cell.topic === 'small-reads' ? smallReads(cell) : cell.topic === 'reflink' ? reflink(cell) : direct(cell));
console.log(JSON.stringify(figures));
