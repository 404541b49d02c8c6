/**
 * Journals of both layouts, spoilt in every way that comes to mind, before recovery, readers and repair: nothing crashes,
 * hangs, reads where nothing is, believes a length, shows a record that was never written, or drops a durable one in silence.
 *
 *     SEED=7 INPUTS=1000000 node build/test/garbage/fuzz.test.js      many inputs
 *     SEED=7 INPUT=4711 node build/test/garbage/fuzz.test.js          one of them, in this thread
 */
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { within } from '../conformance/helpers.js';
import { LONG, schedulerOf, temporaryDirectory } from '../support.js';
import type { FuzzTask } from './fuzz-thread.js';
import { checkOnDisk } from './on-disk.js';

const test = suite('fuzz');

const seed = Number(process.env['SEED'] ?? Date.now() % 1e9);
const inputs = Number(process.env['INPUTS'] ?? (LONG ? 1_000_000 : 12_000));
const single = process.env['INPUT'];
const threads = 2;

/** An input that takes this long hangs. */
const HANG_MS = 30_000;
/** The journals and what was spoilt of them take a few MiB; an allocation by a length that was found takes hundreds. */
const ARRAY_BUFFERS_MAX = 256 * 1024 * 1024;

interface Result {
  readonly failure?: string;
  readonly arrayBuffersMax: number;
}

/** Checks every `threads`th input from `first` on, in a thread of its own. */
function runThread(first: number): Promise<Result> {
  const progress = new SharedArrayBuffer(4);
  const word = new Int32Array(progress);
  const workerData: FuzzTask = { seed, first, step: threads, end: inputs, progress };
  const worker = new Worker(new URL('./fuzz-thread.js', import.meta.url), { workerData, resourceLimits: { maxOldGenerationSizeMb: 192 } });
  return new Promise((resolve) => {
    let failure: string | undefined;
    let arrayBuffersMax = 0;
    let before = -1;
    const watch = setInterval(() => {
      const now = Atomics.load(word, 0);
      if (now === before) fail(now, `it took longer than ${HANG_MS / 1000} s`);
      before = now;
    }, HANG_MS);
    const fail = (number: number, what: string): void => {
      failure ??= `SEED=${seed} INPUT=${number}: ${what}`;
      void worker.terminate();
    };
    worker.on('message', (message: { number?: number; failure?: string; arrayBuffersMax?: number }) => {
      if (message.failure !== undefined) fail(message.number ?? -1, message.failure);
      arrayBuffersMax = message.arrayBuffersMax ?? arrayBuffersMax;
    });
    worker.on('error', (error) => {
      fail(Atomics.load(word, 0), error.stack ?? String(error));
    });
    worker.on('exit', () => {
      clearInterval(watch);
      resolve({ arrayBuffersMax, ...(failure !== undefined && { failure }) });
    });
  });
}

/** Of so many inputs one is tried on a disk as well. */
const ON_DISK_EVERY = 400;

if (single === undefined) {
  test(`${Math.ceil(inputs / ON_DISK_EVERY)} of them on a disk`, async () => {
    const directory = temporaryDirectory();
    for (let number = 0; number < inputs; number += ON_DISK_EVERY) {
      try {
        await within(checkOnDisk(seed, number, join(directory, String(number)), schedulerOf('blocking')), 'opening, appending, opening again');
      } catch (error) {
        throw new Error(`SEED=${seed} INPUT=${number} on a disk: ${error instanceof Error ? error.stack ?? '' : String(error)}`, { cause: error });
      }
    }
  });

  test(`${inputs} inputs of seed ${seed}, in memory`, async () => {
    console.log(`SEED=${seed}`);
    const started = performance.now();
    const results = await Promise.all(Array.from({ length: threads }, (_, first) => runThread(first)));
    const failures = results.flatMap(({ failure }) => failure ?? []);
    if (failures.length > 0) throw new Error(failures.join('\n'));
    const seconds = (performance.now() - started) / 1000;
    console.log(`${inputs} inputs, ${Math.round(inputs / seconds)} per second`);
    for (const { arrayBuffersMax } of results) assert.ok(arrayBuffersMax > 0 && arrayBuffersMax < ARRAY_BUFFERS_MAX, `${arrayBuffersMax} bytes of array buffers`);
  });
} else {
  test(`input ${single} of seed ${seed}`, async () => {
    const [{ inputOf }, { MemoryFiles }] = await Promise.all([import('./input.js'), import('./memory-files.js')]);
    await checkOnDisk(seed, Number(single), join(temporaryDirectory(), 'journal'), schedulerOf('blocking'));
    await inputOf(seed, Number(single)).check(new MemoryFiles());
  });
}

test.run();
