/** What a schedule plays: derived from its seed alone, the same in every thread. */
import { APPENDERS, scramble, WRITER } from './stage.js';

export const SEGMENT_BYTES = 64 * 1024;
/** Log that a schedule may fill, on the modelled disk. */
export const DISK_BYTES = 8 * SEGMENT_BYTES;

/** What the frames of the segment layout are bound to. */
export const JOURNAL_ID = Uint8Array.from({ length: 16 }, (_, i) => i + 1);

export type Step =
  | { readonly kind: 'append' | 'try' | 'submit' | 'batch'; readonly sizes: readonly number[] }
  /** Goes on when all before is settled. */
  | { readonly kind: 'await' }
  | { readonly kind: 'close' };

export type Fault =
  | { readonly kind: 'none' }
  /** The operation of that number fails. */
  | { readonly kind: 'io'; readonly operation: number }
  /** A thread ends at its step of that number. */
  | { readonly kind: 'death'; readonly thread: number; readonly step: number };

export interface Scenario {
  readonly layout: 'file' | 'segments';
  readonly backend: 'ring' | 'blocking';
  readonly capacity: number;
  readonly direct: boolean;
  readonly sectorBytes: number;
  readonly dsyncWrites: boolean;
  readonly queueDepth: number;
  readonly groupCommitWindowUs: number;
  /** Nobody else uses the ring: single writes may be blocking calls. */
  readonly ringIsAlone: boolean;
  /** Where the log begins, and the first byte of the modelled disk. */
  readonly start: number;
  /** The sector that it begins in is in the window. */
  readonly released: number;
  readonly origin: number;
  /** Segments in place at the beginning. */
  readonly segments: number;
  /** How often no room for a segment is found. */
  readonly diskFull: number;
  /** A level per thread. */
  readonly acks: readonly ('written' | 'durable')[];
  readonly scripts: readonly (readonly Step[])[];
  readonly switchPercent: number;
  readonly fault: Fault;
}

class Dice {
  #state: number;

  constructor(seed: number) {
    this.#state = Math.imul(seed, 0x9e3779b1) ^ 0x5bd1e995;
  }

  below(count: number): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    return scramble(this.#state) % count;
  }

  one<T>(...choices: readonly [T, ...T[]]): T {
    return choices[this.below(choices.length)] ?? choices[0];
  }

  chance(percent: number): boolean {
    return this.below(100) < percent;
  }
}

export function scenarioOf(seed: number): Scenario {
  const dice = new Dice(seed);
  const layout = dice.chance(65) ? 'segments' : 'file';
  const direct = layout === 'file' && dice.chance(50);
  const sectorBytes = layout === 'segments' ? dice.one(512, 512, 4096) : direct ? 512 : 1;
  const capacity = sectorBytes === 4096 ? 32 * 1024 : dice.one(8 * 1024, 16 * 1024);
  const { origin, start } = layout === 'segments' ? nearAnEnd(dice, sectorBytes) : beginning(dice, capacity);
  const scripts = Array.from({ length: APPENDERS }, (_, thread) => scriptOf(dice, thread, capacity));
  return {
    layout, direct, sectorBytes, capacity, origin, start, scripts,
    released: start - (start % sectorBytes),
    backend: dice.chance(60) ? 'ring' : 'blocking',
    dsyncWrites: dice.chance(50),
    queueDepth: dice.one(1, 2, 3, 4),
    groupCommitWindowUs: dice.chance(15) ? 200 : 0,
    ringIsAlone: dice.chance(50),
    segments: dice.one(1, 1, 2),
    diskFull: dice.chance(15) ? 1 + dice.below(2) : 0,
    acks: scripts.map(() => (dice.chance(25) ? 'written' : 'durable')),
    switchPercent: dice.one(1, 3, 10, 30),
    fault: faultOf(dice),
  };
}

/** Mostly close before the end of a segment, so that pads, footers and rotations come up. */
function nearAnEnd(dice: Dice, sectorBytes: number): { origin: number; start: number } {
  const origin = SEGMENT_BYTES * dice.one(0, 1, 7, 2 ** 17, 2 ** 36);
  const before = dice.chance(75) ? dice.below(12 * 1024) : dice.below(SEGMENT_BYTES - 4096);
  const start = Math.max(4096, SEGMENT_BYTES - sectorBytes - before);
  return { origin, start: origin + start - (start % sectorBytes) };
}

function beginning(dice: Dice, capacity: number): { origin: number; start: number } {
  const origin = capacity * dice.one(0, 1, 3, 2 ** 20, 2 ** 38);
  return { origin, start: origin + dice.below(capacity) };
}

function scriptOf(dice: Dice, thread: number, capacity: number): Step[] {
  const steps: Step[] = [];
  // The opener and one more thread always take part.
  const records = thread === 2 && dice.chance(40) ? 0 : 2 + dice.below(4);
  for (let i = 0; i < records; i++) {
    if (dice.chance(20)) steps.push({ kind: 'await' });
    const kind = dice.one('append', 'append', 'append', 'try', 'submit', 'batch');
    const sizes = kind === 'batch' ? Array.from({ length: 1 + dice.below(3) }, () => sizeOf(dice, Math.min(capacity, 16 * 1024), 30)) : [sizeOf(dice, capacity, kind === 'try' ? 0 : 15)];
    steps.push({ kind, sizes });
  }
  // Otherwise it closes while all that is under way.
  if (dice.chance(50)) steps.push({ kind: 'await' });
  steps.push({ kind: 'close' });
  if (dice.chance(30)) steps.push({ kind: 'append', sizes: [7] });
  return steps;
}

function sizeOf(dice: Dice, capacity: number, largePercent: number): number {
  if (dice.chance(40)) return dice.below(60);
  if (dice.chance(largePercent)) return dice.below(capacity + 3000);
  return dice.below(capacity - 4096 - 12);
}

function faultOf(dice: Dice): Fault {
  if (dice.chance(60)) return { kind: 'none' };
  if (dice.chance(40)) return { kind: 'io', operation: 1 + dice.below(12) };
  return { kind: 'death', thread: dice.one(1, 1, 2, WRITER), step: 1 + dice.below(120) };
}

/** The bytes of one record: they differ from record to record, and from place to place in it. */
export function recordOf(thread: number, number: number, bytes: number): Buffer {
  const record = Buffer.allocUnsafe(bytes);
  for (let i = 0; i < bytes; i++) record[i] = (thread * 89 + number * 31 + i * 7 + (i >>> 8)) & 0xff;
  return record;
}
