/** `tidemark fs`: what people do by hand, and what it says. */
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ended } from '../support.js';
import { directory, MIB, run, start, succeed } from './cli-tools.js';

let names = 0;

function newFile(bytes: number): string {
  const path = join(directory, `file-${names++}`);
  writeFileSync(path, Buffer.alloc(bytes, 0x61));
  return path;
}

const spaceOf = (path: string): number => statSync(path).blocks * 512;

test('copy: the same bytes, the method told, durable', async () => {
  const from = newFile(3 * MIB + 17);
  const to = `${from}.copy`;
  assert.match(await succeed(['fs', 'copy', from, to]), /-> .*: 3\.0 MiB by (FICLONE|copy_file_range|read_write), durable\n$/);
  assert.equal(readFileSync(to), readFileSync(from));
  const result = JSON.parse(await succeed(['fs', 'copy', from, to, '--overwrite', '--method', 'read_write', '--json'])) as { primitive: string; bytes: number };
  assert.equal([result.primitive, result.bytes], ['read_write', 3 * MIB + 17]);
});

test('copy: a file that is there stays unless it may be replaced', async () => {
  const from = newFile(10);
  const to = newFile(20);
  const { code, stderr, stdout } = await run(['fs', 'copy', from, to]);
  assert.equal([code, stdout], [1, '']);
  assert.match(stderr, /\[TIDEMARK_EXISTS\]\n$/);
  assert.is(statSync(to).size, 20);
});

test('punch: the space is given back, the rest is as it was', async () => {
  const path = newFile(4 * MIB);
  const before = spaceOf(path);
  assert.match(await succeed(['fs', 'punch', path, '--offset', '1M', '--length', '2M']), /2\.0 MiB at 1048576 given back by FALLOC_FL_PUNCH_HOLE\n$/);
  assert.is(before - spaceOf(path), 2 * MIB);
  const expected = Buffer.alloc(4 * MIB, 0x61);
  expected.fill(0, MIB, 3 * MIB);
  assert.equal(readFileSync(path), expected);
});

test('preallocate: space is reserved, and the file longer only where that is wanted', async () => {
  const path = newFile(0);
  await succeed(['fs', 'preallocate', path, '1M', '--keep-size']);
  assert.equal([statSync(path).size, spaceOf(path)], [0, MIB]);
  await succeed(['fs', 'preallocate', path, '1M', '--offset', '1M']);
  assert.equal([statSync(path).size, spaceOf(path)], [2 * MIB, 2 * MIB]);
});

test('replace: what came on stdin, and nothing else beside it', async () => {
  const path = join(directory, 'replaced');
  const said = await run(['fs', 'replace', path], 'first');
  assert.equal([said.code, said.stderr], [0, '']);
  await run(['fs', 'replace', path], 'second\n');
  assert.is(readFileSync(path, 'utf8'), 'second\n');
  assert.equal(readdirSync(directory).filter((name) => name.includes('replaced')), ['replaced']);
});

test('replace: a signal ends it while it waits for more, and the file stays', async () => {
  const path = newFile(10);
  const child = start(['fs', 'replace', path]);
  const result = ended(child);
  // More than a pipe holds: it is reading when this is through.
  await new Promise((resolve) => child.stdin.write(Buffer.alloc(MIB), resolve));
  child.kill('SIGINT');
  const { code, stderr } = await result;
  assert.equal([code, stderr], [1, 'tidemark: interrupted by SIGINT [TIDEMARK_INTERRUPTED]\n']);
  assert.equal(readFileSync(path), Buffer.alloc(10, 0x61));
});

test('probe: a table, or all of it as JSON', async () => {
  assert.match(await succeed(['fs', 'probe', directory]), /^filesystem +\w+\nmount +\S+ on /);
  const probed = JSON.parse(await succeed(['fs', 'probe', directory, '--json'])) as { filesystem: string; directIo: object; ioUring: object };
  assert.type(probed.filesystem, 'string');
  assert.type(probed.directIo, 'object');
});

for (const [words, message] of [
  [['fs', 'copy', 'absent', 'copy'], /absent.*TIDEMARK_NOT_FOUND/],
  [['fs', 'punch', 'absent', '--offset', '0', '--length', '1'], /absent.*TIDEMARK_NOT_FOUND/],
  [['fs', 'punch', 'x', '--offset', 'two', '--length', '1'], /--offset.*Expected a number of bytes.*TIDEMARK_INVALID_ARGUMENT/],
  [['fs', 'punch', 'x', '--length', '1'], /--offset.*TIDEMARK_INVALID_ARGUMENT/],
  [['fs', 'copy', 'a', 'b', '--method', 'magic'], /--method.*auto, reflink.*TIDEMARK_INVALID_ARGUMENT/],
  [['fs', 'preallocate', 'absent', '1M'], /absent.*TIDEMARK_NOT_FOUND/],
  [['fs', 'probe', 'absent'], /absent.*TIDEMARK_NOT_FOUND/],
  [['fs', 'shred', 'x'], /shred.*TIDEMARK_INVALID_ARGUMENT/],
] as const) {
  test(`refused: tidemark ${words.join(' ')}`, async () => {
    const { code, stdout, stderr } = await run(words);
    assert.equal([code, stdout], [1, '']);
    assert.match(stderr, message);
    assert.is(stderr.split('\n').length, 2, 'one line');
    assert.not(existsSync(join(directory, 'copy')));
  });
}

test.run();
