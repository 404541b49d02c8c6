/** Names: renamed, linked, made and removed, with the directories that hold them synced where that is wanted. */
import { EEXIST, EISDIR, ENOENT, ENOTEMPTY, inFile, ioError } from '../../platform/errno.js';
import { IoError, NotSupportedError } from '../../platform/errors.js';
import type { RenameMode } from '../../platform/interface/names.js';
import type { Platform } from '../../platform/platform.js';
import type { Place } from '../protocol/operation.js';
import type { OperationContext } from './context.js';
import { changeNames, parentOf, type Entry, type Parents } from './parents.js';
import { atEntry, withOpen } from './places.js';

/** Whether the directories that changed were synced before the operation resolved. */
export type NameSync = 'fsync' | 'none';

/** What a change of names answers. */
export interface Changed<Primitive extends string> {
  readonly primitive: Primitive;
  readonly sync: NameSync;
}

export type RenamePrimitive = 'renameat' | 'renameat2' | 'linkat+unlinkat';

export interface DirectoryMade extends Changed<'mkdirat'> {
  /** Directories that were not there before, with those on the way. */
  readonly created: number;
}

export const syncOf = (durable: boolean): NameSync => (durable ? 'fsync' : 'none');

export const nameOperations = {
  renameName({ platform }: OperationContext, from: Place, to: Place, mode: RenameMode, durable: boolean): Changed<RenamePrimitive> {
    const primitive = changeNames(platform, durable, (parents) => renameEntry(platform, parents, from, to, mode));
    return { primitive, sync: syncOf(durable) };
  },

  makeSymlink({ platform }: OperationContext, target: string, place: Place, durable: boolean): Changed<'symlinkat'> {
    changeOne(platform, place, durable, ({ at }) => {
      platform.names.symlink(target, at);
    });
    return { primitive: 'symlinkat', sync: syncOf(durable) };
  },

  readSymlink({ platform }: OperationContext, place: Place): { readonly primitive: 'readlinkat'; readonly target: string } {
    return { primitive: 'readlinkat', target: atEntry(platform, place, (at) => platform.names.readlink(at)) };
  },

  makeHardlink({ platform }: OperationContext, existing: Place, place: Place, durable: boolean): Changed<'linkat'> {
    changeNames(platform, durable, (parents) => {
      const entry = parents.entryOf(place);
      atEntry(platform, existing, (source) => {
        inFile(existing.path, () => {
          inTarget(entry, () => {
            platform.names.link(source, entry.at, { follow: false });
          });
        });
      });
      parents.changed(entry);
    });
    return { primitive: 'linkat', sync: syncOf(durable) };
  },

  unlinkName({ platform }: OperationContext, place: Place, durable: boolean): Changed<'unlinkat'> {
    changeOne(platform, place, durable, ({ at }) => {
      platform.names.unlink(at);
    });
    return { primitive: 'unlinkat', sync: syncOf(durable) };
  },

  makeDirectory({ platform }: OperationContext, place: Place, mode: number, recursive: boolean, durable: boolean): DirectoryMade {
    const created = changeNames(platform, durable, (parents) => (recursive ? makePath(platform, parents, place, mode) : makeOne(platform, parents, place, mode)));
    return { primitive: 'mkdirat', created, sync: syncOf(durable) };
  },

  removeDirectory({ platform }: OperationContext, place: Place, durable: boolean): Changed<'unlinkat'> {
    changeOne(platform, place, durable, ({ at }) => {
      platform.names.removeDirectory(at);
    });
    return { primitive: 'unlinkat', sync: syncOf(durable) };
  },
};

export function renameEntry(platform: Platform, parents: Parents, from: Place, to: Place, mode: RenameMode): RenamePrimitive {
  const [source, target] = [parents.entryOf(from), parents.entryOf(to)];
  const primitive = inEither(source, target, () => rename(platform, source, target, mode));
  // The new name first: a crash between the two syncs leaves both names rather than none.
  parents.changed(target);
  parents.changed(source);
  return primitive;
}

function changeOne(platform: Platform, place: Place, durable: boolean, change: (entry: Entry) => void): void {
  changeNames(platform, durable, (parents) => {
    const entry = parents.entryOf(place);
    inFile(place.path, () => {
      change(entry);
    });
    parents.changed(entry);
  });
}

/** What a target stands in the way with; everything else is told of the source. */
const TARGET_ERRORS: ReadonlySet<number> = new Set([EEXIST, ENOTEMPTY, EISDIR]);

function inTarget<T>(target: Entry, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (error instanceof IoError && error.path === undefined && TARGET_ERRORS.has(error.errno)) throw ioError(error.errno, error.syscall, target.path, error);
    throw error;
  }
}

function inEither<T>(source: Entry, target: Entry, work: () => T): T {
  return inFile(source.path, () => inTarget(target, work));
}

export function rename(platform: Platform, source: Pick<Entry, 'at'>, target: Pick<Entry, 'at'>, mode: RenameMode): RenamePrimitive {
  try {
    platform.names.rename(source.at, target.at, mode);
    return mode === 'replace' ? 'renameat' : 'renameat2';
  } catch (error) {
    if (mode !== 'noReplace' || !(error instanceof NotSupportedError)) throw error;
    return linkAndUnlink(platform, source, target, error);
  }
}

/** The new name appears at once or not at all, as it should; for a moment the old one is there too. */
function linkAndUnlink({ names }: Platform, source: Pick<Entry, 'at'>, target: Pick<Entry, 'at'>, missing: NotSupportedError): 'linkat+unlinkat' {
  try {
    names.link(source.at, target.at, { follow: false });
  } catch (error) {
    // Directories have one name only (EPERM), and some filesystems give no file two.
    if (error instanceof NotSupportedError || (error instanceof IoError && error.code === 'TIDEMARK_PERMISSION')) {
      throw new NotSupportedError('renameNoReplace', `${missing.reason}, and no second name can be given instead: ${error.message}`);
    }
    throw error;
  }
  try {
    names.unlink(source.at);
  } catch (error) {
    names.unlink(target.at);
    throw error;
  }
  return 'linkat+unlinkat';
}

function makeOne({ names }: Platform, parents: Parents, place: Place, mode: number): 1 {
  const entry = parents.entryOf(place);
  inFile(place.path, () => {
    names.makeDirectory(entry.at, mode);
  });
  parents.changed(entry);
  return 1;
}

/** Answers how many were missing. Those that others have just made count as there, and their names are synced as well. */
function makePath(platform: Platform, parents: Parents, place: Place, mode: number): number {
  let made = 0;
  const entry = missingAsUndefined(() => parents.entryOf(place));
  if (entry === undefined) {
    const above = parentOf(place);
    if (above.path === place.path) throw ioError(ENOENT, 'mkdirat', place.path);
    made = makePath(platform, parents, above, mode);
  }
  try {
    return made + makeOne(platform, parents, place, mode);
  } catch (error) {
    if (!(error instanceof IoError && error.errno === EEXIST) || !leadsToDirectory(platform, place)) throw error;
    parents.changed(parents.entryOf(place));
    return made;
  }
}

function missingAsUndefined<T>(work: () => T): T | undefined {
  try {
    return work();
  } catch (error) {
    if (error instanceof IoError && error.errno === ENOENT) return undefined;
    throw error;
  }
}

function leadsToDirectory(platform: Platform, place: Place): boolean {
  return withOpen(platform, place, { write: false, pathOnly: true }, (descriptor) => platform.files.status(descriptor).kind === 'directory');
}
