/**
 * From a {@link Place} or {@link Target} to what a system call takes. Every operation that takes a path goes through one of
 * these, so that all of them keep to the root that a place may have.
 */
import { realpathSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { OperationError } from '../../platform/errors.js';
import { fromNodeError, inFile } from '../../platform/errno.js';
import type { At } from '../../platform/interface/places.js';
import type { OpenFlags, Platform } from '../../platform/platform.js';
import { isOpen, type Place, type Target } from '../protocol/operation.js';

const PATH_ONLY: OpenFlags = { write: false, pathOnly: true };

/** Opens the file that the place names; the caller closes it. */
export function openPlace({ files, places }: Platform, place: Place, flags: OpenFlags): number {
  const { root, path } = place;
  return root === undefined ? files.open(path, flags) : inFile(path, () => places.openBeneath(root, path, flags));
}

/** Uses a descriptor of the target, opened for the time of `use` where it is a place. */
export function withOpen<T>(platform: Platform, target: Target, flags: OpenFlags, use: (descriptor: number) => T): T {
  const { files } = platform;
  if (isOpen(target)) return inFile(target.path, () => use(target.descriptor));
  return inFile(target.path, () => {
    const descriptor = openPlace(platform, target, flags);
    try {
      return use(descriptor);
    } finally {
      files.close(descriptor);
    }
  });
}

/** Uses the name itself: for calls that make, remove or rename it, or ask about a link instead of what it leads to. */
export function atEntry<T>(platform: Platform, place: Place, use: (at: At) => T): T {
  return inFile(place.path, () => {
    if (place.root === undefined) return use({ directory: undefined, path: place.path });
    const { parent, name } = split(place.path);
    const directory = platform.places.openBeneath(place.root, parent, { ...PATH_ONLY, directory: true });
    try {
      return use({ directory, path: name });
    } finally {
      platform.files.close(directory);
    }
  });
}

/** Uses what the name leads to, links followed: for calls that take a path and no descriptor. */
export function atTarget<T>(platform: Platform, place: Place, use: (at: At) => T): T {
  if (place.root === undefined) return inFile(place.path, () => use({ directory: undefined, path: place.path }));
  return withOpen(platform, place, PATH_ONLY, (descriptor) => use({ directory: undefined, path: platform.places.pathOfDescriptor(descriptor) }));
}

/** The directory that a name lies in, and the name. */
export function partsOf({ path, root }: Place): { readonly parent: string; readonly name: string } {
  if (root !== undefined) return split(path);
  const name = basename(path);
  if (name !== '.' && name !== '..') return { parent: dirname(path), name: name === '' ? '.' : name };
  // Neither is a name that something has: which it is, and where, only the system knows.
  try {
    const real = realpathSync.native(path);
    return { parent: dirname(real), name: basename(real) || '.' };
  } catch (error) {
    throw fromNodeError(error, path);
  }
}

/** The same, below a root. */
function split(path: string): { readonly parent: string; readonly name: string } {
  const trimmed = path.replace(/\/+$/, '');
  const slash = trimmed.lastIndexOf('/');
  const name = trimmed.slice(slash + 1);
  if (path.startsWith('/') || name === '..' || name === '.' || name === '') {
    throw new OperationError('TIDEMARK_OUTSIDE_ROOT', `'${path}' names nothing inside the directory that it has to stay in`, { path });
  }
  return { parent: slash < 0 ? '.' : trimmed.slice(0, slash), name };
}
