/** Finds out how much of a journal its commit marks prove durable, ahead of whoever shows the records. */
import { footerOf, SegmentCursor, type Stop } from './segment-cursor.js';
import type { SegmentDirectory } from './segment-directory.js';

/**
 * Records stand before the mark that proves them. A second cursor goes ahead for the marks, so that none has to be held.
 */
export class Scout {
  readonly cursor: SegmentCursor;
  readonly #directory: SegmentDirectory;
  /** The segment whose footer was looked for last. */
  #footerBase: number | undefined;
  /** Where the scout was when a footer let it pass over the rest of a body. */
  #skippedFrom: number | undefined;

  constructor(directory: SegmentDirectory, position: number) {
    this.#directory = directory;
    this.cursor = new SegmentCursor(directory, position);
  }

  /** Reads on until more than what is below `lsn`, a frame's start that the reader has reached, is proven durable; or tells why there is no more to read. */
  async prove(lsn: number): Promise<Stop | undefined> {
    const { geometry } = this.#directory.format;
    // What proved more than it had read itself let the reader overtake it: the segment where it stands may be trimmed by now.
    if (geometry.baseOf(this.cursor.position) < geometry.baseOf(lsn)) this.cursor.seek(lsn);
    while (this.#directory.provenLsn <= lsn) {
      if (await this.#takeFooter()) continue;
      const step = await this.cursor.next();
      if (step.kind === 'frame') this.#skippedFrom = undefined;
      else if (step.kind !== 'limit' && !this.#goBack()) return step;
    }
    return undefined;
  }

  /**
   * Nothing lies behind the footer. It may be one that a crash left behind a hole: then recovery goes on in that body. So it is
   * read after all, from where the footer itself proves no more.
   */
  #goBack(): boolean {
    const from = this.#skippedFrom;
    this.#skippedFrom = undefined;
    if (from === undefined) return false;
    const { geometry } = this.#directory.format;
    const base = geometry.baseOf(from);
    const { provenLsn } = this.#directory;
    this.cursor.seek(geometry.baseOf(provenLsn) === base ? Math.max(from, provenLsn) : from);
    this.#footerBase = base;
    return true;
  }

  /** A segment that is full need not be read: no mark in it proves more than its footer. */
  async #takeFooter(): Promise<boolean> {
    const { geometry } = this.#directory.format;
    const base = geometry.baseOf(this.cursor.position);
    if (base === this.#footerBase) return false;
    this.#footerBase = base;
    const footer = await footerOf(this.#directory, base);
    if (footer === undefined) return false;
    this.#directory.noteMark(footer);
    this.#skippedFrom = this.cursor.position;
    this.cursor.seek(geometry.nextBody(base));
    return true;
  }
}
