/** What tests of file operations share. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { inspect } from 'node:util';
import * as assert from 'uvu/assert';
import type { FileHandle } from 'tidemark';

/** Random tests take their seed from the environment, to be run again. */
export const SEED = Number(process.env['SEED'] ?? 1 + (Date.now() % 1_000_000_000));

/** What a promise rejects with; `undefined` when it resolves. */
export async function rejected(promise: Promise<unknown>): Promise<unknown> {
  try {
    await promise;
    return undefined;
  } catch (error) {
    return error;
  }
}

/** The code of an error of this library; `undefined` when the promise resolves. */
export async function code(promise: Promise<unknown>): Promise<string | undefined> {
  const error = await rejected(promise);
  if (error === undefined) return undefined;
  return error instanceof Error && 'code' in error ? String(error.code) : `no code: ${inspect(error)}`;
}

/** The promise rejects with an error about an argument, whose text names it. */
export async function refused(promise: Promise<unknown>, text: RegExp): Promise<void> {
  const error = await rejected(promise) as Error & { code: string };
  assert.is(error.code, 'TIDEMARK_INVALID_ARGUMENT');
  assert.match(error.message, text);
}

/** For arguments of a wrong type. */
export function any(value: unknown): never {
  return value as never;
}

/** What the descriptors of this process lead to. */
export function openPaths(): string[] {
  return readdirSync('/proc/self/fd').flatMap((descriptor) => {
    try {
      return [readlinkSync(`/proc/self/fd/${descriptor}`)];
    } catch {
      // It was closed meanwhile, as that of this list is.
      return [];
    }
  });
}

/** Flags of an open descriptor, as the kernel tells. */
export function flagsOf(handle: FileHandle): number {
  const [, flags] = /flags:\s+(\d+)/.exec(readFileSync(`/proc/self/fdinfo/${handle.file.descriptor}`, 'utf8')) ?? [];
  return Number.parseInt(flags ?? '', 8);
}

export const O_APPEND = 0o2000;
export const O_DSYNC = 0o10000;
export const O_DIRECT = process.arch.startsWith('arm') ? 0o200000 : 0o40000;
