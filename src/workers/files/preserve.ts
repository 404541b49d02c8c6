/** Gives an open file the metadata of another. */
import { IoError, NotSupportedError } from '../../platform/errors.js';
import type { Metadata, Subject } from '../../platform/interface/metadata.js';
import type { Platform } from '../../platform/platform.js';

export interface CopiedParts {
  /** Permission bits, and the access control list that they are a part of. */
  readonly mode: boolean;
  readonly owner: boolean;
  /** Of access and modification. */
  readonly times: boolean;
  /** Extended attributes, and with them the access control list where it is one. */
  readonly xattrs: boolean;
}

/** The mode with its list, and nothing else. */
export const MODE_ALONE: CopiedParts = { mode: true, owner: false, times: false, xattrs: false };

const SETUID = 0o4000;
const SETGID = 0o2000;
const GROUP = 0o070;

/**
 * Copies what is asked for, after the content: writing clears capabilities and sets times. Answers what this process was not
 * allowed to copy, or what the target's filesystem does not know: `uid`, `gid`, `setuid`, `setgid`, names of attributes.
 *
 * The order: the owner before the mode, because a change of owner clears setuid and setgid; attributes before the mode, because
 * the list of who has access must not be behind a mode that counts on it, and a read-only mode would refuse them; times last.
 */
export function copyMetadata(platform: Platform, from: Subject, to: number, parts: CopiedParts): string[] {
  const { metadata } = platform.metadata.stat(from);
  const missing: string[] = [];
  if (parts.owner) missing.push(...copyOwner(platform, metadata, to).missing);
  if (parts.xattrs) missing.push(...copyAttributes(platform, from, to));
  if (parts.mode) missing.push(...copyMode(platform, from, metadata, to, missing, parts.xattrs));
  if (parts.times) platform.metadata.setTimes(to, metadata.atimeNs, metadata.mtimeNs);
  return missing;
}

/** `missing`: what was not copied until now; `listed`: the list was among that which was. */
function copyMode(platform: Platform, from: Subject, { mode, uid, gid }: Metadata, to: number, missing: readonly string[], listed: boolean): string[] {
  const { accessControl } = platform.attributes;
  const isMissing = accessControl !== undefined && (listed ? missing.includes(accessControl) : !copyAccessControl(platform, accessControl, from, to));
  const notKept = isMissing && !listed ? [accessControl] : [];
  // Where there is a list, the bits of the group are the most that anybody in it may; without it they would be the group's.
  const wanted = mode & ~(isMissing ? GROUP : 0);
  const target = platform.metadata.stat(to).metadata;
  if ((mode & (SETUID | SETGID)) === 0) {
    if (target.mode !== wanted) platform.metadata.chmod(to, wanted);
    return notKept;
  }
  // With another owner or group, these would let programs run as somebody who did not ask for it.
  platform.metadata.chmod(to, wanted & ~(target.uid === uid ? 0 : SETUID) & ~(target.gid === gid ? 0 : SETGID));
  // The system itself drops setgid for a group that the process is not in, and tells nobody.
  const lost = mode & ~platform.metadata.stat(to).metadata.mode;
  return [...notKept, ...((lost & SETUID) === 0 ? [] : ['setuid']), ...((lost & SETGID) === 0 ? [] : ['setgid'])];
}

/**
 * Gives a file the access control list of another one, or takes away what it inherited from its directory where the other has
 * none. False where that is refused. The mode has to be set afterwards.
 */
function copyAccessControl({ attributes }: Platform, name: string, from: Subject, to: number): boolean {
  const list = listOf(attributes, from, name);
  if (list !== undefined) return permitted(() => attributes.set(to, name, list, 'set'));
  if (listOf(attributes, to, name) !== undefined) attributes.remove(to, name);
  return true;
}

function listOf(attributes: Platform['attributes'], subject: Subject, name: string): Uint8Array | undefined {
  try {
    return attributes.get(subject, name).value;
  } catch (error) {
    if (error instanceof NotSupportedError) return undefined;
    throw error;
  }
}

export interface CopiedOwner {
  readonly primitive: 'fchown' | 'fchownat';
  /** Whom the target belongs to now. */
  readonly uid: number;
  readonly gid: number;
  /** What was not permitted. */
  readonly missing: readonly ('uid' | 'gid')[];
}

/** User and group where that is permitted, else the group alone. */
export function copyOwner({ metadata, ownership }: Platform, from: { readonly uid: number; readonly gid: number }, to: Subject): CopiedOwner {
  if (!permitted(() => ownership.chown(to, from.uid, from.gid))) permitted(() => ownership.chown(to, undefined, from.gid));
  const { uid, gid } = metadata.stat(to).metadata;
  return { primitive: typeof to === 'number' ? 'fchown' : 'fchownat', uid, gid, missing: (['uid', 'gid'] as const).filter((id) => from[id] !== { uid, gid }[id]) };
}

function copyAttributes({ attributes }: Platform, from: Subject, to: number): string[] {
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

function listed(attributes: Platform['attributes'], subject: Subject): readonly string[] {
  try {
    return attributes.list(subject).names;
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
