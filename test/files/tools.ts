/** What tests of file operations share. */
import { inspect } from 'node:util';
import * as assert from 'uvu/assert';

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
