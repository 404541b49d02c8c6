/** `tidemark cat`: the records of a journal on stdout. */
import type { Command } from 'commander';
import type { Tail } from '../../workers/protocol/frame-walk.js';
import { JournalReader } from '../reader.js';
import { RecordOutput, withFormatOptions, type FormatOptions } from './output.js';
import { readToEnd } from './scan.js';
import { checkFrom, DamageError, parseCount, parseLsn } from './support.js';

interface CatOptions extends FormatOptions {
  readonly from?: number;
  readonly limit: number;
}

export function addCat(program: Command): void {
  const command = program
    .command('cat')
    .description('print the records of a journal, one per line; they may not be durable yet while it is being written')
    .argument('<journal>', 'path of the journal')
    .option('--from <lsn>', 'LSN of the record to begin with; default: the oldest there is', parseLsn)
    .option('--limit <n>', 'the most records to print', parseCount, Infinity);
  withFormatOptions(command).action(cat);
}

async function cat(path: string, options: CatOptions): Promise<void> {
  await using reader = await JournalReader.open(path, options.from === undefined ? {} : { from: options.from });
  await checkFrom(path, options.from);
  const output = new RecordOutput(options);
  let left = options.limit;
  let tail: Tail | undefined;
  try {
    tail = left === 0 ? undefined : await readToEnd(reader, (record) => {
      left--;
      return output.add(record) ? output.flush().then(() => left > 0) : left > 0;
    });
  } finally {
    // What comes before damage is shown.
    await output.flush();
  }
  if (tail !== undefined && tail.state !== 'clean-end') throw new DamageError(path, tail);
}
