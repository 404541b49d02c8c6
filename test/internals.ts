/** Internals of the built package, which its exports do not show: tests of the data plane need them. */
import type * as ControlBlockModule from '../dist/workers/protocol/control-block.js';
import type * as FrameWalkModule from '../dist/workers/protocol/frame-walk.js';
import type * as LogBufferModule from '../dist/workers/protocol/log-buffer.js';

function internal<T>(file: string): Promise<T> {
  return import(new URL(`../../dist/workers/protocol/${file}`, import.meta.url).href) as Promise<T>;
}

export const { ControlBlock, POISON, PRODUCER_SLOTS, STATISTICS } = await internal<typeof ControlBlockModule>('control-block.js');
export const { LogBuffer, Producer, recordLength } = await internal<typeof LogBufferModule>('log-buffer.js');
export const { dataLength, findData, walkFrames } = await internal<typeof FrameWalkModule>('frame-walk.js');

export type ControlBlock = ControlBlockModule.ControlBlock;
export type SharedLogBuffer = LogBufferModule.SharedLogBuffer;
export type { ReadRequest, Tail, TailState } from '../dist/workers/protocol/frame-walk.js';
