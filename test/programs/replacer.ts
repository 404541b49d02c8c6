/** Replaces a file again and again: a new one beside it, synced, renamed over it, the directory synced. */
import { renameSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { segments } from '../internals.js';
import { recordOf, REPLACED_BYTES } from './records.js';
import { taskOf } from './report.js';
import type { Cheat } from './power-writer.js';

export interface ReplacerTask {
  readonly path: string;
  readonly times: number;
  readonly cheat?: Cheat;
}

const CONTROL = 3;

const { path, times, cheat } = taskOf() as ReplacerTask;
const { files, NativeMemory } = segments;
const temporary = `${path}.new`;

for (let sequence = 0; sequence < times; sequence++) {
  const content = new NativeMemory(REPLACED_BYTES, 4096);
  content.bytes.set(recordOf({ life: 0, thread: 0, sequence }, REPLACED_BYTES));
  writeSync(CONTROL, `mark ! 0 ${sequence}\n`);
  const descriptor = files.open(temporary, { write: true, create: true, truncate: true });
  files.writeFully(descriptor, content.address, REPLACED_BYTES, 0);
  if (cheat !== 'never syncs') files.syncFull(descriptor);
  files.close(descriptor);
  renameSync(temporary, path);
  if (cheat === undefined) files.syncDirectory(dirname(path));
  writeSync(CONTROL, `mark + 0 ${sequence} 0\n`);
}
