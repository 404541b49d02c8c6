/**
 * The ends of processes and threads with a journal open: what each leaves behind. docs/durability.md has the same table.
 *
 * After every one of them the journal is opened again. Of each thread that appended it holds the records from the first
 * one on without a gap, byte for byte, and among them all that were acknowledged.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Backend, JournalOptions, Layout } from 'tidemark';
import { inMountNamespace, killGroup, mountImage, noLoopDevices, recordsOf, skip, startProgram, usableBackends } from '../fault/tools.js';
import type { EndsFacts, EndsTask, Ending } from '../programs/ends.js';
import { CLAIMS_VARIABLE } from '../programs/ends-thread.js';
import { nameOf } from '../programs/records.js';
import { ended, schedulerOf, temporaryDirectory, withJournal, type Ended } from '../support.js';

await inMountNamespace(import.meta.url);

const test = suite('ends of processes and threads');
const directory = temporaryDirectory();
/** Children at a time. */
const LANES = 3;
const CHILD_BOUND_MS = 30_000;
/** So long a program that appends is left alone before it gets its signal. */
const LOAD_MS = 30;
/** The promise for rejections is one second. */
const SOON_MS = 1000;
const LONG_WINDOW_US = 1_000_000;
/** Its commit is still to come when a process ends that appended just before. */
const PENDING: JournalOptions = { groupCommitWindow: 100_000 };

interface Case {
  readonly name: string;
  readonly ending: Ending;
  readonly options?: JournalOptions;
  readonly before?: number;
  readonly pending?: number;
  readonly bytes?: number;
  readonly preallocate?: number;
  /** Sent while it appends. */
  readonly signal?: NodeJS.Signals;
  /** How the process ends. */
  readonly ends: number | NodeJS.Signals;
  /** What the journal holds: all that was appended, at least what was acknowledged, exactly that, or any first part. */
  readonly holds: 'all' | 'acknowledged' | 'no more' | 'a part';
  /** Code of every rejection, and of its cause. No append is rejected where this is missing. */
  readonly rejected?: string;
  /** What else the process has seen, but for durations. */
  readonly facts?: EndsFacts;
  /** Why the drain at exit ended early, as it is told to subscribers and on stderr. */
  readonly notDrained?: RegExp;
  /** What else is expected on stderr. */
  readonly prints?: RegExp;
  readonly layout?: Layout;
  readonly backend?: Backend['kind'];
  /** What it shows has nothing to do with how the journal is written: one layout and backend will do. */
  readonly once?: true;
  /** On a filesystem of its own that is nearly full. */
  readonly smallDisk?: true;
}

