/** Who a file belongs to. */
import type { Target } from '../protocol/operation.js';
import type { OperationContext } from './context.js';
import { copyOwner } from './preserve.js';
import { changeSubject, onSubject, type Change, type Synced } from './subject.js';

export interface OwnershipPreserved extends Synced {
  readonly primitive: 'fchown' | 'fchownat';
  readonly uid: number;
  readonly gid: number;
  readonly missing: readonly ('uid' | 'gid')[];
}

export const ownershipOperations = {
  chown({ platform }: OperationContext, target: Target, uid: number | undefined, gid: number | undefined, change: Change): { readonly primitive: 'fchown' | 'fchownat' } & Synced {
    return changeSubject(platform, target, change, (subject) => platform.ownership.chown(subject, uid, gid));
  },

  preserveOwnershipFrom({ platform }: OperationContext, source: Target, target: Target, durable: boolean): OwnershipPreserved {
    const from = onSubject(platform, source, true, (subject) => platform.metadata.stat(subject).metadata);
    return changeSubject(platform, target, { followLink: true, durable }, (subject) => {
      const { primitive, missing } = copyOwner(platform, from, subject);
      const { uid, gid } = platform.metadata.stat(subject).metadata;
      return { primitive, uid, gid, missing };
    });
  },
};
