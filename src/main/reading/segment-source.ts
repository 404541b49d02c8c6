/** Reads the segment layout. */
import { setTimeout as delay } from 'node:timers/promises';
import { JournalError } from '../../platform/errors.js';
import type { Frame, Tail } from '../../workers/protocol/frame-walk.js';
import { frameAt, recordOf, SegmentCursor, type Stop } from './segment-cursor.js';
import { SegmentDirectory } from './segment-directory.js';
import { judge } from './segment-end.js';
import { followSegments } from './segment-follow.js';
import { Scout } from './segment-scout.js';
import { LOOK_AGAIN_MS, LOOKS_MAX, MOVING_END, type FollowRange, type JournalSegment, type JournalSource, type ReadRange } from './source.js';

/** Where an iteration came to no further frame. */
interface Halt {
  readonly cursor: SegmentCursor;
  readonly stop: Stop;
}

export class SegmentSource implements JournalSource {
  readonly layout = 'segments';
  readonly #directory: SegmentDirectory;

  static async open(path: string): Promise<SegmentSource> {
    return new SegmentSource(await SegmentDirectory.open(path));
  }

  private constructor(directory: SegmentDirectory) {
    this.#directory = directory;
  }

  get firstLsn(): number {
    return this.#directory.firstLsn;
  }

  get durableLsn(): number {
    return this.#directory.provenLsn;
  }

  async *records({ from, to, durable }: ReadRange): AsyncGenerator<Frame, Tail | undefined, void> {
    const begin = await placeOf(this.#directory, from);
    const cursor = new SegmentCursor(this.#directory, begin);
    const scout = durable ? new Scout(this.#directory, begin) : undefined;
    try {
      return yield* this.#toEnd(cursor, scout, to);
    } finally {
      await cursor.leave();
      await scout?.cursor.leave();
    }
  }

  /** Shows records, and looks again where the log seems damaged: a writer may be at work there. */
  async *#toEnd(cursor: SegmentCursor, scout: Scout | undefined, to: number): AsyncGenerator<Frame, Tail | undefined, void> {
    let suspect: number | undefined;
    for (let look = 0; ; look++) {
      const halt = yield* this.#show(cursor, scout, to);
      if (halt === undefined) return undefined;
      const { position } = halt.cursor;
      // What was durable when the loop began ended before the suspect: this is the moving end.
      if (suspect !== undefined && position > suspect) return { state: 'clean-end', position, detail: MOVING_END };
      const verdict = await judge(this.#directory, halt.cursor, halt.stop);
      if (verdict.kind === 'end' && (verdict.tail.state === 'clean-end' || look >= LOOKS_MAX)) return verdict.tail;
      if (verdict.kind === 'corrupt' && look >= LOOKS_MAX) throw verdict.error;
      if (verdict.kind === 'replaced') await halt.cursor.leave();
      else suspect = position;
      await delay(LOOK_AGAIN_MS);
    }
  }

  async *#show(cursor: SegmentCursor, scout: Scout | undefined, to: number): AsyncGenerator<Frame, Halt | undefined, void> {
    for (let limit = scout === undefined ? Infinity : this.#directory.provenLsn; ;) {
      const step = await cursor.next(limit);
      if (step.kind === 'frame') {
        if (step.frame.start >= to) return undefined;
        if (step.frame.kind === 'record') yield recordOf(step.frame);
        continue;
      }
      if (step.kind !== 'limit') return { cursor, stop: step };
      const stop = await scout?.prove(cursor.position);
      if (scout !== undefined && stop !== undefined) return { cursor: scout.cursor, stop };
      limit = this.#directory.provenLsn;
    }
  }

  async readAt(lsn: number): Promise<Frame> {
    const { geometry } = this.#directory.format;
    const base = geometry.baseOf(lsn);
    if (lsn < geometry.bodyStart(base) || lsn >= geometry.footerOf(base)) {
      if (base < (this.#directory.bases[0] ?? 0)) throw this.#directory.trimmed(lsn);
      throw this.#noRecord(lsn, 'headers and footers of segments hold none');
    }
    for (let look = 0; ; look++) {
      const file = await this.#directory.openFile(base);
      try {
        const found = file === undefined ? undefined : await frameAt(this.#directory, file, lsn);
        if (found !== undefined && 'kind' in found && found.kind === 'record') return recordOf(found);
        const place = await this.#directory.whereabouts(base, file);
        if (place === 'trimmed') throw this.#directory.trimmed(lsn);
        if (place === 'replaced' && look < LOOKS_MAX) continue;
        if (found === undefined) throw this.#noRecord(lsn, 'there is no such segment');
        if ('kind' in found) throw this.#noRecord(lsn, `a ${found.kind} lies there`);
        throw this.#noRecord(lsn, `${found.state}, expected ${found.expected}, found ${found.found}`);
      } finally {
        if (file !== undefined) await this.#directory.leave(file);
      }
    }
  }

  async *follow({ from, pollMs, signal }: FollowRange): AsyncGenerator<Frame, void, void> {
    const begin = from === 'end' ? await this.#provenEnd() : await placeOf(this.#directory, from);
    yield* followSegments(this.#directory, begin, pollMs, signal);
  }

  segments(): Promise<readonly JournalSegment[]> {
    return this.#directory.segments();
  }

  close(): Promise<void> {
    return this.#directory.close();
  }

  /** Where the records end that the journal proves durable. */
  async #provenEnd(): Promise<number> {
    const scout = new Scout(this.#directory, await placeOf(this.#directory, undefined));
    try {
      await scout.prove(Infinity);
    } finally {
      await scout.cursor.leave();
    }
    return Math.max(this.#directory.provenLsn, this.#directory.firstLsn);
  }

  #noRecord(lsn: number, why: string): JournalError {
    const { path } = this.#directory;
    return new JournalError('TIDEMARK_NO_RECORD', `no record starts at ${this.#directory.describe(lsn)} of '${path}': ${why}`, { path, lsn });
  }
}

/** Where reading from `lsn` on begins: headers and footers are stepped over. Undefined: with the oldest segment. */
export async function placeOf(directory: SegmentDirectory, lsn: number | undefined): Promise<number> {
  const { path, format: { geometry } } = directory;
  const last = (await directory.look()).at(-1) ?? 0;
  if (lsn === undefined) return directory.firstLsn;
  const base = geometry.baseOf(lsn);
  const place = lsn >= geometry.footerOf(base) ? geometry.nextBody(base) : Math.max(lsn, geometry.bodyStart(base));
  if (place < directory.firstLsn) throw directory.trimmed(lsn);
  if (place <= geometry.nextBody(last)) return place;
  throw new JournalError('TIDEMARK_LSN_OUT_OF_RANGE', `LSN ${lsn} is beyond the end of '${path}', whose last segment ends at ${geometry.nextBase(last)}`, { path, lsn });
}
