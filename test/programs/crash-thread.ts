/** A thread that appends, with several appends in flight, and tells what is acknowledged. Runs in a worker or in the main thread. */
import { writeSync } from 'node:fs';
import { isMainThread, parentPort } from 'node:worker_threads';
import { Journal, type SharedJournalHandle } from 'tidemark';
import { recordOf } from './records.js';

/** Descriptor that the parent reads. Lines shorter than a pipe's atomic size never mix. */
const TO_PARENT = 3;
/** How many appends one announcement covers. */
const ANNOUNCED = 64;

export interface CrashThread {
  readonly handle: SharedJournalHandle;
  readonly life: number;
  readonly thread: number;
  /** Acknowledges before it appends: what a test of acknowledgements must catch. */
  readonly cheats: boolean;
  /** It appends so many and returns. Default: for ever. */
  readonly records?: number;
  /** Appends in flight. Default 8. */
  readonly inFlight?: number;
  /** What each of its lines begins with. */
  readonly prefix?: string;
}

export function tellParent(line: string): void {
  writeSync(TO_PARENT, `${line}\n`);
}

/**
 * Tells the parent, each time before the next step: `! <thread> <n>` records up to n may be appended,
 * `+ <thread> <n> <lsn>` record n is acknowledged (LSN -1 from a cheat, who cannot know it).
 */
export async function appendAndTell(journal: Journal, { life, thread, cheats, records = Infinity, inFlight = 8, prefix = '' }: Omit<CrashThread, 'handle'>): Promise<void> {
  const tell = (line: string): void => {
    tellParent(`${prefix}${line}`);
  };
  let next = 0;
  async function loop(): Promise<void> {
    while (next < records) {
      const sequence = next++;
      if (sequence % ANNOUNCED === 0) tell(`! ${thread} ${sequence + ANNOUNCED - 1}`);
      const record = recordOf({ life, thread, sequence });
      if (cheats) tell(`+ ${thread} ${sequence} -1`);
      const end = await journal.append(record);
      if (!cheats) tell(`+ ${thread} ${sequence} ${end}`);
    }
  }
  await Promise.all(Array.from({ length: inFlight }, loop));
}

if (!isMainThread) {
  parentPort?.once('message', (given: CrashThread) => {
    const journal = Journal.attach(given.handle);
    void appendAndTell(journal, given).then(async () => {
      await journal.close();
      parentPort?.close();
    });
  });
}
