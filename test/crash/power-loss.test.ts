/**
 * Cuts the power: a journal lives on a disk whose writes are logged, and the disk is rebuilt as it may have been at any
 * moment. The filesystem mends itself, recovery opens the journal, and every acknowledged record has to be there.
 *
 * `TIDEMARK_SEED` repeats the points of an earlier run; `VARIANT` runs only those whose name contains it.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { inMountNamespace, noLoopDevices, skip, usableBackends } from '../fault/tools.js';
import { noFaultfs } from '../faultfs/faultfs.js';
import type { Cheat } from '../programs/power-writer.js';
import { randomOf } from '../programs/records.js';
import { LONG } from '../support.js';
import { LoggedDisk, memoryDirectory, noFilesystem, type DiskOptions, type FilesystemName } from './power-loss/disk.js';
import { check, live, optionsOf, type JournalVariant, type Verdict } from './power-loss/scenario.js';

await inMountNamespace(import.meta.url);

const POINTS = LONG ? 90 : 12;
/** Crashes of a journal that is being opened after a crash: so many first ones, and points of each second one. */
const AGAIN = LONG ? { first: 3, second: 8 } : { first: 1, second: 6 };
const CHEAT_POINTS = 60;
/** A run in which hardly anything was acknowledged, or at stake, proves nothing. */
const ACKNOWLEDGED_MIN = 100;
/** The long form runs every variant, the short one each so many: a step that passes through all values. */
const STEP = LONG ? 1 : 5;

const seed = Number(process.env['TIDEMARK_SEED'] ?? Date.now() % 1_000_000);
console.log(`seed ${seed}`);

interface Variant extends JournalVariant, DiskOptions {}

const test = suite('what was acknowledged outlives a loss of power');
const directory = mkdtempSync(join(memoryDirectory('/var/tmp'), 'tidemark-power-'));
process.on('exit', () => {
  rmSync(directory, { recursive: true, force: true });
});

function nameOfVariant({ filesystem, layout, direct, backend, threads, jitterMs, sectorBytes }: Variant): string {
  return [filesystem, layout, direct ? 'direct' : 'buffered', backend, `${threads} threads`, ...(jitterMs === undefined ? [] : ['writes overtake each other']), ...(sectorBytes === undefined ? [] : [`sectors of ${sectorBytes}`])].join(', ');
}

let disks = 0;

/** Two lives of a journal: the first one is killed, so that the second one begins with recovery; both are trimmed. */
async function twoLives(variant: Variant, image?: string, firstLife = 0, records = 1200): Promise<LoggedDisk> {
  const disk = await LoggedDisk.make(join(directory, String(disks++)), { ...variant, ...(image !== undefined && { image }) });
  const task = { backend: variant.backend, options: optionsOf(variant), threads: variant.threads, records: records / variant.threads, ...(variant.layout === 'segments' && { keepBytes: 96 * 1024 }) };
  await live(disk, { ...task, life: firstLife, ending: 'kill' });
  await live(disk, { ...task, life: firstLife + 1, ending: 'close' });
  await disk.finish();
  return disk;
}

function explain(verdicts: readonly Verdict[]): string[] {
  return verdicts.flatMap(({ point, lies, atStake }) => lies.slice(0, 3).map((lie) => `after ${point.entries} entries, ${point.fate} of ${atStake} writes: ${lie} (seed ${seed})`)).slice(0, 12);
}

/** The power fails, and fails again while the journal is opened, recovers and goes on. */
async function failsAgain(variant: Variant, image: string, said: readonly string[], random: () => number): Promise<Verdict[]> {
  const disk = await twoLives(variant, image, 2, 40);
  const verdicts = await check(disk, join(directory, String(disks++)), { variant, points: AGAIN.second, random, said });
  rmSync(join(directory, String(disks - 2)), { recursive: true });
  return verdicts;
}

