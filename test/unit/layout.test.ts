/** The kernel structures that the TypeScript lays out by hand, against what a C compiler says of the kernel's headers. */
import { execFileSync, spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type * as AbiModule from '../../dist/platform/linux/io-uring-abi.js';
import type * as StatxModule from '../../dist/platform/linux/statx.js';
import { temporaryDirectory } from '../support.js';

const dist = new URL('../../../dist/platform/linux/', import.meta.url);
const abi = (await import(new URL('io-uring-abi.js', dist).href)) as typeof AbiModule;
const { STATX, STATX_ATTRIBUTE, STATX_MASK } = (await import(new URL('statx.js', dist).href)) as typeof StatxModule;
const { O_DIRECT } = (await import(new URL('open-flags.js', dist).href)) as typeof import('../../dist/platform/linux/open-flags.js');

const test = suite('layouts of kernel structures');
const program = join(temporaryDirectory(), 'layout');
const source = fileURLToPath(new URL('../../../native-shims/layout.c', import.meta.url));
const compiled = spawnSync('cc', ['-o', program, source], { encoding: 'utf8' });

if (compiled.status !== 0) {
  console.log(`SKIPPED layouts of kernel structures: no C compiler or kernel headers: ${compiled.error?.message ?? compiled.stderr}`);
} else {
  const kernel = JSON.parse(execFileSync(program, { encoding: 'utf8' })) as Record<string, number>;
  const inBytes = (prefix: string, words: Readonly<Record<string, number>>): [string, number][] =>
    Object.entries(words).map(([name, word]) => [`${prefix}.${name}`, word * 4]);
  const ours = new Map<string, number>([
    ['params.bytes', abi.PARAMS_WORDS * 4],
    ...inBytes('params', abi.PARAMS),
    ['sqe.bytes', abi.SQE_BYTES],
    ...inBytes('sqe', abi.SQE),
    ['cqe.bytes', abi.CQE_BYTES],
    ...inBytes('cqe', abi.CQE),
    ['rsrcRegister.bytes', abi.RSRC_REGISTER_BYTES],
    ['rsrcUpdate2.bytes', abi.RSRC_UPDATE2_BYTES],
    ['filesUpdate.bytes', abi.FILES_UPDATE_BYTES],
    ...Object.entries(STATX).map(([name, offset]): [string, number] => [`statx.${name}`, offset]),
    ...Object.entries(STATX_MASK).map(([name, bit]): [string, number] => [`statxMask.${name}`, bit]),
    ...Object.entries(STATX_ATTRIBUTE).map(([name, bit]): [string, number] => [`statxAttribute.${name}`, bit]),
    ...Object.entries(abi.OP).map(([name, code]): [string, number] => [`op.${name}`, code]),
    ['fcntl.O_DIRECT', O_DIRECT],
  ]);

  test('there is something to compare', () => {
    assert.ok(Object.keys(kernel).length >= 40);
  });

  for (const [name, value] of Object.entries(kernel)) {
    test(name, () => {
      assert.is(ours.get(name), value);
    });
  }
}

test.run();
