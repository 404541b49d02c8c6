/** Leaks on purpose: a soak has to see each of them. */
import { openSync } from 'node:fs';
import { Worker } from 'node:worker_threads';

const kept: unknown[] = [];
const ARRAY_BUFFER_BYTES = 1024 * 1024;
/** Types of Node.js alone do not declare it. */
const { Memory } = (globalThis as unknown as { WebAssembly: { Memory: new (descriptor: { initial: number }) => object } }).WebAssembly;

/** One more of each, and how often: as rarely as a short soak still has to see it. */
export const LEAKS = {
  descriptor: { everyMs: 200, leak: () => openSync('/dev/null', 'r') },
  arrayBuffer: { everyMs: 200, leak: () => new Uint8Array(ARRAY_BUFFER_BYTES).fill(1) },
  thread: { everyMs: 1000, leak: () => new Worker('setInterval(() => {}, 1000)', { eval: true }).unref() },
  // Between two guards, so that the kernel does not join it with its neighbours.
  mapping: { everyMs: 50, leak: () => new Memory({ initial: 1 }) },
} as const;

export type Leak = keyof typeof LEAKS;

export function startLeaking(what: Leak): NodeJS.Timeout {
  const { everyMs, leak } = LEAKS[what];
  return setInterval(() => kept.push(leak()), everyMs);
}
