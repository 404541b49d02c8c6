/** What this platform has of the file operations, and the refusal of what it lacks. */
import { NotSupportedError } from '../../platform/errors.js';
import { selectPlatform } from '../../platform/select.js';
import type { Files } from './files.js';

/** Methods of a `DirectoryHandle` that are operations. */
export const DIRECTORY_METHODS = [
  'mkdirAt', 'openAt', 'openDirectoryAt', 'unlinkAt', 'rmdirAt', 'renameAt', 'linkAt', 'symlinkAt', 'readlinkAt', 'statAt', 'list', 'sync',
] as const;
export type DirectoryMethod = (typeof DIRECTORY_METHODS)[number];

/** By the name of the method, of `files` or of a `DirectoryHandle`: true, or why this platform lacks the operation. */
export type SupportedOperations = Readonly<Record<Exclude<keyof Files, 'supports'> | DirectoryMethod, true | string>>;

type Method = (...args: readonly never[]) => unknown;

/** These answer at once, so they throw where the others reject. */
const SYNCHRONOUS: readonly string[] = ['attachDirectory', 'batch', 'find', 'scan', 'scoped'] satisfies (keyof Files)[];

/** Why this platform lacks operations, by name. Where there is no implementation for it at all, it lacks every one. */
function reasons(): (name: string) => string | undefined {
  try {
    const { missingOperations } = selectPlatform().supports;
    return (name) => missingOperations[name];
  } catch (error) {
    if (!(error instanceof NotSupportedError)) throw error;
    return () => error.reason;
  }
}

/** Throws where this platform lacks an operation. */
export function requireOperation(name: DirectoryMethod): void {
  const reason = reasons()(name);
  if (reason !== undefined) throw new NotSupportedError(name, reason);
}

/** The methods, with those refusing that this platform lacks: before anything is checked, and before anything travels. */
export function supported(methods: Omit<Files, 'supports'>): Files {
  const missing = reasons();
  const result: Record<string, Method> = { ...methods };
  const supports: Record<string, true | string> = {};
  for (const name of [...Object.keys(methods), ...DIRECTORY_METHODS]) {
    const reason = missing(name);
    supports[name] = reason ?? true;
    if (reason !== undefined && name in methods) result[name] = refusal(name, reason);
  }
  return { ...(result as unknown as Omit<Files, 'supports'>), supports: supports as SupportedOperations };
}

function refusal(name: string, reason: string): Method {
  const refuse = (): never => {
    throw new NotSupportedError(name, reason);
  };
  return SYNCHRONOUS.includes(name) ? refuse : async () => refuse();
}
