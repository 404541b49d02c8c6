/** From a method of `files` to a worker and back: checks what all operations have in common, and keeps handles open meanwhile. */
import { InvalidArgumentError } from '../../platform/errors.js';
import type { ArgumentsOf, OperationName, ResultOf } from '../../workers/files/operations.js';
import type { OpenFile, Place } from '../../workers/protocol/operation.js';
import { LANES, type CallOptions, type LaneName } from '../lanes/call.js';
import type { Lanes } from '../lanes/lanes.js';
import * as check from '../options.js';
import { absolutePath } from '../paths.js';
import { DirectoryHandle } from './directory-handle.js';
import { FileHandle } from './file-handle.js';
import { OpenHandle } from './handle.js';

/** What every operation takes. */
export interface OperationOptions {
  /** Who goes first: `urgent`, `normal` or `bulk`. Default `normal`. */
  readonly lane?: LaneName;
  /**
   * Milliseconds, from 1 to 2^31 - 1, from the call on, after which it rejects with `TIDEMARK_TIMEOUT`. One that has begun is
   * asked to stop; where a system call holds it, it may still take effect, and its thread is free when that returns. Default:
   * none.
   */
  readonly timeoutMs?: number;
  /**
   * Rejects with the signal's reason. An operation that waits in its lane is taken out at once; one that runs stops where it
   * can do so in good order, or resolves when it was done by then: after it has settled, nothing of it goes on.
   */
  readonly signal?: AbortSignal;
}

/** The keys of {@link OperationOptions}, for the check of a method that has options of its own. */
export const OPERATION_OPTIONS = ['lane', 'timeoutMs', 'signal'] as const;

const TIMEOUT_MS_MAX = 2 ** 31 - 1;

/** A name, as a method got it. */
export interface NamedPlace {
  readonly path: string;
  /** The directory that nothing leads out of; the promise is the caller's, and is waited for. Undefined: the whole tree. */
  readonly root: DirectoryHandle | Promise<DirectoryHandle> | undefined;
}

export type MainTarget = NamedPlace | FileHandle | DirectoryHandle;

/** What may stand for an argument of an operation on this side: handles for what is open. */
type Sent<T> = T extends OpenFile ? T | OpenHandle : T extends Place ? T | NamedPlace : T extends readonly (infer Item)[] ? readonly Sent<Item>[] : T;
type SentAll<Args extends readonly unknown[]> = { readonly [Index in keyof Args]: Sent<Args[Index]> };

/** What a scheduler lends to its file operations. */
export interface CallerHost {
  readonly lanes: Lanes;
  /** Open files and directories that their users have not closed. */
  readonly handles: Set<OpenHandle>;
  /** Throws when the scheduler is closed. */
  readonly checkOpen: () => void;
}

export class Caller {
  readonly #host: CallerHost;
  /** Every path lies below it. */
  readonly #root: Promise<DirectoryHandle> | undefined;

  constructor(host: CallerHost, root?: Promise<DirectoryHandle>) {
    this.#host = host;
    this.#root = root;
  }

