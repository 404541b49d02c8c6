/** What happens on a disk before its power is cut, and what must be true of any image of it afterwards. */
import { spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Journal, JournalReader, type Backend, type JournalOptions, type JournalRecord, type Layout } from 'tidemark';
import type { PowerWriterTask } from '../../programs/power-writer.js';
import { ended, schedulerOf } from '../../support.js';
import { Claims, trimmedBelow } from '../claims.js';
import { mountCopy, unmount, type FilesystemName, type LoggedDisk } from './disk.js';
import { plan, Rebuilding, type CrashPoint } from './rebuild.js';

const PROGRAM_BOUND_MS = 120_000;
/** Name of the journal on the disk. */
export const JOURNAL = 'journal';
const AFTERWARDS = 'the power is back';

export interface JournalVariant {
  readonly layout: Layout;
  readonly direct: boolean;
  readonly backend: Backend['kind'];
  readonly threads: 1 | 4;
  /** Appends that each thread has in flight. Default 8. */
  readonly inFlight?: number;
}

/** Small enough that a log of a few hundred KiB sees everything happen several times. */
export function optionsOf({ layout, direct, inFlight = 8 }: JournalVariant): JournalOptions {
  const common = { layout, direct, logBufferBytes: inFlight > 8 ? 256 * 1024 : 64 * 1024 };
  return layout === 'file' ? { ...common, preallocate: 128 * 1024 } : { ...common, segmentBytes: inFlight > 8 ? 128 * 1024 : 64 * 1024 };
}

/** Runs a program on the disk; descriptor 3 of it is the disk's control file. */
export async function runOn(disk: LoggedDisk, name: string, task: unknown, expected: 0 | 'SIGKILL' = 0): Promise<void> {
  const control = openSync(disk.control, 'w');
  const program = fileURLToPath(new URL(`../../programs/${name}.js`, import.meta.url));
  const child = spawn(process.execPath, [program, JSON.stringify(task)], { stdio: ['ignore', 'ignore', 'pipe', control] });
  closeSync(control);
  const bound = setTimeout(() => child.kill('SIGABRT'), PROGRAM_BOUND_MS);
  const { code, signal, stderr } = await ended(child);
  clearTimeout(bound);
  if ((signal ?? code) !== expected) throw new Error(`${name} ended with ${signal ?? code}\n${stderr}`);
}

/** Runs one life of a journal on the disk; what it says goes to the disk's log. */
export async function live(disk: LoggedDisk, task: Omit<PowerWriterTask, 'path'>): Promise<void> {
  await runOn(disk, 'power-writer', { ...task, path: join(disk.mount, JOURNAL) }, task.ending === 'kill' ? 'SIGKILL' : 0);
}

/** Repairs the journal on the disk; when that is done, the disk's log says `repaired`. */
export async function repairOn(disk: LoggedDisk): Promise<void> {
  const path = join(disk.mount, JOURNAL);
  await Journal.repair(path, { scheduler: schedulerOf('blocking') });
  writeFileSync(disk.control, 'mark repaired\n');
}

/** What was found at one point. */
export interface Verdict {
  readonly point: CrashPoint;
  readonly acknowledged: number;
  /** Writes of which nobody knew whether they had landed. */
  readonly atStake: number;
  /** What was said up to that point, for what happens after it. */
  readonly said: readonly string[];
  readonly lies: readonly string[];
}

export interface CheckOptions {
  readonly points: number;
  readonly random: () => number;
  /** Looks at the filesystem of an image, mounted at a path: one line per lie. */
  readonly judge: (mount: string, claims: Claims, said: readonly string[]) => Promise<string[]>;
  /** What was said before the disk's log begins. */
  readonly said?: readonly string[];
  /** Looks at the image of a point before it is judged. */
  readonly visit?: (image: string, verdict: Omit<Verdict, 'lies'>) => Promise<void>;
  /** Nothing more is looked at once this much is wrong. Default: everything. */
  readonly enough?: number;
}

/** Cuts the power at points all over the disk's log, and judges what is there each time. */
export async function check(disk: LoggedDisk, directory: string, options: CheckOptions): Promise<Verdict[]> {
  const rebuilding = new Rebuilding(disk, options.random);
  const mount = join(directory, 'checked');
  const image = join(directory, 'image');
  mkdirSync(mount, { recursive: true });
  const { entries } = rebuilding.log;
  const marked = entries.findIndex((entry) => entry.kind === 'mark');
  const verdicts: Verdict[] = [];
  try {
    for (const point of plan(entries, options.said === undefined ? marked : 0, options.points, options.random)) {
      const atStake = await rebuilding.image(point, image);
      const said = [...(options.said ?? []), ...entries.slice(0, point.entries).flatMap((entry) => (entry.kind === 'mark' ? [entry.text] : []))];
      const claims = claimsOf(said);
      const verdict = { point, atStake, said, acknowledged: claims.acknowledged };
      await options.visit?.(image, verdict);
      const lies = await mounted(disk.options.filesystem, image, mount, () => options.judge(mount, claims, said));
      verdicts.push({ ...verdict, lies });
      if (verdicts.filter((one) => one.lies.length > 0).length >= (options.enough ?? Infinity)) break;
    }
  } finally {
    rebuilding.close();
  }
  return verdicts;
}

/** The disk as its log leaves it, in a file, and all that was said. */
export async function finalImage(disk: LoggedDisk, image: string): Promise<string[]> {
  const rebuilding = new Rebuilding(disk, () => 0);
  const { entries } = rebuilding.log;
  await rebuilding.image({ entries: entries.length, fate: 'all' }, image);
  rebuilding.close();
  return entries.flatMap((entry) => (entry.kind === 'mark' ? [entry.text] : []));
}

/** Mounts an image for the time of `use`. */
export async function mounted<T>(filesystem: FilesystemName, image: string, mount: string, use: () => Promise<T> | T): Promise<T> {
  await mountCopy(filesystem, image, mount);
  try {
    return await use();
  } finally {
    await unmount(mount);
  }
}

export function claimsOf(said: readonly string[]): Claims {
  const claims = new Claims();
  for (const line of said) claims.hear(line);
  return claims;
}

/** Opens the journal as its next user would, appends to it, and reads everything: one line per lie. */
export async function liesAfterRecovery(path: string, variant: JournalVariant, claims: Claims): Promise<string[]> {
  const lies: string[] = [];
  let first: number;
  let end: number;
  try {
    const journal = await Journal.open(path, { ...optionsOf(variant), scheduler: schedulerOf(variant.backend) });
    first = trimmedBelow(journal);
    end = await journal.append(AFTERWARDS);
    await journal.close();
  } catch (error) {
    return [`the journal cannot be opened: ${error instanceof Error ? error.message : String(error)}`];
  }
  if (first > claims.trimmedTo) lies.push(`the log begins at ${first}, nothing beyond ${claims.trimmedTo} was to be trimmed`);
  const records: JournalRecord[] = [];
  const reader = await JournalReader.open(path);
  for await (const record of reader) records.push(record);
  await reader.close();
  if (reader.tail?.state !== 'clean-end') lies.push(`the recovered journal ends with ${reader.tail?.state}: ${reader.tail?.detail}`);
  const last = records.pop();
  if (last?.end !== end || Buffer.from(last.payload).toString() !== AFTERWARDS) lies.push(`the record appended after recovery is not at ${end}`);
  return [...lies, ...claims.lies(records, first)];
}
