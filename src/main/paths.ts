/** Paths as callers give them: they mean what they mean to the system, at the moment of the call. */
import { realpath } from 'node:fs/promises';
import { basename, dirname, isAbsolute, join, resolve, sep } from 'node:path';

/** Not made shorter: behind a link, `..` leads elsewhere than the text tells. Where the system itself goes by the text, so does this. */
export function absolutePath(path: string): string {
  if (sep === '\\') return resolve(path);
  return isAbsolute(path) ? path : `${process.cwd().replace(/\/$/, '')}/${path}`;
}

/** The same without `..`, so that names can be put together as text. */
export async function plainPath(path: string): Promise<string> {
  const absolute = absolutePath(path);
  const plain = resolve(absolute);
  if (!absolute.split(sep).includes('..')) return plain;
  try {
    const name = basename(absolute);
    return name === '..' || name === '.' ? await realpath(absolute) : join(await realpath(dirname(absolute)), name);
  } catch {
    // Whoever opens it finds out what is missing.
    return plain;
  }
}
