/**
 * Temporary files beside the files that they will replace.
 *
 * A file `base` has {@link SLOTS} names for them, `.base.tidemark-0` and so on. Any number of threads and processes use these
 * names at the same time, any of them may be killed at any moment, and what is left must not stay. The rules:
 *
 * 1. A name is made with O_EXCL and then its file locked (flock): two steps. Whoever has the lock of the file that a name leads
 *    to, and only he, may rename or remove that name.
 * 2. A lock proves something only as long as the name leads to the locked file. So everybody compares them after locking, and by
 *    rule 1 the answer then stays true until he himself changes it or lets go.
 * 3. A file whose lock is free is a left-over: it is removed, and a new one made. It is not used again, because it may carry
 *    the owner, the attributes or a second name that somebody gave it.
 *
 * What may happen between the steps of two of them, A and B:
 * - A has made the name and not yet locked it; B takes it for a left-over, locks and removes it. A then fails to lock, or finds
 *   its file without the name, and goes on to the next slot. It removes nothing: the name may be another's by now.
 * - B opens A's file, and A renames it over the target and closes it before B locks it: B has locked the *target*, finds that the
 *   name no longer leads there, and lets go.
 * - B opens a left-over, and A removes it and makes the name anew before B locks: the same.
 * - A is killed: the kernel lets go of the lock, for a file that a ring was just syncing when that is over. Before the rename
 *   that makes a left-over; after it nothing is left. The same when only A's thread ends, since its descriptors end with it.
 *
 * Every replacement looks at all slots of its file, so that the next one clears what a killed process left in any of them. Those
 * who find no free slot wait while they hold none themselves: nobody waits for somebody who waits.
 */
import { EEXIST, ENOENT, ioError } from '../../platform/errno.js';
import { IoError, OperationError, type IoErrorCode } from '../../platform/errors.js';
import type { At } from '../../platform/interface/places.js';
import type { Metadata } from '../../platform/interface/metadata.js';
import type { Platform } from '../../platform/platform.js';
import type { Entry } from './parents.js';

/** Replacements of one file at a time. Few, because each one looks at all. */
const SLOTS = 4;
/** NAME_MAX: bytes of a name on every filesystem that matters. */
const NAME_BYTES_MAX = 255;
const PATTERN = /^\..+\.tidemark-[0-3]$/su;

/** What opening, locking or removing a file answers that is none of the left-overs, or is not for this user to touch. */
const NOT_OURS: ReadonlySet<IoErrorCode> = new Set<IoErrorCode>(['TIDEMARK_NOT_A_FILE', 'TIDEMARK_IS_DIRECTORY', 'TIDEMARK_INVALID_PATH', 'TIDEMARK_PERMISSION']);

/** Files are made for their owner alone: nobody else reads them before they have the mode that they shall have. */
export const TEMPORARY_MODE = 0o600;

/** A file that nobody else touches, until it is renamed or discarded. */
export interface Temporary {
  /** Of this thread, for `closeOwn`. */
  readonly descriptor: number;
  readonly at: At & { readonly directory: number };
  /** As it was made. */
  readonly metadata: Metadata;
}

export function isTemporaryName(name: string): boolean {
  return PATTERN.test(name);
}

function slotName(base: string, slot: number): string {
  const suffix = `.tidemark-${slot}`;
  const room = NAME_BYTES_MAX - 1 - suffix.length;
  const characters = Array.from(base);
  // Two long names may then share their slots, which is as good as one file that is replaced by two.
  while (Buffer.byteLength(base) > room && characters.pop() !== undefined) base = characters.join('');
  return `.${base}${suffix}`;
}

