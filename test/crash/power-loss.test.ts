/**
 * Cuts the power: a journal lives on a disk whose writes are logged, and the disk is rebuilt as it may have been at any
 * moment. The filesystem mends itself, recovery opens the journal, and every acknowledged record has to be there.
 *
 * `TIDEMARK_SEED` repeats the points of an earlier run; `VARIANT` runs only those whose name contains it.
 */
import { mkdtempSync, openSync, closeSync, readdirSync, readSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { inMountNamespace, noLoopDevices, skip, usableBackends } from '../fault/tools.js';
import { noFaultfs } from '../faultfs/faultfs.js';
import { segments } from '../internals.js';
import type { Cheat } from '../programs/power-writer.js';
import { randomOf } from '../programs/records.js';
import type { ReplacerTask } from '../programs/replacer.js';
import { LONG, schedulerOf } from '../support.js';
import { Journal } from 'tidemark';
import { liesAboutReplaced, type Claims } from './claims.js';
import { LoggedDisk, memoryDirectory, noFilesystem, type DiskOptions, type FilesystemName } from './power-loss/disk.js';
import { check, finalImage, JOURNAL, liesAfterRecovery, live, mounted, optionsOf, repairOn, runOn, type JournalVariant, type Verdict } from './power-loss/scenario.js';

await inMountNamespace(import.meta.url);

const POINTS = LONG ? 90 : 10;
/** Crashes of a journal that is being opened after a crash: so many first ones, and points of each second one. */
const AGAIN = LONG ? { first: 3, second: 8 } : { first: 1, second: 4 };
const REPAIR_POINTS = LONG ? 60 : 8;
const REPLACE_POINTS = LONG ? 100 : 8;
const CHEAT_POINTS = 60;
/** Replaced at the same time. */
const REPLACED_FILES = 6;
/** A run in which hardly anything was acknowledged, or at stake, proves nothing. */
const ACKNOWLEDGED_MIN = 100;
/** The long form runs every variant, the short one each so many, beginning where the seed says: all have their turn. */
const STEP = LONG ? 1 : 11;
/** The log is trimmed so far behind its end. */
const KEEP_BYTES = 96 * 1024;

const seed = Number(process.env['TIDEMARK_SEED'] ?? Date.now() % 1_000_000);
console.log(`seed ${seed}`);

interface Variant extends JournalVariant, DiskOptions {}

const test = suite('what was acknowledged outlives a loss of power');
const base = mkdtempSync(join(memoryDirectory('/var/tmp'), 'tidemark-power-'));
process.on('exit', () => {
  rmSync(base, { recursive: true, force: true });
});

let directories = 0;
const newDirectory = (): string => join(base, String(directories++));

function nameOfVariant({ filesystem, layout, direct, backend, threads, jitterMs, sectorBytes }: Variant): string {
  const special = [...(jitterMs === undefined ? [] : ['writes overtake each other']), ...(sectorBytes === undefined ? [] : [`sectors of ${sectorBytes}`])];
  return [filesystem, layout, direct ? 'direct' : 'buffered', backend, `${threads} ${threads === 1 ? 'thread' : 'threads'}`, ...special].join(', ');
}

/** Two lives of a journal on a disk: the first one is killed, so that the second one begins with recovery. */
async function twoLives(directory: string, variant: Variant, { image, firstLife = 0, records = 1200 }: { image?: string; firstLife?: number; records?: number } = {}): Promise<LoggedDisk> {
  const { backend, threads, inFlight } = variant;
  const disk = await LoggedDisk.make(directory, { ...variant, ...(image !== undefined && { image }) });
  const task = {
    backend, threads, options: optionsOf(variant), records: records / threads,
    ...(variant.layout === 'segments' && { keepBytes: KEEP_BYTES }), ...(inFlight !== undefined && { inFlight }),
  };
  await live(disk, { ...task, life: firstLife, ending: 'kill' });
  await live(disk, { ...task, life: firstLife + 1, ending: 'close' });
  await disk.finish();
  return disk;
}

function judgeOf(variant: JournalVariant): (mount: string, claims: Claims) => Promise<string[]> {
  return (mount, claims) => liesAfterRecovery(join(mount, JOURNAL), variant, claims);
}

/** Asserts that nothing is wrong, and that something could have been. */
function assertHonest(what: string, verdicts: readonly Verdict[], acknowledgedMin: number): void {
  const atStake = verdicts.reduce((sum, verdict) => sum + verdict.atStake, 0) / verdicts.length;
  const acknowledged = Math.max(...verdicts.map((verdict) => verdict.acknowledged));
  const violations = verdicts.filter(({ lies }) => lies.length > 0);
  console.log(`${what}: ${verdicts.length} points, ${violations.length} violations; ${acknowledged} acknowledged, ${atStake.toFixed(1)} writes at stake`);
  assert.equal(violations.slice(0, 5).flatMap(({ point, lies, atStake: unknown }) =>
    lies.slice(0, 3).map((lie) => `after ${point.entries} entries, ${point.fate} of ${unknown} writes: ${lie} (seed ${seed})`)), []);
  assert.ok(acknowledged >= acknowledgedMin, `${acknowledged} records were acknowledged`);
  assert.ok(atStake > 0, 'no write was ever at stake');
}

function assertCaught(what: string, verdicts: readonly Verdict[]): void {
  const lies = verdicts.flatMap((verdict) => verdict.lies);
  console.log(`${what}: caught at point ${verdicts.length}`);
  assert.ok(lies.some((lie) => lie.endsWith('was acknowledged and is lost')), `the check found only: ${lies.join('; ')}`);
}

/** The power fails, and fails again while the journal is opened, recovers and goes on. */
async function failsAgain(variant: Variant, image: string, said: readonly string[], random: () => number): Promise<Verdict[]> {
  const directory = newDirectory();
  const disk = await twoLives(directory, variant, { image, firstLife: 2, records: 40 });
  const verdicts = await check(disk, directory, { points: AGAIN.second, random, said, judge: judgeOf(variant) });
  rmSync(directory, { recursive: true });
  return verdicts;
}

async function cutPower(variant: Variant, random: () => number): Promise<void> {
  const directory = newDirectory();
  const disk = await twoLives(directory, variant, variant.inFlight === undefined ? {} : { records: 4000 });
  const again: Verdict[] = [];
  const crashes = new Set(Array.from({ length: AGAIN.first }, (_, i) => Math.floor(((i + random()) * POINTS) / AGAIN.first)));
  let visited = 0;
  const verdicts = await check(disk, directory, {
    points: POINTS, random, judge: judgeOf(variant),
    visit: async (image, { said }) => {
      if (crashes.has(visited++)) again.push(...(await failsAgain(variant, image, said, random)));
    },
  });
  rmSync(directory, { recursive: true });
  assertHonest(nameOfVariant(variant), [...verdicts, ...again], ACKNOWLEDGED_MIN);
}

/** The power fails while a damaged journal is repaired; it can be repaired afterwards, and only what was damaged is lost. */
async function cutPowerOfRepair(variant: Variant, random: () => number): Promise<void> {
  const directory = newDirectory();
  const disk = await LoggedDisk.make(directory, variant);
  await live(disk, { ...variant, options: optionsOf(variant), records: 800, life: 0, ending: 'close' });
  await disk.finish();
  const image = join(directory, 'damaged');
  const said = await finalImage(disk, image);
  const ends = said.flatMap((line) => (line.startsWith('+ ') ? [Number(line.split(' ')[3])] : [])).sort((a, b) => a - b);
  await mounted(variant.filesystem, image, disk.mount, () => {
    // Three places, each in the last bytes of a record.
    for (const part of [0.2, 0.5, 0.9]) said.push(`damage ${damage(join(disk.mount, JOURNAL), (ends[Math.floor(part * ends.length)] ?? 0) - 5)}`);
  });
  const again = newDirectory();
  const repaired = await LoggedDisk.make(again, { ...variant, image });
  await repairOn(repaired);
  await repaired.finish();
  const verdicts = await check(repaired, again, {
    points: REPAIR_POINTS, random, said,
    judge: async (mount, claims, saidByThen) => {
      const path = join(mount, JOURNAL);
      if (!saidByThen.includes('repaired')) await Journal.repair(path, { scheduler: schedulerOf('blocking') });
      return liesAfterRecovery(path, variant, claims);
    },
  });
  for (const used of [directory, again]) rmSync(used, { recursive: true });
  assertHonest(`repair, ${nameOfVariant(variant)}`, verdicts, ACKNOWLEDGED_MIN);
}

/** Flips a bit of the log at an LSN; answers the LSN. */
function damage(journal: string, lsn: number): number {
  const segmentBytes = 64 * 1024;
  const offset = lsn % segmentBytes;
  const file = openSync(join(journal, segments.segmentName(lsn - offset)), 'r+');
  const byte = Buffer.alloc(1);
  readSync(file, byte, 0, 1, offset);
  writeSync(file, Buffer.of((byte[0] ?? 0) ^ 1), 0, 1, offset);
  closeSync(file);
  return lsn;
}

/** A file that is replaced is wholly the last acknowledged version or a later one, at any moment. */
async function cutPowerOfReplacing(filesystem: FilesystemName, random: () => number, cheat?: Cheat): Promise<Verdict[]> {
  const directory = newDirectory();
  const disk = await LoggedDisk.make(directory, { filesystem });
  const task: ReplacerTask = { directory: disk.mount, files: REPLACED_FILES, times: 25, prefix: 'mark ', ...(cheat && { cheat }) };
  await runOn(disk, 'replacer', task);
  await disk.finish();
  const judge = async (mount: string, claims: Claims): Promise<string[]> => {
    const lies = liesAboutReplaced(mount, claims, REPLACED_FILES);
    // However many temporary files are there: who replaces the files once more leaves none.
    const { files } = schedulerOf('blocking');
    if (lies.length === 0) await Promise.all(Array.from({ length: REPLACED_FILES }, (_, file) => files.replaceFile(join(mount, `replaced-${file}`), '')));
    const left = lies.length === 0 ? readdirSync(mount).filter((name) => name.includes('tidemark')) : [];
    return [...lies, ...left.map((name) => `${name} is left for ever`)];
  };
  const verdicts = await check(disk, directory, { points: cheat === undefined ? REPLACE_POINTS : CHEAT_POINTS, random, judge, ...(cheat && { enough: 1 }) });
  rmSync(directory, { recursive: true });
  return verdicts;
}

async function cheatingJournal(filesystem: FilesystemName, cheat: Cheat, backend: 'io_uring' | 'blocking', random: () => number): Promise<Verdict[]> {
  const directory = newDirectory();
  const variant = { filesystem, layout: 'segments', direct: true, backend, threads: 1 } as const;
  const disk = await LoggedDisk.make(directory, variant);
  await live(disk, { backend, options: optionsOf(variant), threads: 1, records: 600, life: 0, ending: 'kill', cheat });
  await disk.finish();
  const verdicts = await check(disk, directory, { points: CHEAT_POINTS, random, enough: 1, judge: judgeOf(variant) });
  rmSync(directory, { recursive: true });
  return verdicts;
}

// ---- the variants ------------------------------------------------------------------------------------------------------

const FILESYSTEMS: readonly FilesystemName[] = ['ext4', 'xfs', 'btrfs'];

const reason = noFaultfs() ?? noLoopDevices();
if (reason !== undefined) skip('all tests of power loss', reason);
else {
  const backends = await usableBackends();
  const usable = FILESYSTEMS.filter((filesystem) => {
    const missing = noFilesystem(filesystem);
    if (missing !== undefined) skip(`power loss on ${filesystem}`, missing);
    return missing === undefined;
  });
  const everywhere = usable.flatMap((filesystem) => backends.map((backend) => ({ filesystem, backend })));
  const ordinary = everywhere.flatMap((place) => ([1, 4] as const).flatMap((threads) => [true, false].flatMap((direct) =>
    (['segments', 'file'] as const).map((layout): Variant => ({ ...place, layout, direct, threads })))));
  const special = everywhere.flatMap((place): Variant[] => [
    { ...place, layout: 'segments', direct: true, threads: 4, inFlight: 64, jitterMs: 3 },
    { ...place, layout: 'segments', direct: true, threads: 4, sectorBytes: 4096 },
    { ...place, layout: 'file', direct: true, threads: 4, inFlight: 64, jitterMs: 3 },
  ]);
  const cases: { readonly name: string; readonly step: number; readonly run: (random: () => number) => Promise<void> }[] = [
    ...[...ordinary, ...special].map((variant) => ({
      name: nameOfVariant(variant), step: STEP, run: (random: () => number) => cutPower(variant, random),
    })),
    ...usable.map((filesystem) => ({
      name: `repair, ${filesystem}`, step: 1,
      run: (random: () => number) => cutPowerOfRepair({ filesystem, layout: 'segments', direct: true, backend: 'blocking', threads: 1 }, random),
    })),
    ...usable.map((filesystem) => ({
      name: `a file that is replaced, ${filesystem}`, step: 1,
      run: async (random: () => number) => {
        assertHonest(`replacing, ${filesystem}`, await cutPowerOfReplacing(filesystem, random), 0);
      },
    })),
    ...usable.flatMap((filesystem, i) => (['acknowledges early', 'never syncs'] as const).map((cheat, j) => ({
      name: `a writer that ${cheat} is caught, ${filesystem}`, step: 1,
      run: async (random: () => number) => {
        assertCaught(`${filesystem}, ${cheat}`, await cheatingJournal(filesystem, cheat, backends[(i + j) % backends.length] ?? 'blocking', random));
      },
    }))),
    // On xfs and btrfs a sync of a segment makes its name durable too.
    ...(usable.includes('ext4') ? [{
      name: 'a writer that never syncs directories is caught, ext4', step: 1,
      run: async (random: () => number) => {
        assertCaught('ext4, never syncs directories', await cheatingJournal('ext4', 'never syncs directories', 'blocking', random));
      },
    }] : []),
    ...usable.flatMap((filesystem) => (['never syncs', 'never syncs directories'] as const).map((cheat) => ({
      name: `replacing a file is caught when it ${cheat}, ${filesystem}`, step: 1,
      run: async (random: () => number) => {
        assertCaught(`replacing, ${filesystem}, ${cheat}`, await cutPowerOfReplacing(filesystem, random, cheat));
      },
    }))),
  ];
  const wanted = process.env['VARIANT'];
  cases.forEach(({ name, step, run }, i) => {
    if (wanted === undefined ? (i + seed) % step === 0 : name.includes(wanted)) test(name, () => run(randomOf(seed * 1000 + i)));
  });
}

test.run();
