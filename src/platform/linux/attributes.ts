/** Extended attributes: xattr(7). */
import { ENODATA, ENOSPC, EOPNOTSUPP, EPERM, ioError } from '../errno.js';
import { NotSupportedError } from '../errors.js';
import { native } from '../ffi.js';
import type { AttributeCalls, AttributeMode } from '../interface/attributes.js';
import type { Subject } from '../interface/metadata.js';
import { patiently } from './calls.js';
import { files } from './files.js';

/** XATTR_SIZE_MAX and XATTR_LIST_MAX (linux/limits.h): with this much memory no answer is too long, and none has to be asked for its size first. */
const BYTES_MAX = 65_536;
/** XATTR_CREATE and XATTR_REPLACE (linux/xattr.h). */
const FLAGS: Readonly<Record<AttributeMode, number>> = { set: 0, create: 1, replace: 2 };

const c = {
  getxattr: native('getxattr', 'int64_t', ['str', 'str', 'void *', 'size_t']),
  lgetxattr: native('lgetxattr', 'int64_t', ['str', 'str', 'void *', 'size_t']),
  fgetxattr: native('fgetxattr', 'int64_t', ['int', 'str', 'void *', 'size_t']),
  setxattr: native('setxattr', 'int', ['str', 'str', 'void *', 'size_t', 'int']),
  lsetxattr: native('lsetxattr', 'int', ['str', 'str', 'void *', 'size_t', 'int']),
  fsetxattr: native('fsetxattr', 'int', ['int', 'str', 'void *', 'size_t', 'int']),
  listxattr: native('listxattr', 'int64_t', ['str', 'void *', 'size_t']),
  llistxattr: native('llistxattr', 'int64_t', ['str', 'void *', 'size_t']),
  flistxattr: native('flistxattr', 'int64_t', ['int', 'void *', 'size_t']),
  removexattr: native('removexattr', 'int', ['str', 'str']),
  lremovexattr: native('lremovexattr', 'int', ['str', 'str']),
  fremovexattr: native('fremovexattr', 'int', ['int', 'str']),
};

let scratch: Uint8Array<SharedArrayBuffer> | undefined;

/** Memory for one call, at the same place for the whole of it. */
function memory(): Uint8Array<SharedArrayBuffer> {
  scratch ??= new Uint8Array(new SharedArrayBuffer(BYTES_MAX));
  return scratch;
}

/** Which of the three variants of a call a subject needs, and what it is given. These calls know no directory to start from. */
function variant(subject: Subject): { readonly prefix: '' | 'l' | 'f'; readonly subject: number | string } {
  if (typeof subject === 'number') return { prefix: 'f', subject };
  const { directory, path, followLink } = subject;
  return { prefix: followLink ? '' : 'l', subject: directory === undefined ? path : `/proc/self/fd/${directory}/${path}` };
}

function get(subject: Subject, name: string): ReturnType<AttributeCalls['get']> {
  const { prefix, subject: on } = variant(subject);
  const primitive = `${prefix}getxattr` as const;
  const into = memory();
  let length = 0;
  const errno = patiently(() => (length = c[primitive](on, name, into, BYTES_MAX)));
  if (errno === ENODATA) return { primitive, value: undefined };
  if (errno !== 0) throw failure(errno, primitive, on, name);
  return { primitive, value: new Uint8Array(into.subarray(0, length)) };
}

function set(subject: Subject, name: string, value: Uint8Array, mode: AttributeMode): ReturnType<AttributeCalls['set']> {
  const { prefix, subject: on } = variant(subject);
  const primitive = `${prefix}setxattr` as const;
  const from = memory();
  from.set(value);
  const errno = patiently(() => c[primitive](on, name, from, value.length, FLAGS[mode]));
  if (errno !== 0) throw failure(errno, primitive, on, name);
  return { primitive };
}

function list(subject: Subject): ReturnType<AttributeCalls['list']> {
  const { prefix, subject: on } = variant(subject);
  const primitive = `${prefix}listxattr` as const;
  const into = memory();
  let length = 0;
  const errno = patiently(() => (length = c[primitive](on, into, BYTES_MAX)));
  if (errno !== 0) throw failure(errno, primitive, on, '');
  // Each name ends with a NUL.
  return { primitive, names: Buffer.from(into.buffer, 0, length).toString('utf8').split('\0').slice(0, -1) };
}

function remove(subject: Subject, name: string): ReturnType<AttributeCalls['remove']> {
  const { prefix, subject: on } = variant(subject);
  const primitive = `${prefix}removexattr` as const;
  const errno = patiently(() => c[primitive](on, name));
  if (errno !== 0) throw failure(errno, primitive, on, name);
  return { primitive };
}

/** Who may do what depends on the namespace (xattr(7)). */
const NOT_PERMITTED: Readonly<Record<string, string>> = {
  user: 'only regular files and directories have attributes of the namespace user, and those that are immutable or append-only cannot be changed',
  trusted: 'attributes of the namespace trusted are for processes with CAP_SYS_ADMIN',
  security: 'an attribute of the namespace security needs the capability that its security module asks for',
  system: 'only its owner may change the access control list of a file',
};

function failure(errno: number, syscall: string, on: number | string, name: string): Error {
  const namespace = name.slice(0, Math.max(0, name.indexOf('.')));
  if (errno === EOPNOTSUPP) return new NotSupportedError(syscall, `the filesystem ${filesystemName(on)} has no attribute '${name}' for what this is`);
  // A disk's bad sector is ENODATA too: only here it means this.
  if (errno === ENODATA) return ioError(errno, syscall, undefined, { code: 'TIDEMARK_NO_ATTRIBUTE', explanation: `there is no attribute '${name}'` });
  const explanation = errno === EPERM ? NOT_PERMITTED[namespace]
    : errno === ENOSPC ? `no space left on the device, or the value is larger than the filesystem ${filesystemName(on)} takes`
    : undefined;
  return ioError(errno, syscall, undefined, explanation === undefined ? {} : { explanation });
}

function filesystemName(on: number | string): string {
  if (typeof on === 'number') return files.filesystem(on).name;
  const descriptor = files.open(on, { write: false, pathOnly: true, noFollow: true });
  try {
    return files.filesystem(descriptor).name;
  } finally {
    files.close(descriptor);
  }
}

export const attributes: AttributeCalls = { accessControl: 'system.posix_acl_access', get, set, list, remove };
