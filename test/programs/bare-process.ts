/** What a journal does where the process lacks something: descriptors, or `/proc`. */
import { closeSync, openSync } from 'node:fs';
import { Journal } from 'tidemark';
import { failureOf, report, taskOf } from './report.js';

export interface BareTask {
  readonly what: 'no descriptors' | 'many threads';
  readonly path: string;
}

const { what, path } = taskOf() as BareTask;
const journal = await Journal.open(path, { segmentBytes: 64 * 1024, logBufferBytes: 64 * 1024, newSegments: 'plain' });
const code = (done: Promise<unknown>): Promise<string> => done.then(() => 'done', (error: unknown) => failureOf(error).code);

if (what === 'many threads') {
  // Each takes a place of its own, as if it were a thread; the opener has one too.
  let places = 1;
  let refused = '';
  while (refused === '' && places < 100) {
    try {
      Journal.attach(journal.share());
      places++;
    } catch (error) {
      refused = failureOf(error).code;
    }
  }
  report({ places, refused });
  process.exit();
}

let end = 0;
for (let n = 0; n < 200; n++) end = await journal.append(Buffer.alloc(1000));
await journal.preallocate(3 * 64 * 1024);
const descriptors: number[] = [];
try {
  for (;;) descriptors.push(openSync('/dev/null', 'r'));
} catch {
  // There are no more.
}
const trimmed = await code(journal.trimBefore(end));
for (const descriptor of descriptors) closeSync(descriptor);
report({ trimmed, trimmedLater: await code(journal.trimBefore(end)), appended: await code(journal.append('x')), closed: await code(journal.close()) });
process.exit();
