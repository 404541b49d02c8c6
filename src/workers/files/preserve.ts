/** Gives one open file the metadata of another. */
import { IoError, NotSupportedError } from '../../platform/errors.js';
import type { Subject } from '../../platform/interface/metadata.js';
import type { Platform } from '../../platform/platform.js';

export interface CopiedParts {
  readonly mode: boolean;
  readonly owner: boolean;
  /** Of access and modification. */
  readonly times: boolean;
  /** Extended attributes, and with them the access control list where it is one. */
  readonly xattrs: boolean;
}

const SETUID = 0o4000;
const SETGID = 0o2000;

/**
 * Copies what is asked for, after the content: writing clears capabilities and sets times. Answers what this process was not
 * allowed to copy, or what the target's filesystem does not know: `uid`, `gid`, `setuid`, `setgid`, names of attributes.
 *
 * The order: the owner before the mode, because a change of owner clears setuid and setgid; attributes before the mode, because
 * the list of who has access must not be behind a mode that counts on it, and a read-only mode would refuse them; times last.
 */
export function copyMetadata(platform: Platform, from: number, to: number, parts: CopiedParts): string[] {
  const { metadata } = platform.metadata.stat(from);
  const missing: string[] = [];
  if (parts.owner) missing.push(...copyOwner(platform, metadata, to).missing);
  if (parts.xattrs) missing.push(...copyAttributes(platform, from, to));
  if (parts.mode) {
    // With another owner or group, these would let programs run as somebody who did not ask for it.
    const { uid, gid } = platform.metadata.stat(to).metadata;
    const dropped = (uid === metadata.uid ? 0 : SETUID) | (gid === metadata.gid ? 0 : SETGID);
    platform.metadata.chmod(to, metadata.mode & ~dropped);
    // The system itself drops setgid for a group that the process is not in, and tells nobody.
    const lost = metadata.mode & ~platform.metadata.stat(to).metadata.mode;
    if ((lost & SETUID) !== 0) missing.push('setuid');
    if ((lost & SETGID) !== 0) missing.push('setgid');
  }
  if (parts.times) platform.metadata.setTimes(to, metadata.atimeNs, metadata.mtimeNs);
  return missing;
}

/** User and group where that is permitted, else the group alone; `missing` tells which were not. */
export function copyOwner(
  { ownership }: Platform, { uid, gid }: { readonly uid: number; readonly gid: number }, to: Subject,
): { readonly primitive: 'fchown' | 'fchownat'; readonly missing: readonly ('uid' | 'gid')[] } {
  const primitive = typeof to === 'number' ? 'fchown' : 'fchownat';
  if (permitted(() => ownership.chown(to, uid, gid))) return { primitive, missing: [] };
  return { primitive, missing: permitted(() => ownership.chown(to, undefined, gid)) ? ['uid'] : ['uid', 'gid'] };
}

function copyAttributes({ attributes }: Platform, from: number, to: number): string[] {
  const names = listed(attributes, from);
  const { accessControl } = attributes;
  // The target may have inherited a list from its directory.
  if (accessControl !== undefined && !names.includes(accessControl) && listed(attributes, to).includes(accessControl)) attributes.remove(to, accessControl);
  return names.filter((name) => {
    const { value } = attributes.get(from, name);
    // Undefined: somebody has just removed it.
    return value !== undefined && !permitted(() => attributes.set(to, name, value, 'set'));
  });
}

function listed(attributes: Platform['attributes'], descriptor: number): readonly string[] {
  try {
    return attributes.list(descriptor).names;
  } catch (error) {
    if (error instanceof NotSupportedError) return [];
    throw error;
  }
}

/** False where the system refuses. */
function permitted(call: () => unknown): boolean {
  try {
    call();
    return true;
  } catch (error) {
    if (error instanceof NotSupportedError || (error instanceof IoError && error.code === 'TIDEMARK_PERMISSION')) return false;
    throw error;
  }
}
