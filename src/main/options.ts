/** Checks of options and arguments. Each error names the option, what was expected and what came. */
import { InvalidArgumentError } from '../platform/errors.js';

function got(value: unknown): string {
  if (typeof value === 'string') return `'${value.length > 60 ? `${value.slice(0, 60)}…` : value}' (string)`;
  if (typeof value === 'number' || typeof value === 'bigint' || typeof value === 'boolean') return `${value} (${typeof value})`;
  if (value === null || value === undefined) return String(value);
  if (typeof value === 'object') return `an instance of ${(value.constructor as { name?: string } | undefined)?.name ?? 'no class'}`;
  return typeof value;
}

export function fail(name: string, expected: string, value: unknown): never {
  throw new InvalidArgumentError(`Expected \`${name}\` to be ${expected}, got ${got(value)}`);
}

/** Checks that `options` is an object whose keys are all known. */
export function checkKeys(name: string, options: unknown, known: readonly string[]): void {
  if (typeof options !== 'object' || options === null || Array.isArray(options)) fail(name, 'an object', options);
  for (const key of Object.keys(options)) {
    if (!known.includes(key)) {
      throw new InvalidArgumentError(`Unknown option \`${key}\` in \`${name}\`, expected one of ${known.join(', ')}`);
    }
  }
}

export function required(name: string, value: unknown, expected: string): void {
  if (value === undefined) fail(name, expected, value);
}

export function list(name: string, value: unknown): void {
  if (!Array.isArray(value)) fail(name, 'an array', value);
}

export function integer(name: string, value: unknown, fallback: number, min: number, max: number): number {
  if (value === undefined) return fallback;
  if (typeof value !== 'number' || !Number.isInteger(value) || value < min || value > max) {
    fail(name, `an integer from ${min} to ${max}`, value);
  }
  return value;
}

export function powerOfTwo(name: string, value: unknown, fallback: number, min: number, max: number): number {
  const number = integer(name, value, fallback, min, max);
  if (2 ** Math.round(Math.log2(number)) !== number) fail(name, `a power of two from ${min} to ${max}`, value);
  return number;
}

export function boolean(name: string, value: unknown, fallback: boolean): boolean {
  if (value === undefined) return fallback;
  if (typeof value !== 'boolean') fail(name, 'a boolean', value);
  return value;
}

export function oneOf<T extends string>(name: string, value: unknown, fallback: T, choices: readonly T[]): T {
  if (value === undefined) return fallback;
  const found = choices.find((choice) => choice === value);
  if (found === undefined) fail(name, `one of ${choices.map((choice) => `'${choice}'`).join(', ')}`, value);
  return found;
}

/** A path as a string; `file:` URLs are not taken, to keep one way. */
export function path(name: string, value: unknown): string {
  if (typeof value !== 'string' || value.length === 0) fail(name, 'a path, a string that is not empty', value);
  if (value.includes('\0')) fail(name, 'a path without NUL characters', value);
  // Half a character would silently become another one, and the path another file's.
  if (/\p{Surrogate}/u.test(value)) fail(name, 'a path that UTF-8 can express', value);
  return value;
}

/** An offset or a length in bytes, which must be there. */
export function position(name: string, value: unknown, min = 0): number {
  required(name, value, 'a number of bytes');
  return integer(name, value, 0, min, Number.MAX_SAFE_INTEGER);
}

/** A function, where there is one. */
export function callback<F extends (...args: never[]) => unknown>(name: string, value: F | undefined): F | undefined {
  if (value !== undefined && typeof value !== 'function') fail(name, 'a function', value);
  return value;
}

export function signal(name: string, value: unknown): AbortSignal | undefined {
  if (value === undefined) return undefined;
  if (!(value instanceof AbortSignal)) fail(name, 'an AbortSignal', value);
  return value;
}

/** An LSN: a byte position in the log, exact to 2^53. */
export function lsn(name: string, value: unknown): number {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0) {
    fail(name, 'an LSN, an integer from 0 to 2^53 - 1', value);
  }
  return value;
}
