/** Memory that native code is given stays where it is until the call returns, whatever the garbage collector does meanwhile. */
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { collect } from '../fault/tools.js';
import { ffi, fileOperations, linux } from '../internals.js';
import { temporaryDirectory } from '../support.js';

const test = suite('memory of native calls');
const directory = temporaryDirectory();

/** Often enough that V8 compiles what runs, and then knows better what is used no more. */
const TIMES = 3000;
const MIB = 1024 * 1024;

/** Collects what nothing refers to, and takes the memory that this gives back. */
function collectAndReuse(bytes: number): Uint8Array[] {
  collect({ type: 'minor' });
  return Array.from({ length: 4 }, () => new Uint8Array(new SharedArrayBuffer(bytes)).fill(0x58));
}

/** The platform's calls, before each of which garbage is collected. */
type Calls = Record<string, (...args: never[]) => unknown>;

function collecting<T extends object>(calls: T, names: readonly (keyof T)[], bytes: number): T {
  const wrapped = Object.fromEntries(names.map((name) => [name, (...args: never[]): unknown => {
    const reused = collectAndReuse(bytes);
    const result = (calls as Calls)[name as string]?.(...args);
    assert.is(reused.length, 4);
    return result;
  }]));
  return { ...calls, ...wrapped };
}

function contextOf(bytes: number): never {
  const platform = {
    ...linux,
    files: collecting(linux.files, ['writeFully'], bytes),
    transfer: collecting(linux.transfer, ['read', 'write', 'readVector', 'writeVector'], bytes),
  };
  return { platform, checkAborted: () => undefined, progress: () => undefined, move: () => undefined } as never;
}

const path = (name: string): string => join(directory, name);
const place = (name: string): { path: string; root: undefined } => ({ path: path(name), root: undefined });
const creation = { mode: 0o600, durable: false };

test('zeros that are written are zeros', () => {
  fileOperations.writeAll(contextOf(64), place('zeros'), new Uint8Array(1), 'none', false, creation, false);
  fileOperations.writeZeroes(contextOf(MIB), place('zeros'), 0, 8 * MIB, false);
  assert.ok(readFileSync(path('zeros')).equals(Buffer.alloc(8 * MIB)));
});

test('small contents are what was given', () => {
  const context = contextOf(64);
  const settings = { preserve: { mode: true, owner: false, times: false, xattrs: false }, mode: 0o600, waits: true };
  mkdirSync(path('small'));
  for (let time = 0; time < TIMES; time++) {
    const name = join('small', String(time % 4));
    fileOperations.replaceFile(context, place(name), `content ${time}`, settings);
    assert.is(readFileSync(path(name), 'utf8'), `content ${time}`);
  }
});

test('what is written and read by vectors is what was given', () => {
  const context = contextOf(64);
  for (let time = 0; time < TIMES; time++) {
    fileOperations.writeAll(context, place('vector'), Buffer.from('0'), 'none', false, creation, false);
    fileOperations.writeVector(context, place('vector'), [Buffer.from(`first ${time} `), Uint8Array.from([0x61, 0x62])], 0, 'none', false);
    const length = `first ${time} ab`.length;
    const { data } = fileOperations.readVectorOwn(context, place('vector'), [length], 0);
    assert.is(Buffer.from(data[0] ?? []).toString(), `first ${time} ab`);
  }
});

test('memory is held while something happens, and what held it before afterwards', () => {
  // Its address is all that is left of it for the compiler.
  const look = (): number => {
    const memory = new ffi.NativeMemory(MIB, 4096);
    memory.bytes.fill(0x61);
    const { address } = memory;
    return ffi.whileHeld(memory.buffer, () => {
      const reused = collectAndReuse(MIB + 4096);
      const seen = new Uint8Array(ffi.viewOf(address, MIB));
      return seen.every((byte) => byte === 0x61) ? reused.length : 0;
    });
  };
  for (let time = 0; time < 30; time++) assert.is(ffi.whileHeld('other', look), 4);
});

test.run();
