/** Internals of the built package for the tests of the lanes: nothing here loads native code. */
async function internal<T>(file: string): Promise<T> {
  return (await import(new URL(`../../dist/${file}`, import.meta.url).href)) as T;
}

export const { CallControl } = await internal<typeof import('../dist/workers/protocol/operation.js')>('workers/protocol/operation.js');
export const { announceLoaded } = await internal<typeof import('../dist/platform/thread-start.js')>('platform/thread-start.js');
export const { Lanes } = await internal<typeof import('../dist/main/lanes/lanes.js')>('main/lanes/lanes.js');
export type Lanes = InstanceType<typeof Lanes>;
export type { CallOptions, LaneName } from '../dist/main/lanes/call.js';
