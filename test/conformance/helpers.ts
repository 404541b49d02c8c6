/** What the conformance and recovery tests share. */
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { JournalReader, TidemarkError, type Backend, type Journal, type SegmentStats, type Tail } from 'tidemark';
import { readSegments } from '../segments.js';
import { BACKENDS, schedulerOf } from '../support.js';

/** The backends that this system offers; says which it leaves out. */
export async function availableBackends(): Promise<Backend['kind'][]> {
  const available: Backend['kind'][] = [];
  for (const backend of BACKENDS) {
    try {
      await schedulerOf(backend).backend();
      available.push(backend);
    } catch (error) {
      if (!(error instanceof TidemarkError) || error.code !== 'TIDEMARK_NOT_SUPPORTED') throw error;
      console.log(`SKIPPED ${backend}: ${error.message}`);
    }
  }
  return available;
}

/** What takes so long does not settle any more, however busy the machine. */
const HANG_MS = 60_000;
let exit: NodeJS.Timeout | undefined;

/** Fails instead of hanging. What hangs may keep the process alive: it is ended when the other tests have had their time. */
export async function within<T>(promise: Promise<T>, what: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const hung = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      clearTimeout(exit);
      exit = setTimeout(() => process.exit(1), 2 * HANG_MS).unref();
      reject(new Error(`${what} did not settle within ${HANG_MS / 1000} s`));
    }, HANG_MS);
  });
  try {
    return await Promise.race([promise, hung]);
  } finally {
    clearTimeout(timer);
  }
}

/** The error that `work` throws or rejects with; succeeding is a failure. */
export async function failureOf(work: () => unknown): Promise<TidemarkError & Record<string, unknown>> {
  let value: unknown;
  try {
    value = await within(Promise.resolve(work()), 'what has to fail');
  } catch (error) {
    assert.instance(error, TidemarkError, `a TidemarkError, not: ${String(error)}`);
    return error as TidemarkError & Record<string, unknown>;
  }
  throw new Error(`expected a failure, got ${String(value)}`);
}

export interface Contents {
  readonly records: Buffer[];
  readonly starts: number[];
  readonly tail: Tail;
}

export async function readJournal(path: string, from = 0): Promise<Contents> {
  const reader = await JournalReader.open(path, { from });
  const records: Buffer[] = [];
  const starts: number[] = [];
  try {
    for await (const { start, end, payload } of reader) {
      assert.is(end - start, payload.length + 12);
      starts.push(start);
      records.push(Buffer.from(payload));
    }
  } finally {
    await reader.close();
  }
  assert.ok(reader.tail);
  return { records, starts, tail: reader.tail };
}

/** Compares without printing megabytes when they differ. */
export function sameRecords(actual: readonly Uint8Array[], expected: readonly (string | Uint8Array)[], what = 'records'): void {
  assert.is(actual.length, expected.length, `number of ${what}`);
  actual.forEach((record, i) => {
    const wanted = Buffer.from(expected[i] ?? '');
    if (!wanted.equals(record)) {
      throw new Error(`${what}: number ${i} differs, ${record.length} bytes instead of ${wanted.length}, sha1 ${digest(record)} instead of ${digest(wanted)}`);
    }
  });
}

export function sameBytes(actual: Uint8Array, expected: Uint8Array, what: string): void {
  if (Buffer.from(expected).equals(actual)) return;
  let at = 0;
  while (at < actual.length && actual[at] === expected[at]) at++;
  throw new Error(`${what}: ${actual.length} bytes instead of ${expected.length}, different from byte ${at} on`);
}

function digest(bytes: Uint8Array): string {
  return createHash('sha1').update(bytes).digest('hex').slice(0, 12);
}

/** All that a change on disk would show: names, kinds, sizes, modes, times and contents below a directory. */
export function snapshot(directory: string): string[] {
  return readdirSync(directory, { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1)).flatMap((entry) => {
    const path = join(directory, entry.name);
    const { mode, mtimeNs, size } = statSync(path, { bigint: true });
    const content = entry.isFile() ? digest(readFileSync(path)) : entry.isDirectory() ? 'directory' : 'other';
    const line = `${path} ${mode} ${entry.isDirectory() ? '' : `${size} ${mtimeNs}`} ${content}`;
    return entry.isDirectory() ? [line, ...snapshot(path)] : [line];
  });
}

/** The statistics of a journal's segments. */
export function segmentsOf(journal: Journal): SegmentStats {
  const { segments } = journal.stats();
  assert.ok(segments !== undefined, 'a journal with segments counts them');
  return segments;
}

/** These records and no others are in a journal of segments, in this order. */
export async function assertRecords(path: string, expected: readonly (string | Uint8Array)[]): Promise<void> {
  sameRecords((await readSegments(path)).map(({ payload }) => payload), expected);
}
