/** Runs the command `tidemark`, and looks at what it says. */
import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as assert from 'uvu/assert';
import { ended, temporaryDirectory, type Ended } from '../support.js';
import { HEADER } from './segment-files.js';

export const CLI = fileURLToPath(new URL('cli/tidemark.js', import.meta.resolve('tidemark')));
export const VERSION = (JSON.parse(readFileSync(fileURLToPath(import.meta.resolve('tidemark/package.json')), 'utf8')) as { version: string }).version;
export const directory = temporaryDirectory();

export const LAYOUTS = ['segments', 'file'] as const;
export type Layout = (typeof LAYOUTS)[number];

/** How a journal is created here. Segments of the default size would be much to prepare and little to test. */
export const CREATE: Readonly<Record<Layout, readonly string[]>> = { segments: ['--segment-bytes', '8M'], file: ['--layout', 'file'] };

/** Where no log of one such segment can end: behind the header of the next one. */
export const BEYOND = 8 * 1024 * 1024 + HEADER + 1;

/** Nothing here takes nearly as long. A child that hangs ends its test, not the suite. */
export const CHILD_TIMEOUT_MS = 120_000;
export const LIMITED = { timeout: CHILD_TIMEOUT_MS, killSignal: 'SIGKILL' } as const;

export const OVERHEAD_BYTES = 12;
export const HEADER_BYTES = 8;
export const MIB = 1024 * 1024;

export function start(args: readonly string[], environment: NodeJS.ProcessEnv = {}): ChildProcessWithoutNullStreams {
  const child = spawn(process.execPath, [CLI, ...args], { env: { ...process.env, ...environment }, cwd: directory, ...LIMITED });
  // A program that ends before it has read its input is nothing special here.
  child.stdin.on('error', () => undefined);
  return child;
}

export async function run(args: readonly string[], input: string | Uint8Array = '', environment: NodeJS.ProcessEnv = {}): Promise<Ended> {
  const child = start(args, environment);
  child.stdin.end(input);
  return ended(child);
}

/** Runs a command that has to succeed. */
export async function succeed(args: readonly string[], input: string | Uint8Array = ''): Promise<string> {
  const result = await run(args, input);
  assert.is(result.code, 0, `${args.join(' ')}: ${result.stderr}`);
  return result.stdout;
}

/** Resolves once the stream has given `text`; fails when it ends before. */
export function until(stream: NodeJS.ReadableStream, text: string): Promise<void> {
  let seen = '';
  return new Promise((resolve, reject) => {
    stream.on('data', (chunk: Buffer) => {
      seen += chunk.toString();
      if (seen.includes(text)) resolve();
    });
    stream.on('end', () => {
      reject(new Error(`expected '${text}', got '${seen}' before the end`));
    });
  });
}

let names = 0;
export const newPath = (): string => join(directory, `journal-${names++}`);

export async function journalOf(layout: Layout, ...records: readonly string[]): Promise<string> {
  const path = newPath();
  await succeed(['append', ...CREATE[layout], path], records.map((record) => `${record}\n`).join(''));
  return path;
}

export interface Listed {
  readonly start: number;
  readonly end: number;
  readonly payload: Buffer;
}

/** Everything there is, with its place. */
export async function list(path: string): Promise<Listed[]> {
  const lines = (await succeed(['cat', '--json', path])).split('\n').filter((line) => line !== '');
  return lines.map((line) => {
    const { start, end, text, base64, bytes } = JSON.parse(line) as { start: number; end: number; text?: string; base64?: string; bytes: number };
    const payload = text === undefined ? Buffer.from(base64 ?? '', 'base64') : Buffer.from(text);
    assert.is(payload.length, bytes);
    assert.is(end, start + bytes + OVERHEAD_BYTES);
    return { start, end, payload };
  });
}

export async function infoOf(path: string): Promise<Record<string, unknown>> {
  return JSON.parse(await succeed(['info', '--json', path])) as Record<string, unknown>;
}

export async function verified(path: string): Promise<Record<string, unknown>> {
  return JSON.parse(await succeed(['verify', '--json', path])) as Record<string, unknown>;
}

export const plural = (count: number, noun: string): string => `${count} ${noun}${count === 1 ? '' : 's'}`;

/** What `append` says. Where a record lies is plain to see in a file only: segments have marks and pads between them. */
export function summary(layout: Layout, records: number, bytes: number, durableLsn = bytes + records * OVERHEAD_BYTES): RegExp {
  return new RegExp(`^${plural(records, 'record')}, ${plural(bytes, 'byte')}, durable through LSN ${layout === 'file' ? durableLsn : '\\d+'}\\n$`);
}

/** A directory of its own, to see what a command leaves behind. */
export function emptyDirectory(): string {
  const path = newPath();
  mkdirSync(path);
  return path;
}

export function flipByte(path: string, offset: number): void {
  const byte = readFileSync(path)[offset] ?? 0;
  writeAt(path, Uint8Array.of(byte ^ 0xff), offset);
}

export function writeAt(path: string, bytes: Uint8Array, offset: number): void {
  const descriptor = openSync(path, 'r+');
  writeSync(descriptor, bytes, 0, bytes.length, offset);
  closeSync(descriptor);
}

export function lengthPrefixed(...records: readonly Uint8Array[]): Buffer {
  return Buffer.concat(records.flatMap((record) => {
    const prefix = Buffer.alloc(4);
    prefix.writeUInt32LE(record.length);
    return [prefix, record];
  }));
}

export function matches(result: Ended, expected: { readonly code: number; readonly stdout?: string | RegExp; readonly stderr?: string | RegExp }): void {
  for (const [name, got, wanted] of [['stderr', result.stderr, expected.stderr ?? ''], ['stdout', result.stdout, expected.stdout ?? '']] as const) {
    if (typeof wanted === 'string') assert.is(got, wanted, name);
    else assert.match(got, wanted);
  }
  assert.is(result.code, expected.code, 'exit code');
}

// ---- usage ---------------------------------------------------------------------------------------------------------

/** How an error of an option or argument ends. */
export const INVALID = / \[TIDEMARK_INVALID_ARGUMENT\]\n$/;
