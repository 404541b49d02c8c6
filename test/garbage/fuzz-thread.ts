/** A thread that spoils journals in memory and checks what becomes of them. Tells the input that it is at in shared memory. */
import { parentPort, workerData } from 'node:worker_threads';
import { inputOf } from './input.js';
import { MemoryFiles } from './memory-files.js';

export interface FuzzTask {
  readonly seed: number;
  readonly first: number;
  readonly step: number;
  readonly end: number;
  /** Word 0: the number of the input that is checked now. */
  readonly progress: SharedArrayBuffer;
}

const { seed, first, step, end, progress } = workerData as FuzzTask;
const memory = new MemoryFiles();
const word = new Int32Array(progress);
let arrayBuffersMax = 0;
// Most inputs end in errors, and nobody looks at where they came from: INPUT=n shows that.
Error.stackTraceLimit = 0;

for (let number = first; number < end; number += step) {
  Atomics.store(word, 0, number);
  try {
    await inputOf(seed, number).check(memory);
  } catch (error) {
    parentPort?.postMessage({ number, failure: error instanceof Error ? error.stack ?? error.message : String(error) });
    break;
  }
  if (number % 64 < step) arrayBuffersMax = Math.max(arrayBuffersMax, process.memoryUsage().arrayBuffers);
}
parentPort?.postMessage({ arrayBuffersMax });
