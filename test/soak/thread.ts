/** The attached thread of a soak: appends, and follows what all threads append. */
import { once } from 'node:events';
import { parentPort, workerData } from 'node:worker_threads';
import { Journal, type SharedJournalHandle } from 'tidemark';
import { PacedAppender, type Appending } from './appending.js';
import { followInto } from './following.js';
import { Tally } from './records.js';

export interface ThreadData extends Appending {
  readonly handle: SharedJournalHandle;
}

const work = workerData as ThreadData;
if (parentPort === null) throw new Error('this is the program of a thread');
const journal = Journal.attach(work.handle);
const tally = new Tally(work.seed);
const following = followInto(tally, (signal) => journal.follow({ signal }));
const appender = new PacedAppender(journal, work);
parentPort.postMessage(appender.latency);
parentPort.postMessage(await appender.run());
const [totals] = (await once(parentPort, 'message')) as [number[]];
tally.expect(totals);
parentPort.postMessage((await following) ?? '');
await journal.close();
