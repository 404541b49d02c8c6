/** `tidemark cat`: the records of a journal on stdout. */
import type { Command } from 'commander';
import { JournalReader } from '../reader.js';
import { RecordOutput, withFormatOptions, type FormatOptions } from './output.js';
import { readToEnd } from './scan.js';
import { checkFrom, DamageError, parseCount, parseLsn } from './support.js';

interface CatOptions extends FormatOptions {
  readonly from: number;
  readonly limit: number;
}

export function addCat(program: Command): void {
  const command = program
    .command('cat')
    .description('print the records of a journal, one per line; they may not be durable yet while it is being written')
    .argument('<journal>', 'path of the journal')
    .option('--from <lsn>', 'LSN of the record to begin with', parseLsn, 0)
    .option('--limit <n>', 'the most records to print', parseCount, Infinity);
  withFormatOptions(command).action(cat);
}

async function cat(path: string, options: CatOptions): Promise<void> {
  await using reader = await JournalReader.open(path, { from: options.from });
  await checkFrom(path, options.from);
  const output = new RecordOutput(options);
  let left = options.limit;
  const tail = left === 0 ? undefined : await readToEnd(reader, (record) => {
    left--;
    return output.add(record) ? output.flush().then(() => left > 0) : left > 0;
  });
  await output.flush();
  if (tail !== undefined && tail.state !== 'clean-end') throw new DamageError(path, tail);
}
