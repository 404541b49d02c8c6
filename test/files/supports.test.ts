/** What `files.supports` tells, and that what it denies is refused before anything is done. */
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { IoScheduler, NotSupportedError, type Files } from 'tidemark';
import { linux } from '../internals.js';
import { temporaryDirectory } from '../support.js';
import { code, rejected } from './tools.js';

/** Members of handles that are no operations of the platform. */
const NO_OPERATIONS = ['constructor', 'share', 'close', 'enter', 'leave'];

/** Uses the files of a new scheduler on a platform that lacks operations. */
async function onPlatform(missing: Readonly<Record<string, string>>, use: (files: Files) => Promise<void>, workerUrl?: string): Promise<void> {
  const entries = linux.supports.missingOperations as Record<string, string>;
  Object.assign(entries, missing);
  const scheduler = new IoScheduler(workerUrl === undefined ? {} : { workerUrl });
  try {
    await use(scheduler.files);
  } finally {
    for (const name of Object.keys(missing)) Reflect.deleteProperty(entries, name);
    await scheduler.close();
  }
}

test('every method is told of, with those of directories', async () => {
  await onPlatform({}, async ({ supports, ...methods }) => {
    const directory = Object.getPrototypeOf(await methods.openDirectory('/')) as object;
    const ofDirectories = Object.getOwnPropertyNames(directory).filter((name) => !NO_OPERATIONS.includes(name));
    assert.equal(Object.keys(supports).sort(), [...Object.keys(methods), ...ofDirectories].sort());
    // A name that is none would be refused nowhere.
    assert.equal(Object.keys(linux.supports.missingOperations).filter((name) => !(name in supports)), []);
    assert.equal([...new Set(Object.values(supports))], [true]);
  });
});

test('what a platform lacks is refused with its reason, and nothing else', async () => {
  const directory = temporaryDirectory();
  const path = join(directory, 'file');
  const reason = 'there is no such call';
  await onPlatform({ rename: reason, openAt: reason, list: reason, scan: reason }, async (files) => {
    const denied = Object.fromEntries(Object.entries(files.supports).filter(([, told]) => told !== true));
    assert.equal(denied, { rename: reason, openAt: reason, list: reason, scan: reason });
    await files.writeAll(path, 'content');
    const handle = await files.openDirectory(directory);
    const scope = files.scoped(directory);
    for (const [name, call] of Object.entries({
      rename: () => files.rename(path, `${path}-2`),
      openAt: () => handle.openAt('made', { write: true, create: true }),
      list: () => handle.list(),
    })) {
      const error = await rejected(call());
      assert.ok(error instanceof NotSupportedError);
      assert.equal([error.code, error.operation, error.reason], ['TIDEMARK_NOT_SUPPORTED', name, reason]);
    }
    assert.is(scope.supports.rename, reason);
    assert.is(await code(scope.rename('file', 'other')), 'TIDEMARK_NOT_SUPPORTED');
    assert.throws(() => files.scan(directory), (error: unknown) => error instanceof NotSupportedError && error.operation === 'scan');
    // It shares the work of `rename` and of `scan`.
    await files.renameNoReplace(path, `${path}-3`);
    assert.is((await files.count(directory)).files, 1);
    assert.not(existsSync(join(directory, 'made')));
  });
});

test('what is refused reaches no thread', async () => {
  await onPlatform({ statx: 'there is no such call' }, async (files) => {
    assert.is(await code(files.statx('/')), 'TIDEMARK_NOT_SUPPORTED');
    assert.is.not(await code(files.chmod('/', 0o755)), 'TIDEMARK_NOT_SUPPORTED');
  }, new URL('no-such-worker.js', import.meta.url).href);
});

test('on a platform without an implementation everything is refused with that reason, and nothing throws before', () => {
  const source = `
    Object.defineProperty(process, 'platform', { value: 'plan9' });
    const { IoScheduler } = await import(${JSON.stringify(import.meta.resolve('tidemark'))});
    const scheduler = new IoScheduler();
    const { supports } = scheduler.files;
    const refused = await scheduler.files.openRead('/').catch(({ code, operation, reason }) => ({ code, operation, reason }));
    let thrown;
    try { scheduler.files.scoped('/'); } catch ({ code }) { thrown = code; }
    await scheduler.close();
    console.log(JSON.stringify({ reasons: [...new Set(Object.values(supports))], count: Object.keys(supports).length, refused, thrown }));`;
  const told = JSON.parse(execFileSync(process.execPath, ['--input-type=module', '-e', source], { encoding: 'utf8', timeout: 20_000 })) as Record<string, unknown>;
  const reason = "it has no implementation for 'plan9' yet, only for 'linux'";
  assert.equal(told, { reasons: [reason], count: told['count'], refused: { code: 'TIDEMARK_NOT_SUPPORTED', operation: 'openRead', reason }, thrown: 'TIDEMARK_NOT_SUPPORTED' });
  assert.ok((told['count'] as number) > 70);
});

test.run();
