/**
 * A producer thread of the log buffer's stress test: appends numbered records, now and then a batch or a record larger
 * than the window, and reports where each began.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { ControlBlock, LogBuffer, Producer, type SharedLogBuffer } from '../internals.js';
import { stressRecord } from './stress-record.js';

export interface ProducerData {
  readonly control: SharedArrayBuffer;
  readonly log: SharedLogBuffer;
  readonly slot: number;
  readonly producer: number;
  readonly records: number;
}

const data = workerData as ProducerData;
const control = new ControlBlock(data.control);
const log = new LogBuffer(data.log);
const producer = new Producer(control, log, data.slot);
const starts = new Float64Array(data.records);
const HEADER = 8;
const OVERHEAD = 12;

/** The consumer makes room in a moment. */
const pause = new Int32Array(new SharedArrayBuffer(4));
function until(attempt: () => number): number {
  for (;;) {
    const start = attempt();
    if (start >= 0) return start;
    Atomics.wait(pause, 0, 0, 0.05);
  }
}

function stream(record: Buffer): number {
  const start = until(() => producer.tryReserveLarge(record.length + OVERHEAD));
  const payloadStart = start + HEADER;
  const end = payloadStart + record.length + 4;
  let at = start;
  for (;;) {
    const limit = Math.min(producer.windowEnd(), end);
    if (at === start) {
      if (limit < payloadStart) {
        // Raises the bound to this frame: what lies before it can be drained.
        producer.publishThrough(at);
        Atomics.wait(pause, 0, 0, 0.05);
        continue;
      }
      log.putHeader(start, record.length);
      at = payloadStart;
    }
    const through = Math.min(limit, payloadStart + record.length);
    if (through > at) log.put(at, record.subarray(at - payloadStart, through - payloadStart));
    at = Math.max(at, through);
    if (limit === end) break;
    producer.publishThrough(at);
    Atomics.wait(pause, 0, 0, 0.05);
  }
  producer.finish();
  return start;
}

for (let i = 0; i < data.records;) {
  const record = stressRecord(data.producer, i, data.log.capacity);
  const batch = [record, stressRecord(data.producer, i + 1, data.log.capacity), stressRecord(data.producer, i + 2, data.log.capacity)];
  const lengths = batch.map(({ length }) => length);
  const batchBytes = lengths.reduce((sum, length) => sum + length + OVERHEAD, 0);
  if (record.length + OVERHEAD > data.log.capacity) {
    starts[i++] = stream(record);
  } else if (i % 10 === 3 && i + 2 < data.records && batchBytes <= data.log.capacity) {
    const start = until(() => producer.tryAppendBatch(batch, lengths, batchBytes));
    let at = start;
    for (const length of lengths) {
      starts[i++] = at;
      at += length + OVERHEAD;
    }
  } else {
    starts[i++] = until(() => producer.tryAppend(record, record.length));
  }
}
parentPort?.postMessage(starts);
