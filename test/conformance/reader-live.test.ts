/** A reader beside a writer sees whole records in order, and no damage where there is none. */
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { JournalReader, type JournalOptions } from 'tidemark';
import { BACKENDS, schedulerOf, temporaryDirectory, withJournal } from '../support.js';

const test = suite('reading beside a writer');
const directory = temporaryDirectory();
const READS = 8;
const RECORD_BYTES = 1000;
const JOURNALS: Readonly<Record<string, JournalOptions>> = {
  'a file that grows': { layout: 'file', preallocate: 0 },
  'a file with space ahead': { layout: 'file', preallocate: 8 * 1024 * 1024 },
  segments: { layout: 'segments', segmentBytes: 1024 * 1024 },
};

for (const backend of BACKENDS) {
  for (const [name, options] of Object.entries(JOURNALS)) {
    test(`${backend}, ${name}`, async () => {
      const path = join(directory, `${backend}-${name}`);
      await withJournal(path, { ...options, scheduler: schedulerOf(backend), logBufferBytes: 1024 * 1024 }, async (journal) => {
        let reading = true;
        let sequence = 0;
        const append = async (): Promise<void> => {
          while (reading) {
            const record = Buffer.alloc(RECORD_BYTES);
            record.writeUInt32LE(sequence++);
            await journal.append(record);
          }
        };
        const appenders = Array.from({ length: 16 }, append);
        let seen = 0;
        for (let read = 0; read < READS; read++) {
          const durableBefore = journal.durableLsn;
          const reader = await JournalReader.open(path);
          let expected = 0;
          for await (const { payload } of reader) {
            assert.is(payload.length, RECORD_BYTES);
            assert.is(Buffer.from(payload.buffer, payload.byteOffset).readUInt32LE(), expected++);
          }
          assert.is(reader.tail?.state, 'clean-end', reader.tail?.detail);
          assert.ok((reader.tail?.position ?? 0) >= durableBefore, 'what was durable before is there');
          await reader.close();
          seen = expected;
        }
        reading = false;
        await Promise.all(appenders);
        assert.ok(seen > READS, 'the journal grew while it was read');
      });
    });
  }
}

test.run();
