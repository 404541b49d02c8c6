import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { JournalReader } from 'tidemark';
import { BACKENDS, schedulerOf, temporaryDirectory, withJournal } from '../support.js';

const test = suite('a record comes back');
const directory = temporaryDirectory();

for (const backend of BACKENDS) {
  test(`on ${backend}`, async () => {
    const path = join(directory, backend);
    const end = await withJournal(path, { scheduler: schedulerOf(backend) }, (journal) => journal.append('hello'));
    assert.is(end, 17);
    const reader = await JournalReader.open(path);
    const records: string[] = [];
    for await (const { payload } of reader) records.push(Buffer.from(payload).toString());
    await reader.close();
    assert.equal(records, ['hello']);
    assert.is(reader.tail?.state, 'clean-end');
  });
}

test.run();
