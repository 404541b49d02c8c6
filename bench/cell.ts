/** One measurement in a process of its own: `node cell.js '<json of Cell>'` prints one line of JSON. */
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { createHistogram, monitorEventLoopDelay } from 'node:perf_hooks';
import { Worker } from 'node:worker_threads';
import { IoScheduler, Journal, type NewSegments } from 'tidemark';
import { openLog, type Contestant } from './contestants.js';

export type Cell =
  | { readonly topic: 'durable'; readonly contestant: Contestant; readonly concurrency: number; readonly recordBytes: number; readonly seconds: number; readonly directory: string }
  | { readonly topic: 'threads'; readonly threads: number; readonly concurrency: number; readonly recordBytes: number; readonly seconds: number; readonly directory: string }
  | { readonly topic: 'supply'; readonly newSegments: NewSegments; readonly recycle: boolean; readonly concurrency: number; readonly recordBytes: number; readonly seconds: number; readonly directory: string }
  | { readonly topic: 'opening'; readonly segments: number; readonly directory: string }
  | { readonly topic: 'not-awaited'; readonly recordBytes: number; readonly records: number; readonly directory: string };

export interface Figures {
  readonly perSecond: number;
  readonly p50Us?: number;
  readonly p99Us?: number;
  readonly loopP99Ms?: number;
  readonly cpuSecondsPerMillion?: number;
  readonly describe: string;
}

const WARM_UP_SECONDS = 0.5;

async function durable(cell: Extract<Cell, { topic: 'durable' }>, directory: string): Promise<Figures> {
  const log = await openLog(cell.contestant, directory);
  const latencyNs = createHistogram();
  const loop = monitorEventLoopDelay({ resolution: 1 });
  let measuring = false;
  let stopping = false;
  let number = 0;
  let acknowledged = 0;
  let measured = 0;
  let cpu = process.cpuUsage();
  let started = 0;
  let stopped = 0;
  const warmUntil = performance.now() + WARM_UP_SECONDS * 1000;
  const until = warmUntil + cell.seconds * 1000;
  await Promise.all(Array.from({ length: cell.concurrency }, async () => {
    const record = Buffer.alloc(cell.recordBytes, 0x61);
    for (let before = performance.now(); !stopping;) {
      record.writeUInt32LE(number++, 0);
      await log.append(record);
      const now = performance.now();
      acknowledged++;
      if (measuring) {
        measured++;
        latencyNs.record(Math.max(1, Math.round((now - before) * 1e6)));
        if (now >= until) {
          stopping = true;
          stopped = now;
          cpu = process.cpuUsage(cpu);
          loop.disable();
        }
      } else if (now >= warmUntil) {
        measuring = true;
        started = now;
        cpu = process.cpuUsage();
        loop.enable();
      }
      before = now;
    }
  }));
  await log.close();
  const found = Buffer.from(await log.last() ?? []).readUInt32LE(0) + 1;
  if (found !== acknowledged) throw new Error(`${cell.contestant}: ${acknowledged} acknowledged, the last in the log is number ${found}`);
  return {
    perSecond: measured / ((stopped - started) / 1000),
    p50Us: latencyNs.percentile(50) / 1000,
    p99Us: latencyNs.percentile(99) / 1000,
    loopP99Ms: loop.percentile(99) / 1e6,
    cpuSecondsPerMillion: (cpu.user + cpu.system) / measured,
    describe: log.describe,
  };
}

/** Appenders spread over threads that attach to one journal. */
async function threads(cell: Extract<Cell, { topic: 'threads' }>, directory: string): Promise<Figures> {
  const journal = await Journal.open(join(directory, 'journal'), { retainSegments: 2, spareSegments: 8 });
  await journal.preallocate(6 * 64 * 1024 * 1024);
  const counts = await Promise.all(Array.from({ length: cell.threads }, () => new Promise<number>((resolve, reject) => {
    const worker = new Worker(new URL('./producer.js', import.meta.url), {
      workerData: { journal: journal.share(), concurrency: cell.concurrency / cell.threads, recordBytes: cell.recordBytes, seconds: cell.seconds },
    });
    worker.once('message', resolve);
    worker.once('error', reject);
  })));
  const describe = `${journal.backend.kind}, ${journal.directReason}`;
  await journal.close();
  return { perSecond: counts.reduce((sum, count) => sum + count, 0), describe };
}

