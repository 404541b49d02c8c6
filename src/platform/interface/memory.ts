/** Memory of this process, as the system manages it. */
export interface MemoryCalls {
  /** Size of a large page in bytes, where the system may make some of whole ones; what is aligned to it gains most. */
  readonly largePageBytes: number;
  /**
   * Asks for large pages where memory is touched for the first time: then direct IO has less to look up and to pin, and fewer
   * faults come. A wish, of which nothing is promised, and that changes no content.
   */
  preferLargePages(memory: Uint8Array): void;
}
