/** madvise(2): transparent huge pages (Documentation/admin-guide/mm/transhuge.rst). */
import { addressOf, native } from '../ffi.js';
import type { MemoryCalls } from '../interface/memory.js';

const MADV_HUGEPAGE = 14;
/** On x86-64, and on arm64 with pages of 4096 bytes. */
const LARGE_PAGE_BYTES = 2 * 1024 * 1024;
/** Largest size of a page that an architecture has: the call takes whole ones. */
const PAGE_BYTES_MAX = 64 * 1024;

const madvise = native('madvise', 'int', ['void *', 'size_t', 'int']);

function preferLargePages(memory: Uint8Array): void {
  const skip = (PAGE_BYTES_MAX - (addressOf(memory) % PAGE_BYTES_MAX)) % PAGE_BYTES_MAX;
  const bytes = memory.length - skip;
  if (bytes < LARGE_PAGE_BYTES) return;
  // Where the kernel has none, everything works as it did.
  madvise(memory.subarray(skip), bytes, MADV_HUGEPAGE);
}

export const memory: MemoryCalls = { largePageBytes: LARGE_PAGE_BYTES, preferLargePages };
