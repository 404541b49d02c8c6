/**
 * Frames: how a record lies in the log. docs/format.md describes every byte.
 *
 *     magic and kind, 4 bytes big-endian, "FSY" and the kind | length u32 | payload | crc32c u32
 *
 * The length counts the payload alone. The checksum (CRC-32C) covers all that stands before it in the frame; in the segment
 * layout it is bound to the journal and to the place as well. Integers but the first are little-endian.
 */
import { crc32c } from './crc32c.js';

export const MAGIC_BYTES = 4;
export const LENGTH_BYTES = 4;
export const CHECKSUM_BYTES = 4;
export const HEADER_BYTES = MAGIC_BYTES + LENGTH_BYTES;
export const OVERHEAD_BYTES = HEADER_BYTES + CHECKSUM_BYTES;

const MAGIC = 0x46535900;

/** "FSY" and the kind, as the big-endian number that a frame begins with. */
export const KIND = {
  /** A record of the file layout: version 1 of fsys, byte for byte. */
  record: MAGIC | 0x01,
  /** A record of the segment layout, like all that follow. */
  boundRecord: MAGIC | 0x02,
  pad: MAGIC | 0x03,
  mark: MAGIC | 0x04,
  segmentHeader: MAGIC | 0x05,
} as const;

/** The longest record a frame may carry: 28 bits, the limit of the format. */
export const RECORD_BYTES_MAX = 0x0fffffff;

/**
 * A batch of the file layout never covers more log than this, and none begins before the one ahead of it is durable.
 * So a whole frame that starts this far or farther behind a damaged one proves that the damaged bytes had been durable.
 */
export const FILE_BATCH_BYTES_MAX = 4 * 1024 * 1024;

export function frameBytes(recordBytes: number): number {
  return HEADER_BYTES + recordBytes + CHECKSUM_BYTES;
}

export const JOURNAL_ID_BYTES = 16;

/** The checksum over a journal's id: what every bound checksum begins with. */
export function idChecksum(journalId: Uint8Array): number {
  return crc32c(journalId);
}

const lsnBytes = new Uint8Array(8);
const lsnView = new DataView(lsnBytes.buffer);

/** The checksum that a frame at `lsn` starts from, before its own bytes. */
export function boundChecksum(idSum: number, lsn: number): number {
  lsnView.setBigUint64(0, BigInt(lsn), true);
  return crc32c(lsnBytes, idSum);
}
