/** An open directory: whatever happens to the names that lead there, it stays the same one. */
import type { OpenFile } from '../../workers/protocol/operation.js';
import { OpenHandle } from './handle.js';

/** Made by `files.openDirectory`. */
export class DirectoryHandle extends OpenHandle {
  /** @internal */
  constructor(file: OpenFile, origin: ((handle: OpenHandle) => Promise<void>) | SharedArrayBuffer) {
    super('tidemark-directory', file, origin);
  }
}
