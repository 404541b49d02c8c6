/** What is known of a file; its times and permissions. */
import type { Metadata, NewTime } from '../../platform/interface/metadata.js';
import type { Target } from '../protocol/operation.js';
import type { OperationContext } from './context.js';
import { changeSubject, onSubject, type Change, type Synced } from './subject.js';

export interface TimesSet extends Synced {
  readonly primitive: 'utimensat';
  readonly atimeNs: bigint;
  readonly mtimeNs: bigint;
}

export const metadataOperations = {
  statx({ platform }: OperationContext, target: Target, followLink: boolean): Metadata & { readonly primitive: 'statx' } {
    const { metadata, primitive } = onSubject(platform, target, followLink, (subject) => platform.metadata.stat(subject));
    return { ...metadata, primitive };
  },

  setTimes({ platform: { metadata }, platform }: OperationContext, target: Target, atime: NewTime, mtime: NewTime, change: Change): TimesSet {
    return changeSubject(platform, target, change, (subject) => {
      const { primitive } = metadata.setTimes(subject, atime, mtime);
      // Filesystems round times and keep them within a range of their own, without a word.
      const { atimeNs, mtimeNs } = metadata.stat(subject).metadata;
      return { primitive, atimeNs, mtimeNs };
    });
  },

  chmod({ platform }: OperationContext, target: Target, mode: number, durable: boolean): { readonly primitive: 'fchmod' | 'fchmodat' } & Synced {
    return changeSubject(platform, target, { followLink: true, durable }, (subject) => platform.metadata.chmod(subject, mode));
  },
};
