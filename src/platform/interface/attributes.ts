import type { Subject } from './metadata.js';

/** `set`: makes or replaces; `create`: it must not exist; `replace`: it must exist. */
export type AttributeMode = 'set' | 'create' | 'replace';

/** Extended attributes: small values by name, kept with a file. Blocking. */
export interface AttributeCalls {
  /** The attribute that holds the access control list, where lists are attributes. */
  readonly accessControl: string | undefined;
  /** The value is undefined where there is no such attribute. */
  get(subject: Subject, name: string): { readonly primitive: 'getxattr' | 'lgetxattr' | 'fgetxattr'; readonly value: Uint8Array<ArrayBuffer> | undefined };
  /** Throws `TIDEMARK_EXISTS` or `TIDEMARK_NO_ATTRIBUTE` where `mode` asks for that. */
  set(subject: Subject, name: string, value: Uint8Array, mode: AttributeMode): { readonly primitive: 'setxattr' | 'lsetxattr' | 'fsetxattr' };
  /** Names in the order of the filesystem: those that the caller may see. */
  list(subject: Subject): { readonly primitive: 'listxattr' | 'llistxattr' | 'flistxattr'; readonly names: string[] };
  /** Throws `TIDEMARK_NO_ATTRIBUTE` where there is none. */
  remove(subject: Subject, name: string): { readonly primitive: 'removexattr' | 'lremovexattr' | 'fremovexattr' };
}
