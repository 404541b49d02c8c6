import { files } from './files.js';

/** The filesystem of something open, or of a path: for errors. */
export function filesystemName(on: number | string, { followLink }: { readonly followLink: boolean }): string {
  if (typeof on === 'number') return files.filesystem(on).name;
  const descriptor = files.open(on, { write: false, pathOnly: true, noFollow: !followLink });
  try {
    return files.filesystem(descriptor).name;
  } finally {
    files.close(descriptor);
  }
}
