/** What is measured: Tidemark on each backend, and a group commit over `fs/promises` as a good hand writes it. */
import { open as openFile } from 'node:fs/promises';
import { join } from 'node:path';
import { crc32c } from '@node-rs/crc32';
import { IoScheduler, Journal, JournalReader, type JournalOptions } from 'tidemark';

export interface Log {
  readonly describe: string;
  append(record: Buffer): Promise<unknown>;
  close(): Promise<void>;
  /** The last record that is in the log, read back after closing. */
  last(): Promise<Uint8Array | undefined>;
}

/**
 * `tidemark` is a journal in its steady state: old segments are trimmed and used again. `tidemark-new` has no space made
 * ready and keeps everything. The others differ from the first in what their name says.
 */
export const CONTESTANTS = ['tidemark', 'tidemark-new', 'tidemark-blocking', 'tidemark-buffered', 'tidemark-file', 'fs-group'] as const;
export type Contestant = (typeof CONTESTANTS)[number];

export function openLog(contestant: Contestant, directory: string): Promise<Log> {
  return contestant === 'fs-group' ? openGroupCommit(directory) : openTidemark(contestant, directory);
}

const SEGMENT_BYTES = 64 * 1024 * 1024;
const STEADY: JournalOptions = { retainSegments: 2, spareSegments: 8 };

async function openTidemark(contestant: Contestant, directory: string): Promise<Log> {
  const path = join(directory, 'journal');
  const scheduler = new IoScheduler(contestant === 'tidemark-blocking' ? { backend: 'blocking' } : {});
  const layout: JournalOptions = contestant === 'tidemark-file' ? { layout: 'file' } : contestant === 'tidemark-new' ? {} : STEADY;
  const journal = await Journal.open(path, { ...layout, scheduler, direct: contestant !== 'tidemark-buffered' });
  // What trimming has made of a journal that has been at work for a while.
  if (layout === STEADY) await journal.preallocate(6 * SEGMENT_BYTES);
  return {
    describe: `${journal.backend.kind}, ${journal.directReason}`,
    append: (record) => journal.append(record),
    close: () => journal.close(),
    async last() {
      let last: Uint8Array | undefined;
      const reader = await JournalReader.open(path);
      for await (const record of reader) last = record.payload;
      await reader.close();
      return last;
    },
  };
}

const HEADER_BYTES = 4 + 4;

/** While one commit is in flight the next batch gathers: one `writev` and one `fdatasync` for each. */
async function openGroupCommit(directory: string): Promise<Log> {
  const path = join(directory, 'log');
  const file = await openFile(path, 'a');
  const parent = await openFile(directory, 'r');
  await parent.sync();
  await parent.close();
  interface Waiting { record: Buffer; resolve: () => void; reject: (error: unknown) => void }
  let waiting: Waiting[] = [];
  let running: Promise<void> | undefined;

  async function commit(batch: Waiting[]): Promise<void> {
    const headers = Buffer.allocUnsafe(HEADER_BYTES * batch.length);
    const pieces: Buffer[] = [];
    let bytes = 0;
    batch.forEach(({ record }, i) => {
      headers.writeUInt32LE(record.length, i * HEADER_BYTES);
      headers.writeUInt32LE(crc32c(record), i * HEADER_BYTES + 4);
      pieces.push(headers.subarray(i * HEADER_BYTES, (i + 1) * HEADER_BYTES), record);
      bytes += HEADER_BYTES + record.length;
    });
    const { bytesWritten } = await file.writev(pieces);
    if (bytesWritten !== bytes) throw new Error('short write');
    await file.datasync();
  }

  async function run(): Promise<void> {
    while (waiting.length > 0) {
      const batch = waiting;
      waiting = [];
      try {
        await commit(batch);
        for (const { resolve } of batch) resolve();
      } catch (error) {
        for (const { reject } of batch) reject(error);
      }
    }
    running = undefined;
  }

  return {
    describe: 'fs/promises writev + datasync, one commit at a time',
    append: (record) => new Promise<void>((resolve, reject) => {
      waiting.push({ record, resolve, reject });
      // A microtask later, so that what is appended in one turn goes into one commit.
      running ??= Promise.resolve().then(run);
    }),
    async close() {
      await running;
      await file.close();
    },
    async last() {
      const reading = await openFile(path);
      const { size } = await reading.stat();
      const header = Buffer.alloc(HEADER_BYTES);
      let last = Buffer.alloc(0);
      for (let at = 0; at < size;) {
        await reading.read(header, 0, HEADER_BYTES, at);
        const bytes = header.readUInt32LE(0);
        if (at + HEADER_BYTES + bytes === size) {
          last = Buffer.alloc(bytes);
          await reading.read(last, 0, bytes, at + HEADER_BYTES);
        }
        at += HEADER_BYTES + bytes;
      }
      await reading.close();
      return last;
    },
  };
}
