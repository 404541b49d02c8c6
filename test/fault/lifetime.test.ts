/** Processes and threads that end while a journal is open: nobody waits in vain, nobody is kept alive for nothing. */
// Runs alone: it measures how soon processes end.
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { temporaryDirectory } from '../support.js';
import type { Ending, LifetimeReport, LifetimeTask } from '../programs/lifetime.js';
import type { Failure } from '../programs/report.js';
import { recordsOf, runProgram, startProgram, killGroup, usableBackends, type Finished } from './tools.js';

const test = suite('ends of processes and threads');
const directory = temporaryDirectory();
/** The promise is one second; a busy machine may need a little more to notice. */
const SOON_MS = 1000;

async function run(layout: LifetimeTask['layout'], backend: LifetimeTask['backend'], ending: Ending, count: number): Promise<Finished<LifetimeReport> & { path: string }> {
  const path = join(directory, `${layout}-${backend}-${ending}`);
  return { ...(await runProgram<LifetimeReport>('lifetime', { path, layout, backend, ending, count } satisfies LifetimeTask)), path };
}

interface Departure {
  readonly code: number | null;
  /** Milliseconds from the program's report to its end. */
  readonly lingeredMs: number;
  readonly path: string;
}

/** Measures how long a program lives on after it has said that it is through. */
function depart(layout: LifetimeTask['layout'], backend: LifetimeTask['backend'], ending: Ending, count: number, delayMs = 0): Promise<Departure> {
  const path = join(directory, `${layout}-${backend}-${ending}-${delayMs}`);
  const child = startProgram('lifetime', { path, layout, backend, ending, count, delayMs } satisfies LifetimeTask);
  let reported: number | undefined;
  child.stdout?.on('data', () => (reported ??= performance.now()));
  const bound = setTimeout(() => {
    killGroup(child);
  }, 20_000);
  return new Promise((resolve, reject) => {
    child.on('close', (code, signal) => {
      clearTimeout(bound);
      if (reported === undefined || signal !== null) reject(new Error(`the program ended with ${signal ?? code}, report: ${reported !== undefined}`));
      else resolve({ code, lingeredMs: performance.now() - reported, path });
    });
  });
}

function assertAll(failures: readonly (Failure | undefined)[], causeCode: string): void {
  for (const failure of failures) {
    assert.is(failure?.code, 'TIDEMARK_POISONED');
    assert.is(failure?.cause?.code, causeCode);
  }
}

const backends = await usableBackends();
for (const layout of ['file', 'segments'] as const) {
  for (const backend of backends) {
    test(`an idle journal keeps no process alive, ${layout}, ${backend}`, async () => {
      const { code, lingeredMs, path } = await depart(layout, backend, 'idle', 1);
      assert.is(code, 0);
      assert.ok(lingeredMs < SOON_MS, `it lived on for ${lingeredMs} ms`);
      assert.is((await recordsOf(path)).records.length, 1);
    });

    test(`process.exit() with an idle journal, ${layout}, ${backend}`, async () => {
      const { code, lingeredMs, path } = await depart(layout, backend, 'exit-idle', 1);
      assert.is(code, 7);
      assert.ok(lingeredMs < SOON_MS, `it lived on for ${lingeredMs} ms`);
      assert.is((await recordsOf(path)).records.length, 1);
    });

    test(`process.exit() with appends pending, ${layout}, ${backend}`, async () => {
      const { code, lingeredMs } = await depart(layout, backend, 'exit-pending', 1000);
      assert.is(code, 7);
      assert.ok(lingeredMs < SOON_MS, `it lived on for ${lingeredMs} ms`);
    });

    test(`process.exit() at any moment of opening, ${layout}, ${backend}`, async () => {
      const delaysMs = Array.from({ length: 24 }, (_, i) => 10 * i);
      const codes: (number | null)[] = [];
      for (let next = delaysMs.splice(0, 3); next.length > 0; next = delaysMs.splice(0, 3)) {
        codes.push(...(await Promise.all(next.map((delayMs) => depart(layout, backend, 'exit-opening', 0, delayMs)))).map(({ code }) => code));
      }
      assert.equal(codes, codes.map(() => 7));
    });

    test(`pending appends keep the process alive until they are durable, ${layout}, ${backend}`, async () => {
      const { report, code, path, stderr } = await run(layout, backend, 'unawaited', 2000);
      assert.is(code, 0, stderr);
      assert.is(report.appended, 2000);
      const { records } = await recordsOf(path);
      assert.equal(records.map(({ payload }) => Buffer.from(payload).toString()), Array.from({ length: 2000 }, (_, i) => `record ${i}`));
    });

    test(`the writer's thread dies, ${layout}, ${backend}`, async () => {
      const { report, code, path, stderr } = await run(layout, backend, 'writer-dies', 100);
      assert.is(code, 0, stderr);
      assert.is(report.acknowledged, 0, 'the appends were pending');
      assert.is(report.failures?.length, 100);
      assertAll([...(report.failures ?? []), report.later], 'TIDEMARK_WORKER_DIED');
      assert.ok((report.tookMs ?? Infinity) < SOON_MS, `the appends were rejected after ${report.tookMs} ms`);
      assert.is(report.closeFailure, undefined);
      const { records, state } = await recordsOf(path);
      assert.is(state, 'clean-end');
      assert.is(Buffer.from(records.at(-1)?.payload ?? []).toString(), 'after the death');
      assert.is(records.at(-1)?.end, report.reopenedAt);
    });

    test(`a thread that ends while idle does no harm, ${layout}, ${backend}`, async () => {
      const { report, code, path, stderr } = await run(layout, backend, 'idle-producer-dies', 4);
      assert.is(code, 0, stderr);
      assert.is(report.acknowledged, 4);
      assert.is((await recordsOf(path)).records.length, 8);
    });

    for (const ending of ['producer-dies-reserved', 'producer-dies-entered'] as const) {
      test(`${ending}, ${layout}, ${backend}`, async () => {
        const { report, code, path, stderr } = await run(layout, backend, ending, 20);
        assert.is(code, 0, stderr);
        assert.is(report.acknowledged, 0);
        assertAll(report.failures ?? [], 'TIDEMARK_PRODUCER_DIED');
        assert.is(report.failures?.length, 20);
        assert.ok((report.tookMs ?? Infinity) < SOON_MS, `the appends were rejected after ${report.tookMs} ms`);
        assert.is(report.closeFailure, undefined);
        const { records } = await recordsOf(path);
        assert.is(records.length, 2, 'the records from before its end');
      });
    }
  }
}

test.run();
