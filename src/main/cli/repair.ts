/** `tidemark repair`: makes a damaged journal one that can be opened, and keeps what it takes away. */
import type { Command } from 'commander';
import type { RepairedRange, RepairReport } from '../../workers/protocol/messages.js';
import { Journal } from '../journal.js';
import { EXIT, plural, print, printJson, schedulerFor } from './support.js';

interface RepairCommandOptions {
  readonly dryRun?: true;
  readonly json?: true;
}

export function addRepair(program: Command): void {
  program
    .command('repair')
    .description('make a damaged journal one that can be opened; what is changed is kept beside it as <file>.damaged-<lsn>')
    .argument('<journal>', 'path of the journal')
    .option('--dry-run', 'tell what would be done, and change nothing')
    .option('--json', 'print the report as JSON')
    .action(repair);
}

async function repair(path: string, options: RepairCommandOptions): Promise<void> {
  const scheduler = schedulerFor(undefined);
  try {
    const report = await Journal.repair(path, { dryRun: options.dryRun === true, scheduler });
    if (options.json === true) await printJson({ ...report, path, ranges: report.ranges.map(asJson) });
    else await print(inWords(path, report));
    if (report.ranges.length > 0 && !report.repaired) process.exitCode = EXIT.damaged;
  } finally {
    await scheduler.close();
  }
}

/** With null for what is not known, so that every object has the same keys. */
function asJson({ keptAs, recordsAround, finding, ...range }: RepairedRange): object {
  return {
    ...range,
    keptAs: keptAs ?? null,
    recordsAround: { before: recordsAround.before ?? null, after: recordsAround.after ?? null },
    finding: { ...finding, proof: finding.proof ?? null },
  };
}

function inWords(path: string, report: RepairReport): string {
  const { ranges, repaired, end, records } = report;
  const lines = ranges.map((range) => `${describe(range)}\n`).join('');
  const state = ranges.length === 0 ? 'needs no repair' : repaired ? 'repaired' : 'damaged; nothing was changed';
  return `${lines}${path}: ${state}, ${plural(records, 'record')}, end at LSN ${end}\n`;
}

function describe({ segment, offset, lsn, endLsn, bytes, keptAs, droppedRecords, finding }: RepairedRange): string {
  const { kind, expected, found } = finding;
  const kept = keptAs === undefined ? '' : `, kept in '${keptAs}'`;
  const dropped = droppedRecords === 0 ? '' : `; ${plural(droppedRecords, 'whole record')} behind it cut off with it`;
  return `${kind.replace('-', ' ')} in '${segment}' at offset ${offset}, LSN ${lsn} to ${endLsn}: expected ${expected}, found ${found}; ${plural(bytes, 'byte')}${kept}${dropped}`;
}
