/** What a reader needs of a journal, whichever its layout. */
import type { Frame, Tail } from '../../workers/protocol/frame-walk.js';

export interface ReadRange {
  /** LSN of the record to begin with; undefined: the oldest there is. */
  readonly from: number | undefined;
  /** Records that start at or after it are not shown. */
  readonly to: number;
  /** Nothing beyond what the journal itself proves durable. */
  readonly durable: boolean;
}

export interface FollowRange {
  /** LSN of the record to begin with; `end`: what is not durable yet; undefined: the oldest there is. */
  readonly from: number | 'end' | undefined;
  readonly signal: AbortSignal | undefined;
  /** The longest wait between two looks, in milliseconds. */
  readonly pollMs: number;
}

/** A file that holds a part of the log. */
export interface JournalSegment {
  readonly path: string;
  /** LSN of the file's first byte. */
  readonly baseLsn: number;
  /** Size of the file. */
  readonly bytes: number;
}

export interface JournalSource {
  readonly layout: 'file' | 'segments';
  /** LSN of the place of the oldest record there is. */
  readonly firstLsn: number;
  /** The greatest LSN that the journal was seen to prove durable; undefined where it never tells. */
  readonly durableLsn: number | undefined;
  /** Yields records; returns how the journal ends, or undefined when it stopped at `to`. */
  records(range: ReadRange): AsyncGenerator<Frame, Tail | undefined, void>;
  readAt(lsn: number): Promise<Frame>;
  follow(range: FollowRange): AsyncGenerator<Frame, void, void>;
  segments(): Promise<readonly JournalSegment[]>;
  close(): Promise<void>;
}

/** How often, and how long apart, something that looks damaged is looked at again: a writer may be at work. */
export const LOOKS_MAX = 3;
export const LOOK_AGAIN_MS = 20;

export const MOVING_END = 'the journal is being written';
