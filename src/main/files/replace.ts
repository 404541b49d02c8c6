/** Files replaced as a whole, atomically and durably. */
import type { LeftoversRemoved, Replaced } from '../../workers/files/replace.js';
import * as check from '../options.js';
import type { Caller, OperationOptions } from './caller.js';

/** What of the file that is replaced its successor takes over. */
export interface Preserve {
  /**
   * Permission bits, with the access control list that they are a part of; without one, the new file has none either, whatever
   * its directory gives to new files. Default true. setuid and setgid cannot be kept where the owner or group becomes another one.
   */
  readonly mode?: boolean;
  /** User and group. Default false. */
  readonly owner?: boolean;
  /** Of access and modification. Default false. */
  readonly times?: boolean;
  /** Extended attributes, access control lists among them. Default false; for true the file must be readable. */
  readonly xattrs?: boolean;
}

export interface ReplaceOptions extends OperationOptions {
  /**
   * What of the old file the new one takes over; true and false stand for all. Where that is not permitted it rejects with
   * `TIDEMARK_PERMISSION` and nothing has changed. Default: the mode.
   */
  readonly preserve?: Preserve | boolean;
  /** Permission bits of a file that is new, or whose mode is not preserved: exactly these. 0 to 0o7777, default 0o600. */
  readonly mode?: number;
}

export type ReplaceResult = Replaced;
export type RemoveLeftoversResult = LeftoversRemoved;

export interface ReplaceOperations {
  /**
   * Replaces the content of a file, or makes it: a temporary file beside it is written (pwrite(2)), synced (fsync(2), or the
   * same through a ring for several files), renamed over it (rename(2)), and the directory is synced. At any moment, and after a
   * loss of power at any moment, the file is wholly the old or wholly the new one; once it resolves, it is the new one for good.
   * Where the sync of the directory fails, the new content is in place but may be lost.
   *
   * A symbolic link stays: the file that it leads to is replaced, and that file's directory synced. Directories and special files
   * are refused before anything changes. Other names of the file (hard links) keep the old content, and so does who has it open.
   * The directory must be readable and writable.
   *
   * Calls that wait together share the sync of the directory. Calls for one file that are not awaited one after the other may be
   * done in any order. Strings are written as UTF-8. It can be aborted until the rename.
   */
  replaceFile(path: string, data: string | Uint8Array, options?: ReplaceOptions): Promise<ReplaceResult>;

  /**
   * Removes the temporary files that killed processes left in a directory (`.<name>.tidemark-<n>`), and syncs it. Those of
   * replacements that are going on are kept. Nobody has to call it: the next replacement of a file removes what is left of others.
   */
  removeLeftovers(directory: string, options?: OperationOptions): Promise<RemoveLeftoversResult>;
}

const PARTS = ['mode', 'owner', 'times', 'xattrs'] as const;
/** Larger ones would make others wait. */
const TOGETHER_BYTES_MAX = 256 * 1024;
/** One thread takes all: what they cost is mostly the directory, which threads would only fight for. */
const TOGETHER = { word: 'replace', least: 64, most: 64 } as const;

export function replaceOperations(caller: Caller): ReplaceOperations {
  return {
    async replaceFile(path, data, options) {
      const { preserve, mode } = caller.options(options, ['preserve', 'mode']);
      if (typeof data !== 'string' && !(data instanceof Uint8Array)) check.fail('data', 'a string or a Uint8Array', data);
      const settings = { preserve: preserved(preserve), mode: check.integer('mode', mode, 0o600, 0, 0o7777) };
      const place = caller.place('path', path);
      const alone = [place, data, { ...settings, waits: true }] as const;
      if (data.length > TOGETHER_BYTES_MAX) return caller.run('replaceFile', alone, options) as Promise<ReplaceResult>;
      return caller.run('replaceFile', [place, data, { ...settings, waits: false }], options, {
        together: TOGETHER,
        // Others are replacing the file, as many as it has temporary names: this one waits for them by itself.
        again: (result) => (result === undefined ? alone : undefined),
      }) as Promise<ReplaceResult>;
    },
    async removeLeftovers(directory, options) {
      caller.options(options, []);
      return caller.run('removeLeftovers', [caller.place('directory', directory)], options);
    },
  };
}

/** The option of that name, for whatever takes over something of another file. */
export function preserved(value: unknown): Required<Preserve> {
  if (value === undefined) return { mode: true, owner: false, times: false, xattrs: false };
  if (typeof value === 'boolean') return { mode: value, owner: value, times: value, xattrs: value };
  check.checkKeys('preserve', value, PARTS);
  const parts = value as Preserve;
  const part = (name: keyof Preserve, fallback: boolean): boolean => check.boolean(`preserve.${name}`, parts[name], fallback);
  return { mode: part('mode', true), owner: part('owner', false), times: part('times', false), xattrs: part('xattrs', false) };
}
