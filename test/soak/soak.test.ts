/** A short soak, and proof that its checks see what they are for. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { usableBackends } from '../fault/tools.js';
import { temporaryDirectory } from '../support.js';
import { judge } from './judge.js';
import type { Leak } from './leaks.js';
import { soakRecord, Tally } from './records.js';
import type { Sample } from './samples.js';
import { soak } from './soak.js';

const test = suite('a process under load stays as it is');
const directory = temporaryDirectory();
const SECONDS = 6;
const APPENDS_PER_SECOND = 2000;
const seed = Number(process.env['SOAK_SEED'] ?? 1 + (Date.now() % 1_000_000));
console.log(`SOAK_SEED=${seed}`);

const STEADY: Omit<Sample, 'atMs'> = { rssMib: 150, heapMib: 8, arrayBuffersMib: 10, descriptors: 100, threads: 15, mappings: 450, latencyP99Ms: 5 };

function samples(growing: keyof typeof STEADY | undefined, times: number): Sample[] {
  return Array.from({ length: 100 }, (_, i) => ({ ...STEADY, atMs: i, ...(growing && { [growing]: STEADY[growing] * (i < 50 ? 1 : times) }) }));
}

test('what grows is seen', () => {
  const unsteady = (growing: keyof typeof STEADY | undefined, times: number, seconds: number): string[] =>
    judge(samples(growing, times), seconds).filter(({ steady }) => !steady).map(({ name }) => name);
  assert.equal(unsteady(undefined, 1, 600), []);
  for (const name of Object.keys(STEADY) as (keyof typeof STEADY)[]) {
    assert.equal(unsteady(name, 1.01, 600), [], `${name}, a little more`);
    assert.equal(unsteady(name, 2.1, 600), [name], `${name}, much more`);
    assert.equal(unsteady(name, 0.5, 600), [], `${name}, less`);
    assert.equal(unsteady(name, 2.1, SECONDS), name === 'latencyP99Ms' ? [] : [name], `${name}, in a short soak`);
  }
  for (const name of ['rssMib', 'descriptors', 'threads', 'mappings'] as const) {
    assert.equal(unsteady(name, 1.07, 600), [name], `${name}, 7 % more`);
  }
  // One bad sample is no trend.
  assert.ok(judge(samples(undefined, 1).map((sample, i) => (i === 95 ? { ...sample, rssMib: 1000 } : sample)), 600).every(({ steady }) => steady));
});

test('a record that is lost, doubled, out of order or damaged is seen', async () => {
  const record = (thread: number, sequence: number): Buffer => soakRecord(seed, thread, sequence);
  const damaged = record(1, 1);
  damaged.writeUInt8(damaged.readUInt8(11) ^ 1, 11);
  const good = [record(0, 0), record(1, 0), record(1, 1), record(0, 1)];
  const verdictOn = async (records: readonly Uint8Array[]): Promise<string | undefined> => {
    const tally = new Tally(seed);
    for (const [i, one] of records.entries()) tally.see(one, i);
    tally.expect([2, 2]);
    await tally.done;
    return tally.problem;
  };
  assert.is(await verdictOn(good), undefined);
  assert.match((await verdictOn([record(0, 0), record(0, 0)])) ?? '', 'came record 0 of thread 0, not 1');
  assert.match((await verdictOn([record(0, 1)])) ?? '', 'came record 1 of thread 0, not 0');
  assert.match((await verdictOn([record(1, 0), damaged])) ?? '', 'not intact');
  assert.match((await verdictOn([record(1, 0), record(1, 1).subarray(0, -1)])) ?? '', 'not intact');
  assert.match((await verdictOn([record(1, 0), soakRecord(seed + 1, 0, 0)])) ?? '', 'not intact');
});

const backends = await usableBackends();
for (const backend of backends) {
  test(`${SECONDS} seconds, ${backend}`, async () => {
    const { appended, kept, segmentsTrimmed, segmentsRecycled, visits, problems, findings } = await soak(directory, { backend, seconds: SECONDS, seed, appendsPerSecond: APPENDS_PER_SECOND });
    assert.equal(problems, []);
    assert.equal(findings.filter(({ steady }) => !steady), []);
    assert.ok(appended.every((count) => count > 100) && kept > 100, `${appended.join(' and ')} appended, ${kept} kept`);
    assert.ok(segmentsTrimmed > 5 && segmentsRecycled > 0 && visits >= 40, `${segmentsTrimmed} trimmed, ${segmentsRecycled} recycled, ${visits} journals beside it`);
  });
}

const LEAKING: readonly (readonly [Leak, keyof Sample])[] = [['descriptor', 'descriptors'], ['arrayBuffer', 'arrayBuffersMib'], ['thread', 'threads'], ['mapping', 'mappings']];
const [anyBackend] = backends;
if (anyBackend !== undefined) {
  for (const [leak, seenIn] of LEAKING) {
    test(`a leak is seen: ${leak}`, async () => {
      const { problems, findings } = await soak(directory, { backend: anyBackend, seconds: SECONDS, seed, appendsPerSecond: APPENDS_PER_SECOND, leak });
      assert.equal(problems, []);
      assert.ok(findings.some(({ name, steady }) => name === seenIn && !steady), JSON.stringify(findings));
    });
  }
}

test.run();
