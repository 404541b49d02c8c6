/** What is known of a file; its times and permissions. */
import type { DeviceNumber, FileAttribute, FileKind, Metadata, NewTime } from '../../platform/interface/metadata.js';
import * as check from '../options.js';
import type { Caller, OperationOptions } from './caller.js';
import type { DirectoryHandle } from './directory-handle.js';
import type { FileHandle } from './file-handle.js';

export type { DeviceNumber, FileAttribute, FileKind };

export interface StatxOptions extends OperationOptions {
  /** False: a symbolic link itself, not what it leads to. Means nothing for a handle. Default true. */
  readonly followLink?: boolean;
}

export interface Statx extends Metadata {
  readonly primitive: 'statx';
}

/** Nanoseconds since 1970 as a bigint, milliseconds as a number, a Date, or `now`: the time of the system as it makes the change. */
export type TimeInput = bigint | number | Date | 'now';

export interface NewTimes {
  /** Of access. Left out, it stays. */
  readonly atime?: TimeInput;
  /** Of modification. Left out, it stays. */
  readonly mtime?: TimeInput;
}

export interface SetTimesOptions extends OperationOptions {
  /** False: the times of a symbolic link itself. Means nothing for a handle. Default true. */
  readonly followLink?: boolean;
  /** Syncs the file before it resolves. A link, FIFO, socket or device itself cannot be synced: `NotSupportedError`. Default false. */
  readonly durable?: boolean;
}

export interface TimesSet {
  readonly primitive: 'utimensat';
  readonly sync: 'fsync' | 'none';
  /** As the filesystem has it now: it may keep less digits, or another range of years. */
  readonly atimeNs: bigint;
  readonly mtimeNs: bigint;
}

export interface ChmodOptions extends OperationOptions {
  /** Syncs the file before it resolves. A FIFO, socket or device cannot be synced: `NotSupportedError`. Default false. */
  readonly durable?: boolean;
}

export interface ModeSet {
  /** `fchmod` for a handle or where it is durable. */
  readonly primitive: 'fchmod' | 'fchmodat';
  readonly sync: 'fsync' | 'none';
}

export interface MetadataOperations {
  /** All that the system tells of a file, statx(2), without opening it: read permission is not needed. */
  statx(target: string | FileHandle | DirectoryHandle, options?: StatxOptions): Promise<Statx>;
  /**
   * Sets the times of access and modification to the nanosecond, utimensat(2), within 100 million days of 1970. For the owner of
   * the file; `now` for both, for anybody who may write it. The time of the change itself, `ctimeNs`, becomes now.
   */
  setTimes(target: string | FileHandle | DirectoryHandle, times: NewTimes, options?: SetTimesOptions): Promise<TimesSet>;
  /**
   * Sets permission bits, 0 to 0o7777, fchmodat(2). Links are followed: on Linux they have no permissions of their own. For the
   * owner of the file. Where its group is not one of the process's, the system leaves setgid out, and says nothing.
   */
  chmod(target: string | FileHandle | DirectoryHandle, mode: number, options?: ChmodOptions): Promise<ModeSet>;
}

export const MODE_MAX = 0o7777;
const NS_PER_MS = 1_000_000;
/** The range of a Date, in milliseconds: 100 million days. */
const TIME_MS_MAX = 8.64e15;
const TIME_NS_MAX = BigInt(TIME_MS_MAX) * BigInt(NS_PER_MS);

export function metadataOperations(caller: Caller): MetadataOperations {
  return {
    async statx(target, options) {
      const { followLink } = caller.options(options, ['followLink']);
      return caller.run('statx', [caller.target('target', target), check.boolean('followLink', followLink, true)], options);
    },

    async setTimes(target, times, options) {
      check.checkKeys('times', times, ['atime', 'mtime']);
      const { followLink, durable } = caller.options(options, ['followLink', 'durable']);
      const [atime, mtime] = [time('times.atime', times.atime), time('times.mtime', times.mtime)];
      if (atime === undefined && mtime === undefined) check.fail('times', 'an object with `atime`, `mtime` or both', times);
      const change = { followLink: check.boolean('followLink', followLink, true), durable: check.boolean('durable', durable, false) };
      return caller.run('setTimes', [caller.target('target', target), atime, mtime, change], options);
    },

    async chmod(target, mode, options) {
      const { durable } = caller.options(options, ['durable']);
      check.required('mode', mode, 'permission bits');
      const args = [caller.target('target', target), check.integer('mode', mode, 0, 0, MODE_MAX), check.boolean('durable', durable, false)] as const;
      return caller.run('chmod', args, options);
    },
  };
}

function time(name: string, value: unknown): NewTime {
  if (value === undefined || value === 'now') return value;
  const milliseconds = value instanceof Date ? value.getTime() : value;
  if (typeof milliseconds === 'bigint' && milliseconds >= -TIME_NS_MAX && milliseconds <= TIME_NS_MAX) return milliseconds;
  if (typeof milliseconds !== 'number' || !(Math.abs(milliseconds) <= TIME_MS_MAX)) {
    check.fail(name, `nanoseconds as a bigint, milliseconds as a number, a Date, or 'now', within ${TIME_MS_MAX} ms of 1970`, value);
  }
  // Apart, so that the fraction keeps its digits.
  const whole = Math.floor(milliseconds);
  return BigInt(whole) * BigInt(NS_PER_MS) + BigInt(Math.round((milliseconds - whole) * NS_PER_MS));
}
