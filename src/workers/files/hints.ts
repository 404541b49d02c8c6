/** Hints about files: how they will be read, how long what is written will live. */
import { NotSupportedError } from '../../platform/errors.js';
import type { WriteLifetime } from '../../platform/interface/hints.js';
import type { Advice } from '../../platform/platform.js';
import type { OpenFile, Target } from '../protocol/operation.js';
import type { OperationContext } from './context.js';
import { withOpen } from './places.js';

export const hintOperations = {
  // Journals have an operation `advise` of their own.
  adviseFile({ platform }: OperationContext, target: Target, advice: Advice, offset: number, length: number): { readonly primitive: 'posix_fadvise' } {
    const { hints, supports } = platform;
    if (!supports.advise.includes(advice)) throw new NotSupportedError(`advise '${advice}'`, `${platform.name} has no such advice`);
    return withOpen(platform, target, { write: false }, (descriptor) => {
      const ignored = hints.adviceIgnored(descriptor);
      if (ignored !== undefined) throw new NotSupportedError('advise', ignored);
      hints.advise(descriptor, offset, length, advice);
      return { primitive: 'posix_fadvise' };
    });
  },

  setWriteLifetimeHint({ platform }: OperationContext, file: OpenFile, lifetime: WriteLifetime): { readonly primitive: 'F_SET_RW_HINT' } {
    return withOpen(platform, file, { write: true }, (descriptor) => {
      platform.hints.setWriteLifetime(descriptor, lifetime);
      return { primitive: 'F_SET_RW_HINT' };
    });
  },

  getWriteLifetimeHint({ platform }: OperationContext, file: OpenFile): { readonly primitive: 'F_GET_RW_HINT'; readonly lifetime: WriteLifetime } {
    return withOpen(platform, file, { write: false }, (descriptor) => ({ primitive: 'F_GET_RW_HINT', lifetime: platform.hints.writeLifetime(descriptor) }));
  },
};
