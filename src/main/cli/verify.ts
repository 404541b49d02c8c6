/** `tidemark verify`: reads everything and tells whether it is whole. */
import type { Command } from 'commander';
import { survey } from './scan.js';
import { EXIT, plural, print, printJson } from './support.js';

export function addVerify(program: Command): void {
  program
    .command('verify')
    .description('read a whole journal, checksums included, and tell how it ends')
    .argument('<journal>', 'path of the journal')
    .option('--json', 'print JSON')
    .action(verify);
}

async function verify(path: string, options: { readonly json?: true }): Promise<void> {
  const { fileBytes, records, tail } = await survey('verify', path);
  const { state, position, detail } = tail;
  if (options.json === true) await printJson({ path, state, position, detail, records, fileBytes });
  else await print(`${path}: ${state} at LSN ${position}: ${detail} (${plural(records, 'record')}, ${plural(fileBytes, 'byte')} in the file)\n`);
  if (state !== 'clean-end') process.exitCode = EXIT.damaged;
}
