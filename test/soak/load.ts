/**
 * The process that a soak loads: `load.js <task as JSON>`. Two threads append at a constant rate to a journal of small
 * segments, which is trimmed and followed; beside it other journals are opened and closed on the same scheduler.
 */
import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import type { Histogram } from 'node:perf_hooks';
import { setTimeout as delay } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { IoScheduler, Journal, JournalReader, type Backend, type Layout } from 'tidemark';
import { report, taskOf } from '../programs/report.js';
import { FLAG, PacedAppender, type Appending } from './appending.js';
import { followInto, followInTurns } from './following.js';
import { startLeaking, type Leak } from './leaks.js';
import type { Told } from './reader.js';
import { FRAME_OVERHEAD_BYTES, soakName, soakRecord, Tally, THREADS } from './records.js';
import { takeSample, type Sample } from './samples.js';
import type { ThreadData } from './thread.js';

export interface LoadTask {
  /** An empty directory. */
  readonly directory: string;
  readonly backend: Backend['kind'];
  readonly seconds: number;
  readonly seed: number;
  /** Of both threads together. */
  readonly appendsPerSecond: number;
  readonly leak?: Leak;
}

export interface LoadReport {
  readonly samples: readonly Sample[];
  /** Records appended by each thread, all acknowledged. */
  readonly appended: readonly number[];
  /** Records that were still there in the end. */
  readonly kept: number;
  readonly segmentsTrimmed: number;
  readonly segmentsRecycled: number;
  /** Journals that were opened and closed beside it. */
  readonly visits: number;
  /** What was wrong, whoever saw it. */
  readonly problems: readonly string[];
}

/** Threads start when they are first needed: with more of them than the load needs, the last one would look like a leak. */
const FILE_WORKERS = 2;
const SEGMENT_BYTES = 64 * 1024;
const RETAINED_SEGMENTS = 32;
/**
 * Appending is held while one is so far behind whom trimming does not heed: the other process, and between their turns the
 * followers that take turns. Less than what is retained.
 */
const AHEAD_BYTES_MAX = (RETAINED_SEGMENTS / 2) * SEGMENT_BYTES;
/** What an explicit trim leaves is less than what is retained. */
const TRIM_BEHIND_BYTES = (RETAINED_SEGMENTS - 8) * SEGMENT_BYTES;
const SAMPLES = 150;
/** On a disk so slow that the time is over before, the soak goes on. */
const SAMPLES_MIN = 40;
const PERIOD_MS_MAX = 2000;
/** How much longer it may take then. */
const BEYOND_SECONDS = 120;
const VISIT_RECORDS = 5;

const task = taskOf() as LoadTask;
const path = join(task.directory, 'journal');
const flags = new Int32Array(new SharedArrayBuffer(4 * FLAG.count));
const problems: string[] = [];

function appending(thread: number): Appending {
  const perSecond = task.appendsPerSecond / THREADS;
  // All touched now: what is acknowledged later makes the process no larger.
  const ends = new Float64Array(new SharedArrayBuffer(8 * Math.ceil(perSecond * (task.seconds + BEYOND_SECONDS)))).fill(0);
  return { seed: task.seed, thread, perSecond, ends, flags };
}

/** Adds what a follower found wrong. */
function blame(who: string, problem: string | undefined): void {
  if (problem !== undefined && problem !== '') problems.push(`${who}: ${problem}`);
}

/** The other process. */
class Reader {
  readonly verdict: Promise<string | undefined>;
  read = 0;
  readonly #process: ChildProcess;

  constructor() {
    this.#process = fork(new URL('./reader.js', import.meta.url), [path, String(task.seed)]);
    this.verdict = new Promise((resolve) => {
      this.#process.on('message', (told: Told) => {
        if ('read' in told) this.read = told.read;
        else resolve(told.problem);
      });
      this.#process.on('exit', (code, signal) => {
        resolve(`it ended with ${signal ?? code}`);
      });
    });
  }

  expect(totals: readonly number[]): void {
    if (this.#process.connected) this.#process.send(totals);
  }
}

/** Opens a journal of either layout on the scheduler, appends, reads back, closes. */
async function visit(scheduler: IoScheduler, layout: Layout, number: number): Promise<void> {
  const beside = join(task.directory, `beside-${layout}`);
  const journal = await Journal.open(beside, { scheduler, layout, segmentBytes: SEGMENT_BYTES, logBufferBytes: SEGMENT_BYTES, preallocate: SEGMENT_BYTES });
  const places = await Promise.all(Array.from({ length: VISIT_RECORDS }, (_, i) => journal.submit(`visit ${number}, record ${i}`)));
  const last = places.at(-1);
  await last?.durable;
  const reader = await JournalReader.open(beside);
  const { payload } = await reader.readAt(last?.start ?? 0);
  await reader.close();
  const text = Buffer.from(payload).toString();
  if (text !== `visit ${number}, record ${VISIT_RECORDS - 1}`) problems.push(`the journal beside, ${layout}, gave '${text}'`);
  if (layout === 'segments') await journal.trimBefore(journal.durableLsn);
  await journal.close();
}

