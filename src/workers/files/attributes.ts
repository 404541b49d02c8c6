/** Extended attributes. */
import type { AttributeMode } from '../../platform/interface/attributes.js';
import type { Target } from '../protocol/operation.js';
import type { OperationContext } from './context.js';
import { changeSubject, onSubject, type Change, type Synced } from './subject.js';

export const attributeOperations = {
  getXattr({ platform }: OperationContext, target: Target, name: string, followLink: boolean): { readonly primitive: 'getxattr' | 'lgetxattr' | 'fgetxattr'; readonly value: Uint8Array<ArrayBuffer> | undefined } {
    return onSubject(platform, target, followLink, (subject) => platform.attributes.get(subject, name));
  },

  setXattr({ platform }: OperationContext, target: Target, name: string, value: Uint8Array, mode: AttributeMode, change: Change): { readonly primitive: 'setxattr' | 'lsetxattr' | 'fsetxattr' } & Synced {
    return changeSubject(platform, target, change, (subject) => platform.attributes.set(subject, name, value, mode));
  },

  listXattr({ platform }: OperationContext, target: Target, followLink: boolean): { readonly primitive: 'listxattr' | 'llistxattr' | 'flistxattr'; readonly names: readonly string[] } {
    return onSubject(platform, target, followLink, (subject) => platform.attributes.list(subject));
  },

  removeXattr({ platform }: OperationContext, target: Target, name: string, change: Change): { readonly primitive: 'removexattr' | 'lremovexattr' | 'fremovexattr' } & Synced {
    return changeSubject(platform, target, change, (subject) => platform.attributes.remove(subject, name));
  },
};
