/** Chooses the platform. The one place that reads `process.platform`. */
import { NotSupportedError } from './errors.js';
import { linux } from './linux/linux.js';
import type { Platform } from './platform.js';

/** The platform this process runs on. Throws {@link NotSupportedError} where there is none yet. */
export function selectPlatform(): Platform {
  if (process.platform === 'linux') return linux;
  throw new NotSupportedError('tidemark', `it has no implementation for '${process.platform}' yet, only for 'linux'`);
}

const LIBRARY_EXTENSIONS: Readonly<Partial<Record<NodeJS.Platform, string>>> = { win32: 'dll', darwin: 'dylib' };

/** Where a shared library of this package lies for this system, relative to the folder of all of them. */
export function sharedLibraryPath(name: string): string {
  return `${process.platform}-${process.arch}/${name}.${LIBRARY_EXTENSIONS[process.platform] ?? 'so'}`;
}
