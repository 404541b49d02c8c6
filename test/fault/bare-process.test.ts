/** Journals in a process that lacks what most have: it may fail, and says so, but nothing breaks that need not. */
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { BareTask } from '../programs/bare-process.js';
import { temporaryDirectory } from '../support.js';
import { noMounts, runProgram, skip } from './tools.js';

const test = suite('a bare process');
const directory = temporaryDirectory();

function run(what: BareTask['what'], prefix: readonly string[]): Promise<{ report: object }> {
  return runProgram('bare-process', { what, path: join(directory, what) } satisfies BareTask, { prefix });
}

test('without a free descriptor, trimming poisons nothing', async () => {
  const { report } = await run('no descriptors', ['sh', '-c', 'ulimit -n 200; exec "$@"', 'sh']);
  assert.equal(report, { trimmed: 'done', trimmedLater: 'done', appended: 'done', closed: 'done' });
});

const reason = noMounts();
if (reason !== undefined) skip('a process without /proc', reason);
else test('without /proc, a thread that lives keeps its place', async () => {
  const { report } = await run('many threads', ['unshare', '-m', 'sh', '-c', 'mount -t tmpfs tmpfs /proc; exec "$@"', 'sh']);
  assert.equal(report, { places: 64, refused: 'TIDEMARK_TOO_MANY_PRODUCERS' });
});

test.run();