const CASES: readonly Case[] = [
  // ---- the process ends ----------------------------------------------------------------------------------------------
  { name: 'SIGKILL, acknowledged when durable', ending: 'load', signal: 'SIGKILL', ends: 'SIGKILL', holds: 'acknowledged' },
  { name: 'SIGKILL, acknowledged when written', ending: 'load', options: { direct: false, ack: 'written' }, signal: 'SIGKILL', ends: 'SIGKILL', holds: 'acknowledged' },
  { name: 'SIGKILL, acknowledged when buffered', ending: 'load', options: { ack: 'buffered' }, signal: 'SIGKILL', ends: 'SIGKILL', holds: 'a part' },
  { name: 'SIGTERM', ending: 'load', options: { direct: false, ack: 'written' }, signal: 'SIGTERM', ends: 'SIGTERM', holds: 'acknowledged' },
  { name: 'SIGTERM, its handler closes', ending: 'handler-closes', signal: 'SIGTERM', ends: 0, holds: 'all' },
  { name: 'SIGTERM, its handler calls process.exit()', ending: 'handler-exits', options: PENDING, signal: 'SIGTERM', ends: 7, holds: 'all' },
  { name: 'SIGINT', once: true, ending: 'load', signal: 'SIGINT', ends: 'SIGINT', holds: 'acknowledged' },
  { name: 'SIGINT, its handler calls process.exit()', once: true, ending: 'handler-exits', options: { ...PENDING, ack: 'buffered' }, signal: 'SIGINT', ends: 7, holds: 'all' },
  { name: 'natural end', ending: 'natural', pending: 2000, ends: 0, holds: 'all' },
  { name: 'natural end, acknowledged when buffered', once: true, ending: 'natural', options: { ack: 'buffered' }, pending: 2000, ends: 0, holds: 'all' },
  { name: 'process.exit()', ending: 'exit', options: PENDING, pending: 200, ends: 7, holds: 'all' },
  { name: 'process.exit(), acknowledged when buffered', once: true, ending: 'exit', options: { ...PENDING, ack: 'buffered' }, pending: 200, ends: 7, holds: 'all' },
  { name: 'process.exit(), records wait for room', ending: 'exit', pending: 500, bytes: 2000, preallocate: 1024 * 1024, ends: 7, holds: 'all' },
  { name: 'process.exit(), a record larger than the log buffer', ending: 'exit', pending: 2, bytes: 150_000, preallocate: 512 * 1024, ends: 7, holds: 'all' },
  { name: 'process.exit(), records wait for a segment', ending: 'exit', layout: 'segments', pending: 500, bytes: 2000, ends: 7, holds: 'acknowledged', notDrained: /no further segment is in place/ },
  { name: 'process.exit(), the bound passes', ending: 'exit', options: { groupCommitWindow: LONG_WINDOW_US, exitDrainMs: 50 }, before: 0, pending: 20, ends: 7, holds: 'no more', notDrained: /50 ms were not enough/ },
  { name: 'appends in a handler of exit, after the bound', once: true, ending: 'append-too-late', options: { groupCommitWindow: LONG_WINDOW_US, exitDrainMs: 50 }, before: 0, pending: 20, ends: 7, holds: 'no more', notDrained: /^[^\n]* 50 ms were not enough[^\n]*\n$/ },
  { name: 'process.exit(), no drain', once: true, ending: 'exit', options: { groupCommitWindow: LONG_WINDOW_US, exitDrainMs: 0 }, before: 0, pending: 20, ends: 7, holds: 'no more' },
  { name: 'process.exit(), another journal is not done', once: true, ending: 'exit-beside', options: PENDING, pending: 200, ends: 7, holds: 'all', notDrained: /-stalled' .*50 ms were not enough/ },
  { name: 'process.exit() in a handler of exit', once: true, ending: 'exit-in-handler', options: PENDING, pending: 200, ends: 8, holds: 'all' },
  { name: 'an append in a handler of exit', once: true, ending: 'append-in-handler', options: PENDING, pending: 20, ends: 7, holds: 'all' },
  { name: 'process.exit(), the disk is full', ending: 'full-disk', layout: 'segments', smallDisk: true, pending: 20, bytes: 20_000, ends: 7, holds: 'acknowledged', rejected: 'TIDEMARK_NO_SPACE' },
  { name: 'process.exit(), the disk is full', ending: 'full-disk', layout: 'file', smallDisk: true, pending: 20, bytes: 20_000, ends: 7, holds: 'acknowledged', rejected: 'TIDEMARK_POISONED/TIDEMARK_NO_SPACE' },
  { name: 'uncaught exception', ending: 'exception', options: PENDING, pending: 200, ends: 1, holds: 'all', prints: /nobody catches this/ },
  { name: 'unhandled rejection', once: true, ending: 'rejection', options: PENDING, pending: 200, ends: 1, holds: 'all', prints: /nobody catches this/ },
  // ---- a thread ends -------------------------------------------------------------------------------------------------
  { name: 'threads that append are terminated while idle', ending: 'idle-producer', ends: 0, holds: 'all', facts: { close: 'done' } },
  { name: 'threads are terminated with appends pending', ending: 'pending-producer', options: PENDING, ends: 0, holds: 'all', facts: { close: 'done' } },
  { name: 'a thread calls process.exit() while its records wait for room', ending: 'exiting-producer', options: { layout: 'file' }, layout: 'file', ends: 0, holds: 'all', facts: { close: 'done' } },
  { name: 'a thread calls process.exit() while its records wait for room', ending: 'exiting-producer', options: { segmentBytes: 2 * 1024 * 1024 }, layout: 'segments', ends: 0, holds: 'all', facts: { close: 'done' } },
  { name: 'the parent of a thread that appends ends', ending: 'exiting-parent', options: PENDING, ends: 0, holds: 'all', facts: { close: 'done' } },
  ...(['reserving-producer', 'entering-producer'] as const).map((ending): Case => ({
    name: `a thread ends between reserve and publish, ${ending}`, ending, pending: 20, ends: 0, holds: 'acknowledged', rejected: 'TIDEMARK_POISONED/TIDEMARK_PRODUCER_DIED',
    facts: { later: 'TIDEMARK_POISONED', close: 'done', reopen: 'done' },
  })),
  { name: "the writer's thread is terminated", ending: 'writer', pending: 100, ends: 0, holds: 'acknowledged', rejected: 'TIDEMARK_POISONED/TIDEMARK_WORKER_DIED', facts: { later: 'TIDEMARK_POISONED', close: 'done', reopen: 'done' } },
  { name: 'a helping writer is terminated', ending: 'helper', layout: 'segments', backend: 'blocking', pending: 200, bytes: 20_000, ends: 0, holds: 'all', facts: { close: 'done' } },
  { name: "the writer's thread is terminated while it starts", layout: 'segments', ending: 'starting-writer', ends: 0, holds: 'all', facts: { later: 'TIDEMARK_WORKER_DIED', close: 'done' } },
  { name: 'a file worker is terminated while it opens', ending: 'file-worker', ends: 0, holds: 'all', facts: { later: 'TIDEMARK_WORKER_DIED', close: 'done' } },
  { name: 'the opener is a thread that is terminated', ending: 'opener-dies', options: { groupCommitWindow: LONG_WINDOW_US }, pending: 20, ends: 0, holds: 'a part', rejected: 'TIDEMARK_POISONED/TIDEMARK_WORKER_DIED', facts: { later: 'TIDEMARK_POISONED', close: 'done' } },
  { name: 'the opener is a thread that calls process.exit()', ending: 'opener-exits', options: PENDING, ends: 0, holds: 'all' },
  { name: 'the opener is a thread, and the main thread calls process.exit()', ending: 'opener-left', ends: 7, holds: 'acknowledged' },
];

interface Variant {
  readonly expected: Case;
  readonly name: string;
  readonly layout: Layout;
  readonly backend: Backend['kind'];
}

/** What the program said, line by line. */
interface Said {
  /** Of each thread, the numbers of records that may be in the journal. */
  readonly announced: Map<number, number[]>;
  /** Thread and number of a record, to the LSN or code that its append was answered with. */
  readonly acknowledged: Map<string, number>;
  readonly rejected: Map<string, string>;
  readonly drains: { readonly path: string; readonly drained: boolean; readonly reason?: string }[];
  facts: EndsFacts | undefined;
}

function parse(text: string): Said {
  const said: Said = { announced: new Map(), acknowledged: new Map(), rejected: new Map(), drains: [], facts: undefined };
  for (const line of text.split('\n').slice(0, -1)) {
    const [kind, thread, sequence, answer] = line.split(' ');
    const name = `${thread}/${sequence}`;
    if (kind === '!') said.announced.set(Number(thread), [...(said.announced.get(Number(thread)) ?? []), Number(sequence)]);
    else if (kind === '+') said.acknowledged.set(name, Number(answer));
    else if (kind === '-') said.rejected.set(name, answer ?? '');
    else if (kind === '@') said.drains.push(JSON.parse(line.slice(2)) as Said['drains'][number]);
    else if (kind === '=') said.facts = JSON.parse(line.slice(2)) as EndsFacts;
  }
  return said;
}

async function live({ expected, layout, backend }: Variant, path: string): Promise<{ end: Ended; said: Said }> {
  const { ending, before = 20, pending = 0, bytes, preallocate, options, signal } = expected;
  const task: EndsTask = {
    path, layout, backend, ending, before, pending, ...(options && { options }), ...(bytes !== undefined && { bytes }), ...(preallocate !== undefined && { preallocate }),
  };
  const claims = `${path}.claims`;
  writeFileSync(claims, '');
  const child = startProgram('ends', task, { environment: { [CLAIMS_VARIABLE]: claims } });
  const bound = setTimeout(() => {
    killGroup(child);
  }, CHILD_BOUND_MS);
  // It says when it appends.
  if (signal !== undefined) child.stdout?.once('data', () => setTimeout(() => child.kill(signal), LOAD_MS));
  const end = await ended(child);
  clearTimeout(bound);
  return { end, said: parse(readFileSync(claims, 'utf8')) };
}

/** Opens the journal as its next user would, and compares what it holds with what was said of it. */
async function assertHolds({ expected, layout, backend }: Variant, path: string, said: Said): Promise<void> {
  const last = await withJournal(path, { layout, scheduler: schedulerOf(backend), preallocate: 0 }, (journal) => journal.append('after the end'));
  const { records, state } = await recordsOf(path);
  assert.is(state, 'clean-end');
  assert.is(records.pop()?.end, last);
  const found = new Map<number, number[]>();
  for (const { end, payload } of records) {
    const name = nameOf(payload, payload.length);
    assert.ok(name?.life === 1, `the record that ends at ${end} is one that was appended`);
    found.set(name.thread, [...(found.get(name.thread) ?? []), name.sequence]);
    const lsn = said.acknowledged.get(`${name.thread}/${name.sequence}`);
    assert.ok(lsn === undefined || lsn === end, `record ${name.thread}/${name.sequence} ends at ${end}, acknowledged was ${lsn}`);
  }
  for (const [thread, announced] of said.announced) {
    const there = found.get(thread) ?? [];
    // What is refused for lack of space is not in the log, and others may come behind it.
    const possible = announced.filter((sequence) => said.rejected.get(`${thread}/${sequence}`) !== 'TIDEMARK_NO_SPACE');
    assert.equal(there, possible.slice(0, there.length), `of thread ${thread} the journal holds a first part`);
    if (expected.holds === 'all') assert.is(there.length, announced.length, `records of thread ${thread}`);
  }
  const here = new Set([...found].flatMap(([thread, sequences]) => sequences.map((sequence) => `${thread}/${sequence}`)));
  if (expected.holds !== 'a part') {
    for (const name of said.acknowledged.keys()) assert.ok(here.has(name), `record ${name} was acknowledged and is there`);
  }
  if (expected.holds === 'no more') assert.is(here.size, said.acknowledged.size);
}

function assertSaid(expected: Case, { code, signal, stderr }: Ended, said: Said): void {
  assert.is(signal ?? code, expected.ends, stderr);
  const patterns = [expected.notDrained, expected.prints].filter((pattern) => pattern !== undefined);
  if (patterns.length === 0) assert.is(stderr, '');
  for (const pattern of patterns) assert.match(stderr, pattern);
  const early = said.drains.filter(({ drained }) => !drained);
  assert.is(early.length > 0, expected.notDrained !== undefined, JSON.stringify(said.drains));
  assert.equal([...new Set(said.rejected.values())], expected.rejected === undefined ? [] : [expected.rejected]);
  if (expected.pending !== undefined && expected.facts?.later === 'TIDEMARK_POISONED') assert.is(said.rejected.size, expected.pending);
  const { rejectedMs = 0, ...facts } = said.facts ?? {};
  assert.equal(facts, expected.facts ?? {});
  assert.ok(rejectedMs < SOON_MS, `the appends were rejected after ${rejectedMs} ms`);
}

async function run(variant: Variant): Promise<void> {
  const { expected, layout, backend } = variant;
  const place = join(directory, variant.name.replaceAll(/[^a-z0-9]+/gi, '-'));
  mkdirSync(place);
  const unmount = expected.smallDisk === true ? mountImage(`${place}.img`, place, 4) : undefined;
  try {
    const path = join(place, 'journal');
    const { end, said } = await live(variant, path);
    assertSaid(expected, end, said);
    assert.ok(said.announced.size > 0, 'it appended');
    if (unmount === undefined) await assertHolds({ expected, name: variant.name, layout, backend }, path, said);
    else await assertReadable(path, said);
  } finally {
    unmount?.();
  }
}

/** A full disk leaves no room to open the journal for writing. */
async function assertReadable(path: string, said: Said): Promise<void> {
  const { records } = await recordsOf(path);
  const endOf = new Map(records.map(({ end, payload }) => [`0/${nameOf(payload, payload.length)?.sequence}`, end]));
  assert.ok(said.acknowledged.size > 0);
  for (const [name, lsn] of said.acknowledged) assert.is(endOf.get(name), lsn, `record ${name} is there`);
}

/** Runs what it is given in lanes, in order; answers the outcome of each at once. */
function lanes(): <T>(work: () => Promise<T>) => Promise<T> {
  const free = Array.from({ length: LANES }, () => Promise.resolve());
  let next = 0;
  return (work) => {
    const lane = next++ % LANES;
    const done = (free[lane] ?? Promise.resolve()).then(work);
    free[lane] = done.then(() => undefined, () => undefined);
    return done;
  };
}

const unmountable = noLoopDevices();
if (unmountable !== undefined) skip('ends on a full disk', unmountable);
const inLane = lanes();
const backends = await usableBackends();
for (const backend of backends) {
  for (const layout of ['segments', 'file'] as const) {
    for (const expected of CASES) {
      if (expected.once === true && (layout !== 'segments' || backend !== backends[0])) continue;
      if ((expected.layout ?? layout) !== layout || (expected.backend ?? backend) !== backend) continue;
      if (expected.smallDisk === true && unmountable !== undefined) continue;
      const name = `${expected.name}, ${layout}, ${backend}`;
      const outcome = inLane(() => run({ expected, name, layout, backend }));
      // Its test sees it.
      outcome.catch(() => undefined);
      test(name, () => outcome);
    }
  }
}

test.run();
