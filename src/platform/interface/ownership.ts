import type { Subject } from './metadata.js';

/** Blocking. */
export interface OwnershipCalls {
  /** Undefined leaves the user or group as it is. The system clears setuid and setgid bits of a file. */
  chown(subject: Subject, uid: number | undefined, gid: number | undefined): { readonly primitive: 'fchown' | 'fchownat' };
}
