#!/usr/bin/env node
/** The command line. One file per command; this one sets the program up and ends it. */
import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { InvalidArgumentError } from '../../platform/errors.js';
import { addAppend } from './append.js';
import { addBench } from './bench.js';
import { addCat } from './cat.js';
import { addExport, addImport } from './convert.js';
import { addDoctor } from './doctor.js';
import { addFs } from './fs.js';
import { addFollow } from './follow.js';
import { addInfo } from './info.js';
import { addRepair } from './repair.js';
import { describeError, EXIT, EXIT_CODES_HELP, exitCodeOf, isOutputClosed } from './support.js';
import { addVerify } from './verify.js';

function createProgram(): Command {
  const program = new Command('tidemark')
    .description('Durable journals: append, read, check and measure them. File operations with explicit durability.')
    .version(packageVersion())
    .exitOverride()
    // Usage errors are reported below, like any other.
    .configureOutput({ outputError: () => undefined })
    .addHelpText('afterAll', EXIT_CODES_HELP);
  for (const add of [addAppend, addCat, addFollow, addInfo, addVerify, addRepair, addExport, addImport, addDoctor, addBench, addFs]) add(program);
  return program;
}

function packageVersion(): string {
  const text = readFileSync(new URL('../../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { readonly version: string }).version;
}

function report(error: unknown): void {
  if (isOutputClosed(error)) return;
  if (error instanceof CommanderError) {
    // Help and the version end the program this way too; help that nobody asked for is an error.
    process.exitCode = error.exitCode === 0 ? EXIT.success : EXIT.error;
    if (error.code.startsWith('commander.help') || error.exitCode === 0) return;
    process.stderr.write(`${describeError(new InvalidArgumentError(error.message.replace(/^error: /, '')))}\n`);
    return;
  }
  process.exitCode = exitCodeOf(error);
  process.stderr.write(`${describeError(error)}\n`);
}

// A write to a closed pipe is reported to whoever wrote; without a listener it would end the process as well.
process.stdout.on('error', () => undefined);
process.stderr.on('error', () => undefined);

// Not awaited at the top level: a module that is may not be loaded by require().
createProgram().parseAsync().catch(report);