/** Takes a slot of the file, and clears those that nobody has. Undefined when others have all of them. */
export function takeTemporary(platform: Platform, { parent, name, path }: Entry): Temporary | undefined {
  let taken: Temporary | undefined;
  let foreign = 0;
  try {
    for (let slot = 0; slot < SLOTS; slot++) {
      const at = { directory: parent.descriptor, path: slotName(name, slot) };
      const state = platform.names.isTaken(at) ? clearOrLeave(platform, at) : 'none';
      if (state === 'foreign') foreign++;
      if (state === 'none' || state === 'removed') taken ??= make(platform, at);
    }
  } catch (error) {
    if (taken !== undefined) discard(platform, taken);
    throw error;
  }
  if (foreign < SLOTS) return taken;
  throw ioError(EEXIST, 'open', path, { explanation: `the names of its temporary files, '${slotName(name, 0)}' and the like, are taken by what is none of them` });
}

/** One that cannot be removed for whatever reason of its own leaves the other slots. */
function clearOrLeave(platform: Platform, at: Temporary['at']): SlotState {
  try {
    return clear(platform, at);
  } catch (error) {
    if (error instanceof IoError && error.code !== 'TIDEMARK_TOO_MANY_FILES') return 'foreign';
    throw error;
  }
}

/**
 * What was found under a name: `none`, nothing; `removed`, a left-over, which is gone now; `held`, a file that somebody has, or of
 * which somebody has just made something else; `foreign`, no temporary file, or none that this user may lock or remove.
 */
export type SlotState = 'none' | 'removed' | 'held' | 'foreign';

/** Removes a temporary file that nobody has. */
export function clear(platform: Platform, at: Temporary['at']): SlotState {
  const { files, places, metadata, names } = platform;
  try {
    const found = statOf(platform, at);
    if (found === undefined) return 'none';
    if (found.kind !== 'file') return 'foreign';
    const descriptor = files.openOwn(() => places.openBeneath(at.directory, at.path, { write: false, noFollow: true }));
    try {
      if (!files.tryLock(descriptor) || !leadsTo(platform, at, metadata.stat(descriptor).metadata)) return 'held';
      names.unlink(at);
      return 'removed';
    } finally {
      files.closeOwn(descriptor);
    }
  } catch (error) {
    if (error instanceof IoError && error.errno === ENOENT) return 'none';
    if (error instanceof OperationError || (error instanceof IoError && NOT_OURS.has(error.code))) return 'foreign';
    throw error;
  }
}

/** Undefined when somebody else was faster. */
function make(platform: Platform, at: Temporary['at']): Temporary | undefined {
  const { files, places } = platform;
  let descriptor: number;
  try {
    descriptor = files.openOwn(() => places.openBeneath(at.directory, at.path, { write: true, create: true, exclusive: true, noFollow: true, mode: TEMPORARY_MODE }));
  } catch (error) {
    if (error instanceof IoError && error.errno === EEXIST) return undefined;
    throw error;
  }
  let mine = false;
  try {
    const { metadata } = platform.metadata.stat(descriptor);
    mine = files.tryLock(descriptor) && leadsTo(platform, at, metadata);
    return mine ? { descriptor, at, metadata } : undefined;
  } finally {
    if (!mine) files.closeOwn(descriptor);
  }
}

/** Removes the file, as far as that is possible: what stays for now is a left-over. */
export function discard({ files, names }: Platform, { at, descriptor }: Temporary): void {
  try {
    names.unlink(at);
  } catch (error) {
    if (!(error instanceof IoError)) throw error;
  } finally {
    files.closeOwn(descriptor);
  }
}

/** What lies under a name; undefined where nothing does. */
export function statOf({ metadata }: Platform, at: At): Metadata | undefined {
  try {
    return metadata.stat({ ...at, followLink: false }).metadata;
  } catch (error) {
    if (error instanceof IoError && error.errno === ENOENT) return undefined;
    throw error;
  }
}

function leadsTo(platform: Platform, at: At, { inode, device }: Metadata): boolean {
  const found = statOf(platform, at);
  return found?.inode === inode && found.device.major === device.major && found.device.minor === device.minor;
}
