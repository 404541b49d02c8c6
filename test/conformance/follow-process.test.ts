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
  const told = once(writer, 'message') as Promise<[{ records: number; segmentsTrimmed: number; segmentsRecycled: number }]>;
  const ended = new AbortController();
  writer.on('exit', (code) => {
    if (code !== 0) ended.abort(new Error(`the writer ended with exit code ${code}`));
  });
  const reader = await JournalReader.open(directory);
  // It waits for this process as long as that runs.
  process.on('exit', () => writer.kill());
  let next = 0;
  let reported = 0;
  for await (const { end, payload } of reader.follow({ from: 4096, signal: ended.signal })) {
    const text = Buffer.from(payload).toString();
    if (text === 'end') break;
    assert.is(text, `${next}:${'x'.repeat((next * 37) % 1500)}`);
    next++;
    if (end - reported > 64 * 1024) {
      reported = end;
      if (writer.connected) writer.send({ read: end });
    }
  }
  await reader.close();
  const [{ records, segmentsTrimmed, segmentsRecycled }] = await told;
  assert.is(next, records);
  assert.ok(segmentsTrimmed > ROTATIONS - 50, `${segmentsTrimmed} segments were trimmed`);
  assert.ok(segmentsRecycled > ROTATIONS / 2, `${segmentsRecycled} segments were recycled`);
});

test.run();