/** Reads the opener's newest acknowledged record where it was said to be. */
async function readNewest(reader: JournalReader, { thread, ends }: Appending): Promise<void> {
  const sequence = ends.indexOf(0) - 1;
  if (sequence < 0) return;
  const record = soakRecord(task.seed, thread, sequence);
  const start = (ends[sequence] ?? 0) - record.length - FRAME_OVERHEAD_BYTES;
  const { payload } = await reader.readAt(start);
  if (!record.equals(payload)) problems.push(`readAt(${start}) did not give record ${sequence}`);
}

/** All that happens beside the appends, again and again, until the time is over. */
async function live(scheduler: IoScheduler, journal: Journal, own: Appending, latencies: readonly Histogram[]): Promise<{ samples: Sample[]; visits: number }> {
  const startedAt = performance.now();
  const periodMs = Math.min(PERIOD_MS_MAX, (task.seconds * 1000) / SAMPLES);
  const samples: Sample[] = [];
  const random = await JournalReader.open(path);
  let visits = 0;
  while (performance.now() < startedAt + task.seconds * 1000 || samples.length < SAMPLES_MIN) {
    const due = performance.now() + periodMs;
    await visit(scheduler, visits % 2 === 0 ? 'segments' : 'file', visits);
    visits++;
    await readNewest(random, own);
    if (visits % 10 === 0) await journal.trimBefore(Math.max(0, journal.durableLsn - TRIM_BEHIND_BYTES));
    await delay(due - performance.now());
    samples.push(takeSample(startedAt, latencies));
  }
  await random.close();
  return { samples, visits };
}

/** Every acknowledged record that was not trimmed is there, intact, where it was said to be, and no other one. */
async function verify(all: readonly Appending[], totals: readonly number[]): Promise<number> {
  const reader = await JournalReader.open(path);
  const next = all.map(({ ends }) => ends.findIndex((end) => end > reader.firstLsn));
  let kept = 0;
  for await (const { start, end, payload } of reader) {
    const name = soakName(task.seed, payload);
    const expected = name === undefined ? undefined : next[name.thread];
    if (name === undefined || name.sequence !== expected || all[name.thread]?.ends[name.sequence] !== end) {
      problems.push(`in the end, LSN ${start} holds ${JSON.stringify(name)}, not record ${expected}`);
      break;
    }
    next[name.thread] = name.sequence + 1;
    kept++;
  }
  await reader.close();
  totals.forEach((total, thread) => {
    if (next[thread] !== total) problems.push(`in the end, the records of thread ${thread} end before ${next[thread]}, not ${total}`);
  });
  return kept;
}

async function soak(): Promise<LoadReport> {
  const scheduler = new IoScheduler({ backend: task.backend, fileWorkers: FILE_WORKERS });
  const journal = await Journal.open(path, { scheduler, segmentBytes: SEGMENT_BYTES, retainSegments: RETAINED_SEGMENTS });
  const all = Array.from({ length: THREADS }, (_, thread) => appending(thread));
  const [own, others] = all as [Appending, Appending];
  const reader = new Reader();
  const thread = new Worker(new URL('./thread.js', import.meta.url), { workerData: { ...others, handle: journal.share() } satisfies ThreadData });
  const exited = once(thread, 'exit');
  const [otherLatency] = (await once(thread, 'message')) as [Histogram];
  const tallies = [new Tally(task.seed), new Tally(task.seed)] as const;
  const following = followInto(tallies[0], (signal) => journal.follow({ signal }));
  let turnsRead = 0;
  const turns = followInTurns(tallies[1], journal, 1000, (end) => (turnsRead = end));
  const appender = new PacedAppender(journal, own);
  const otherTotal = once(thread, 'message') as Promise<[number]>;
  const total = appender.run();
  const regulating = setInterval(() => {
    const ahead = journal.durableLsn - Math.min(reader.read, turnsRead);
    Atomics.store(flags, FLAG.hold, ahead > AHEAD_BYTES_MAX ? 1 : 0);
  }, 10);
  const leaking = task.leak === undefined ? undefined : startLeaking(task.leak);
  const { samples, visits } = await live(scheduler, journal, own, [appender.latency, otherLatency]);
  clearInterval(leaking);
  clearInterval(regulating);
  Atomics.store(flags, FLAG.stop, 1);
  const totals = [await total, ...(await otherTotal)];

  for (const tally of tallies) tally.expect(totals);
  reader.expect(totals);
  const otherVerdict = once(thread, 'message') as Promise<[string]>;
  thread.postMessage(totals);
  blame('the follower', await following);
  blame('the followers in turns', await turns);
  blame('the follower in the other thread', (await otherVerdict)[0]);
  blame('the other process', await reader.verdict);
  const { segmentsTrimmed = 0, segmentsRecycled = 0 } = journal.stats().segments ?? {};
  await exited;
  await journal.close();
  await scheduler.close();
  const kept = await verify(all, totals);
  return { samples, appended: totals, kept, segmentsTrimmed, segmentsRecycled, visits, problems };
}

// Once nobody wants to know any more. Otherwise the process has to end by itself.
process.on('disconnect', () => process.exit(1));
process.channel?.unref();
report(await soak());
