/** Record `index` of thread `thread`: says who it is; lengths differ. */
export function threadRecord(thread: number, index: number): Buffer {
  const record = Buffer.alloc(8 + ((index * 53 + thread * 17) % 700), (thread * 16 + index) & 0xff);
  record.writeUInt32LE(thread, 0);
  record.writeUInt32LE(index, 4);
  return record;
}