async function cutPower(variant: Variant, seedOfVariant: number): Promise<void> {
  const random = randomOf(seedOfVariant);
  const disk = await twoLives(variant);
  const again: Verdict[] = [];
  const crashes = new Set(Array.from({ length: AGAIN.first }, (_, i) => Math.floor(((i + random()) * POINTS) / AGAIN.first)));
  let visited = 0;
  const verdicts = await check(disk, join(directory, String(disks++)), {
    variant, points: POINTS, random,
    visit: async (image, { said }) => {
      if (crashes.has(visited++)) again.push(...(await failsAgain(variant, image, said, random)));
    },
  });
  rmSync(disk.log);
  const all = [...verdicts, ...again];
  const atStake = all.reduce((sum, verdict) => sum + verdict.atStake, 0) / all.length;
  const acknowledged = Math.max(...all.map((verdict) => verdict.acknowledged));
  console.log(`${nameOfVariant(variant)}: ${verdicts.length} + ${again.length} points, ${acknowledged} acknowledged, ${atStake.toFixed(1)} writes at stake, ${all.filter(({ lies }) => lies.length > 0).length} violations`);
  assert.equal(explain(all), []);
  assert.ok(acknowledged > ACKNOWLEDGED_MIN, `${acknowledged} records were acknowledged`);
  assert.ok(atStake > 0, 'no write was ever at stake');
}

async function assertCaught(filesystem: FilesystemName, cheat: Cheat, backend: 'io_uring' | 'blocking', random: () => number): Promise<void> {
  const variant = { filesystem, layout: 'segments', direct: true, backend, threads: 1 } as const;
  const disk = await LoggedDisk.make(join(directory, String(disks++)), variant);
  await live(disk, { backend, options: optionsOf(variant), threads: 1, records: 600, life: 0, ending: 'kill', cheat });
  await disk.finish();
  const verdicts = await check(disk, join(directory, String(disks++)), { variant, points: CHEAT_POINTS, random, enough: 1 });
  const lies = verdicts.flatMap((verdict) => verdict.lies);
  console.log(`${filesystem}, ${backend}, ${cheat}: caught at point ${verdicts.length}`);
  assert.ok(lies.some((lie) => lie.endsWith('was acknowledged and is lost')), `the check found only: ${lies.join('; ')}`);
}

const FILESYSTEMS: readonly FilesystemName[] = ['ext4', 'xfs', 'btrfs'];
const CHEATS: readonly Cheat[] = ['acknowledges early', 'never syncs', 'never syncs directories'];

const reason = noFaultfs() ?? noLoopDevices();
if (reason !== undefined) skip('all tests of power loss', reason);
else {
  const backends = await usableBackends();
  const usable = FILESYSTEMS.filter((filesystem) => {
    const missing = noFilesystem(filesystem);
    if (missing !== undefined) skip(`power loss on ${filesystem}`, missing);
    return missing === undefined;
  });
  const product = usable.flatMap((filesystem) => backends.flatMap((backend) => ([1, 4] as const).flatMap((threads) => [true, false].flatMap((direct) =>
    (['segments', 'file'] as const).map((layout): Variant => ({ filesystem, layout, direct, backend, threads }))))));
  const special = usable.flatMap((filesystem) => backends.flatMap((backend): Variant[] => [
    { filesystem, layout: 'segments', direct: true, backend, threads: 4, jitterMs: 3 },
    { filesystem, layout: 'segments', direct: true, backend, threads: 4, sectorBytes: 4096 },
    { filesystem, layout: 'file', direct: true, backend, threads: 4, jitterMs: 3 },
  ]));
  const wanted = process.env['VARIANT'];
  [...product, ...special].forEach((variant, i) => {
    const name = nameOfVariant(variant);
    if (wanted === undefined ? i % STEP !== 0 : !name.includes(wanted)) return;
    test(name, () => cutPower(variant, seed * 1000 + i));
  });
  usable.forEach((filesystem, i) => {
    CHEATS.forEach((cheat, j) => {
      const backend = backends[(i + j) % backends.length] ?? 'blocking';
      test(`a writer that ${cheat} is caught, ${filesystem}, ${backend}`, () => assertCaught(filesystem, cheat, backend, randomOf(seed * 1000 + 500 + 10 * i + j)));
    });
  });
}

test.run();
