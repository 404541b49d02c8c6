/** The file format, written a second time: what the tests expect must not come from the code they test. */

/** CRC-32C, bit-reflected polynomial of RFC 3720. */
const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = (value & 1) === 1 ? (value >>> 1) ^ 0x82f63b78 : value >>> 1;
  return value >>> 0;
});

export function crc32c(bytes: Uint8Array): number {
  let value = 0xffffffff;
  for (const byte of bytes) value = (value >>> 8) ^ (TABLE[(value ^ byte) & 0xff] ?? 0);
  return (value ^ 0xffffffff) >>> 0;
}

export const OVERHEAD = 12;

/** A frame of kind 01 around `record`. */
export function frame(record: string | Uint8Array): Buffer {
  const payload = Buffer.from(record);
  const header = Buffer.from([0x46, 0x53, 0x59, 0x01, 0, 0, 0, 0]);
  header.writeUInt32LE(payload.length, 4);
  const body = Buffer.concat([header, payload]);
  const checksum = Buffer.alloc(4);
  checksum.writeUInt32LE(crc32c(body));
  return Buffer.concat([body, checksum]);
}

export function journalOf(records: readonly (string | Uint8Array)[]): Buffer {
  return Buffer.concat(records.map(frame));
}

/** The LSN after each record. */
export function endsOf(records: readonly (string | Uint8Array)[], start = 0): number[] {
  let end = start;
  return records.map((record) => (end += Buffer.from(record).length + OVERHEAD));
}

/** `bytes` without the zeros at its end. */
export function withoutZeros(bytes: Buffer): Buffer {
  let end = bytes.length;
  while (end > 0 && bytes[end - 1] === 0) end--;
  return bytes.subarray(0, end);
}

/** Bytes that differ from record to record and from position to position. */
export function pattern(seed: number, length: number): Buffer {
  const bytes = Buffer.allocUnsafe(length);
  let state = (seed + 1) * 2654435761;
  for (let i = 0; i < length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    bytes[i] = state >>> 24;
  }
  return bytes;
}
