/** chown(2). */
import { EPERM, ioError } from '../errno.js';
import { native } from '../ffi.js';
import type { Subject } from '../interface/metadata.js';
import type { OwnershipCalls } from '../interface/ownership.js';
import { patiently } from './calls.js';
import { AT_FDCWD, AT_SYMLINK_NOFOLLOW } from './open-flags.js';

/** -1 as the kernel's `uid_t` and `gid_t`: it stays as it is. */
const UNCHANGED = 0xffff_ffff;

const c = {
  fchown: native('fchown', 'int', ['int', 'uint32_t', 'uint32_t']),
  fchownat: native('fchownat', 'int', ['int', 'str', 'uint32_t', 'uint32_t', 'int']),
};

function chown(subject: Subject, uid = UNCHANGED, gid = UNCHANGED): { readonly primitive: 'fchown' | 'fchownat' } {
  const open = typeof subject === 'number';
  const primitive = open ? 'fchown' : 'fchownat';
  const errno = patiently(() => (open
    ? c.fchown(subject, uid, gid)
    : c.fchownat(subject.directory ?? AT_FDCWD, subject.path, uid, gid, subject.followLink ? 0 : AT_SYMLINK_NOFOLLOW)));
  if (errno === 0) return { primitive };
  throw ioError(errno, primitive, undefined, errno === EPERM ? { explanation: 'only root may give a file away; its owner may choose among the groups of the process' } : {});
}

export const ownership: OwnershipCalls = { chown };
