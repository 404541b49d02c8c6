/** What all commands share: exit codes, errors, values of options, printing, interruption. */
import type { Stats } from 'node:fs';
import { stat } from 'node:fs/promises';
import { InvalidArgumentError as InvalidValueError } from 'commander';
import { fromNodeError } from '../../platform/errno.js';
import { InvalidArgumentError, TidemarkError } from '../../platform/errors.js';
import type { Tail } from '../../workers/protocol/frame-walk.js';
import { RECORD_BYTES_MAX } from '../../workers/protocol/frame.js';
import { IoScheduler, type IoSchedulerOptions } from '../scheduler.js';
import type { Layout } from '../storage.js';

export const EXIT = { success: 0, error: 1, damaged: 2 } as const;

export const EXIT_CODES_HELP = `
Exit codes:
  0  success
  1  error: bad usage, or a failure of the system; one line on stderr names it
  2  the journal is damaged, or the file is no journal`;

// ---- errors --------------------------------------------------------------------------------------------------------

/** A journal that ends in something other than a clean end. */
export class DamageError extends TidemarkError {
  constructor(path: string, tail: Tail) {
    super('TIDEMARK_DAMAGED', `'${path}' ends in ${tail.state} at LSN ${tail.position}: ${tail.detail}`);
  }
}

const DAMAGE_CODES: readonly string[] = ['TIDEMARK_DAMAGED', 'TIDEMARK_CORRUPT', 'TIDEMARK_NOT_A_JOURNAL'];

export function exitCodeOf(error: unknown): number {
  return error instanceof TidemarkError && DAMAGE_CODES.includes(error.code) ? EXIT.damaged : EXIT.error;
}

/** One line, whatever the error is; the stack only for those who look for a bug. */
export function describeError(error: unknown): string {
  if (!(error instanceof Error)) return `tidemark: ${String(error)}`;
  if (process.env['TIDEMARK_DEBUG'] === '1' && error.stack !== undefined) return `tidemark: ${error.stack}`;
  const code = 'code' in error && typeof error.code === 'string' ? ` [${error.code}]` : '';
  return `tidemark: ${error.message.replace(/\s*\n\s*/g, ' ')}${code}`;
}

/** True when whoever read our output has gone: no error, and nobody left to tell. */
export function isOutputClosed(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'EPIPE' && 'syscall' in error && error.syscall === 'write';
}

// ---- values of options ---------------------------------------------------------------------------------------------

const SUFFIXES: Readonly<Record<string, number>> = { '': 1, k: 1024, m: 1024 ** 2, g: 1024 ** 3 };

/** Bytes, with a suffix k, M or G for powers of 1024. */
export function parseSize(value: string): number {
  const [, digits, suffix] = /^(\d+)([kmg]?)$/i.exec(value) ?? [];
  const bytes = Number(digits) * (SUFFIXES[suffix?.toLowerCase() ?? ''] ?? Number.NaN);
  if (!Number.isSafeInteger(bytes)) throw new InvalidValueError('Expected a number of bytes, such as 4096, 64k, 16M or 1G.');
  return bytes;
}

export function parseInteger(min: number, max: number): (value: string) => number {
  return (value) => {
    const number = /^\d+$/.test(value) ? Number(value) : Number.NaN;
    if (!(number >= min && number <= max)) throw new InvalidValueError(`Expected an integer from ${min} to ${max}.`);
    return number;
  };
}

export const parseLsn = (value: string): number => parseInteger(0, Number.MAX_SAFE_INTEGER)(value);

export const parseCount = parseLsn;

export function parseRecordBytes(value: string): number {
  const bytes = parseSize(value);
  if (bytes > RECORD_BYTES_MAX) throw new InvalidValueError(`A record has at most ${RECORD_BYTES_MAX} bytes.`);
  return bytes;
}

export const BACKEND_CHOICES = ['auto', 'io_uring', 'blocking'] as const;

export const LAYOUT_CHOICES: readonly Layout[] = ['segments', 'file'];

/** A scheduler for one journal at a time. Without `backend` it heeds `TIDEMARK_BACKEND`. */
export function schedulerFor(backend: IoSchedulerOptions['backend'] | undefined): IoScheduler {
  return new IoScheduler({ fileWorkers: 1, ...(backend === undefined ? {} : { backend }) });
}

/** Refuses to begin beyond a file's end: that would be success for records which do not exist. Directories are read to tell. */
export async function checkFrom(path: string, from: number | undefined): Promise<void> {
  const status = await fileStatus(path);
  const { size } = status;
  if (from !== undefined && from > size && !status.isDirectory()) throw new InvalidArgumentError(`Expected \`--from\` to be an LSN of the journal, which has ${size} bytes, got ${from}`);
}

export async function fileStatus(path: string): Promise<Stats> {
  try {
    return await stat(path);
  } catch (error) {
    throw fromNodeError(error, path);
  }
}

// ---- printing ------------------------------------------------------------------------------------------------------

/** Writes to stdout and waits until it is taken; rejects when that fails. */
export async function print(text: string | Uint8Array): Promise<void> {
  try {
    await new Promise<void>((resolve, reject) => {
      process.stdout.write(text, (error) => {
        if (error instanceof Error) reject(error);
        else resolve();
      });
    });
  } catch (error) {
    throw isOutputClosed(error) ? error : fromNodeError(error, 'stdout');
  }
}

export function printJson(value: unknown): Promise<void> {
  return print(`${JSON.stringify(value)}\n`);
}

/** Lines of a name and a value, the values in one column. */
export function tableOf(rows: readonly (readonly [name: string, value: string])[]): string {
  const width = Math.max(...rows.map(([name]) => name.length));
  return rows.map(([name, value]) => `${name.padEnd(width)}  ${value}\n`).join('');
}

export function printTable(rows: Parameters<typeof tableOf>[0]): Promise<void> {
  return print(tableOf(rows));
}

/** A line for the person at the terminal, beside the output. */
export function note(text: string): void {
  process.stderr.write(`tidemark: ${text}\n`);
}

export function plural(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}

// ---- interruption --------------------------------------------------------------------------------------------------

export interface Interruption {
  /** Fires at the first SIGINT or SIGTERM, with an error as its reason. The second one ends the process as usual. */
  readonly signal: AbortSignal;
  readonly dispose: () => void;
}

export function onInterruption(): Interruption {
  const controller = new AbortController();
  const names = ['SIGINT', 'SIGTERM'] as const;
  const dispose = (): void => {
    for (const name of names) process.off(name, interrupt);
  };
  const interrupt = (name: NodeJS.Signals): void => {
    dispose();
    controller.abort(new TidemarkError('TIDEMARK_INTERRUPTED', `interrupted by ${name}`));
  };
  for (const name of names) process.on(name, interrupt);
  return { signal: controller.signal, dispose };
}
