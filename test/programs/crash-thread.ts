/** A thread that appends until the process is killed, with several appends in flight. Runs in a worker or in the main thread. */
import { writeSync } from 'node:fs';
import { isMainThread, parentPort } from 'node:worker_threads';
import { Journal, type SharedJournalHandle } from 'tidemark';
import { recordOf } from './records.js';

/** Descriptor that the parent reads. Lines shorter than a pipe's atomic size never mix. */
const TO_PARENT = 3;
const IN_FLIGHT = 8;
/** How many appends one announcement covers. */
const ANNOUNCED = 64;

export interface CrashThread {
  readonly handle: SharedJournalHandle;
  readonly life: number;
  readonly thread: number;
  /** Acknowledges before it appends: what a test of acknowledgements must catch. */
  readonly cheats: boolean;
}

/**
 * Tells the parent, each time before the next step: `! <thread> <n>` records up to n may be appended,
 * `+ <thread> <n> <lsn>` record n is acknowledged (LSN -1 from a cheat, who cannot know it).
 */
export async function appendForEver(journal: Journal, { life, thread, cheats }: Omit<CrashThread, 'handle'>): Promise<void> {
  let next = 0;
  async function loop(): Promise<void> {
    for (;;) {
      const sequence = next++;
      if (sequence % ANNOUNCED === 0) writeSync(TO_PARENT, `! ${thread} ${sequence + ANNOUNCED - 1}\n`);
      const record = recordOf({ life, thread, sequence });
      if (cheats) writeSync(TO_PARENT, `+ ${thread} ${sequence} -1\n`);
      const end = await journal.append(record);
      if (!cheats) writeSync(TO_PARENT, `+ ${thread} ${sequence} ${end}\n`);
    }
  }
  await Promise.all(Array.from({ length: IN_FLIGHT }, loop));
}

if (!isMainThread) {
  parentPort?.once('message', (given: CrashThread) => {
    void appendForEver(Journal.attach(given.handle), given);
  });
}
