/** CRC-32C (Castagnoli, RFC 3720 appendix B.4) by the processor's instruction, through `@node-rs/crc32`. */
import { crc32 } from '../../platform/native-modules.js';

/** Checksum of `bytes`, carried on from `previous` (the checksum of all that went before; 0 at the start). */
export function crc32c(bytes: Uint8Array, previous = 0): number {
  return crc32().crc32c(bytes, previous);
}
