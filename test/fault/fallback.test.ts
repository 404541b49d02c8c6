/** What happens where io_uring, locked memory or direct IO is refused: the journal works, and says what is missing. */
import { chmodSync, mkdirSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { temporaryDirectory } from '../support.js';
import type { AppenderReport } from '../programs/appender.js';
import type { BackendReport, BackendTask } from '../programs/backend.js';
import { nameOf } from '../programs/records.js';
import { noMounts, noRoot, noTracing, recordsOf, runProgram, skip, usableBackends, type ProgramOptions } from './tools.js';

const test = suite('what is refused is done without');
const directory = temporaryDirectory();
const RECORDS = 200;
const RECORD_BYTES = 300;
const NOBODY = 65534;
const { EPERM, ENOSYS, EOPNOTSUPP, ENOMEM } = constants.errno;

let journals = 0;

function newPath(): string {
  return join(directory, `journal-${journals++}`);
}

async function run(task: Partial<BackendTask>, options: ProgramOptions = {}): Promise<BackendReport> {
  const path = task.path ?? newPath();
  const { report } = await runProgram<BackendReport>('backend', { count: RECORDS, recordBytes: RECORD_BYTES, ...task, path } satisfies BackendTask, options);
  if (report.refused === undefined) await assertWritten(path, report);
  return report;
}

async function assertWritten(path: string, { durableLsn }: BackendReport): Promise<void> {
  const { records, state } = await recordsOf(path);
  assert.equal(records.map(({ payload }) => nameOf(payload, RECORD_BYTES)?.sequence), Array.from({ length: RECORDS }, (_, i) => i));
  assert.ok((records.at(-1)?.end ?? Infinity) <= (durableLsn ?? 0));
  assert.is(state, 'clean-end');
}

const backends = await usableBackends();

/** Runs with io_uring_setup refused, leaving the choice to the library and insisting on io_uring. */
async function refusedWith(name: string, task: Partial<BackendTask>, options: ProgramOptions): Promise<void> {
  const [automatic, insisting] = await Promise.all([run({ ...task, backend: 'auto' }, options), run({ ...task, backend: 'io_uring' }, options)]);
  assert.is(automatic.refused, undefined, automatic.refused?.message);
  assert.is(automatic.backend?.kind, 'blocking');
  assert.match(automatic.backend?.reason ?? '', name);
  assert.is(insisting.refused?.code, 'TIDEMARK_NOT_SUPPORTED');
  assert.match(insisting.refused?.message ?? '', name);
}

const refusals = [['EPERM', EPERM], ['ENOSYS', ENOSYS], ['EOPNOTSUPP', EOPNOTSUPP], ['ENOMEM', ENOMEM]] as const;

for (const [name, errno] of refusals) {
  test(`a seccomp filter answers ${name}`, () => refusedWith(name, { filterErrno: errno }, {}));
}

const untraceable = noTracing();
if (untraceable !== undefined) skip('io_uring_setup refused by a tracer', untraceable);
else {
  for (const [name] of refusals) {
    test(`a tracer answers ${name}`, () => {
      const prefix = ['strace', '-f', '-o', '/dev/null', '-e', 'trace=io_uring_setup', '-e', `inject=io_uring_setup:error=${name}`];
      return refusedWith(name, {}, { prefix });
    });
  }
}

test('TIDEMARK_BACKEND chooses for the default scheduler', async () => {
  const blocking = await run({}, { environment: { TIDEMARK_BACKEND: 'blocking' } });
  assert.is(blocking.backend?.kind, 'blocking');
  const refused = await run({ filterErrno: EPERM }, { environment: { TIDEMARK_BACKEND: 'io_uring' } });
  assert.is(refused.refused?.code, 'TIDEMARK_NOT_SUPPORTED');
  const wrong = await run({}, { environment: { TIDEMARK_BACKEND: 'io-uring' } });
  assert.is(wrong.refused?.code, 'TIDEMARK_INVALID_ARGUMENT');
  assert.match(wrong.refused?.message ?? '', "`TIDEMARK_BACKEND`");
  if (backends.includes('io_uring')) {
    const ring = await run({}, { environment: { TIDEMARK_BACKEND: 'io_uring' } });
    assert.is(ring.backend?.kind, 'io_uring');
    const automatic = await run({}, { environment: { TIDEMARK_BACKEND: '' } });
    assert.is(automatic.backend?.kind, 'io_uring');
  }
});

test('whoever asks for the blocking backend hears nothing of io_uring', async () => {
  const { backend } = await run({ filterErrno: EPERM, backend: 'blocking' });
  assert.is(backend?.kind, 'blocking');
  assert.not.match(backend?.reason ?? '', 'io_uring');
});

test("an option is stronger than TIDEMARK_BACKEND", async () => {
  const { backend } = await run({ backend: 'blocking' }, { environment: { TIDEMARK_BACKEND: 'io_uring' } });
  assert.is(backend?.kind, 'blocking');
});

const notRoot = noRoot();
if (notRoot !== undefined) skip('no memory may be locked', notRoot);
else {
  const asNobody = (path: string, task: Partial<BackendTask>, lockableKib: number): Promise<BackendReport> => {
    const open = join(directory, path);
    mkdirSync(open);
    chmodSync(directory, 0o755);
    chmodSync(open, 0o777);
    // `ulimit` in the shell: the limit holds for the program, whose user may not raise it.
    const prefix = ['sh', '-c', `ulimit -l ${lockableKib} && exec "$@"`, 'sh'];
    return run({ ...task, path: join(open, 'journal') }, { prefix, uid: NOBODY });
  };

  for (const backend of ['auto', 'blocking'] as const) {
    test(`no memory may be locked, ${backend}`, async () => {
      const result = await asNobody(`nobody-${backend}`, { backend }, 0);
      assert.is(result.refused, undefined, result.refused?.message);
      // Some kernels count the ring itself, some only what is registered with it.
      if (backend === 'auto' && result.backend?.kind === 'blocking') assert.match(result.backend.reason, 'ENOMEM');
    });
  }

  if (backends.includes('io_uring')) {
    test('memory for the ring may be locked, for the log buffer not', async () => {
      const result = await asNobody('nobody-ring', { backend: 'io_uring' }, 1024);
      assert.is(result.refused, undefined, result.refused?.message);
      assert.is(result.backend?.kind, 'io_uring');
      assert.is(result.backend?.registeredBuffer, false, 'a refused registration is told');
    });
  }
}

const noMount = noMounts();
if (noMount !== undefined) skip('a filesystem without direct IO', noMount);
else {
  for (const backend of backends) {
    test(`a filesystem without direct IO, on ${backend}`, async () => {
      const mount = join(directory, `ramfs-${backend}`);
      mkdirSync(mount);
      const prefix = ['unshare', '-m', '--propagation', 'private', 'sh', '-c', 'mount -t ramfs none "$0" && exec "$@"', mount];
      const task = { path: join(mount, 'journal'), backend, options: { direct: true, preallocate: 0 }, count: 50, recordBytes: RECORD_BYTES };
      const { report } = await runProgram<AppenderReport>('appender', task, { prefix });
      assert.is(report.acknowledged.length, 50);
      assert.is(report.directActive, false);
      assert.match(report.directReason, /O_DIRECT.*EINVAL/);
      assert.ok(report.stats.syncs > 0);
    });
  }
}

test.run();
