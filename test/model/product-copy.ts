/** Copies of the built product with changes: scaled to the size of the stage, and with a mistake where one is wanted. */
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { PRODUCT } from './theatre.js';

/** What is replaced in a compiled module. */
export interface Change {
  readonly file: string;
  readonly replace: readonly (readonly [from: string, to: string])[];
}

/** Limits that a small log buffer would never reach: with these, several writes are in flight and large records stream. */
const SCALE: readonly Change[] = [
  {
    file: 'workers/segment-layout/write-side.js',
    replace: [
      ['const EXTENT_BYTES_MAX = 1024 * 1024;', 'const EXTENT_BYTES_MAX = 4096;'],
      ['const WORTH_BYTES = 64 * 1024;', 'const WORTH_BYTES = 512;'],
      ['const MARK_BYTES_APART = 4 * 1024 * 1024;', 'const MARK_BYTES_APART = 6000;'],
      ['const MARK_MS_APART = 50;', 'const MARK_MS_APART = 2;'],
    ],
  },
  { file: 'workers/segment-layout/ring-engine.js', replace: [['const BLOCKING_BYTES_MAX = 256 * 1024;', 'const BLOCKING_BYTES_MAX = 2048;']] },
  {
    file: 'workers/file-layout/write-side.js',
    replace: [
      ['const WRITE_BYTES_MAX = 1024 * 1024;', 'const WRITE_BYTES_MAX = 2048;'],
      ['const COPY_BYTES_MAX = 64 * 1024;', 'const COPY_BYTES_MAX = 1024;'],
    ],
  },
  { file: 'workers/protocol/frame.js', replace: [['const FILE_BATCH_BYTES_MAX = 4 * 1024 * 1024;', 'const FILE_BATCH_BYTES_MAX = 4096;']] },
  // No less than two sectors: whatever is copied before its thread sleeps, the writer can write a sector of it.
  { file: 'main/appender.js', replace: [['const COPY_BYTES_MAX = 4 * 1024 * 1024;', 'const COPY_BYTES_MAX = 8192;']] },
];

/** Runs `use` with the URL of a copy that has these changes besides. */
export async function withCopy<T>(changes: readonly Change[], use: (product: string) => Promise<T>): Promise<T> {
  // Beside the product, so that the packages it needs are found from there too.
  const parent = fileURLToPath(new URL('../build/', PRODUCT));
  mkdirSync(parent, { recursive: true });
  const copy = mkdtempSync(join(parent, 'model-'));
  try {
    cpSync(fileURLToPath(PRODUCT), copy, { recursive: true, filter: (file) => !file.endsWith('.map') && !file.endsWith('.d.ts') });
    for (const { file, replace } of [...SCALE, ...changes]) {
      let source = readFileSync(join(copy, file), 'utf8');
      for (const [from, to] of replace) {
        if (source.split(from).length !== 2) throw new Error(`what is to be changed stands not once in ${file}: ${from}`);
        source = source.replace(from, () => to);
      }
      writeFileSync(join(copy, file), source);
    }
    return await use(pathToFileURL(`${copy}/`).href);
  } finally {
    rmSync(copy, { recursive: true, force: true });
  }
}
