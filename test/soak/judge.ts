/** Decides whether a soak was steady: the second tenth of its samples against the last one; the first is for warming up. */
import type { Sample } from './samples.js';

export interface Finding {
  readonly name: string;
  readonly before: number;
  readonly after: number;
  /** The most that `after` may be. */
  readonly limit: number;
  readonly steady: boolean;
}

interface Rule {
  readonly name: Exclude<keyof Sample, 'atMs'>;
  /** How many times the value of before the value of after may be. */
  readonly factor: number;
  /** Growth that is never a fault, in the unit of the value. */
  readonly slack: number;
}

const FLAT = 1.05;
const LONG: readonly Rule[] = [
  { name: 'rssMib', factor: FLAT, slack: 0 },
  { name: 'heapMib', factor: FLAT, slack: 2 },
  // A writer's thread holds the log buffers of the journals that were closed until its next collection: some dozens of them.
  { name: 'arrayBuffersMib', factor: FLAT, slack: 6 },
  // Segments are put in place, filled and read: a few more or less are open at a time.
  { name: 'descriptors', factor: FLAT, slack: 4 },
  { name: 'threads', factor: FLAT, slack: 0 },
  { name: 'mappings', factor: FLAT, slack: 0 },
  { name: 'latencyP99Ms', factor: 2, slack: 0 },
];

/** In seconds V8 has not yet settled how much memory it takes, and a disk that others use too shows any latency. */
const WARMING_UP = 1.3;
const SHORT: readonly Rule[] = LONG
  .filter(({ name }) => name !== 'latencyP99Ms')
  .map((rule) => (rule.name === 'rssMib' || rule.name === 'mappings' ? { ...rule, factor: WARMING_UP } : rule));

/** Less than this is short. */
const LONG_SECONDS = 60;

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? NaN;
}

export function judge(samples: readonly Sample[], seconds: number): Finding[] {
  const tenth = (number: number): readonly Sample[] => samples.slice(Math.floor((number * samples.length) / 10), Math.floor(((number + 1) * samples.length) / 10));
  return (seconds < LONG_SECONDS ? SHORT : LONG).map(({ name, factor, slack }) => {
    const before = median(tenth(1).map((sample) => sample[name]));
    const after = median(tenth(9).map((sample) => sample[name]));
    const limit = Math.max(before * factor, before + slack);
    return { name, before, after, limit, steady: after <= limit };
  });
}
