/** An open file. */
import type { OpenFile } from '../../workers/protocol/operation.js';
import { checkShared, OpenHandle, type SharedHandle } from './handle.js';

/** What is known about direct IO on an open file. */
export interface DirectState {
  /** Transfers bypass the page cache. */
  readonly active: boolean;
  /** Why not, although it was asked for; empty otherwise. */
  readonly reason: string;
  /** Bytes that offset, length and memory of a transfer are multiples of; 1 where direct IO is not active. */
  readonly alignment: number;
}

/** Made by `files.openRead` and the like. */
export class FileHandle extends OpenHandle {
  readonly direct: DirectState;

  /** @internal */
  constructor(file: OpenFile, reason: string, origin: ((handle: OpenHandle) => Promise<void>) | SharedArrayBuffer) {
    super('tidemark-file', file, origin);
    this.direct = { active: file.directAlignment !== undefined, reason, alignment: file.directAlignment ?? 1 };
  }

  /** The file of a handle that another thread of this process shared. It may be used with the `files` of any scheduler. */
  static attach(shared: SharedHandle): FileHandle {
    const { file, uses } = checkShared(shared, 'tidemark-file');
    return new FileHandle(file, '', uses);
  }
}
