/**
 * What a search for frames may still checksum. Bytes that look like headers may claim lengths that overlap: without a bound,
 * the search would take time by the square of what it reads.
 */
export class ChecksumBudget {
  /** As if every byte belonged to so many frames. */
  static readonly TIMES = 64;
  #left: number;

  constructor(searchedBytes: number) {
    this.#left = searchedBytes * ChecksumBudget.TIMES;
  }

  get spent(): boolean {
    return this.#left < 0;
  }

  spend(bytes: number): boolean {
    this.#left -= bytes;
    return !this.spent;
  }
}
