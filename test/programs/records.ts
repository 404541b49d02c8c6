/** Records whose bytes follow from who appended them and when: any reader can tell whether they are intact. */

/** Where a record comes from. */
export interface RecordName {
  /** The life of the process that appended it. */
  readonly life: number;
  readonly thread: number;
  readonly sequence: number;
}

const NAME_BYTES = 12;
/** Odd sizes, so that frames lie at every offset of a sector. */
const RECORD_BYTES_MAX = 400;

/** Length of the files that `replacer.ts` writes: more than a block, and not whole ones. */
export const REPLACED_BYTES = 10_001;

/** A small mixing function (splitmix32): the same numbers everywhere for the same seed. */
export function mix(seed: number): number {
  let z = (seed + 0x9e3779b9) | 0;
  z = Math.imul(z ^ (z >>> 16), 0x21f0aaad);
  z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
  return (z ^ (z >>> 15)) >>> 0;
}

/** Numbers from 0 up to 1, reproducible by their seed. */
export function randomOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x9e3779b9) | 0;
    return mix(state) / 2 ** 32;
  };
}

/** The record of that name. `bytes` of it, or a length that follows from the name. */
export function recordOf(name: RecordName, bytes?: number): Buffer {
  const seed = mix(name.life ^ mix(name.thread ^ mix(name.sequence)));
  const record = Buffer.allocUnsafe(Math.max(NAME_BYTES, bytes ?? NAME_BYTES + (seed % (RECORD_BYTES_MAX - NAME_BYTES))));
  record.writeUInt32LE(name.life, 0);
  record.writeUInt32LE(name.thread, 4);
  record.writeUInt32LE(name.sequence, 8);
  for (let i = NAME_BYTES; i < record.length; i++) record[i] = (seed >>> (8 * (i % 4))) ^ i;
  return record;
}

/** Whose record these bytes are; undefined when they are nobody's. */
export function nameOf(record: Uint8Array, bytes?: number): RecordName | undefined {
  if (record.length < NAME_BYTES) return undefined;
  const view = new DataView(record.buffer, record.byteOffset, record.length);
  const name = { life: view.getUint32(0, true), thread: view.getUint32(4, true), sequence: view.getUint32(8, true) };
  return recordOf(name, bytes).equals(record) ? name : undefined;
}
