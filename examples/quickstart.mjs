import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Journal, JournalReader } from 'tidemark';

const directory = await mkdtemp(join(tmpdir(), 'tidemark-quickstart-'));
const path = join(directory, 'orders.journal');

// Writing. Opening creates the journal, a directory of segments, or recovers the one that is there.
const journal = await Journal.open(path);
const lsn = await journal.append('first order'); // on stable storage once this resolves
await journal.appendBatch(['second order', Buffer.from('third order')]); // side by side, in one commit
console.log(`first order ends at LSN ${lsn}, all is durable up to LSN ${journal.durableLsn}`);
await journal.close();

// Reading. A reader takes no lock and changes nothing.
const reader = await JournalReader.open(path);
for await (const { start, payload } of reader) {
  console.log(start, Buffer.from(payload).toString());
}
console.log(`the journal ends at LSN ${reader.tail.position}: ${reader.tail.state}`);
await reader.close();

await rm(directory, { recursive: true });
