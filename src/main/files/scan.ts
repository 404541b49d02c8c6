/** What lies in a directory and everywhere below it. */
import { fromWire, OperationError } from '../../platform/errors.js';
import type { DirectoryEntry } from '../../platform/interface/directories.js';
import type { ScanCounts, ScanDirectory, ScanHow, ScanPage } from '../../workers/files/scan.js';
import * as check from '../options.js';
import type { Caller, NamedPlace, OperationOptions } from './caller.js';
import { DirectoryHandle, openRoot } from './directory-handle.js';

/** A name that a scan came across. */
export interface ScanEntry extends Pick<DirectoryEntry, 'name' | 'nameBytes' | 'kind' | 'inode'> {
  /** Relative to where the scan began, with `/` between the names. */
  readonly path: string;
  /** Number of names in {@link path}: 1 for what lies where the scan began. */
  readonly depth: number;
}

/** `timeoutMs` is for each page that is read, not for the whole. */
export interface WalkOptions extends OperationOptions {
  /**
   * Links that lead to directories are entered, but not where they lead back to a directory on the way there (told by device and
   * inode). Their entries stay `symlink`. Default false.
   */
  readonly followLinks?: boolean;
  /**
   * Told of each directory below the start that could not be read, such as one without permission, with its path relative to the
   * start: then the scan passes it over. Default: the scan rejects with the error.
   */
  readonly onError?: (error: Error, path: string) => void;
}

export interface ScanOptions extends WalkOptions {
  /** Default true: directories below the start are entered too. */
  readonly recursive?: boolean;
}

export interface FindOptions extends WalkOptions {
  /** Wildcards match names that begin with a dot too. Default false. */
  readonly dot?: boolean;
}

export interface CountOptions extends ScanOptions {
  /** Adds up the sizes of files, which takes a system call for each. Default false. */
  readonly bytes?: boolean;
}

export interface CountResult {
  readonly primitive: 'getdents64';
  /** Regular files; one with several names counts with each. */
  readonly files: number;
  /** Without the one where the count began. */
  readonly directories: number;
  readonly links: number;
  /** FIFOs, sockets and devices. */
  readonly others: number;
  /** The sizes of the files, one with several names with each. Undefined without the option. */
  readonly bytes: number | undefined;
}

export interface ScanOperations {
  /**
   * All entries below a directory, each directory before what lies in it, otherwise in no order. They are read page by page, a
   * page being some thousand entries or 50 ms of a worker, and the next one not before the last one is used up. Memory: a page,
   * and the directories that were seen and not visited yet. Leaving the loop early ends it.
   *
   * Directories are opened relative to the one where the scan began, so that no swapped link leads it elsewhere, and paths may be
   * longer than `PATH_MAX`; with `followLinks`, they are opened by their paths. One that vanishes meanwhile is passed over.
   * Names that are not UTF-8 come with `nameBytes`; such a directory is not entered, which counts as one that cannot be read.
   * What is made or removed meanwhile may come or not. System calls: openat2(2), getdents64(2).
   */
  scan(path: string, options?: ScanOptions): AsyncIterable<ScanEntry>;

  /**
   * The entries whose path, relative to the start, matches one of the globs (picomatch: `*`, `**`, `?`, `[a-z]`, `{a,b}`,
   * extended globs). Directories that can hold no match are not visited. A glob is relative, and a leading `!` means itself.
   */
  find(path: string, globs: string | readonly string[], options?: FindOptions): AsyncIterable<ScanEntry>;

  /** Counts what {@link scan} would give, without making entries of it. */
  count(path: string, options?: CountOptions): Promise<CountResult>;
}

const WALK_OPTIONS = ['followLinks', 'onError'] as const;
/** Directories that go to a worker with a page: more than it will visit, few enough to be sent there and back. */
const PAGE_DIRECTORIES = 1024;
const GLOB_CHARACTERS_MAX = 4096;

