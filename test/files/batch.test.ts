/** Batches: what is done, in which order, and what is known when a step fails. */
import { chmodSync, chownSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { BatchError, InvalidArgumentError, IoError, IoScheduler } from 'tidemark';
import { until } from '../fault/tools.js';
import { directoryOn, FILESYSTEMS } from './filesystems.js';
import { ACL, attributesOf, setAttribute } from './metadata-tools.js';

const scheduler = new IoScheduler();
const { files } = scheduler;

for (const filesystem of FILESYSTEMS) {
  test(`${filesystem.name}: all steps, in order`, async () => {
    const directory = directoryOn(filesystem);
    const path = (name: string): string => join(directory, name);
    mkdirSync(path('a'));
    writeFileSync(path('old'), 'old');
    writeFileSync(path('source'), Buffer.alloc(2_500_000, 'x'));
    chmodSync(path('source'), 0o640);
    const bytes = Uint8Array.of(1, 2, 3);
    const batch = files.batch().write(path('a/one'), 'ü').write(path('a/two'), bytes, { mode: 0o644 }).copy(path('source'), path('a/copy'))
      .delete(path('old')).rename(path('a'), path('b')).write(path('b/one'), 'again');
    assert.equal(readdirSync(directory).sort(), ['a', 'old', 'source']);
    assert.equal(await batch.commit(), {
      steps: [
        { kind: 'write', path: path('a/one'), primitive: 'renameat', bytes: 2 },
        { kind: 'write', path: path('a/two'), primitive: 'renameat', bytes: 3 },
        { kind: 'copy', path: path('source'), primitive: 'renameat', bytes: 2_500_000, content: ['xfs', 'btrfs'].includes(filesystem.kind) ? 'FICLONE' : 'copy_file_range' },
        { kind: 'delete', path: path('old'), primitive: 'unlinkat', bytes: 0 },
        { kind: 'rename', path: path('a'), primitive: 'renameat', bytes: 0 },
        { kind: 'write', path: path('b/one'), primitive: 'renameat', bytes: 5 },
      ],
      sync: 'fsync',
    });
    assert.equal([readdirSync(directory).sort(), readdirSync(path('b')).sort()], [['b', 'source'], ['copy', 'one', 'two']]);
    assert.is(readFileSync(path('b/one'), 'utf8'), 'again');
    assert.equal([...readFileSync(path('b/two'))], [1, 2, 3]);
    assert.ok(readFileSync(path('b/copy')).equals(readFileSync(path('source'))));
    assert.equal(['one', 'two', 'copy'].map((name) => statSync(path(`b/${name}`)).mode & 0o777), [0o600, 0o644, 0o640]);
    assert.is((await files.batch().delete(path('b/one')).commit({ durable: false })).sync, 'none');
  });

  test(`${filesystem.name}: a copy has the permissions of its source, and makes nobody's program run as its owner`, async () => {
    const directory = directoryOn(filesystem);
    const path = (name: string): string => join(directory, name);
    writeFileSync(path('program'), 'program');
    chownSync(path('program'), 1000, 1000);
    chmodSync(path('program'), 0o6755);
    writeFileSync(path('listed'), 'listed');
    setAttribute(path('listed'), 'system.posix_acl_access', ACL);
    await files.batch().copy(path('program'), path('copy')).copy(path('listed'), path('listed copy')).commit();
    const { uid, mode } = statSync(path('copy'));
    assert.equal([uid, mode & 0o7777], [0, 0o755]);
    assert.equal([statSync(path('listed copy')).mode & 0o7777, attributesOf(path('listed copy'))['system.posix_acl_access']], [0o660, ACL]);
  });

  test(`${filesystem.name}: a step that fails ends it, and says where`, async () => {
    const directory = directoryOn(filesystem);
    const path = (name: string): string => join(directory, name);
    const error = await files.batch().write(path('one'), '1').delete(path('missing')).write(path('two'), '2').commit().then(() => undefined, (caught: unknown) => caught);
    assert.instance(error, BatchError);
    const { code, step, kind, path: where, completed, cause } = error as BatchError;
    assert.equal({ code, step, kind, where, completed }, { code: 'TIDEMARK_BATCH_FAILED', step: 1, kind: 'delete', where: path('missing'), completed: 1 });
    assert.instance(cause, IoError);
    assert.is((cause as IoError).code, 'TIDEMARK_NOT_FOUND');
    assert.equal(readdirSync(directory), ['one']);
  });
}

test('an abort ends it with the reason that was given', async () => {
  const [filesystem] = FILESYSTEMS;
  if (filesystem === undefined) return;
  const path = (name: string): string => join(directory, name);
  const directory = directoryOn(filesystem);
  const controller = new AbortController();
  const reason = new Error('no longer');
  const committed = files.batch().write(path('one'), '1').write(path('two'), new Uint8Array(new SharedArrayBuffer(150 * 1024 * 1024))).commit({ signal: controller.signal });
  await until('it is at the second step', 5000, () => existsSync(path('.two.tidemark-0')));
  controller.abort(reason);
  const error = await committed.then(() => undefined, (caught: unknown) => caught);
  assert.instance(error, BatchError);
  assert.equal([(error as BatchError).step, (error as BatchError).completed], [1, 1]);
  assert.is((error as BatchError).cause, reason);
  assert.equal(readdirSync(directory), ['one']);
});

test('what cannot be a step is refused where it is added, and a batch is committed once', async () => {
  const batch = files.batch();
  for (const add of [() => batch.write('', 'x'), () => batch.write('/x', 5 as never), () => batch.write('/x', '', { mode: 1.5 }), () => batch.copy('/x', undefined as never), () => batch.rename('a\0', '/b')]) {
    assert.throws(add, (error: unknown) => error instanceof InvalidArgumentError);
  }
  assert.equal(await batch.commit(), { steps: [], sync: 'fsync' });
  assert.throws(() => batch.delete('/x'), /committed/);
  assert.is(await batch.commit().then(() => 'done', (error: unknown) => (error as { code: string }).code), 'TIDEMARK_INVALID_ARGUMENT');
  assert.is(existsSync('/x'), false);
});

test.after(() => scheduler.close());
test.run();