/** What `tryAppend` costs the thread that calls it; when it says there is no room, the loop gets a turn. */
async function notAwaited(cell: Extract<Cell, { topic: 'not-awaited' }>, directory: string): Promise<Figures> {
  const journal = await Journal.open(join(directory, 'journal'), { logBufferBytes: 64 * 1024 * 1024, retainSegments: 2, spareSegments: 8 });
  const record = Buffer.alloc(cell.recordBytes, 0x61);
  let end = 0;
  const started = performance.now();
  for (let appended = 0; appended < cell.records;) {
    const lsn = journal.tryAppend(record);
    if (lsn === undefined) {
      await new Promise((resolve) => setImmediate(resolve));
      continue;
    }
    end = lsn;
    appended++;
  }
  await journal.syncThrough(end);
  const seconds = (performance.now() - started) / 1000;
  const describe = `${journal.backend.kind}, ${journal.directReason}, until all are durable`;
  await journal.close();
  return { perSecond: cell.records / seconds, describe };
}

/** A journal that starts with nothing: which kind of segments it gets, and what they do for the appends. */
async function supply(cell: Extract<Cell, { topic: 'supply' }>, directory: string): Promise<Figures> {
  const { newSegments, recycle, concurrency, recordBytes, seconds } = cell;
  const journal = await Journal.open(join(directory, 'journal'), { newSegments, spareSegments: 8, ...(recycle ? { retainSegments: 2 } : {}) });
  const latencyNs = createHistogram();
  const started = performance.now();
  let appended = 0;
  await Promise.all(Array.from({ length: concurrency }, async () => {
    const record = Buffer.alloc(recordBytes, 0x61);
    for (let before = started; before - started < seconds * 1000;) {
      await journal.append(record);
      const now = performance.now();
      latencyNs.record(Math.max(1, Math.round((now - before) * 1e6)));
      appended++;
      before = now;
    }
  }));
  const perSecond = appended / ((performance.now() - started) / 1000);
  const { rotationStalls, segments } = journal.stats();
  await journal.close();
  const describe = `recycled ${segments?.segmentsRecycled}, zeroed ${segments?.segmentsZeroed}, plain ${segments?.segmentsPlain}, waits for a segment ${rotationStalls}`;
  return { perSecond, p50Us: latencyNs.percentile(50) / 1000, p99Us: latencyNs.percentile(99) / 1000, describe };
}

/** How long it takes to open a journal of so many segments, closed cleanly and after a kill. */
async function opening(cell: Extract<Cell, { topic: 'opening' }>, directory: string): Promise<Figures> {
  const path = join(directory, 'journal');
  const segmentBytes = 1024 * 1024;
  const scheduler = new IoScheduler();
  const journal = await Journal.open(path, { segmentBytes, scheduler, newSegments: 'plain' });
  const record = Buffer.alloc(4096, 0x61);
  while (journal.durableLsn < (cell.segments - 0.5) * segmentBytes) await journal.appendBatch(Array.from({ length: 32 }, () => record));
  await journal.close();
  const times: number[] = [];
  let records = 0;
  for (let i = 0; i < 20; i++) {
    const started = performance.now();
    const again = await Journal.open(path, { scheduler });
    times.push(performance.now() - started);
    records = again.openReport?.records ?? 0;
    await again.close();
  }
  await scheduler.close();
  const sorted = times.sort((a, b) => a - b);
  return { perSecond: 0, p50Us: (sorted[10] ?? NaN) * 1000, p99Us: (sorted[19] ?? NaN) * 1000, describe: `${records} records` };
}

const cell = JSON.parse(process.argv[2] ?? '') as Cell;
const directory = mkdtempSync(join(cell.directory, 'tidemark-bench-'));
try {
  const figures = cell.topic === 'durable' ? await durable(cell, directory)
    : cell.topic === 'threads' ? await threads(cell, directory)
    : cell.topic === 'supply' ? await supply(cell, directory)
    : cell.topic === 'opening' ? await opening(cell, directory)
    : await notAwaited(cell, directory);
  console.log(JSON.stringify(figures));
} finally {
  rmSync(directory, { recursive: true, force: true });
}