  /** The same, with every path below a directory that may still be being opened. */
  below(root: Promise<DirectoryHandle>): Caller {
    return new Caller(this.#host, root);
  }

  /** Runs an operation on a worker. Handles among the arguments stay open until it has settled there. */
  async run<Name extends OperationName>(
    name: Name,
    args: SentAll<ArgumentsOf<Name>>,
    options: OperationOptions = {},
    how: Pick<CallOptions, 'together' | 'onProgress'> & {
      readonly discard?: (value: ResultOf<Name>) => void;
      /** Arguments for another attempt, where the result asks for one. */
      readonly again?: (value: ResultOf<Name>) => SentAll<ArgumentsOf<Name>> | undefined;
    } = {},
  ): Promise<ResultOf<Name>> {
    const { lane, timeoutMs, signal } = options;
    const callOptions: CallOptions = {
      lane: check.oneOf('lane', lane, 'normal', LANES),
      subject: () => ({ method: METHODS[name] ?? name, path: pathOf(args) }),
      timeoutMs: timeoutMs === undefined ? undefined : check.integer('timeoutMs', timeoutMs, 0, 1, TIMEOUT_MS_MAX),
      signal: check.signal('signal', signal),
      together: how.together,
      onProgress: how.onProgress,
      discard: how.discard as CallOptions['discard'],
      again: how.again === undefined ? undefined : (value) => {
        const next = how.again?.(value as ResultOf<Name>);
        return next && packed(next);
      },
    };
    this.#host.checkOpen();
    let root: DirectoryHandle | undefined;
    const used: OpenHandle[] = [];
    const leave = (): void => {
      for (const handle of used) handle.leave();
    };
    const packed = (values: readonly unknown[]): readonly unknown[] => values.map((value) => pack(value, (handle) => {
      const open = handle instanceof Promise ? (root as DirectoryHandle) : handle;
      if (!used.includes(open)) {
        open.enter();
        used.push(open);
      }
      return open.file;
    }));
    const { lanes } = this.#host;
    if (this.#root !== undefined && args.some(isWaiting)) {
      const make = (directory: unknown): readonly unknown[] => {
        root = directory as DirectoryHandle;
        return packed(args);
      };
      return lanes.call(name, { after: this.#root, make }, callOptions, leave) as Promise<ResultOf<Name>>;
    }
    let now: readonly unknown[];
    try {
      now = packed(args);
    } catch (error) {
      leave();
      throw error;
    }
    return lanes.call(name, now, callOptions, leave) as Promise<ResultOf<Name>>;
  }

  /** A path argument. Relative ones are made absolute now: the working directory may be another one when the worker gets it. */
  place(argument: string, value: unknown): NamedPlace {
    const path = check.path(argument, value);
    return this.#root === undefined ? { path: absolutePath(path), root: undefined } : { path, root: this.#root };
  }

  /** A path or an open file. */
  target(argument: string, value: unknown): MainTarget {
    if (value instanceof FileHandle || value instanceof DirectoryHandle) return value;
    if (typeof value !== 'string') check.fail(argument, 'a path or a FileHandle', value);
    return this.place(argument, value);
  }

  /** A path or an open file, where a directory makes no sense. */
  fileTarget(argument: string, value: unknown): NamedPlace | FileHandle {
    return typeof value === 'string' ? this.place(argument, value) : this.handle(argument, value, 'a path or a FileHandle');
  }

  /** The same, where it is going to be changed. */
  writable(argument: string, value: unknown): MainTarget {
    return openForWriting(argument, this.target(argument, value));
  }

  /** The same, where a directory makes no sense. */
  writableFile(argument: string, value: unknown): NamedPlace | FileHandle {
    return openForWriting(argument, this.fileTarget(argument, value));
  }

  /** An open file. */
  handle(argument: string, value: unknown, expected = 'a FileHandle'): FileHandle {
    if (!(value instanceof FileHandle)) check.fail(argument, expected, value);
    return value;
  }

  /** Remembers a handle until it is closed: the scheduler closes those that are left. */
  remember<Handle extends OpenHandle>(handle: Handle): Handle {
    this.#host.handles.add(handle);
    return handle;
  }

  /** Closes the descriptor of a handle that this thread opened. */
  readonly release = async (handle: OpenHandle): Promise<void> => {
    this.#host.handles.delete(handle);
    await this.#closeDescriptor(handle.file);
  };

  /** Closes what was opened when nobody waited any more: nobody is there to be told that it failed either. */
  readonly discard = ({ file }: { readonly file: OpenFile }): void => {
    this.#closeDescriptor(file).catch(() => undefined);
  };

  async #closeDescriptor(file: OpenFile): Promise<void> {
    await this.#host.lanes.call('closeDescriptor', [file], { lane: 'urgent', own: true });
  }

  /** Takes options apart: unknown ones are refused. */
  options<Options extends object>(value: Options | undefined, own: readonly (keyof Options & string)[]): Partial<Options> {
    if (value === undefined) return {};
    check.checkKeys('options', value, [...own, ...OPERATION_OPTIONS]);
    return value;
  }
}

function openForWriting<Target extends MainTarget>(argument: string, target: Target): Target {
  if (target instanceof FileHandle && target.file.only === 'read') {
    throw new InvalidArgumentError(`Expected \`${argument}\` to be open for writing, got a handle from openRead`);
  }
  return target;
}

/** Operations that have another name for those who call them. */
const METHODS: Readonly<Partial<Record<OperationName, string>>> = {
  adviseFile: 'advise', makeDirectoryAt: 'mkdirAt', makeHardlink: 'hardlink', makeNode: 'mknod', makeSymlink: 'symlink', readSymlink: 'readlink', readVectorInto: 'readVector',
  readVectorOwn: 'readVector', renameName: 'rename', runBatch: 'batch', scanPage: 'scan', unlinkName: 'unlink',
};

/** Of the first argument that is a file, as the caller named it. */
function pathOf(args: readonly unknown[]): string | undefined {
  for (const value of args) {
    if (value instanceof OpenHandle) return value.path;
    if (typeof value === 'object' && value !== null && 'path' in value && typeof value.path === 'string') return value.path;
  }
  return undefined;
}

/** A place below the directory of the caller, which may still be being opened. */
function isWaiting(value: unknown): boolean {
  return Array.isArray(value) ? value.some(isWaiting) : isBelow(value) && value.root instanceof Promise;
}

function isBelow(value: unknown): value is NamedPlace & { readonly root: DirectoryHandle | Promise<DirectoryHandle> } {
  return typeof value === 'object' && value !== null && 'root' in value && value.root !== undefined;
}

/** An argument as it travels: what is open, alone, below a place or in a list, by the descriptor that `use` answers. */
function pack(value: unknown, use: (handle: OpenHandle | Promise<DirectoryHandle>) => OpenFile): unknown {
  if (value instanceof OpenHandle) return use(value);
  if (Array.isArray(value)) return value.map((item) => pack(item, use));
  return isBelow(value) ? { ...value, root: use(value.root).descriptor } : value;
}
