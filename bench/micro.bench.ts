/** The data path without a disk: reserve, copy and publish; seal; walk. */
import type { Bench } from 'tinybench';
import type * as ControlBlockModule from '../dist/workers/protocol/control-block.js';
import type * as FrameWalkModule from '../dist/workers/protocol/frame-walk.js';
import type * as LogBufferModule from '../dist/workers/protocol/log-buffer.js';
import type * as NativeSealModule from '../dist/platform/native-seal.js';
import type * as SealerModule from '../dist/workers/sealer.js';

const internal = async <T>(file: string): Promise<T> => (await import(new URL(`../../dist/${file}`, import.meta.url).href)) as T;
const { ControlBlock } = await internal<typeof ControlBlockModule>('workers/protocol/control-block.js');
const { LogBuffer, Producer } = await internal<typeof LogBufferModule>('workers/protocol/log-buffer.js');
const { ScriptSealer, NativeSealer } = await internal<typeof SealerModule>('workers/sealer.js');
const { nativeSeal } = await internal<typeof NativeSealModule>('platform/native-seal.js');
const { walkFrames } = await internal<typeof FrameWalkModule>('workers/protocol/frame-walk.js');

const CAPACITY = 8 * 1024 * 1024;
const RECORDS = 256;

export function microbenchmarks(bench: Bench): void {
  const control = ControlBlock.create();
  control.start(0, 0);
  const shared = { buffer: new SharedArrayBuffer(CAPACITY + 4096), skipBytes: 0, capacity: CAPACITY };
  const log = new LogBuffer(shared);
  const producer = new Producer(control, log, control.claimSlot(1, () => true));
  for (const recordBytes of [64, 1024]) {
    const record = Buffer.alloc(recordBytes, 0x61);
    bench.add(`reserve, copy and publish one record of ${recordBytes} B`, () => {
      if (producer.tryAppend(record, recordBytes) < 0) control.advance({ released: control.reservedLsn });
    });
  }
  const native = nativeSeal();
  for (const recordBytes of [64, 1024]) {
    const batch = batchOf(recordBytes);
    bench.add(`seal ${RECORDS} records of ${recordBytes} B in TypeScript`, () => {
      new ScriptSealer(batch.log, 0).seal(batch.end);
    });
    if (native !== undefined) {
      bench.add(`seal ${RECORDS} records of ${recordBytes} B in C`, () => {
        new NativeSealer(native, batch.log, 0).seal(batch.end);
      });
    }
    new ScriptSealer(batch.log, 0).seal(batch.end);
    const bytes = batch.log.bytes.slice(0, batch.end);
    bench.add(`walk ${RECORDS} frames of ${recordBytes} B`, () => {
      const walk = walkFrames(0, bytes.length);
      let step = walk.next(new Uint8Array(0));
      while (step.done !== true) {
        step = 'read' in step.value ? walk.next(bytes.subarray(step.value.read.offset, step.value.read.offset + step.value.read.bytes)) : walk.next(bytes);
      }
    });
  }
}

/** Published, unsealed frames at the start of a window. */
function batchOf(recordBytes: number): { log: LogBufferModule.LogBuffer; end: number } {
  const log = new LogBuffer({ buffer: new SharedArrayBuffer(CAPACITY + 4096), skipBytes: 0, capacity: CAPACITY });
  const payload = new Uint8Array(recordBytes).fill(0x61);
  let end = 0;
  for (let i = 0; i < RECORDS; i++) {
    log.putHeader(end, recordBytes);
    log.put(end + 8, payload);
    end += recordBytes + 12;
  }
  return { log, end };
}
