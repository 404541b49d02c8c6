// A driver for a harness that compares durable logs: open(dir) -> { append, close }, readBack(dir, visit).
// TIDEMARK_BACKEND and TIDEMARK_BENCH_DIRECT=0 choose what is measured.
import path from 'node:path';
import { Journal, JournalReader } from '../../dist/main/index.js';

export const name = 'tidemark';

const file = (dir) => path.join(dir, 'journal');
const direct = process.env.TIDEMARK_BENCH_DIRECT !== '0';

export async function open(dir) {
  const journal = await Journal.open(file(dir), { layout: 'file', direct });
  return { append: (record) => journal.append(record), close: () => journal.close() };
}

export async function openNoWait(dir) {
  const journal = await Journal.open(file(dir), { layout: 'file', direct });
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
  const reader = await JournalReader.open(file(dir));
  for await (const { payload } of reader) visit(Buffer.from(payload.buffer, payload.byteOffset, payload.length));
  await reader.close();
}
