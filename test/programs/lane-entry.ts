/** A worker whose operations only hold, note and tell, for tests of the lanes. */
import { CallControl, announceLoaded } from '../lane-internals.js';

/** Shared with the test: words of {@link STAGE}, then the numbers of the calls in the order in which they were done. */
export const STAGE = { gate: 0, done: 1, log: 2, words: 2 + 20_000 } as const;

interface Call {
  readonly name: string;
  readonly args: readonly [stage: Int32Array, number: number];
  readonly control: SharedArrayBuffer | undefined;
}

export default async function run(task: { readonly calls: readonly Call[] }): Promise<unknown[]> {
  return task.calls.map((call) => perform(call, task.calls.length));
}

function perform({ name, args: [stage, number], control: buffer }: Call, together: number): unknown {
  const control = buffer === undefined ? undefined : new CallControl(buffer);
  control?.begin();
  if (name === 'die') process.exit(1);
  if (name === 'hold') Atomics.wait(stage, STAGE.gate, 0, 20_000);
  while (name === 'holdUntilAborted' && control?.aborted === false) Atomics.wait(stage, STAGE.gate, 0, 5);
  if (name === 'holdUntilAborted') return { ok: false, error: aborted };
  if (name === 'progress' && control !== undefined) {
    control.progress = 7;
    Atomics.wait(stage, STAGE.gate, 0, 20_000);
    control.progress = 9;
  }
  stage[STAGE.log + Atomics.add(stage, STAGE.done, 1)] = number;
  return { ok: true, value: { number, together } };
}

const aborted = { family: 'operation', message: 'aborted', stack: undefined, fields: { code: 'TIDEMARK_ABORTED' }, cause: undefined };

setImmediate(announceLoaded);
