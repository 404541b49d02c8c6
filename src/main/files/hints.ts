/** Hints about files: the system may follow them, and nothing breaks where it does not. */
import { InvalidArgumentError } from '../../platform/errors.js';
import type { WriteLifetime } from '../../platform/interface/hints.js';
import type { Advice } from '../../platform/platform.js';
import * as check from '../options.js';
import type { Caller, OperationOptions } from './caller.js';
import { FileHandle } from './file-handle.js';

export type { WriteLifetime };

export interface AdviseOptions extends OperationOptions {
  /** Where the range begins, in bytes. Default 0. */
  readonly offset?: number;
  /** How long it is, in bytes; 0: to the end of the file, wherever that will be. Default 0. */
  readonly length?: number;
}

export interface HintOperations {
  /**
   * Tells how a range of a file will be read. `willNeed` has it read into the page cache, `dontNeed` drops what the cache holds
   * of it and what needs not be written first: sync before it, and what other processes read is dropped as well. Both take a
   * path or a handle. The others change how reads through this one handle read ahead (`sequential`: more; `random`: not at all;
   * `noReuse`: what it reads does not count as used; `normal`: undoes them), so they take a handle alone.
   * `TIDEMARK_NOT_SUPPORTED` on tmpfs, where the kernel drops all advice. posix_fadvise(2).
   */
  advise(target: string | FileHandle, advice: Advice, options?: AdviseOptions): Promise<{ readonly primitive: 'posix_fadvise' }>;
  /**
   * Tells how long data written to the file from now on will live, so that a device that can do it keeps data of one kind
   * together. The hint belongs to the file, whoever writes it, and goes when the kernel forgets the file: set it after opening.
   * Whether filesystem and device use it, no call tells. The owner of the file may set it. `F_SET_RW_HINT`, fcntl(2).
   */
  setWriteLifetimeHint(handle: FileHandle, lifetime: WriteLifetime, options?: OperationOptions): Promise<{ readonly primitive: 'F_SET_RW_HINT' }>;
  /** The hint that the file has. `F_GET_RW_HINT`, fcntl(2). */
  getWriteLifetimeHint(handle: FileHandle, options?: OperationOptions): Promise<{ readonly primitive: 'F_GET_RW_HINT'; readonly lifetime: WriteLifetime }>;
}

const ADVICE: readonly Advice[] = ['normal', 'sequential', 'random', 'willNeed', 'dontNeed', 'noReuse'];
/** These act on the file; the others on what is open. */
const ADVICE_ON_FILES: readonly Advice[] = ['willNeed', 'dontNeed'];
const LIFETIMES: readonly WriteLifetime[] = ['notSet', 'none', 'short', 'medium', 'long', 'extreme'];

export function hintOperations(caller: Caller): HintOperations {
  return {
    async advise(target, advice, options) {
      const { offset, length } = caller.options(options, ['offset', 'length']);
      const checked = caller.target('target', target);
      check.required('advice', advice, 'a kind of advice');
      check.oneOf('advice', advice, 'normal', ADVICE);
      if (!(checked instanceof FileHandle) && !ADVICE_ON_FILES.includes(advice)) {
        throw new InvalidArgumentError(`Expected \`target\` to be a FileHandle for advice '${advice}', which concerns reads through that handle, got a path`);
      }
      return caller.run('adviseFile', [
        checked, advice,
        check.integer('offset', offset, 0, 0, Number.MAX_SAFE_INTEGER), check.integer('length', length, 0, 0, Number.MAX_SAFE_INTEGER),
      ], options);
    },
    async setWriteLifetimeHint(handle, lifetime, options) {
      caller.options(options, []);
      check.required('lifetime', lifetime, 'a write lifetime');
      return caller.run('setWriteLifetimeHint', [caller.handle('handle', handle), check.oneOf('lifetime', lifetime, 'notSet', LIFETIMES)], options);
    },
    async getWriteLifetimeHint(handle, options) {
      caller.options(options, []);
      return caller.run('getWriteLifetimeHint', [caller.handle('handle', handle)], options);
    },
  };
}
