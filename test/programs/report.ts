/** How a test's program gets its task and gives its answer: JSON in the first argument, JSON in the last line printed. */
import { writeSync } from 'node:fs';

export function taskOf(): unknown {
  return JSON.parse(process.argv[2] ?? '{}');
}

/** Written at once, so that it is there however the process ends. */
export function report(value: unknown): void {
  writeSync(1, `${JSON.stringify(value)}\n`);
}

/** An error as the tests look at it. */
export interface Failure {
  readonly name: string;
  readonly code: string;
  readonly message: string;
  readonly errnoName?: string;
  readonly syscall?: string;
  readonly path?: string;
  readonly cause?: Failure;
}

export function failureOf(error: unknown): Failure {
  const { name, code, message, errnoName, syscall, path, cause } = error as Record<string, unknown>;
  return {
    name: String(name),
    code: String(code),
    message: String(message),
    ...(typeof errnoName === 'string' && { errnoName }),
    ...(typeof syscall === 'string' && { syscall }),
    ...(typeof path === 'string' && { path }),
    ...(cause !== undefined && { cause: failureOf(cause) }),
  };
}
