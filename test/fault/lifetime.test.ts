/** A journal that is idle or being opened keeps no process alive: none waits for it at its end. */
// Runs alone: it measures how soon processes end.
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { temporaryDirectory } from '../support.js';
import type { Ending, LifetimeTask } from '../programs/lifetime.js';
import { killGroup, recordsOf, startProgram, usableBackends } from './tools.js';

const test = suite('what a journal costs the end of its process');
const directory = temporaryDirectory();
/** The promise is one second; a busy machine may need a little more to notice. */
const SOON_MS = 1000;

interface Departure {
  readonly code: number | null;
  /** Milliseconds from the program's report to its end. */
  readonly lingeredMs: number;
  readonly path: string;
}

/** Measures how long a program lives on after it has said that it is through. */
function depart(layout: LifetimeTask['layout'], backend: LifetimeTask['backend'], ending: Ending, delayMs = 0): Promise<Departure> {
  const path = join(directory, `${layout}-${backend}-${ending}-${delayMs}`);
  const child = startProgram('lifetime', { path, layout, backend, ending, delayMs } satisfies LifetimeTask);
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

const backends = await usableBackends();
for (const layout of ['file', 'segments'] as const) {
  for (const backend of backends) {
    test(`an idle journal keeps no process alive, ${layout}, ${backend}`, async () => {
      const { code, lingeredMs, path } = await depart(layout, backend, 'idle');
      assert.is(code, 0);
      assert.ok(lingeredMs < SOON_MS, `it lived on for ${lingeredMs} ms`);
      assert.is((await recordsOf(path)).records.length, 1);
    });

    test(`process.exit() with an idle journal, ${layout}, ${backend}`, async () => {
      const { code, lingeredMs, path } = await depart(layout, backend, 'exit-idle');
      assert.is(code, 7);
      assert.ok(lingeredMs < SOON_MS, `it lived on for ${lingeredMs} ms`);
      assert.is((await recordsOf(path)).records.length, 1);
    });

    test(`process.exit() at any moment of opening, ${layout}, ${backend}`, async () => {
      const delaysMs = Array.from({ length: 24 }, (_, i) => 10 * i);
      const codes: (number | null)[] = [];
      for (let next = delaysMs.splice(0, 3); next.length > 0; next = delaysMs.splice(0, 3)) {
        codes.push(...(await Promise.all(next.map((delayMs) => depart(layout, backend, 'exit-opening', delayMs)))).map(({ code }) => code));
      }
      assert.equal(codes, codes.map(() => 7));
    });
  }
}

test.run();
