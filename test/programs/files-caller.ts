/** Calls file operations one after the other, and reports what each answered. */
import { writeSync } from 'node:fs';
import { IoScheduler } from 'tidemark';
import { failureOf, report, taskOf, type Failure } from './report.js';

export interface FilesTask {
  /** Each: the name of a method and its arguments. */
  readonly steps: readonly (readonly [string, ...unknown[]])[];
  /** Writes `begin` to descriptor 3 before the first call, when a thread is running, and `done` after each. */
  readonly marks?: boolean;
}

export type FilesReport = readonly { readonly result?: unknown; readonly error?: Failure }[];

const MARKS = 3;
const { steps, marks = false } = taskOf() as FilesTask;
const scheduler = new IoScheduler({ fileWorkers: 1 });
const files = scheduler.files as unknown as Record<string, (...args: readonly unknown[]) => Promise<unknown>>;
const mark = (text: string): void => {
  if (marks) writeSync(MARKS, `${text}\n`);
};
const results: { result?: unknown; error?: Failure }[] = [];
await scheduler.files.readlink('/proc/self/exe');
mark('begin');
for (const [name, ...args] of steps) {
  try {
    results.push({ result: await files[name]?.(...args) });
  } catch (error) {
    results.push({ error: failureOf(error) });
  }
  mark('done');
}
await scheduler.close();
report(results satisfies FilesReport);
