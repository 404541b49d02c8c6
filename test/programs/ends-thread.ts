/** What a thread does with a journal before it ends, and how it tells the parent process what it has appended. */
import { openSync, writeSync } from 'node:fs';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { IoScheduler, Journal, type Backend, type JournalOptions, type SharedJournalHandle } from 'tidemark';
import { ControlBlock } from '../internals.js';
import { failureOf } from './report.js';
import { recordOf } from './records.js';

/** Larger than the log buffer of the tests: such a batch waits in the thread's queue and is copied as room appears. */
const QUEUED_BYTES = 200_000;

/** Names the file in the environment, which threads of threads have too. */
export const CLAIMS_VARIABLE = 'TIDEMARK_TEST_CLAIMS';

/** Appends numbered records to a journal and tells what is claimed of each, a line at a time, whatever happens next. */
export class Claimant {
  readonly #journal: Journal;
  readonly #thread: number;
  #next = 0;

  constructor(journal: Journal, thread: number) {
    this.#journal = journal;
    this.#thread = thread;
  }

  /** `! thread n`: may be in the journal from now on. `+ thread n lsn`: acknowledged. `- thread n code`: rejected. */
  async append(bytes?: number): Promise<void> {
    const sequence = this.#next++;
    const record = recordOf({ life: 1, thread: this.#thread, sequence }, bytes);
    say(`! ${this.#thread} ${sequence}`);
    await this.#journal.append(record).then(
      (lsn) => {
        say(`+ ${this.#thread} ${sequence} ${lsn}`);
      },
      (error: unknown) => {
        const { code, cause } = failureOf(error);
        say(`- ${this.#thread} ${sequence} ${cause === undefined ? code : `${code}/${cause.code}`}`);
      },
    );
  }

  async appendMany(count: number, bytes?: number): Promise<void> {
    await Promise.all(Array.from({ length: count }, () => this.append(bytes)));
  }
}

/** A file: it takes every line at once, however the process ends. */
const claims = openSync(process.env[CLAIMS_VARIABLE] ?? '/dev/null', 'a');

export function say(line: string): void {
  writeSync(claims, `${line}\n`);
}

export type Deed =
  /** Ends idle, by being terminated. */
  | 'append'
  /** Ends between the steps of an append. */
  | 'reserve' | 'enter'
  /** Is terminated with appends pending. */
  | 'publish'
  /** Calls process.exit() with records that wait for room. */
  | 'exit-queued'
  /** Starts a thread that attaches, and calls process.exit() when that has published. */
  | 'exit-above'
  /** Opens the journal itself, appends and calls process.exit(), or leaves that to the main thread. */
  | 'open-exit' | 'open-stay'
  /** Opens it and shares it. */
  | 'open-share';

export interface EndsThread {
  readonly deed: Deed;
  readonly thread: number;
  readonly handle?: SharedJournalHandle;
  readonly path?: string;
  readonly backend?: Backend['kind'];
  readonly options?: JournalOptions;
}

/**
 * Waits until all threads of a scheduler run: one that is ended while it loads takes the process with it. A second journal
 * is seated on the second writer.
 */
export async function allLoaded(scheduler: IoScheduler, path: string): Promise<void> {
  const other = await Journal.open(`${path}-other`, { scheduler, preallocate: 0 });
  await other.append('a record');
  await other.close();
}

/** The slot that attaching claimed: the highest one with an owner. */
function ownSlot(control: ControlBlock): number {
  const free = control.claimSlot(-1, () => true);
  control.freeSlotIfIdle(free);
  return free - 1;
}

/** The first steps of an append, by hand. */
function breakOff(handle: SharedJournalHandle, at: number, deed: 'reserve' | 'enter'): void {
  const control = new ControlBlock(handle.control);
  control.enter(ownSlot(control), at);
  // The writer may have closed the sector behind the record, or prove it at this moment.
  for (let end = at; deed === 'reserve';) {
    const found = control.reserve(end, 100);
    if (found === end) break;
    end = found;
  }
}

async function attached({ deed, thread }: EndsThread, handle: SharedJournalHandle): Promise<void> {
  const journal = Journal.attach(handle);
  const claimant = new Claimant(journal, thread);
  if (deed === 'append') {
    await claimant.append();
    parentPort?.postMessage('done');
  } else if (deed === 'publish') {
    // Whatever is loaded for the first append is loaded then.
    await claimant.append();
    void claimant.appendMany(50);
    parentPort?.postMessage('done');
  } else if (deed === 'exit-queued') {
    void claimant.appendMany(5, QUEUED_BYTES);
    process.exit(0);
  } else if (deed === 'reserve' || deed === 'enter') {
    await claimant.append();
    breakOff(handle, journal.reservedLsn, deed);
  }
}

async function perform(given: EndsThread): Promise<void> {
  const { deed, handle, thread } = given;
  if (deed === 'exit-above') {
    const below = new Worker(new URL(import.meta.url), { workerData: { ...given, deed: 'publish' } satisfies EndsThread });
    below.once('message', () => process.exit(0));
  } else if (handle !== undefined) {
    await attached(given, handle);
  } else {
    const { path = '', backend = 'blocking', options } = given;
    const scheduler = new IoScheduler({ backend, fileWorkers: 1 });
    const journal = await Journal.open(path, { ...options, scheduler });
    await allLoaded(scheduler, path);
    const claimant = new Claimant(journal, thread);
    if (deed === 'open-share') {
      parentPort?.postMessage(journal.share());
      return;
    }
    await claimant.appendMany(20);
    void claimant.appendMany(50);
    if (deed === 'open-exit') process.exit(0);
    parentPort?.postMessage('done');
  }
}

if (!isMainThread) await perform(workerData as EndsThread);
