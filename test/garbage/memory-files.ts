/**
 * Files in memory under `node:fs/promises`, for the thread that imports this: what `JournalReader` opens below `/memory/` is
 * whatever {@link MemoryFiles.put} put there. Every read is checked and counted, and nothing ever waits.
 */
import { constants, type BigIntStats } from 'node:fs';
import promises, { type FileHandle } from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import timers from 'node:timers/promises';

export const ROOT = '/memory/';

/** What reading cost since the last {@link MemoryFiles.begin}. */
export interface Reading {
  bytes: number;
  /** Memory that was set aside for one read. */
  bytesMax: number;
  delays: number;
}

interface OpenFile {
  readonly bytes: Uint8Array;
  open: boolean;
}

function failed(code: 'ENOENT' | 'ELOOP', path: string): Error {
  const errno = { ENOENT: -2, ELOOP: -40 }[code];
  return Object.assign(new Error(`${code}: ${path}`), { errno, code, syscall: 'open', path });
}

/**
 * What a read of `wanted` bytes at `position` of `bytes` gives; fewer only at their end. The sum of all reads is bounded, so
 * that a loop without end ends here.
 */
export function checkedRead(reading: Reading, bytesMax: number, bytes: Uint8Array, position: number, wanted: number): Uint8Array {
  if (!Number.isSafeInteger(position) || position < 0 || !Number.isSafeInteger(wanted) || wanted <= 0) throw new RangeError(`a read of ${wanted} bytes at ${position}`);
  reading.bytes += wanted;
  reading.bytesMax = Math.max(reading.bytesMax, wanted);
  if (reading.bytes > bytesMax) throw new RangeError(`more than ${bytesMax} bytes were read: it goes round in circles`);
  return bytes.subarray(position, position + wanted);
}

export class MemoryFiles {
  readonly reading: Reading = { bytes: 0, bytesMax: 0, delays: 0 };
  readonly #files = new Map<string, Uint8Array>();
  #directory = false;
  #open = 0;
  #bytesMax = 0;
  /** Called with how often somebody has waited. */
  onDelay: (delays: number) => void = () => undefined;

  constructor() {
    const { open, readdir, lstat, stat } = promises;
    const isHere = (path: unknown): path is string => typeof path === 'string' && path.startsWith(ROOT);
    const here = <T extends (path: never, ...rest: never[]) => unknown>(mine: (path: string) => Promise<unknown>, theirs: T): T =>
      ((path: never, ...rest: never[]) => (isHere(path) ? mine(path) : theirs(path, ...rest))) as T;
    promises.open = here((path) => this.#openFile(path), open);
    promises.readdir = here(() => Promise.resolve([...this.#files.keys()]), readdir);
    promises.lstat = here((path) => this.#status(path), lstat);
    promises.stat = here((path) => this.#status(path), stat);
    // Whoever waits between two looks at a journal looks again at once: nobody writes here.
    timers.setTimeout = (<T>(_: number, value: T, options?: { signal?: AbortSignal }) => new Promise<T>((resolve, reject) => {
      this.onDelay(++this.reading.delays);
      setImmediate(() => {
        if (options?.signal?.aborted === true) reject(new Error('aborted'));
        else resolve(value);
      });
    })) as typeof timers.setTimeout;
    syncBuiltinESMExports();
  }

  /** A journal of these files; `file` alone is one in the file layout. Answers its path. */
  put(files: ReadonlyMap<string, Uint8Array>): string {
    this.#files.clear();
    for (const [name, bytes] of files) this.#files.set(name, bytes);
    this.#directory = !files.has('file');
    return this.#directory ? `${ROOT}journal` : `${ROOT}file`;
  }

  /** Counts anew; more than `bytesMax` to be read is a failure. */
  begin(bytesMax: number): void {
    Object.assign(this.reading, { bytes: 0, bytesMax: 0, delays: 0 } satisfies Reading);
    this.#bytesMax = bytesMax;
  }

  get openFiles(): number {
    return this.#open;
  }

  #find(path: string): Uint8Array | undefined {
    return this.#files.get(path.slice(path.lastIndexOf('/') + 1));
  }

  #status(path: string): Promise<unknown> {
    if (this.#directory && path === `${ROOT}journal`) return Promise.resolve({ isDirectory: () => true, isFile: () => false });
    const bytes = this.#find(path);
    return bytes === undefined ? Promise.reject(failed('ENOENT', path)) : Promise.resolve(statusOf(path, bytes, true));
  }

  #openFile(path: string): Promise<FileHandle> {
    const bytes = this.#find(path);
    if (bytes === undefined) return Promise.reject(failed('ENOENT', path));
    const file: OpenFile = { bytes, open: true };
    this.#open++;
    const handle = {
      stat: (options?: { bigint?: boolean }) => Promise.resolve(statusOf(path, bytes, options?.bigint === true)),
      read: (target: Uint8Array, offset: number, length: number, position: number) => {
        const found = checkedRead(this.reading, this.#bytesMax, bytes, position, length);
        target.set(found, offset);
        return Promise.resolve({ bytesRead: found.length });
      },
      close: () => {
        if (!file.open) return Promise.reject(new Error(`'${path}' is closed twice`));
        file.open = false;
        this.#open--;
        return Promise.resolve();
      },
    };
    return Promise.resolve(handle as unknown as FileHandle);
  }
}

function statusOf(path: string, bytes: Uint8Array, big: boolean): Partial<BigIntStats> {
  const inode = Buffer.from(path).reduce((sum, byte) => (Math.imul(sum, 31) + byte) >>> 0, 7);
  const numbers = big ? { size: BigInt(bytes.length), ino: BigInt(inode), dev: 1n } : { size: bytes.length, ino: inode, dev: 1 };
  return { ...numbers, mode: BigInt(constants.S_IFREG), isFile: () => true, isDirectory: () => false } as unknown as Partial<BigIntStats>;
}
