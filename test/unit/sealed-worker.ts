/** Tries every way into a log that is sealed and reports the answers. */
import { parentPort, workerData } from 'node:worker_threads';
import { ControlBlock, LogBuffer, Producer } from '../internals.js';
import type { ProducerData } from './producer-worker.js';

const data = workerData as ProducerData;
const producer = new Producer(new ControlBlock(data.control), new LogBuffer(data.log), data.slot);
parentPort?.postMessage([producer.tryAppend('x', 1), producer.tryAppendBatch(['x', 'y'], [1, 1], 26), producer.tryReserveLarge(1000)]);
