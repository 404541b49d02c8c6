/** `tidemark info`: what a journal holds. */
import type { Command } from 'commander';
import { survey } from './scan.js';
import { EXIT, plural, printJson, printTable } from './support.js';

export function addInfo(program: Command): void {
  program
    .command('info')
    .description('print what a journal holds: records, bytes, LSNs, how it ends')
    .argument('<journal>', 'path of the journal')
    .option('--json', 'print JSON')
    .action(info);
}

async function info(path: string, options: { readonly json?: true }): Promise<void> {
  const { layout, segments, fileBytes, baseLsn, records, payloadBytes, firstLsn, lastLsn, tail } = await survey('info', path);
  const clean = tail.state === 'clean-end';
  const beyondEnd = Math.max(0, baseLsn + fileBytes - tail.position);
  const preparedBytes = clean ? beyondEnd : 0;
  const unreadableBytes = clean ? 0 : beyondEnd;
  if (options.json === true) {
    const lsns = { firstLsn: firstLsn ?? null, lastLsn: lastLsn ?? null, endLsn: tail.position };
    await printJson({ path, layout, ...(layout === 'segments' ? { segments } : {}), fileBytes, records, payloadBytes, ...lsns, tail, preparedBytes, unreadableBytes });
  } else {
    await printTable([
      ['journal', path],
      ['layout', layout === 'segments' ? `${layout}, ${plural(segments, 'file')}` : layout],
      ['size', `${fileBytes} bytes`],
      ['records', String(records)],
      ['payload', `${payloadBytes} bytes`],
      ['first LSN', String(firstLsn ?? '-')],
      ['last LSN', String(lastLsn ?? '-')],
      ['end LSN', String(tail.position)],
      ['tail', `${tail.state}: ${tail.detail}`],
      clean ? ['prepared', `${preparedBytes} bytes beyond the end`] : ['unreadable', `${unreadableBytes} bytes beyond the end`],
    ]);
  }
  if (!clean) process.exitCode = EXIT.damaged;
}
