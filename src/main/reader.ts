/** Reads journals of either layout: needs no lock, writes nothing, uses constant memory but for the record at hand. */
import { stat } from 'node:fs/promises';
import { fromNodeError } from '../platform/errno.js';
import { JournalError, NotSupportedError } from '../platform/errors.js';
import type { Frame, Tail } from '../workers/protocol/frame-walk.js';
import * as check from './options.js';
import { plainPath } from './paths.js';
import { FILE_TELLS_NOTHING, FileSource } from './reading/file-source.js';
import { SegmentSource } from './reading/segment-source.js';
import type { JournalSegment, JournalSource } from './reading/source.js';

/** One record: `start` and `end` are the LSNs of its frame. `payload` is the reader's to give away: it is never reused. */
export type JournalRecord = Frame;

export interface JournalReaderOptions {
  /** LSN of the record to begin with. Default: the oldest there is. */
  readonly from?: number;
  /** Records that start at or after this LSN are not shown. Default: none. */
  readonly to?: number;
  /** Shows only what the journal's commit marks prove durable. Segment layout only. Default false. */
  readonly durable?: boolean;
}

export interface ReaderFollowOptions {
  /** LSN of the record to begin with, or `end`: those that are not durable yet. Default: the reader's position. */
  readonly from?: number | 'end';
  /** Ends the iteration by throwing its reason. */
  readonly signal?: AbortSignal;
  /** The longest wait between two looks at the journal, in milliseconds, 1 to 60,000. Default 50. */
  readonly pollMs?: number;
}

/**
 * A journal as an async-iterable of records, from `from` on or from where {@link seek} went.
 *
 * Unless `durable` is set it shows what is on the disk, durable or not: of a journal that is being written, the newest
 * records may still be lost. {@link follow} shows durable ones only, and so does `journal.follow()`.
 */
export class JournalReader implements AsyncIterable<JournalRecord> {
  readonly path: string;
  readonly #source: JournalSource;
  readonly #to: number;
  readonly #durable: boolean;
  /** Undefined: the oldest record, which may be another one by the time somebody reads. */
  #position: number | undefined;
  #tail: Tail | undefined;
  #closed = false;

  /**
   * Opens a journal for reading: a regular file, or a directory of segments. Rejects with an {@link IoError} when it
   * cannot be read, and with `TIDEMARK_NOT_A_JOURNAL`, `TIDEMARK_CORRUPT` or `TIDEMARK_NOT_SUPPORTED` when a directory is
   * no journal, its oldest segment is damaged, or of a newer format.
   */
  static async open(path: string, options: JournalReaderOptions = {}): Promise<JournalReader> {
    check.path('path', path);
    check.checkKeys('options', options, ['from', 'to', 'durable']);
    const from = options.from === undefined ? undefined : check.lsn('from', options.from);
    const to = options.to === undefined ? Infinity : check.lsn('to', options.to);
    const durable = check.boolean('durable', options.durable, false);
    // A relative path means what it means now, wherever the process goes later.
    const source = await openSource(await plainPath(path));
    if (durable && source.layout === 'file') {
      await source.close();
      throw new NotSupportedError(`reading only what is durable of '${path}'`, FILE_TELLS_NOTHING);
    }
    return new JournalReader(path, source, from, to, durable);
  }

  private constructor(path: string, source: JournalSource, from: number | undefined, to: number, durable: boolean) {
    this.path = path;
    this.#source = source;
    this.#position = from;
    this.#to = to;
    this.#durable = durable;
  }

  /** `file`: one file; `segments`: a directory of them. */
  get layout(): 'file' | 'segments' {
    return this.#source.layout;
  }

  /** LSN of the place of the oldest record, as of the last look: 0, or the start of the oldest segment's body. */
  get firstLsn(): number {
    return this.#source.firstLsn;
  }

  /** The greatest durable LSN of the commit marks read so far; undefined in the file layout, which has none. */
  get durableLsn(): number | undefined {
    return this.#source.durableLsn;
  }

