/** Who a file belongs to. */
import type { Target } from '../protocol/operation.js';
import type { OperationContext } from './context.js';
import { copyOwner, type CopiedOwner } from './preserve.js';
import { changeSubject, onSubject, type Change, type Synced } from './subject.js';

export const ownershipOperations = {
  chown({ platform }: OperationContext, target: Target, uid: number | undefined, gid: number | undefined, change: Change): { readonly primitive: 'fchown' | 'fchownat' } & Synced {
    return changeSubject(platform, target, change, (subject) => platform.ownership.chown(subject, uid, gid));
  },

  preserveOwnershipFrom({ platform }: OperationContext, source: Target, target: Target, durable: boolean): CopiedOwner & Synced {
    const from = onSubject(platform, source, true, (subject) => platform.metadata.stat(subject).metadata);
    return changeSubject(platform, target, { followLink: true, durable }, (subject) => copyOwner(platform, from, subject));
  },
};
