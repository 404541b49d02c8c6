/** `tidemark verify`: reads everything and tells whether it is whole. */
import type { Command } from 'commander';
import { JournalError } from '../../platform/errors.js';
import { segmentName } from '../../workers/protocol/segment.js';
import { describeFinding, type Finding } from '../../workers/segment-layout/verdict.js';
import { isDirectory } from '../reader.js';
import { examineJournal, findingsOf } from './examination.js';
import { survey } from './scan.js';
import { EXIT, plural, print, printJson } from './support.js';

interface VerifyOptions {
  readonly json?: true;
}

export function addVerify(program: Command): void {
  program
    .command('verify')
    .description('read a whole journal, checksums included, and tell how it ends')
    .argument('<journal>', 'path of the journal')
    .option('--json', 'print JSON')
    .action(async (path: string, options: VerifyOptions) => {
      await ((await isDirectory(path)) ? verifySegments(path, options) : verifyFile(path, options));
    });
}

async function verifyFile(path: string, options: VerifyOptions): Promise<void> {
  const { fileBytes, records, tail } = await survey('verify', path);
  const { state, position, detail } = tail;
  if (options.json === true) await printJson({ path, state, position, detail, records, fileBytes });
  else await print(`${path}: ${state} at LSN ${position}: ${detail} (${plural(records, 'record')}, ${plural(fileBytes, 'byte')} in the file)\n`);
  if (state !== 'clean-end') process.exitCode = EXIT.damaged;
}

async function verifySegments(path: string, options: VerifyOptions): Promise<void> {
  const { verdict, segments } = await examineJournal('verify', path);
  if (segments === 0) throw new JournalError('TIDEMARK_NOT_A_JOURNAL', `directory '${path}' is no journal: it has no segments`, { path });
  if (verdict.kind === 'not-a-journal') throw new JournalError('TIDEMARK_NOT_A_JOURNAL', `'${path}' is not a journal: ${verdict.detail}`, { path });
  const { kind: state, log } = verdict;
  const findings = findingsOf(verdict);
  if (options.json === true) {
    await printJson({
      path, layout: 'segments', state, records: log?.records ?? null, end: log?.end ?? null, provenLsn: log?.provenLsn ?? null, segments, findings: findings.map(asJson),
    });
  } else {
    const lines = findings.map((finding) => `${describeFinding(finding)}\n`).join('');
    const whole = log === undefined ? '' : `, whole up to LSN ${log.end}, proven durable up to LSN ${log.provenLsn}, ${plural(log.records, 'record')} up to there`;
    await print(`${lines}${path}: ${state}${whole} (${plural(segments, 'segment')})\n`);
  }
  if (state !== 'clean') process.exitCode = EXIT.damaged;
}

function asJson({ kind, base, offset, lsn, endLsn, expected, found, proof }: Finding): object {
  return { kind, segment: segmentName(base), offset, lsn, endLsn, expected, found, proof: proof ?? null };
}
