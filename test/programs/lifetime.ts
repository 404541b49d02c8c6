/** Programs that end with a journal that is idle, or is being opened. */
import { IoScheduler, Journal, type Backend, type Layout } from 'tidemark';
import { report, taskOf } from './report.js';

export type Ending = 'idle' | 'exit-idle' | 'exit-opening';

export interface LifetimeTask {
  readonly path: string;
  readonly backend: Backend['kind'];
  readonly layout: Layout;
  readonly ending: Ending;
  /** `exit-opening`: how long it opens the journal before it exits. */
  readonly delayMs: number;
}

const { path, backend, layout, ending, delayMs } = taskOf() as LifetimeTask;
const scheduler = new IoScheduler({ backend });
const opening = Journal.open(path, { scheduler, layout, segmentBytes: 1024 * 1024 });

if (ending === 'exit-opening') {
  report('opens');
  setTimeout(() => process.exit(7), delayMs);
} else {
  await (await opening).append('a record');
  report('appended');
  if (ending === 'exit-idle') process.exit(7);
}
