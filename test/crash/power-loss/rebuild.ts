/**
 * Rebuilds a disk as it may be found when the power comes back.
 *
 * What was written before the last flush that ended is there. Of what was written after it, nothing, everything, or any
 * part of it may be, in any order, down to pieces of a write.
 */
import { DeviceLog, SECTOR_BYTES, type Change, type LogEntry } from './device-log.js';
import { copyImage, withImage, type FilesystemName, type LoggedDisk } from './disk.js';

/** What becomes of the writes that were not flushed. */
export const FATES = ['none', 'all', 'some', 'torn', 'shuffled'] as const;
export type Fate = (typeof FATES)[number];

/** The power fails when the first `entries` of the log have reached the disk. */
export interface CrashPoint {
  readonly entries: number;
  readonly fate: Fate;
}

/**
 * Sectors that land together or not at all. ext4 and btrfs rely on their superblocks being written as a whole, which is true of
 * disks with physical sectors of 4096 bytes; xfs relies on nothing more than a sector.
 */
const PIECE_SECTORS: Readonly<Record<FilesystemName, number>> = { ext4: 8, xfs: 1, btrfs: 8 };

/** Where crashes fall, in turn: right behind a flush, where whoever waited for it goes on; right before one, where most is at stake; anywhere. */
const PLACES = ['behind a flush', 'before a flush', 'anywhere', 'before a flush', 'anywhere'] as const;

/** Points spread over the log from `first` on, in its order, and its end. */
export function plan(entries: readonly LogEntry[], first: number, count: number, random: () => number): CrashPoint[] {
  const flushes = flushesWithWork(entries).filter((i) => i >= first);
  const points = Array.from({ length: count }, (_, i): CrashPoint => {
    const flush = flushes[Math.floor(random() * flushes.length)] ?? entries.length;
    const anywhere = first + 1 + Math.floor(random() * (entries.length - first));
    // Every fate comes to every place.
    const place = PLACES[(i + Math.floor(i / PLACES.length)) % PLACES.length];
    const at = place === 'behind a flush' ? flush + 1 : place === 'before a flush' ? flush : anywhere;
    return { entries: Math.min(at, entries.length), fate: FATES[i % FATES.length] ?? 'none' };
  });
  points.push({ entries: entries.length, fate: 'none' });
  return points.toSorted((a, b) => a.entries - b.entries);
}

/** Indices of the flushes that had something to make stable. */
function flushesWithWork(entries: readonly LogEntry[]): number[] {
  let changes = 0;
  return entries.flatMap((entry, i) => {
    if (isChange(entry)) changes++;
    if (entry.kind !== 'flush') return [];
    const worked = changes > 0;
    changes = 0;
    return worked ? [i] : [];
  });
}

/** Makes images of a disk for points of its log, one after the other in its order. */
export class Rebuilding {
  readonly log: DeviceLog;
  /** The disk with all that is stable up to a flush. */
  readonly #stable: string;
  readonly #random: () => number;
  readonly #pieceSectors: number;
  #applied = 0;

  constructor(disk: LoggedDisk, random: () => number) {
    this.log = new DeviceLog(disk.log);
    this.#stable = disk.before;
    this.#random = random;
    const { filesystem, sectorBytes = SECTOR_BYTES } = disk.options;
    this.#pieceSectors = Math.max(PIECE_SECTORS[filesystem], sectorBytes / SECTOR_BYTES);
  }

  /** Writes the image of the disk to a file; answers how many writes were at stake. */
  async image({ entries, fate }: CrashPoint, target: string): Promise<number> {
    const stable = lastFlush(this.log.entries, entries);
    if (stable < this.#applied) throw new Error('points come in the order of the log');
    withImage(this.#stable, (image) => {
      for (const entry of this.log.entries.slice(this.#applied, stable)) if (isChange(entry)) this.log.apply(image, entry);
    });
    this.#applied = stable;
    await copyImage(this.#stable, target);
    const atStake = this.log.entries.slice(stable, entries).filter(isChange);
    withImage(target, (image) => {
      this.#applyFate(image, atStake, fate);
    });
    return atStake.length;
  }

  close(): void {
    this.log.close();
  }

  #applyFate(image: number, changes: readonly Change[], fate: Fate): void {
    const coin = (): boolean => this.#random() < 0.5;
    const inOrder = fate === 'shuffled' ? shuffled(changes, this.#random) : changes;
    for (const change of inOrder) {
      if (fate === 'none') return;
      if (fate === 'all') this.log.apply(image, change);
      else if (fate === 'torn') this.log.apply(image, change, landedPieces(this.#pieceSectors, coin));
      else if (coin()) this.log.apply(image, change);
    }
  }
}

/** The number of entries up to the last flush among the first `entries`. */
function lastFlush(log: readonly LogEntry[], entries: number): number {
  let at = entries;
  while (at > 0 && log[at - 1]?.kind !== 'flush') at--;
  return at;
}

function isChange(entry: LogEntry): entry is Change {
  return entry.kind === 'write' || entry.kind === 'discard';
}

/** Says of each sector of a write whether it landed, the same for all of a piece. */
function landedPieces(pieceSectors: number, coin: () => boolean): (sector: number) => boolean {
  const landed = new Map<number, boolean>();
  return (sector) => {
    const piece = Math.floor(sector / pieceSectors);
    const known = landed.get(piece) ?? coin();
    landed.set(piece, known);
    return known;
  };
}

function shuffled<T>(list: readonly T[], random: () => number): T[] {
  const result = [...list];
  for (let i = result.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [result[i], result[j]] = [result[j] as T, result[i] as T];
  }
  return result;
}
