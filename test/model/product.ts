/** The built modules that a thread on the stage plays, from the package or from a copy of it that was changed. */
import type * as Journal from '../../dist/main/journal.js';
import type * as Keeper from '../../dist/main/segment-keeper.js';
import type * as Errno from '../../dist/platform/errno.js';
import type * as Errors from '../../dist/platform/errors.js';
import type * as Ffi from '../../dist/platform/ffi.js';
import type * as Select from '../../dist/platform/select.js';
import type * as BlockingJournal from '../../dist/workers/file-layout/blocking-journal.js';
import type * as RingJournal from '../../dist/workers/file-layout/ring-journal.js';
import type * as FileWriteSide from '../../dist/workers/file-layout/write-side.js';
import type * as ControlBlock from '../../dist/workers/protocol/control-block.js';
import type * as LogBuffer from '../../dist/workers/protocol/log-buffer.js';
import type * as BlockingEngine from '../../dist/workers/segment-layout/blocking-engine.js';
import type * as SegmentsJournal from '../../dist/workers/segment-layout/journal.js';
import type * as RingEngine from '../../dist/workers/segment-layout/ring-engine.js';
import type * as SegmentsWriteSide from '../../dist/workers/segment-layout/write-side.js';

export type Product =
  & typeof ControlBlock
  & typeof LogBuffer
  & typeof Errors
  & typeof Errno
  & typeof Ffi
  & typeof Select
  & typeof BlockingJournal
  & typeof RingJournal
  & typeof FileWriteSide
  & typeof BlockingEngine
  & typeof RingEngine
  & typeof SegmentsJournal
  & typeof SegmentsWriteSide
  & typeof Journal
  & typeof Keeper;

/** What each thread needs; loading takes longer than most schedules. */
const FILES = {
  everybody: ['workers/protocol/control-block.js', 'workers/protocol/log-buffer.js', 'platform/errors.js', 'platform/errno.js', 'platform/ffi.js', 'platform/select.js'],
  appender: ['main/journal.js', 'main/segment-keeper.js'],
  writer: [
    'workers/file-layout/blocking-journal.js', 'workers/file-layout/ring-journal.js', 'workers/file-layout/write-side.js',
    'workers/segment-layout/blocking-engine.js', 'workers/segment-layout/ring-engine.js', 'workers/segment-layout/journal.js', 'workers/segment-layout/write-side.js',
  ],
} as const;

/** `root`: the directory that holds `main`, `workers` and `platform`, as a URL that ends with a slash. */
export async function loadProduct(root: string, role: keyof typeof FILES): Promise<Product> {
  const files = role === 'everybody' ? FILES.everybody : [...FILES.everybody, ...FILES[role]];
  const modules: unknown[] = await Promise.all(files.map((file) => import(new URL(file, root).href)));
  return Object.assign({}, ...modules) as Product;
}