  /** LSN of the next record. */
  get position(): number {
    return this.#position ?? this.#source.firstLsn;
  }

  /** How the journal ends; undefined until the iteration has come there. */
  get tail(): Tail | undefined {
    return this.#tail;
  }

  /** Continues at `lsn`, which must be a record's start: anything else reads as damage there. */
  seek(lsn: number): void {
    this.#position = check.lsn('lsn', lsn);
    this.#tail = undefined;
  }

  /**
   * Reads the one record that starts at `start`. Rejects with `TIDEMARK_NO_RECORD` when no valid record lies there, and
   * with `TIDEMARK_TRIMMED` when it is below the oldest one.
   */
  async readAt(start: number): Promise<JournalRecord> {
    this.#checkOpen();
    return this.#source.readAt(check.lsn('start', start));
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<JournalRecord, void, void> {
    this.#checkOpen();
    this.#tail = undefined;
    const from = this.#position;
    const begin = (): AsyncGenerator<Frame, Tail | undefined, void> => this.#source.records({ from, to: this.#to, durable: this.#durable });
    this.#tail = yield* restarted(begin, from === undefined, (end) => {
      this.#position = end;
    });
  }

  /**
   * Every durable record of a journal that another process writes, then each new one as soon as a commit mark proves it.
   * It does not end when the journal is closed: another writer may come. It ends by `signal` or `return()`, and throws
   * `TIDEMARK_TRIMMED` when it has fallen behind what was trimmed. Segment layout only.
   */
  follow(options: ReaderFollowOptions = {}): AsyncGenerator<JournalRecord, void, void> {
    check.checkKeys('options', options, ['from', 'signal', 'pollMs']);
    const from = options.from === undefined ? this.#position : options.from === 'end' ? 'end' : check.lsn('from', options.from);
    const signal = check.signal('signal', options.signal);
    const pollMs = check.integer('pollMs', options.pollMs, 50, 1, 60_000);
    this.#checkOpen();
    if (this.layout === 'file') throw new NotSupportedError(`following '${this.path}' from outside`, FILE_TELLS_NOTHING);
    return restarted(() => this.#source.follow({ from, signal, pollMs }), from === undefined || from === 'end', () => undefined);
  }

  /** The files of the journal, the oldest first. */
  async segments(): Promise<readonly JournalSegment[]> {
    this.#checkOpen();
    return this.#source.segments();
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#source.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #checkOpen(): void {
    if (this.#closed) throw new JournalError('TIDEMARK_CLOSED', `the reader of '${this.path}' is closed`, { path: this.path });
  }
}

async function openSource(path: string): Promise<JournalSource> {
  return (await isDirectory(path)) ? SegmentSource.open(path) : FileSource.open(path);
}

/** Whether `path` leads to a journal in the segment layout, or would if it were one. */
export async function isDirectory(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch (error) {
    throw fromNodeError(error, path);
  }
}

/**
 * Yields the records of `begin()`. When nobody asked for a certain one, and the oldest was trimmed before it was read, it
 * begins again.
 */
async function* restarted<End>(
  begin: () => AsyncGenerator<Frame, End, void>,
  mayRestart: boolean,
  onRecord: (end: number) => void,
): AsyncGenerator<JournalRecord, End, void> {
  for (let restartable = mayRestart; ;) {
    const records = begin();
    let over = false;
    try {
      for (;;) {
        const step = await records.next();
        over = step.done === true;
        if (step.done === true) return step.value;
        restartable = false;
        onRecord(step.value.end);
        yield step.value;
      }
    } catch (error) {
      over = true;
      if (!restartable || !(error instanceof JournalError) || error.code !== 'TIDEMARK_TRIMMED') throw error;
    } finally {
      // Whoever leaves the loop early leaves files open.
      if (!over) await records.return(undefined as never);
    }
  }
}
