/** `tidemark doctor`: what this machine and a directory's filesystem offer, found out by opening a journal there. */
import type { Command } from 'commander';
import type { Supports } from '../../platform/platform.js';
import { selectPlatform } from '../../platform/select.js';
import { Journal } from '../journal.js';
import type { Backend, IoScheduler } from '../scheduler.js';
import { describeMachine, probeFile, withTemporaryFile, type FileAbilities, type Machine } from './machine.js';
import { printJson, printTable, schedulerFor } from './support.js';

interface Diagnosis {
  readonly machine: Machine;
  readonly supports: Supports;
  readonly ioUring: { readonly available: boolean; readonly reason: string };
  /** What `auto` chooses here, and why; null when it fails for the reason that `ioUring` has. */
  readonly auto: Backend | null;
  /** `TIDEMARK_BACKEND`, which journals heed whose scheduler names no backend; null when it is not set. */
  readonly backendFromEnvironment: string | null;
  readonly directory: string;
  readonly file: FileAbilities;
  readonly registeredBuffer: boolean;
  readonly directActive: boolean;
  readonly directReason: string;
}

export function addDoctor(program: Command): void {
  program
    .command('doctor')
    .description('tell what this machine and the filesystem of a directory offer, and what a journal there would use')
    .argument('[directory]', 'where a temporary journal is opened, and removed again', '.')
    .option('--json', 'print JSON')
    .action(doctor);
}

async function doctor(directory: string, options: { readonly json?: true }): Promise<void> {
  const diagnosis = await withTemporaryFile(directory, 'doctor', (path) => diagnose(directory, path));
  if (options.json === true) await printJson(diagnosis);
  else await printTable(rowsOf(diagnosis));
}

async function diagnose(directory: string, path: string): Promise<Diagnosis> {
  const { scheduler, auto, ioUring } = await chooseBackend();
  try {
    // As little as can be: a look should not fill a disk.
    await using journal = await Journal.open(path, { scheduler, layout: 'file', preallocate: 0 });
    return {
      machine: describeMachine(),
      supports: selectPlatform().supports,
      ioUring,
      auto,
      backendFromEnvironment: process.env['TIDEMARK_BACKEND'] ?? null,
      directory,
      file: probeFile(path),
      registeredBuffer: journal.backend.registeredBuffer,
      directActive: journal.directActive,
      directReason: journal.directReason,
    };
  } finally {
    await scheduler.close();
  }
}

async function chooseBackend(): Promise<Pick<Diagnosis, 'auto' | 'ioUring'> & { readonly scheduler: IoScheduler }> {
  const scheduler = schedulerFor('auto');
  try {
    const auto = await scheduler.backend();
    return { scheduler, auto, ioUring: { available: auto.kind === 'io_uring', reason: auto.reason } };
  } catch (error) {
    // `auto` fails where a ring should work and does not: that is for the reader to know, not a reason to say no more.
    await scheduler.close();
    const reason = error instanceof Error ? error.message : String(error);
    return { scheduler: schedulerFor('blocking'), auto: null, ioUring: { available: false, reason } };
  }
}

function rowsOf(diagnosis: Diagnosis): (readonly [string, string])[] {
  const { machine, supports, ioUring, auto, file } = diagnosis;
  const environment = diagnosis.backendFromEnvironment === null ? '' : `; TIDEMARK_BACKEND=${diagnosis.backendFromEnvironment} overrides it`;
  return [
    ['platform', machine.platform],
    ['kernel', machine.kernel],
    ['node', machine.node],
    ['processors', machine.processors],
    ['supports', describeSupports(supports)],
    ['io_uring', ioUring.available ? 'available' : `not available: ${ioUring.reason}`],
    ['auto chooses', `${auto === null ? 'nothing: it fails' : `${auto.kind}: ${auto.reason}`}${environment}`],
    ['set-up flags', auto === null || auto.setupFlags.length === 0 ? 'none' : auto.setupFlags.join(', ')],
    ['registered buffer', diagnosis.registeredBuffer ? 'yes' : 'no'],
    ['sealing', auto === null ? 'unknown' : describeSealing(auto.sealing)],
    ['directory', diagnosis.directory],
    ['filesystem', file.filesystem],
    ['direct IO', describeDirect(diagnosis)],
    ['dsync writes', file.dsyncWrites ? 'yes, durable at completion' : 'not known to be honoured; a sync follows each write'],
  ];
}

function describeSealing(sealing: Backend['sealing']): string {
  return sealing === 'native' ? 'native shim' : '@node-rs/crc32 (the native shim was not built)';
}

function describeSupports(supports: Supports): string {
  const names = Object.entries(supports).filter(([, value]) => value === true).map(([name]) => name);
  return [...names, `advise (${supports.advise.join(', ')})`].join(', ');
}

function describeDirect({ file, directActive, directReason }: Diagnosis): string {
  if (!directActive) return `no: ${directReason}`;
  return `yes: ${directReason} (offsets aligned to ${file.directOffsetAlignment ?? '?'}, memory to ${file.directMemoryAlignment ?? '?'})`;
}
