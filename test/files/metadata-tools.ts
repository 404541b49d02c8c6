/** What the tests of attributes, metadata, ownership and special files share. */
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import * as assert from 'uvu/assert';
import { runProgram } from '../fault/tools.js';
import { isOn, parseTrace, type Call } from '../fault/trace.js';
import type { Failure } from '../programs/report.js';
import type { OperationAnswer } from '../programs/operations.js';
import { temporaryDirectory } from '../support.js';
import type { TestFilesystem } from './filesystems.js';

/** A user without any rights: "nobody". */
export const NOBODY = 65_534;

/** Paths that a careless program takes apart. */
export const ODD_NAMES = ['with\nnewline', `"quotes" and 'quotes'`, 'ümläut \u{1f4be}', '-dash', ' '] as const;

export type Calls = readonly (readonly [method: string, ...args: unknown[]])[];

/** What operations answer to another user. The directory of the filesystem is opened up for that. */
export async function callsAs(uid: number, filesystem: TestFilesystem, calls: Calls): Promise<readonly OperationAnswer[]> {
  chmodSync(dirname(filesystem.directory), 0o755);
  chmodSync(filesystem.directory, 0o755);
  return (await runProgram<readonly OperationAnswer[]>('operations', { calls }, { uid })).report;
}

export function valueOf(answer: OperationAnswer | undefined): Record<string, unknown> {
  if (answer === undefined || !('value' in answer)) throw new Error(`expected a value, got ${JSON.stringify(answer)}`);
  return answer.value;
}

export function failureIn(answer: OperationAnswer | undefined): Failure {
  if (answer === undefined || !('failure' in answer)) throw new Error(`expected an error, got ${JSON.stringify(answer)}`);
  return answer.failure;
}

/** The system calls of these names that succeeded, as a tracer saw them. */
export async function traced(calls: Calls, names: readonly string[]): Promise<{ readonly calls: readonly Call[]; readonly answers: readonly OperationAnswer[] }> {
  const output = join(temporaryDirectory(), 'trace');
  const prefix = ['strace', '-f', '-tt', '-y', '-o', output, '-e', `trace=${names.join(',')}`];
  const { report } = await runProgram<readonly OperationAnswer[]>('operations', { calls }, { prefix });
  // Node tries to sync its own output, which is a pipe.
  return { calls: parseTrace(readFileSync(output, 'utf8')).filter(({ result }) => result >= 0), answers: report };
}

/** On descriptors of one path: the change, then the sync, once each. */
export function checkSyncedAfter(calls: readonly Call[], change: string, path: string): void {
  const own = calls.filter((call) => isOn(call, path));
  assert.equal(own.map(({ name }) => name), [change, 'fsync']);
  assert.ok((own[0]?.ended ?? Infinity) < (own[1]?.began ?? -1), 'the sync began after the change had ended');
}

/** The error that a promise rejects with. */
export async function rejection(promise: Promise<unknown>): Promise<{ readonly code: string; readonly message: string }> {
  try {
    await promise;
  } catch (error) {
    return error as { code: string; message: string };
  }
  throw new Error('expected a rejection');
}

/** That of the system: one in front of it may be a script that chooses among versions, and takes ten times as long. */
const PYTHON = existsSync('/usr/bin/python3') ? '/usr/bin/python3' : 'python3';

/** Runs a line of Python with `os` and arguments: another way to the system's calls than this library's. */
export function python(line: string, ...args: readonly string[]): string {
  const { status, stdout, stderr, error } = spawnSync(PYTHON, ['-I', '-S', '-c', `import os, sys; a = sys.argv; ${line}`, ...args], { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${PYTHON} failed: ${error?.message ?? stderr}`);
  return stdout.trim();
}

/** Attributes as another program gets them, in hexadecimal, without following a link. */
export function attributesOf(path: string): Record<string, string> {
  const line = 'import json; print(json.dumps({n: os.getxattr(a[1], n, follow_symlinks=False).hex() for n in os.listxattr(a[1], follow_symlinks=False)}))';
  return JSON.parse(python(line, path)) as Record<string, string>;
}

/** An access control list: owner rw, user 1000 rw, group none, mask rw, others none (struct posix_acl_xattr_entry). */
export const ACL = ['02000000', '01000600ffffffff', '02000600e8030000', '04000000ffffffff', '10000600ffffffff', '20000000ffffffff'].join('');

export function setAttribute(path: string, name: string, hex: string): void {
  python('os.setxattr(a[1], a[2], bytes.fromhex(a[3]))', path, name, hex);
}

export function removeAttribute(path: string, name: string): void {
  python('os.removexattr(a[1], a[2])', path, name);
}
