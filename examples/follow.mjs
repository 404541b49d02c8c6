/**
 * Follows a journal while it grows. A follower sees durable records only, so what it passes on is never taken back.
 *
 *     node examples/follow.mjs
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Journal } from 'tidemark';

const directory = await mkdtemp(join(tmpdir(), 'tidemark-follow-'));
const journal = await Journal.open(join(directory, 'events.journal'));
await journal.append('there before the follower');

/** Prints records from `from` on; answers where the next follower would begin. */
async function follow(name, options) {
  let position = options.from;
  try {
    for await (const { start, end, payload } of journal.follow(options)) {
      console.log(`${name}: LSN ${start}: ${Buffer.from(payload).toString()}`);
      position = end;
    }
    console.log(`${name}: the journal was closed`);
  } catch (error) {
    if (!options.signal?.aborted) throw error;
    console.log(`${name}: stopped at LSN ${position}`);
  }
  return position;
}

const stop = new AbortController();
const first = follow('first', { from: 0, signal: stop.signal });
for (const text of ['one', 'two', 'three']) {
  await journal.append(text);
  await sleep(20);
}
stop.abort();
const position = await first;

// A second one goes on where the first stopped, and ends with the journal.
const second = follow('second', { from: position });
await journal.append('four');
await sleep(20);
await journal.close();
await second;

await rm(directory, { recursive: true });
