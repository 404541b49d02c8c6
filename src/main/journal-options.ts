/** Options of `Journal.open`: what each means, its default and its range. */
import type { Advice } from '../platform/platform.js';
import { SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN } from '../workers/protocol/segment.js';
import type { AckLevel } from './appender.js';
import { boolean, checkKeys, fail, integer, oneOf, powerOfTwo } from './options.js';
import { IoScheduler } from './scheduler.js';
import type { Layout } from './storage.js';

export const ADVICE: readonly Advice[] = ['normal', 'sequential', 'random', 'willNeed', 'dontNeed', 'noReuse'];

export interface JournalOptions {
  /**
   * Of a journal that is created. `segments`: a directory of fixed-size segments, with several writes in flight, proof of
   * what was durable, and trimming. `file`: one file, interchangeable with fsys, LSN = byte offset. Default `segments`.
   * A journal that exists keeps its layout; asking for the other one is an error.
   */
  readonly layout?: Layout;
  /** Layout `segments`, of a journal that is created: bytes of a segment, a power of two from 64 KiB to 1 GiB. Default 64 MiB. */
  readonly segmentBytes?: number;
  /** Layout `segments`: most writes in flight, 1 to 32; as many of them are used as what is pending deserves. Default 4. */
  readonly queueDepth?: number;
  /**
   * Layout `segments`: how a new segment is made where none can be used again. `zeroed`: written with zeros, which makes
   * appends to it quicker to sync and costs a second write of everything. `plain`: its space is only reserved. `auto`:
   * zeros while there is time for them, none in a burst. Default `auto`.
   */
  readonly newSegments?: NewSegments;
  /** Layout `segments`: trimmed segments to keep for the log to come, 0 to 64; the others are deleted. Default 2. */
  readonly spareSegments?: number;
  /**
   * Layout `segments`: oldest full segments are trimmed while what is left is at least so many bytes. A segment that a
   * follower in this process still reads is kept. Default: everything is kept.
   */
  readonly retainBytes?: number;
  /** The same: while there are more full segments than this. */
  readonly retainSegments?: number;
  /** The same: once they were filled so many milliseconds ago. */
  readonly retainMs?: number;
  /** Creates the journal if it does not exist. Default true. */
  readonly create?: boolean;
  /** Permission bits of a journal that is created. Default 0o600. */
  readonly mode?: number;
  /** Writes past the page cache (`O_DIRECT`) where the filesystem allows; `directActive` tells. Default true. */
  readonly direct?: boolean;
  /** Layout `file`: bytes of space to keep written with zeros ahead of the log, 0 to 2^40; 0 turns it off. Default 64 MiB. */
  readonly preallocate?: number;
  /** Size of the shared log buffer, a power of two from 64 KiB to 1 GiB. Default 8 MiB. */
  readonly logBufferBytes?: number;
  /** Microseconds to collect records before a commit, 0 to 1,000,000. Default 0: a commit starts as soon as the last one ends. */
  readonly groupCommitWindow?: number;
  /** When `append` resolves. Default `durable`. */
  readonly ack?: AckLevel;
  /** Bytes that may wait, copied, for room in the log buffer, per thread, 0 to 2^40. Default 64 MiB. */
  readonly queueBytesMax?: number;
  /** Beyond `queueBytesMax`: `wait` keeps the caller's memory until there is room, `throw` rejects. Default `wait`. */
  readonly whenQueueFull?: 'wait' | 'throw';
  /**
   * Milliseconds that the end of the process by `process.exit()` or an uncaught exception waits, blocking, until what was
   * appended is durable, 0 to 60,000; 0: it does not wait. Default 1000.
   */
  readonly exitDrainMs?: number;
  /** The threads that serve it. Default: the shared `defaultScheduler()`. */
  readonly scheduler?: IoScheduler;
}

export type NewSegments = 'auto' | 'zeroed' | 'plain';

export interface SupplyOptions {
  readonly newSegments: NewSegments;
  readonly spareSegments: number;
  readonly retainBytes: number | undefined;
  readonly retainSegments: number | undefined;
  readonly retainMs: number | undefined;
}

export interface ResolvedJournalOptions extends SupplyOptions {
  /** Undefined: as it is, or `segments`. */
  readonly layout: Layout | undefined;
  readonly segmentBytes: number;
  readonly queueDepth: number;
  readonly create: boolean;
  readonly mode: number;
  readonly direct: boolean;
  readonly preallocate: number;
  readonly logBufferBytes: number;
  readonly groupCommitWindow: number;
  readonly ack: AckLevel;
  readonly queueBytesMax: number;
  readonly whenQueueFull: 'wait' | 'throw';
  readonly exitDrainMs: number;
}

const KEYS = [
  'layout', 'create', 'mode', 'direct', 'preallocate', 'logBufferBytes', 'groupCommitWindow', 'ack', 'queueBytesMax',
  'whenQueueFull', 'exitDrainMs', 'scheduler', 'segmentBytes', 'queueDepth', 'spareSegments', 'retainBytes', 'retainSegments', 'retainMs', 'newSegments',
] as const;

const MIB = 1024 * 1024;

export function journalOptions(options: JournalOptions): ResolvedJournalOptions {
  checkKeys('options', options, KEYS);
  if (options.scheduler !== undefined && !(options.scheduler instanceof IoScheduler)) fail('scheduler', 'an IoScheduler', options.scheduler);
  const optional = (name: 'retainBytes' | 'retainSegments' | 'retainMs', max: number): number | undefined =>
    options[name] === undefined ? undefined : integer(name, options[name], 0, 0, max);
  return {
    layout: options.layout === undefined ? undefined : oneOf<Layout>('layout', options.layout, 'segments', ['segments', 'file']),
    segmentBytes: powerOfTwo('segmentBytes', options.segmentBytes, 64 * MIB, SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX),
    queueDepth: integer('queueDepth', options.queueDepth, 4, 1, 32),
    spareSegments: integer('spareSegments', options.spareSegments, 2, 0, 64),
    newSegments: oneOf<NewSegments>('newSegments', options.newSegments, 'auto', ['auto', 'zeroed', 'plain']),
    retainBytes: optional('retainBytes', Number.MAX_SAFE_INTEGER),
    retainSegments: optional('retainSegments', Number.MAX_SAFE_INTEGER),
    retainMs: optional('retainMs', Number.MAX_SAFE_INTEGER),
    create: boolean('create', options.create, true),
    mode: integer('mode', options.mode, 0o600, 0, 0o777),
    direct: boolean('direct', options.direct, true),
    preallocate: integer('preallocate', options.preallocate, 64 * MIB, 0, 2 ** 40),
    logBufferBytes: powerOfTwo('logBufferBytes', options.logBufferBytes, 8 * MIB, 64 * 1024, 1024 * MIB),
    groupCommitWindow: integer('groupCommitWindow', options.groupCommitWindow, 0, 0, 1_000_000),
    ack: oneOf('ack', options.ack, 'durable', ['buffered', 'written', 'durable']),
    queueBytesMax: integer('queueBytesMax', options.queueBytesMax, 64 * MIB, 0, 2 ** 40),
    whenQueueFull: oneOf('whenQueueFull', options.whenQueueFull, 'wait', ['wait', 'throw']),
    exitDrainMs: integer('exitDrainMs', options.exitDrainMs, 1000, 0, 60_000),
  };
}
