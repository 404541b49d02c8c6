/** From a {@link Target} to what the calls on metadata take, and the sync behind a change of it. */
import { inFile, ioError } from '../../platform/errno.js';
import { IoError, NotSupportedError } from '../../platform/errors.js';
import type { Subject } from '../../platform/interface/metadata.js';
import type { Platform } from '../../platform/platform.js';
import { isOpen, type Place, type Target } from '../protocol/operation.js';
import { atEntry, atTarget, openPlace } from './places.js';

export interface Change {
  /** False: a link itself is meant, not what it leads to. */
  readonly followLink: boolean;
  /** The file is synced before the change counts as done. */
  readonly durable: boolean;
}

/** How a change was made durable. */
export interface Synced {
  readonly sync: 'fsync' | 'none';
}

export function onSubject<T>(platform: Platform, target: Target, followLink: boolean, use: (subject: Subject) => T): T {
  if (isOpen(target)) return inFile(target.path, () => use(target.descriptor));
  const named = followLink ? atTarget : atEntry;
  return named(platform, target, (at) => use({ ...at, followLink }));
}

/** Changes metadata; where it has to be durable, all through one descriptor, so that what is synced is what was changed. */
export function changeSubject<Result extends object>(
  platform: Platform, target: Target, { followLink, durable }: Change, change: (subject: Subject) => Result,
): Result & Synced {
  if (!durable) return { ...onSubject(platform, target, followLink, change), sync: 'none' };
  const changeAndSync = (descriptor: number): Result & Synced => {
    const result = change(descriptor);
    platform.files.syncFull(descriptor);
    return { ...result, sync: 'fsync' };
  };
  if (isOpen(target)) return inFile(target.path, () => changeAndSync(target.descriptor));
  return inFile(target.path, () => {
    const descriptor = openToSync(platform, target, followLink);
    try {
      return changeAndSync(descriptor);
    } finally {
      platform.files.close(descriptor);
    }
  });
}

/** Looks before it opens: opening a device does things, and what is no file or directory cannot be synced. */
function openToSync(platform: Platform, place: Place, followLink: boolean): number {
  const { files, places } = platform;
  const found = openPlace(platform, place, { write: false, pathOnly: true, noFollow: !followLink });
  try {
    if (files.status(found, place.path).kind === 'other') {
      throw new NotSupportedError('fsync', `'${place.path}' is a link, FIFO, socket or device: its metadata becomes durable with its whole filesystem only`);
    }
    const path = places.pathOfDescriptor(found);
    try {
      return files.open(path, { write: false });
    } catch (error) {
      if (!(error instanceof IoError) || error.code !== 'TIDEMARK_PERMISSION') throw error;
      // Whoever may only write can sync as well.
      return files.open(path, { write: true, writeOnly: true });
    }
  } catch (error) {
    if (error instanceof IoError) throw ioError(error.errno, error.syscall, place.path, error);
    throw error;
  } finally {
    files.close(found);
  }
}
