/**
 * A writer that rotates all the time: `rotating-writer.js <directory> <rotations>`. It appends numbered records, and trims
 * what its parent says it has read; it never runs further ahead of that than some segments. Its last record is `end`.
 */
import { Journal } from 'tidemark';

const [directory = '', rotations = '0'] = process.argv.slice(2);
const SEGMENT_BYTES = 64 * 1024;
const AHEAD_BYTES = 16 * SEGMENT_BYTES;

const journal = await Journal.open(directory, { segmentBytes: SEGMENT_BYTES, spareSegments: 8, logBufferBytes: SEGMENT_BYTES });
let read = 0;
let wake: () => void = () => undefined;
process.on('message', (message: { read: number }) => {
  read = message.read;
  wake();
});
process.send?.({ opened: true });
let number = 0;
while (journal.durableLsn < Number(rotations) * SEGMENT_BYTES) {
  // A length that is no divisor of anything, so that records begin everywhere.
  const records = Array.from({ length: 1 + (number % 60) }, (_, i) => `${number + i}:${'x'.repeat(((number + i) * 37) % 1500)}`);
  number += records.length;
  await Promise.all(records.map((record) => journal.append(record)));
  if (journal.durableLsn - read > AHEAD_BYTES) {
    await new Promise<void>((resolve) => {
      wake = resolve;
    });
  }
  await journal.trimBefore(read);
}
await journal.append('end');
const { segmentsTrimmed, segmentsRecycled } = journal.stats().segments ?? { segmentsTrimmed: 0, segmentsRecycled: 0 };
await journal.close();
process.send?.({ records: number, segmentsTrimmed, segmentsRecycled });
process.disconnect();
