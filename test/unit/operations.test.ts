/** Operations by name: none may hide another one, and one that was given up before it began does nothing. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { CallControl } from '../lane-internals.js';
import { mergeTables, runOperations } from '../internals.js';
import { temporaryDirectory } from '../support.js';

const directory = temporaryDirectory();

interface Call {
  readonly name: string;
  readonly args: readonly unknown[];
  readonly control: SharedArrayBuffer | undefined;
}

/** A call that its caller has given up by now. */
function givenUp(): SharedArrayBuffer {
  const control = new CallControl();
  control.abort();
  return control.buffer;
}

function fileWith(name: string, content: string): { path: string; root: undefined } {
  const path = join(directory, name);
  writeFileSync(path, content);
  return { path, root: undefined };
}

function codes(calls: readonly Call[]): Promise<unknown[]> {
  return runOperations({ role: 'operations', calls }).then((outcomes) => outcomes.map((outcome) => (outcome.ok ? 'done' : outcome.error.fields['code'])));
}

test('tables become one, and a name that stands in two is told', () => {
  assert.equal(mergeTables({ open: 1, close: 2 }, { read: 3 }, {}), { open: 1, close: 2, read: 3 });
  assert.throws(() => mergeTables({ open: 1, close: 2 }, { read: 3 }, { read: 4, open: 5 }), /each operation has a name of its own, but not read, open/);
});

test('what was given up before it began does nothing', async () => {
  const place = fileWith('kept', 'content');
  const creation = { mode: 0o600, durable: false };
  const calls = [
    { name: 'unlinkName', args: [place, false] },
    { name: 'writeAll', args: [place, new Uint8Array(0), 'none', false, creation, false] },
    { name: 'truncate', args: [place, 0, false] },
  ];
  for (const call of calls) assert.equal(await codes([{ ...call, control: givenUp() }]), ['TIDEMARK_ABORTED'], call.name);
  assert.is(readFileSync(place.path, 'utf8'), 'content');
  // The same calls would have done it.
  for (const call of calls.toReversed()) assert.equal(await codes([{ ...call, control: undefined }]), ['done'], call.name);
  assert.not(existsSync(place.path));
});

test('of calls that are done together, the one that was given up does nothing, and the others are done', async () => {
  const settings = { preserve: { mode: true, owner: false, times: false, xattrs: false }, mode: 0o600, waits: true };
  const places = ['first', 'second', 'third'].map((name) => fileWith(name, 'old'));
  const calls = places.map((place, index) => ({ name: 'replaceFile', args: [place, 'new', settings], control: index === 1 ? givenUp() : undefined }));
  assert.equal(await codes(calls), ['done', 'TIDEMARK_ABORTED', 'done']);
  assert.equal(places.map(({ path }) => readFileSync(path, 'utf8')), ['new', 'old', 'new']);
});

test.run();
