/**
 * Frames: how a record lies in the log.
 *
 *     magic and kind, 4 bytes big-endian, "FSY" and the kind | length u32 | payload | crc32c u32
 *
 * The length counts the payload alone. The checksum (CRC-32C) covers all that stands before it in the frame.
 * Integers but the first are little-endian. The file layout uses kind 01 only, byte for byte version 1 of fsys.
 */
export const MAGIC_BYTES = 4;
export const LENGTH_BYTES = 4;
export const CHECKSUM_BYTES = 4;
export const HEADER_BYTES = MAGIC_BYTES + LENGTH_BYTES;
export const OVERHEAD_BYTES = HEADER_BYTES + CHECKSUM_BYTES;

/** "FSY" and kind 01: a record. */
export const RECORD_MAGIC = 0x46535901;

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
