/** Opening and closing of files. */
import { EEXIST, ENODEV, ENOENT, ENXIO, inFile, ioError, notAFile, EISDIR } from '../../platform/errno.js';
import { IoError } from '../../platform/errors.js';
import type { OpenFlags, Platform } from '../../platform/platform.js';
import { LOG_BUFFER_ALIGNMENT } from '../protocol/log-buffer.js';
import type { OpenFile, Place } from '../protocol/operation.js';
import type { OperationContext } from './context.js';
import { syncParent } from './durability.js';
import { openPlace } from './places.js';

/** What opening a file found. */
export interface Opened {
  readonly file: OpenFile;
  /** Why direct IO is not active; empty where it is. */
  readonly directReason: string;
}

/** How a file is made where there is none. */
export interface Creation {
  readonly mode: number;
  /** Its name is durable when the operation resolves. */
  readonly durable: boolean;
}

/** Memory of transfers is aligned to as much as any disk wants. */
const ALIGNMENT_MAX = LOG_BUFFER_ALIGNMENT;
/** The smallest sector there is; a filesystem may tell a smaller number for memory alone. */
const ALIGNMENT_MIN = 512;
/** Somebody else may make and remove the file between two looks at it. */
const CREATE_ATTEMPTS_MAX = 10;

/** Opens a regular file, and nothing else. */
export function openRegular(platform: Platform, place: Place, flags: OpenFlags): number {
  const { files } = platform;
  let descriptor: number;
  try {
    descriptor = openPlace(platform, place, flags);
  } catch (error) {
    // open(2): a socket, or a device that nothing drives.
    if (error instanceof IoError && (error.errno === ENXIO || error.errno === ENODEV)) throw notAFile(place.path);
    throw error;
  }
  try {
    const { kind } = files.status(descriptor, place.path);
    if (kind === 'directory') throw ioError(EISDIR, 'open', place.path);
    if (kind !== 'file') throw notAFile(place.path);
    return descriptor;
  } catch (error) {
    files.close(descriptor);
    throw error;
  }
}

/**
 * Opens a regular file, or makes it. Not by one call: only so is it known whether the name is new. A link that leads nowhere
 * stays what it is: its directory is not where the file would be.
 */
export function openOrCreate(platform: Platform, place: Place, flags: OpenFlags, creation: Creation | undefined): { descriptor: number; created: boolean } {
  for (let attempt = 1; ; attempt++) {
    try {
      return { descriptor: openRegular(platform, place, flags), created: false };
    } catch (error) {
      if (creation === undefined || attempt > CREATE_ATTEMPTS_MAX || !(error instanceof IoError) || error.errno !== ENOENT) throw error;
    }
    try {
      return { descriptor: createNew(platform, place, flags, creation), created: true };
    } catch (error) {
      if (!(error instanceof IoError) || error.errno !== EEXIST) throw error;
    }
  }
}

export function createNew(platform: Platform, place: Place, flags: OpenFlags, { mode, durable }: Creation): number {
  const descriptor = openPlace(platform, place, { ...flags, create: true, exclusive: true, mode });
  try {
    if (durable) syncParent(platform, place);
    return descriptor;
  } catch (error) {
    platform.files.close(descriptor);
    throw error;
  }
}

/** Turns direct IO on where the file allows it: the alignment that transfers need then, or why there is none. */
export function goDirect({ files }: Platform, descriptor: number): { alignment?: number; reason: string } {
  try {
    files.setDirect(descriptor);
  } catch (error) {
    if (!(error instanceof IoError)) throw error;
    return { reason: `the filesystem ${files.filesystem(descriptor).name} refuses it: ${error.errnoName}` };
  }
  const probed = files.probeDirect(descriptor);
  const alignment = probed.available ? Math.max(probed.offsetAlignment, probed.memoryAlignment, ALIGNMENT_MIN) : 0;
  if (probed.available && alignment <= ALIGNMENT_MAX) return { alignment, reason: '' };
  files.setDirect(descriptor, false);
  return { reason: probed.available ? `it needs an alignment of ${alignment} bytes` : probed.reason };
}

export const NOT_ASKED = 'direct IO was not asked for';

function opened(platform: Platform, place: Place, descriptor: number, direct: boolean): Opened {
  try {
    const { alignment, reason } = direct ? goDirect(platform, descriptor) : { reason: NOT_ASKED };
    return { file: { descriptor, path: place.path, directAlignment: alignment }, directReason: reason };
  } catch (error) {
    platform.files.close(descriptor);
    throw error;
  }
}

export const openOperations = {
  openRead({ platform }: OperationContext, place: Place, direct: boolean): Opened {
    return inFile(place.path, () => {
      const { file, directReason } = opened(platform, place, openRegular(platform, place, { write: false }), direct);
      return { file: { ...file, only: 'read' }, directReason };
    });
  },

  openWriteNew({ platform }: OperationContext, place: Place, direct: boolean, dsync: boolean, creation: Creation): Opened {
    return inFile(place.path, () => opened(platform, place, createNew(platform, place, { write: true, dsync }, creation), direct));
  },

  openWriteAt({ platform }: OperationContext, place: Place, direct: boolean, dsync: boolean, creation: Creation | undefined): Opened {
    return inFile(place.path, () => opened(platform, place, openOrCreate(platform, place, { write: true, dsync }, creation).descriptor, direct));
  },

  openAppend({ platform }: OperationContext, place: Place, direct: boolean, dsync: boolean, creation: Creation | undefined): Opened {
    return inFile(place.path, () => {
      const { descriptor } = openOrCreate(platform, place, { write: true, append: true, dsync }, creation);
      const directReason = direct ? 'appends begin where the file ends, which need not be aligned' : NOT_ASKED;
      return { file: { descriptor, path: place.path, directAlignment: undefined, only: 'append' }, directReason };
    });
  },

  closeDescriptor({ platform: { files } }: OperationContext, file: OpenFile): void {
    inFile(file.path, () => {
      files.close(file.descriptor);
    });
  },
};