export function scanOperations(caller: Caller): ScanOperations {
  return {
    scan(path, options) {
      const given = caller.options(options, ['recursive', ...WALK_OPTIONS]);
      return entriesOf(caller, caller.place('path', path), { ...walkOptions(given), recursive: check.boolean('recursive', given.recursive, true), tell: 'entries', globs: undefined }, given);
    },

    find(path, globs, options) {
      const given = caller.options(options, ['dot', ...WALK_OPTIONS]);
      const how = { ...walkOptions(given), recursive: true, tell: 'entries', globs: { patterns: patternsOf(globs), dot: check.boolean('dot', given.dot, false) } } as const;
      return entriesOf(caller, caller.place('path', path), how, given);
    },

    async count(path, options) {
      const given = caller.options(options, ['recursive', 'bytes', ...WALK_OPTIONS]);
      const bytes = check.boolean('bytes', given.bytes, false);
      const how = { ...walkOptions(given), recursive: check.boolean('recursive', given.recursive, true), tell: bytes ? 'bytes' : 'counts', globs: undefined } as const;
      let sum: ScanCounts = { files: 0, directories: 0, links: 0, others: 0, bytes: 0 };
      for await (const { counts } of pages(caller, caller.place('path', path), how, given)) {
        sum = {
          files: sum.files + counts.files, directories: sum.directories + counts.directories, links: sum.links + counts.links,
          others: sum.others + counts.others, bytes: sum.bytes + counts.bytes,
        };
      }
      return { primitive: 'getdents64', ...sum, bytes: bytes ? sum.bytes : undefined };
    },
  };
}

async function* entriesOf(caller: Caller, place: NamedPlace, how: ScanHow, options: WalkOptions): AsyncGenerator<ScanEntry, void, undefined> {
  for await (const { found } of pages(caller, place, how, options)) {
    for (const { directory, entries } of found) {
      for (const entry of entries) {
        options.signal?.throwIfAborted();
        yield { ...entry, path: directory.path === '' ? entry.name : `${directory.path}/${entry.name}`, depth: directory.depth };
      }
    }
  }
}

async function* pages(caller: Caller, place: NamedPlace, how: ScanHow, options: WalkOptions): AsyncGenerator<ScanPage, void, undefined> {
  const start = how.followLinks ? undefined : await openRoot(caller, place, options);
  const base = start === undefined ? place : { path: '.', root: start };
  const pending: ScanDirectory[] = [{ path: '', depth: 1, way: [] }];
  let reading: { readonly directory: ScanDirectory; readonly handle: DirectoryHandle } | undefined;
  let timedOut = false;
  try {
    while (pending.length > 0 || reading !== undefined) {
      const given: DirectoryHandle | undefined = reading?.handle;
      const work = { reading: reading?.directory, pending: pending.splice(-PAGE_DIRECTORIES) };
      const page: ScanPage = await caller.run('scanPage', [base, given, work, how], options, {
        discard: (late) => {
          if (late.reading !== undefined && late.reading.file.descriptor !== given?.file.descriptor) caller.discard(late.reading);
        },
      });
      for (const directory of page.pending) pending.push(directory);
      const { reading: left } = page;
      if (left?.file.descriptor !== given?.file.descriptor) {
        reading = left === undefined ? undefined : { directory: left.directory, handle: caller.remember(new DirectoryHandle(caller, left.file, caller.release)) };
        await given?.close();
      }
      yield page;
      tellFailures(page, options);
    }
  } catch (error) {
    timedOut = error instanceof OperationError && error.code === 'TIDEMARK_TIMEOUT';
    throw error;
  } finally {
    const closed = Promise.all([reading?.handle.close(), start?.close()]);
    // A page that timed out may still have a thread, and closing waits for it: the caller does not.
    if (timedOut) closed.catch(() => undefined);
    else await closed;
  }
}

function tellFailures({ failures }: ScanPage, { onError }: WalkOptions): void {
  for (const { path, error } of failures) {
    if (onError === undefined || path === '') throw fromWire(error);
    onError(fromWire(error), path);
  }
}

function walkOptions(options: WalkOptions): Pick<ScanHow, 'followLinks'> {
  if (options.onError !== undefined && typeof options.onError !== 'function') check.fail('onError', 'a function', options.onError);
  return { followLinks: check.boolean('followLinks', options.followLinks, false) };
}

function patternsOf(globs: unknown): readonly string[] {
  const patterns: readonly unknown[] = Array.isArray(globs) ? globs : [globs];
  if (patterns.length === 0) check.fail('globs', 'a glob or several', globs);
  return patterns.map((glob) => {
    if (typeof glob !== 'string' || glob === '' || glob.length > GLOB_CHARACTERS_MAX) check.fail('globs', `globs, strings of 1 to ${GLOB_CHARACTERS_MAX} characters`, glob);
    if (glob.startsWith('/') || glob.split('/').includes('..')) check.fail('globs', 'relative to the start, without `..`', glob);
    return glob;
  });
}
