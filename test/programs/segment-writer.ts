/**
 * Extends a segment journal, in a process of its own: `node segment-writer.js <journal> <state file> <rotations>`.
 *
 * The state file holds three doubles: the durable LSN, told before the mark that proves it; the LSN up to which the test
 * has read, below which segments are trimmed and used again; the number of records, once there are no more.
 */
import { openSync, readSync, writeSync } from 'node:fs';
import { pattern } from '../conformance/format.js';
import { SEGMENT, SegmentJournal, writeAt } from '../conformance/segment-files.js';

const [journal = '', state = '', rotations = '0'] = process.argv.slice(2);
const AHEAD_MAX = 6;
const descriptor = openSync(state, 'r+');
const cell = new Float64Array(1);
const bytes = new Uint8Array(cell.buffer);
const pause = new Int32Array(new SharedArrayBuffer(4));

function tell(index: number, value: number): void {
  cell[0] = value;
  writeSync(descriptor, bytes, 0, 8, index * 8);
}

function told(index: number): number {
  readSync(descriptor, bytes, 0, 8, index * 8);
  return cell[0] ?? 0;
}

let written = 0;
/** Every few frames come as their end, a moment, and then their beginning. */
const writer = new SegmentJournal(journal, (path, frame, offset) => {
  if (++written % 7 !== 0) {
    writeAt(path, frame, offset);
    return;
  }
  const half = written % 2 === 0 ? 4 : Math.floor(frame.length / 2);
  writeAt(path, frame.subarray(half), offset + half);
  if (written % 5 === 0) Atomics.wait(pause, 0, 0, 1);
  writeAt(path, frame.subarray(0, half), offset);
});

function recordBytes(sequence: number): number {
  if (sequence % 11 === 0) return 0;
  return (sequence * 7919) % (sequence % 13 === 0 ? 20_000 : 1500);
}

let sequence = 0;
let durableLsn = writer.position;
while (writer.segment < Number(rotations)) {
  const batchStart = writer.position;
  for (let i = 0; i < 1 + (sequence % 9); i++) {
    writer.record(pattern(sequence, recordBytes(sequence)), durableLsn);
    sequence++;
  }
  // The mark in a batch proves the batches before it.
  tell(0, batchStart);
  writer.mark(batchStart);
  durableLsn = batchStart;
  writer.trim(Math.min(Math.floor(told(1) / SEGMENT), writer.segment));
  while (writer.segment - Math.floor(told(1) / SEGMENT) > AHEAD_MAX) Atomics.wait(pause, 0, 0, 1);
}
const end = writer.position;
tell(0, end);
writer.mark(end, 2);
tell(2, sequence);
