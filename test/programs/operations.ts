/**
 * Calls file operations one after the other, in a process of its own: as another user, or under a tracer. `file:` before a path
 * stands for a handle of it, `hex:` before digits for bytes.
 */
import { IoScheduler } from 'tidemark';
import { failureOf, report, taskOf, type Failure } from './report.js';

export interface OperationsTaskOfTest {
  readonly calls: readonly (readonly [method: string, ...args: unknown[]])[];
}

/** Bigints come as strings. */
export type OperationAnswer = { readonly value: Record<string, unknown> } | { readonly failure: Failure };

const { calls } = taskOf() as OperationsTaskOfTest;
const scheduler = new IoScheduler({ fileWorkers: 1 });
const { files } = scheduler;
const handles: { close(): Promise<void> }[] = [];

async function argument(value: unknown): Promise<unknown> {
  if (typeof value !== 'string') return value;
  if (value.startsWith('hex:')) return Buffer.from(value.slice(4), 'hex');
  if (!value.startsWith('file:')) return value;
  const handle = await files.openRead(value.slice(5));
  handles.push(handle);
  return handle;
}

const answers: OperationAnswer[] = [];
for (const [method, ...words] of calls) {
  try {
    const call = (files as unknown as Record<string, (...args: unknown[]) => Promise<Record<string, unknown>>>)[method];
    if (call === undefined) throw new Error(`there is no operation ${method}`);
    answers.push({ value: await call(...(await Promise.all(words.map(argument)))) });
  } catch (error) {
    answers.push({ failure: failureOf(error) });
  }
}
for (const handle of handles) await handle.close();
await scheduler.close();
report(JSON.parse(JSON.stringify(answers, (_, value: unknown) => (typeof value === 'bigint' ? String(value) : value))));
