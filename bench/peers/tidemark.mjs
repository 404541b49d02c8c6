// A driver for a harness that compares durable logs: open(dir) -> { append, close }, readBack(dir, visit).
//
// The harness wants every record back, so nothing can be trimmed and used again during a run. What a journal in its steady
// state has from trimming, the driver makes before the run: space that is written already. The environment chooses:
//   TIDEMARK_BENCH_LAYOUT=file       the other layout
//   TIDEMARK_BENCH_PREPARED=<MiB>    written space at the start of a run, default 1024; 0 measures a new, empty journal
//   TIDEMARK_BENCH_DIRECT=0          through the page cache
//   TIDEMARK_BACKEND=blocking        without io_uring
import path from 'node:path';
import { Journal, JournalReader } from '../../dist/main/index.js';

export const name = process.env.TIDEMARK_BENCH_NAME ?? 'tidemark';

const journalPath = (dir) => path.join(dir, 'journal');
const layout = process.env.TIDEMARK_BENCH_LAYOUT ?? 'segments';
const direct = process.env.TIDEMARK_BENCH_DIRECT !== '0';
const preparedBytes = Number(process.env.TIDEMARK_BENCH_PREPARED ?? 1024) * 1024 * 1024;

async function openJournal(dir) {
  const journal = await Journal.open(journalPath(dir), { layout, direct });
  if (layout === 'segments' && preparedBytes > 0) await journal.preallocate(preparedBytes);
  return journal;
}

export async function open(dir) {
  const journal = await openJournal(dir);
  return { append: (record) => journal.append(record), close: () => journal.close() };
}

export async function openNoWait(dir) {
  const journal = await openJournal(dir);
  return {
    // Undefined goes on; a promise asks for a pause until there is room again.
    write(record) {
      if (journal.tryAppend(record) === undefined) return journal.append(record);
      return undefined;
    },
    flush: () => journal.syncThrough(journal.reservedLsn),
    close: () => journal.close(),
  };
}

export async function readBack(dir, visit) {
  const reader = await JournalReader.open(journalPath(dir));
  for await (const { payload } of reader) visit(Buffer.from(payload.buffer, payload.byteOffset, payload.length));
  await reader.close();
}
