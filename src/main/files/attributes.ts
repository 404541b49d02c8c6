/** Extended attributes: xattr(7). */
import type { AttributeMode } from '../../platform/interface/attributes.js';
import * as check from '../options.js';
import type { Caller, OperationOptions } from './caller.js';
import type { DirectoryHandle } from './directory-handle.js';
import type { FileHandle } from './file-handle.js';

export type { AttributeMode };

export interface XattrOptions extends OperationOptions {
  /** False: an attribute of a symbolic link itself, not of what it leads to. Means nothing for a handle. Default true. */
  readonly followLink?: boolean;
}

export interface XattrChangeOptions extends XattrOptions {
  /** Syncs the file before it resolves. A link, FIFO, socket or device itself cannot be synced: `NotSupportedError`. Default false. */
  readonly durable?: boolean;
}

export interface SetXattrOptions extends XattrChangeOptions {
  /** `set`: makes or replaces it; `create`: it must not exist; `replace`: it must exist. Default `set`. */
  readonly mode?: AttributeMode;
}

export interface XattrValue {
  /** `lgetxattr` where no link is followed, `fgetxattr` for a handle. */
  readonly primitive: 'getxattr' | 'lgetxattr' | 'fgetxattr';
  /** Undefined: there is no such attribute, or none that this process may know of. */
  readonly value: Buffer | undefined;
}

export interface XattrNames {
  readonly primitive: 'listxattr' | 'llistxattr' | 'flistxattr';
  /** In the order of the filesystem. */
  readonly names: readonly string[];
}

export interface XattrSet {
  readonly primitive: 'setxattr' | 'lsetxattr' | 'fsetxattr';
  readonly sync: 'fsync' | 'none';
}

export interface XattrRemoved {
  readonly primitive: 'removexattr' | 'lremovexattr' | 'fremovexattr';
  readonly sync: 'fsync' | 'none';
}

/**
 * Small values by name, kept with a file. A name is a namespace, a dot and the rest, 255 bytes together at most: `user.` for
 * anybody who may read or write the file or directory, `trusted.` for root, `security.` for security modules and capabilities,
 * `system.` for access control lists. Values have 0 to 65536 bytes; filesystems may take less (ext4: less than a block for all
 * of a file). On Linux, links, FIFOs, sockets and devices have no `user.` attributes: setting one is `TIDEMARK_PERMISSION`.
 * A filesystem without attributes, or without the namespace, is a `NotSupportedError`.
 */
export interface AttributeOperations {
  /** The value of an attribute, getxattr(2); undefined where there is none. */
  getXattr(target: string | FileHandle | DirectoryHandle, name: string, options?: XattrOptions): Promise<XattrValue>;
  /**
   * Makes or replaces an attribute as a whole, setxattr(2). Rejects with `TIDEMARK_EXISTS` (`mode: 'create'`),
   * `TIDEMARK_NO_ATTRIBUTE` (`mode: 'replace'`), and with `TIDEMARK_NO_SPACE` where the value is larger than the filesystem
   * takes, or the disk is full. Then the old value stays.
   */
  setXattr(target: string | FileHandle | DirectoryHandle, name: string, value: Uint8Array, options?: SetXattrOptions): Promise<XattrSet>;
  /** The names of all attributes that this process may see, listxattr(2). */
  listXattr(target: string | FileHandle | DirectoryHandle, options?: XattrOptions): Promise<XattrNames>;
  /** Removes an attribute, removexattr(2). Rejects with `TIDEMARK_NO_ATTRIBUTE` where there is none. */
  removeXattr(target: string | FileHandle | DirectoryHandle, name: string, options?: XattrChangeOptions): Promise<XattrRemoved>;
}

const NAME_BYTES_MAX = 255;
const VALUE_BYTES_MAX = 65_536;

export function attributeOperations(caller: Caller): AttributeOperations {
  return {
    async getXattr(target, name, options) {
      const { followLink } = caller.options(options, ['followLink']);
      const args = [caller.target('target', target), attributeName(name), check.boolean('followLink', followLink, true)] as const;
      const { primitive, value } = await caller.run('getXattr', args, options);
      return { primitive, value: value === undefined ? undefined : Buffer.from(value.buffer, value.byteOffset, value.byteLength) };
    },

    async setXattr(target, name, value, options) {
      const { mode } = caller.options(options, ['followLink', 'durable', 'mode']);
      if (!(value instanceof Uint8Array) || value.length > VALUE_BYTES_MAX) check.fail('value', `a Uint8Array of at most ${VALUE_BYTES_MAX} bytes`, value);
      const how = check.oneOf('mode', mode, 'set', ['set', 'create', 'replace']);
      return caller.run('setXattr', [caller.target('target', target), attributeName(name), value, how, change(options)], options);
    },

    async listXattr(target, options) {
      const { followLink } = caller.options(options, ['followLink']);
      return caller.run('listXattr', [caller.target('target', target), check.boolean('followLink', followLink, true)], options);
    },

    async removeXattr(target, name, options) {
      caller.options(options, ['followLink', 'durable']);
      return caller.run('removeXattr', [caller.target('target', target), attributeName(name), change(options)], options);
    },
  };
}

function change({ followLink, durable }: XattrChangeOptions = {}): { readonly followLink: boolean; readonly durable: boolean } {
  return { followLink: check.boolean('followLink', followLink, true), durable: check.boolean('durable', durable, false) };
}

function attributeName(value: unknown): string {
  const isName = typeof value === 'string' && /^[^.\0]+\.[^\0]+$/.test(value) && !/\p{Surrogate}/u.test(value);
  if (!isName || Buffer.byteLength(value) > NAME_BYTES_MAX) {
    check.fail('name', `the name of an attribute with its namespace, such as 'user.comment', of at most ${NAME_BYTES_MAX} bytes`, value);
  }
  return value;
}
