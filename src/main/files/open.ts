/** Opening of files. */
import type { OpenFile } from '../../workers/protocol/operation.js';
import * as check from '../options.js';
import type { Caller, OperationOptions } from './caller.js';
import { FileHandle } from './file-handle.js';

export interface OpenReadOptions extends OperationOptions {
  /**
   * Transfers bypass the page cache (`O_DIRECT`) where the filesystem allows it. Where it does not, the file is open all the
   * same: `handle.direct` tells which, and why. Default false.
   */
  readonly direct?: boolean;
}

export interface OpenWriteOptions extends OpenReadOptions {
  /** Every write is durable when it returns (`O_DSYNC`), whatever its own `method` says. Default false. */
  readonly dsync?: boolean;
  /** Permission bits of a file that is made, less the umask. Default 0o600. */
  readonly mode?: number;
  /** The name of a file that is made is durable when the operation resolves: its directory is synced. Default true. */
  readonly durable?: boolean;
}

export interface OpenOrCreateOptions extends OpenWriteOptions {
  /** Makes the file where there is none. Default: true for `openAppend`, false for `openWriteAt`. */
  readonly create?: boolean;
}

/**
 * Only regular files are opened: a directory rejects with `TIDEMARK_IS_DIRECTORY`, a device, FIFO or socket with
 * `TIDEMARK_NOT_A_FILE`, and nothing waits for a peer. Where a file is made, a symbolic link that leads nowhere is not followed:
 * it rejects with `TIDEMARK_NOT_FOUND`, or `TIDEMARK_EXISTS`. open(2).
 */
export interface OpenOperations {
  /** Opens a file for reading. */
  openRead(path: string, options?: OpenReadOptions): Promise<FileHandle>;
  /** Makes a new file, for reading and writing; rejects with `TIDEMARK_EXISTS` where the name is taken (`O_CREAT | O_EXCL`). */
  openWriteNew(path: string, options?: OpenWriteOptions): Promise<FileHandle>;
  /**
   * Opens a file for reading and for `append`; `writeAt` refuses it. Such a handle is never direct: appends begin where the file
   * ends, which need not be aligned (`O_APPEND`).
   */
  openAppend(path: string, options?: OpenOrCreateOptions): Promise<FileHandle>;
  /** Opens a file for reading and writing at any offset. Nothing is truncated. */
  openWriteAt(path: string, options?: OpenOrCreateOptions): Promise<FileHandle>;
}

const READ_OPTIONS = ['direct'] as const;
const NEW_OPTIONS = [...READ_OPTIONS, 'dsync', 'mode', 'durable'] as const;
const WRITE_OPTIONS = [...NEW_OPTIONS, 'create'] as const;
const MODE_MAX = 0o7777;

/** How a file is made, from the options that say so. */
export function creationOf({ mode, durable }: Pick<OpenWriteOptions, 'mode' | 'durable'>): { mode: number; durable: boolean } {
  return { mode: check.integer('mode', mode, 0o600, 0, MODE_MAX), durable: check.boolean('durable', durable, true) };
}

/** The handle of what was opened, for the caller's scheduler to close where nobody else does. */
export function handleOf(caller: Caller, { file, directReason }: { readonly file: OpenFile; readonly directReason: string }): FileHandle {
  return caller.remember(new FileHandle(file, directReason, caller.release));
}

export function openOperations(caller: Caller): OpenOperations {
  const { discard } = caller;

  const openExisting = async (name: 'openAppend' | 'openWriteAt', path: string, options: OpenOrCreateOptions | undefined, createDefault: boolean): Promise<FileHandle> => {
    const given: OpenOrCreateOptions = caller.options(options, WRITE_OPTIONS);
    const creation = creationOf(given);
    const create = check.boolean('create', given.create, createDefault);
    const place = caller.place('path', path);
    const direct = check.boolean('direct', given.direct, false);
    const dsync = check.boolean('dsync', given.dsync, false);
    return handleOf(caller, await caller.run(name, [place, direct, dsync, create ? creation : undefined], options, { discard }));
  };

  return {
    async openRead(path, options) {
      const { direct }: OpenReadOptions = caller.options(options, READ_OPTIONS);
      return handleOf(caller, await caller.run('openRead', [caller.place('path', path), check.boolean('direct', direct, false)], options, { discard }));
    },

    async openWriteNew(path, options) {
      const given: OpenWriteOptions = caller.options(options, NEW_OPTIONS);
      const direct = check.boolean('direct', given.direct, false);
      const dsync = check.boolean('dsync', given.dsync, false);
      return handleOf(caller, await caller.run('openWriteNew', [caller.place('path', path), direct, dsync, creationOf(given)], options, { discard }));
    },

    async openAppend(path, options) {
      return openExisting('openAppend', path, options, true);
    },

    async openWriteAt(path, options) {
      return openExisting('openWriteAt', path, options, false);
    },
  };
}
