/** An open file. */
import type { OpenFile } from '../../workers/protocol/operation.js';
import { checkShared, OpenHandle, type SharedHandle } from './handle.js';

/** What is known about direct IO on an open file. */
export interface DirectState {
  /** Transfers bypass the page cache. */
  readonly active: boolean;
  /** Why they do not; empty where they do. */
  readonly reason: string;
  /** Bytes that offset, length and memory of a transfer are multiples of; 1 where direct IO is not active. */
  readonly alignment: number;
}

/** Made by `files.openRead` and the like; what may be done with it are the operations that take one. */
export class FileHandle extends OpenHandle {
  readonly direct: DirectState;

  /** @internal */
  constructor(file: OpenFile, reason: string, origin: ((handle: OpenHandle) => Promise<void>) | SharedArrayBuffer) {
    super('tidemark-file', file, origin);
    this.direct = { active: file.directAlignment !== undefined, reason, alignment: file.directAlignment ?? 1 };
  }

  /** The file of a handle that another thread of this process shared. It may be used with the `files` of any scheduler. */
  static attach(shared: SharedHandle): FileHandle {
    const { file, uses, directReason = '' } = checkShared(shared, 'tidemark-file');
    return new FileHandle(file, directReason, uses);
  }

  override share(): SharedHandle {
    return { ...super.share(), directReason: this.direct.reason };
  }
}
