/** The system calls of file operations, as strace sees them: what an operation did before it resolved, in which order. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { runProgram } from '../fault/tools.js';
import { markersOf, parseTrace, type Call } from '../fault/trace.js';
import type { TransferStep } from '../programs/transfers.js';

const TRACED = 'openat,openat2,pwrite64,pwritev2,pread64,preadv2,write,fsync,fdatasync,ftruncate';

export interface TracedStep {
  readonly answer: Record<string, unknown>;
  /** Those on paths of the test, that ended before the operation resolved: name, path without the directory, flags of pwritev2. */
  readonly calls: readonly string[];
}

/** Runs the steps in a program of its own, one after the other. `tracing`: more words for the tracer. */
export async function traceSteps(steps: readonly TransferStep[], directory: string, tracing: readonly string[] = []): Promise<TracedStep[]> {
  const trace = join(directory, '..', `trace-${process.pid}-${traces++}`);
  const { report, code, stderr } = await runProgram<Record<string, unknown>[]>('transfers', steps, {
    prefix: ['strace', '-f', '-tt', '-y', '-s', '20', '-e', `trace=${TRACED}`, ...tracing, '-o', trace],
  });
  if (code !== 0) throw new Error(stderr);
  const calls = parseTrace(readFileSync(trace, 'utf8'));
  const markers = markersOf(calls);
  return report.map((answer, index) => {
    const from = markers.find(({ kind, sequence }) => kind === 'append' && sequence === index)?.at ?? Infinity;
    const to = markers.find(({ kind, sequence }) => kind === 'ack' && sequence === index)?.at ?? -1;
    return { answer, calls: calls.filter(({ began, ended }) => began > from && ended < to).flatMap((call) => shown(call, directory)) };
  });
}

let traces = 0;

function shown(call: Call, directory: string): string[] {
  const [, path] = /^\d+<([^>]*)>/.exec(call.args) ?? [];
  if (path === undefined || (path !== directory && !path.startsWith(`${directory}/`))) return [];
  // An older strace knows no name for some of them.
  const flags = /, ((?:(?:RWF_\w+|0x\w+)\|?)+)(?: \/\*.*\*\/)?$/.exec(call.args)?.[1]?.replace('0x40', 'RWF_ATOMIC');
  return [[call.name, path.slice(directory.length + 1) || '.', ...(flags === undefined ? [] : [flags])].join(' ')];
}
