/**
 * Appends records one after the other from several loops, and tells what came of it.
 *
 * With `markers` it writes to descriptor 3, by one system call each: `append <n>` before an append begins and
 * `ack <n> <start> <end>` when its promise has resolved.
 */
import { writeSync } from 'node:fs';
import { IoScheduler, Journal, type Backend, type JournalOptions, type JournalStats } from 'tidemark';
import { failureOf, report, taskOf, type Failure } from './report.js';
import { recordOf } from './records.js';

export interface AppenderTask {
  readonly path: string;
  readonly backend?: Backend['kind'] | 'auto';
  readonly options?: JournalOptions;
  /** Records to append, in all. */
  readonly count: number;
  readonly recordBytes: number;
  /** Loops that append at the same time. Default 1. */
  readonly appenders?: number;
  readonly markers?: boolean;
}

export interface AppenderReport {
  /** The end of each acknowledged record, in the order of the acknowledgements, with its number. */
  readonly acknowledged: readonly (readonly [sequence: number, end: number])[];
  readonly failures: readonly Failure[];
  /** An append made after a failure. */
  readonly later: Failure | undefined;
  readonly durableAtFailure: number | undefined;
  readonly durableAtEnd: number;
  readonly closeFailure: Failure | undefined;
  readonly backend: Backend;
  readonly directActive: boolean;
  readonly directReason: string;
  readonly stats: JournalStats;
}

const task = taskOf() as AppenderTask;
const FRAME_OVERHEAD_BYTES = 12;

function mark(text: string): void {
  if (task.markers === true) writeSync(3, `${text}\n`);
}

async function work(): Promise<AppenderReport> {
  const scheduler = task.backend === undefined ? undefined : new IoScheduler({ backend: task.backend });
  const journal = await Journal.open(task.path, { ...task.options, ...(scheduler && { scheduler }) });
  const acknowledged: [number, number][] = [];
  const failures: Failure[] = [];
  let durableAtFailure: number | undefined;
  let next = 0;

  async function loop(): Promise<void> {
    while (next < task.count) {
      const sequence = next++;
      const record = recordOf({ life: 0, thread: 0, sequence }, task.recordBytes);
      mark(`append ${sequence}`);
      try {
        const end = await journal.append(record);
        mark(`ack ${sequence} ${end - record.length - FRAME_OVERHEAD_BYTES} ${end}`);
        acknowledged.push([sequence, end]);
      } catch (error) {
        durableAtFailure ??= journal.durableLsn;
        failures.push(failureOf(error));
        return;
      }
    }
  }

  await Promise.all(Array.from({ length: task.appenders ?? 1 }, loop));
  let later: Failure | undefined;
  if (failures.length > 0) {
    later = await journal.append('after the failure').then(() => undefined, failureOf);
  }
  const stats = journal.stats();
  const closeFailure = await journal.close().then(() => undefined, failureOf);
  const { durableLsn: durableAtEnd, backend, directActive, directReason } = journal;
  return { acknowledged, failures, later, durableAtFailure, durableAtEnd, closeFailure, backend, directActive, directReason, stats };
}

await work().then(report, (error: unknown) => {
  report({ refused: failureOf(error) });
  process.exitCode = 1;
});
