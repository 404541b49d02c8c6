/**
 * Replaces files again and again, several at a time, and says what it does in lines on descriptor 3: `! <file> <n>` version n is
 * about to be written, `+ <file> <n> 0` it was acknowledged.
 */
import { writeSync } from 'node:fs';
import { join } from 'node:path';
import { IoScheduler } from 'tidemark';
import type { Cheat } from './power-writer.js';
import { recordOf, REPLACED_BYTES } from './records.js';
import { taskOf } from './report.js';

export interface ReplacerTask {
  readonly directory: string;
  /** Files that are replaced at the same time. */
  readonly files: number;
  /** Versions of each file; undefined: until it is killed. */
  readonly times?: number;
  readonly firstVersion?: number;
  /** Before each line, for who reads a log of other things too. */
  readonly prefix?: string;
  readonly cheat?: Cheat;
  /** It says that a version is there before it is written. */
  readonly acknowledgesEarly?: boolean;
}

const LINES = 3;
const { directory, files: count, times = Infinity, firstVersion = 0, prefix = '', cheat, acknowledgesEarly = false } = taskOf() as ReplacerTask;
if (cheat !== undefined) process.env['TIDEMARK_TEST_CHEAT'] = cheat;
const scheduler = new IoScheduler({ fileWorkers: 2, ...(cheat !== undefined && { workerUrl: new URL('./cheating-entry.js', import.meta.url) }) });
const say = (line: string): void => {
  writeSync(LINES, `${prefix}${line}\n`);
};

async function replaceOne(file: number): Promise<void> {
  const path = join(directory, `replaced-${file}`);
  for (let version = firstVersion; version < firstVersion + times; version++) {
    const content = recordOf({ life: 0, thread: file, sequence: version }, REPLACED_BYTES);
    say(`! ${file} ${version}`);
    if (acknowledgesEarly) say(`+ ${file} ${version} 0`);
    await scheduler.files.replaceFile(path, content);
    if (!acknowledgesEarly) say(`+ ${file} ${version} 0`);
  }
}

await Promise.all(Array.from({ length: count }, (_, file) => replaceOne(file)));
await scheduler.close();
