/** Journals that are opened and closed leave nothing behind, and many of them share one ring. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { temporaryDirectory } from '../support.js';
import type { LeaksReport, LeaksTask } from '../programs/leaks.js';
import { runProgram, usableBackends } from './tools.js';

const test = suite('nothing is left behind');
const directory = temporaryDirectory();
/** Pages of the garbage collectors come and go; a mapping kept per journal would be 800. */
const MAPPINGS_SLACK = 200;
/** Likewise: a log buffer kept per journal would be 800 MiB. */
const MIB_SLACK = 400;
/** koffi keeps its stacks, 64 and 260 KiB and a guard page, of each thread that has ended; a scheduler has three threads at most. */
const MAPPINGS_PER_SCHEDULER = 3 * 3;
/** V8 reserves address space for the code of further threads in such steps, once, without using it. */
const ADDRESS_SPACE_STEP_MIB = 1024;

async function run(layout: LeaksTask['layout'], backend: LeaksTask['backend'], what: LeaksTask['what'], cycles: number, settled: number): Promise<LeaksReport> {
  const own = join(directory, `${layout}-${backend}-${what}`);
  mkdirSync(own);
  const task: LeaksTask = { directory: own, layout, backend, what, cycles, settled };
  const { report, stderr } = await runProgram<LeaksReport>('leaks', task, { boundMs: 120_000 });
  assert.is(stderr, '', 'no warning about listeners or descriptors');
  assert.is(report.backend.kind, backend);
  return report;
}

interface Slack {
  /** How much the size of the process may grow. */
  readonly mib: number;
  readonly mappings: number;
}

function assertSteady({ before, after }: LeaksReport, slack: Slack): void {
  assert.ok(before !== undefined && after !== undefined);
  const { mappings: mappingsBefore, mib: mibBefore, ...rest } = before;
  const { mappings: mappingsAfter, mib: mibAfter, ...restAfter } = after;
  assert.equal(restAfter, rest);
  assert.ok(mibAfter <= mibBefore + slack.mib, `${mibBefore} MiB became ${mibAfter}`);
  assert.ok(mappingsAfter <= mappingsBefore + slack.mappings, `${mappingsBefore} mappings became ${mappingsAfter}`);
}

const backends = await usableBackends();
for (const layout of ['file', 'segments'] as const) {
  for (const backend of backends) {
    test(`ten journals at once, ${layout}, ${backend}`, async () => {
      const { intact } = await run(layout, backend, 'together', 1, 1);
      assert.equal(intact, Array.from({ length: 10 }, () => 500));
    });

    test(`a thousand journals one after the other, ${layout}, ${backend}`, async () => {
      assertSteady(await run(layout, backend, 'journals', 1000, 200), { mib: MIB_SLACK, mappings: MAPPINGS_SLACK });
    });

    test(`schedulers one after the other, ${layout}, ${backend}`, async () => {
      const [cycles, settled] = [30, 10];
      const mappings = MAPPINGS_SLACK + (cycles - settled) * MAPPINGS_PER_SCHEDULER;
      assertSteady(await run(layout, backend, 'schedulers', cycles, settled), { mib: ADDRESS_SPACE_STEP_MIB + MIB_SLACK, mappings });
    });
  }
}

test.run();
