/** Following a journal that another process writes, rotates and trims. */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { JournalReader } from 'tidemark';
import { temporaryDirectory } from '../support.js';

const test = suite('following from another process');
const program = fileURLToPath(new URL('../programs/rotating-writer.js', import.meta.url));
const ROTATIONS = 1000;

test(`every record once, in order, across ${ROTATIONS} rotations and trims`, async () => {
  const directory = join(temporaryDirectory(), 'journal');
  const writer = fork(program, [directory, String(ROTATIONS)]);
  await once(writer, 'message');
  let told: { records: number; segmentsTrimmed: number; segmentsRecycled: number } | undefined;
  const ended = new AbortController();
  writer.on('message', (message: typeof told) => {
    told = message;
  });
  writer.on('exit', (code) => {
    if (code !== 0) ended.abort(new Error(`the writer ended with exit code ${code}`));
  });
  const reader = await JournalReader.open(directory);
  let next = 0;
  let reported = 0;
  for await (const { end, payload } of reader.follow({ from: 4096, signal: ended.signal })) {
    const text = Buffer.from(payload).toString();
    assert.is(text, `${next}:${'x'.repeat((next * 37) % 1500)}`);
    next++;
    if (end - reported > 64 * 1024) {
      reported = end;
      if (writer.connected) writer.send({ read: end });
    }
    if (told !== undefined && next === told.records) break;
  }
  await reader.close();
  assert.is(next, told?.records);
  assert.ok((told?.segmentsTrimmed ?? 0) > ROTATIONS - 50, `${told?.segmentsTrimmed} segments were trimmed`);
  assert.ok((told?.segmentsRecycled ?? 0) > ROTATIONS / 2, `${told?.segmentsRecycled} segments were recycled`);
});

test.run();
