/** Options of `Journal.open`: what each means, its default and its range. */
import { NotSupportedError } from '../platform/errors.js';
import type { Advice } from '../platform/platform.js';
import type { AckLevel } from './appender.js';
import { boolean, checkKeys, fail, integer, oneOf, powerOfTwo } from './options.js';
import { IoScheduler } from './scheduler.js';

export const ADVICE: readonly Advice[] = ['normal', 'sequential', 'random', 'willNeed', 'dontNeed', 'noReuse'];

export interface JournalOptions {
  /** `file`: one file, interchangeable with fsys, LSN = byte offset. Default `file`. */
  readonly layout?: 'file';
  /** Creates the journal if it does not exist. Default true. */
  readonly create?: boolean;
  /** Permission bits of a journal that is created. Default 0o600. */
  readonly mode?: number;
  /** Writes past the page cache (`O_DIRECT`) where the filesystem allows; `directActive` tells. Default true. */
  readonly direct?: boolean;
  /** Bytes of space to keep written with zeros ahead of the log, 0 to 2^40; 0 turns it off. Default 64 MiB. */
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
  /** The threads that serve it. Default: the shared `defaultScheduler()`. */
  readonly scheduler?: IoScheduler;
}

export interface ResolvedJournalOptions {
  readonly create: boolean;
  readonly mode: number;
  readonly direct: boolean;
  readonly preallocate: number;
  readonly logBufferBytes: number;
  readonly groupCommitWindow: number;
  readonly ack: AckLevel;
  readonly queueBytesMax: number;
  readonly whenQueueFull: 'wait' | 'throw';
}

const KEYS = [
  'layout', 'create', 'mode', 'direct', 'preallocate', 'logBufferBytes', 'groupCommitWindow', 'ack', 'queueBytesMax',
  'whenQueueFull', 'scheduler',
] as const;

const MIB = 1024 * 1024;

export function journalOptions(options: JournalOptions): ResolvedJournalOptions {
  checkKeys('options', options, KEYS);
  if ((options.layout as unknown) === 'segments') throw new NotSupportedError("layout 'segments'", "only layout 'file' is implemented");
  oneOf('layout', options.layout, 'file', ['file']);
  if (options.scheduler !== undefined && !(options.scheduler instanceof IoScheduler)) fail('scheduler', 'an IoScheduler', options.scheduler);
  return {
    create: boolean('create', options.create, true),
    mode: integer('mode', options.mode, 0o600, 0, 0o777),
    direct: boolean('direct', options.direct, true),
    preallocate: integer('preallocate', options.preallocate, 64 * MIB, 0, 2 ** 40),
    logBufferBytes: powerOfTwo('logBufferBytes', options.logBufferBytes, 8 * MIB, 64 * 1024, 1024 * MIB),
    groupCommitWindow: integer('groupCommitWindow', options.groupCommitWindow, 0, 0, 1_000_000),
    ack: oneOf('ack', options.ack, 'durable', ['buffered', 'written', 'durable']),
    queueBytesMax: integer('queueBytesMax', options.queueBytesMax, 64 * MIB, 0, 2 ** 40),
    whenQueueFull: oneOf('whenQueueFull', options.whenQueueFull, 'wait', ['wait', 'throw']),
  };
}
