/** What a journal hands out and takes: plain data, apart from the class that makes it. */
import type { Statistic } from '../workers/protocol/control-block.js';
import type { SharedLogBuffer } from '../workers/protocol/log-buffer.js';
import type { TornTail } from '../workers/protocol/messages.js';
import type { AckLevel } from './appender.js';
import type { Backend } from './scheduler.js';

/** The backend of a journal, with what differs between journals. */
export interface JournalBackend extends Backend {
  /** The log buffer is registered with the ring, which spares work at each write. Refused beyond RLIMIT_MEMLOCK. */
  readonly registeredBuffer: boolean;
}

/** A record on its way: its place in the log, and a promise for each level. */
export interface Submission {
  /** LSN of the frame's first byte. */
  readonly start: number;
  /** LSN after the frame; what `append` answers. */
  readonly end: number;
  /** Resolves with `end` when the kernel has the record: it survives the end of the process. */
  readonly written: Promise<number>;
  /** Resolves with `end` when the record is on stable storage: it survives power loss. */
  readonly durable: Promise<number>;
}

/** A journal for another thread: plain data, for `workerData` or `postMessage`. */
export interface SharedJournalHandle {
  readonly kind: 'tidemark-journal';
  readonly version: 1;
  readonly path: string;
  readonly control: SharedArrayBuffer;
  readonly log: SharedLogBuffer;
  readonly ack: AckLevel;
  readonly queueBytesMax: number;
  readonly whenQueueFull: 'wait' | 'throw';
  readonly exitDrainMs: number;
  readonly backend: JournalBackend;
  readonly directActive: boolean;
  readonly directReason: string;
}

/** What there is of segments, and how they came to be, since the journal was opened. */
export interface SegmentStats {
  /** Segments of the log, those in place ahead of it included. */
  readonly segments: number;
  /** Trimmed segments that wait to be used again. */
  readonly spareSegments: number;
  /** Segments in place ahead of the one that is written. */
  readonly segmentsAhead: number;
  readonly segmentsRecycled: number;
  /** New ones, written with zeros in full. */
  readonly segmentsZeroed: number;
  /** New ones with reserved space, written with zeros in part or not at all. */
  readonly segmentsPlain: number;
  readonly segmentsTrimmed: number;
  /** No room for a further segment is to be had: appends that need it fail with `TIDEMARK_NO_SPACE`. */
  readonly diskFull: boolean;
}

export type JournalStats = Readonly<Record<Statistic, number>> & {
  /** Only in the layout that has segments, and in the thread that opened the journal. */
  readonly segments?: SegmentStats;
  readonly reservedLsn: number;
  readonly writtenLsn: number;
  readonly durableLsn: number;
  /** Reserved and not yet durable, in bytes. */
  readonly pendingBytes: number;
  /** Promises of this thread that wait for a watermark. */
  readonly waiters: number;
  /** Records and bytes of this thread that wait for room in the log buffer. */
  readonly queuedRecords: number;
  readonly queuedBytes: number;
};

/** What opening found and did. */
export interface OpenReport {
  readonly created: boolean;
  readonly records: number;
  readonly filesystem: string;
  /** Set when the end of the journal was torn: what was cut off, and the file that keeps it. */
  readonly torn: TornTail | undefined;
}
