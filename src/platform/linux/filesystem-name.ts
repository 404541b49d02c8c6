import { files } from './files.js';

/** The filesystem of something open, or of a path whose last link is not followed: for errors. */
export function filesystemName(on: number | string): string {
  if (typeof on === 'number') return files.filesystem(on).name;
  const descriptor = files.open(on, { write: false, pathOnly: true, noFollow: true });
  try {
    return files.filesystem(descriptor).name;
  } finally {
    files.close(descriptor);
  }
}
