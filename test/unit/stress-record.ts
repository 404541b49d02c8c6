/** Record `index` of producer `producer`: says who it is, its length depends on both, and every 501st overruns the window. */
export function stressRecord(producer: number, index: number, capacity: number): Buffer {
  const length = index % 501 === 500 ? 2 * capacity + producer : 8 + ((index * 37 + producer * 11) % 200);
  const record = Buffer.alloc(length, (producer * 64 + index) & 0xff);
  record.writeUInt32LE(producer, 0);
  record.writeUInt32LE(index, 4);
  return record;
}
