/**
 * Scanning of directory trees, page by page: a page is what one task reads. Between two pages nothing is left in the worker:
 * the directories still to visit go back to the caller, and so does the descriptor of one that was read in part.
 */
import { toWire, TidemarkError, IoError, type WireError } from '../../platform/errors.js';
import { EINVAL, errnoName, inFile } from '../../platform/errno.js';
import type { DirectoryEntry } from '../../platform/interface/directories.js';
import type { Platform } from '../../platform/platform.js';
import type { OpenFile, Place } from '../protocol/operation.js';
import type { OperationContext } from './context.js';
import { compileGlobs, type GlobMatcher, type Globs } from './globs.js';
import { openPlace } from './places.js';

/** A directory of the tree. */
export interface ScanDirectory {
  /** Relative to the start; empty: the start itself. */
  readonly path: string;
  /** Of its entries: 1 in the start. */
  readonly depth: number;
  /** Device and inode of the directories on the way, where links are followed: one that comes again is a loop. */
  readonly way: readonly string[];
}

export interface ScanHow {
  readonly recursive: boolean;
  readonly followLinks: boolean;
  /** `counts` and `bytes` tell no entries. */
  readonly tell: 'entries' | 'counts' | 'bytes';
  readonly globs: Globs | undefined;
}

export interface ScanWork {
  /** The directory that was read in part. */
  readonly reading: ScanDirectory | undefined;
  /** Still to visit, the last one first. */
  readonly pending: readonly ScanDirectory[];
}

export interface ScanCounts {
  readonly files: number;
  readonly directories: number;
  readonly links: number;
  readonly others: number;
  readonly bytes: number;
}

export interface ScanPage {
  readonly found: readonly { readonly directory: ScanDirectory; readonly entries: readonly DirectoryEntry[] }[];
  readonly counts: ScanCounts;
  readonly failures: readonly { readonly path: string; readonly error: WireError }[];
  /** Of the directories given, those not visited, and those that were found in the others. */
  readonly pending: readonly ScanDirectory[];
  /** Read in part. The descriptor is the caller's; it is the one that was given where that was not read to its end. */
  readonly reading: { readonly directory: ScanDirectory; readonly file: OpenFile } | undefined;
}

/** A page ends soon after either. */
const PAGE_ENTRIES = 4096;
const PAGE_MS = 50;
/** Of a path that is opened in one call: below PATH_MAX, which counts bytes (up to three per character) and is 4096 on Linux, 1024 on macOS. */
const PIECE_CHARACTERS = 300;

export const scanOperations = {
  /** `base`: where the scan began. `given`: descriptor of the directory that was read in part; it is left open. */
  scanPage(context: OperationContext, base: Place, given: OpenFile | undefined, work: ScanWork, how: ScanHow): ScanPage {
    return new PageReader(context, base, given, work, how).read();
  },
};

class PageReader {
  readonly #context: OperationContext;
  readonly #platform: Platform;
  readonly #base: Place;
  readonly #given: OpenFile | undefined;
  readonly #how: ScanHow;
  readonly #globs: GlobMatcher | undefined;
  readonly #pending: ScanDirectory[];
  readonly #found: { directory: ScanDirectory; entries: DirectoryEntry[] }[] = [];
  readonly #failures: { path: string; error: WireError }[] = [];
  readonly #counts = { files: 0, directories: 0, links: 0, others: 0, bytes: 0 };
  #reading: { directory: ScanDirectory; file: OpenFile } | undefined;
  #entries = 0;

  constructor(context: OperationContext, base: Place, given: OpenFile | undefined, work: ScanWork, how: ScanHow) {
    this.#context = context;
    this.#platform = context.platform;
    this.#base = base;
    this.#given = given;
    this.#how = how;
    this.#globs = how.globs === undefined ? undefined : compileGlobs(how.globs);
    this.#pending = [...work.pending];
    if (given !== undefined && work.reading !== undefined) this.#reading = { directory: work.reading, file: given };
  }

  read(): ScanPage {
    const end = performance.now() + PAGE_MS;
    try {
      do {
        this.#context.checkAborted();
        if (this.#reading === undefined) {
          const directory = this.#pending.pop();
          if (directory === undefined) break;
          this.#attempt(directory, () => {
            this.#open(directory);
          });
        } else {
          const { directory, file } = this.#reading;
          this.#attempt(directory, () => {
            this.#readSome(directory, file.descriptor);
          });
        }
      } while (this.#entries < PAGE_ENTRIES && performance.now() < end);
    } catch (error) {
      this.#leave();
      throw error;
    }
    return { found: this.#found, counts: this.#counts, failures: this.#failures, pending: this.#pending, reading: this.#reading };
  }

  /** A directory that fails is left; the others go on. */
  #attempt(directory: ScanDirectory, what: () => void): void {
    try {
      what();
    } catch (error) {
      if (!(error instanceof TidemarkError)) throw error;
      this.#leave();
      if (!this.#isGone(error) || directory.path === '') this.#failures.push({ path: directory.path, error: toWire(error) });
    }
  }

  /**
   * It went away, or became something else, since its name was read; or a link that is followed leads to no directory. Where none
   * is followed, nothing leads out but a directory that became a link.
   */
  #isGone({ code }: TidemarkError): boolean {
    return code === 'TIDEMARK_NOT_FOUND' || code === 'TIDEMARK_NOT_A_FILE' || (code === 'TIDEMARK_OUTSIDE_ROOT' && !this.#how.followLinks);
  }

  #open(directory: ScanDirectory): void {
    const descriptor = openDirectory(this.#platform, this.#base, directory.path, this.#how.followLinks);
    const file = { descriptor, path: directory.path, directAlignment: undefined };
    this.#reading = { directory, file };
    if (!this.#how.followLinks) return;
    const { device, inode } = this.#platform.files.status(descriptor);
    const identity = `${device}/${inode}`;
    if (directory.way.includes(identity)) this.#leave();
    else this.#reading = { directory: { ...directory, way: [...directory.way, identity] }, file };
  }

  /** Done with the directory. A descriptor that the caller gave is the caller's to close. */
  #leave(): void {
    const descriptor = this.#reading?.file.descriptor;
    this.#reading = undefined;
    if (descriptor !== undefined && descriptor !== this.#given?.descriptor) this.#platform.files.close(descriptor);
  }

  #readSome(directory: ScanDirectory, descriptor: number): void {
    const entries = this.#platform.directories.readEntries(descriptor, this.#how.tell === 'bytes');
    if (entries === undefined) {
      this.#leave();
      return;
    }
    this.#entries += entries.length;
    const told: DirectoryEntry[] = [];
    for (const entry of entries) {
      const path = directory.path === '' ? entry.name : `${directory.path}/${entry.name}`;
      if (this.#globs?.matches(path) !== false) told.push(entry);
      if (this.#descends(entry, path)) this.#descend(directory, entry, path);
    }
    if (this.#how.tell !== 'entries') for (const entry of told) this.#count(entry);
    else if (told.length > 0) this.#found.push({ directory, entries: told });
  }

  #descends({ kind }: DirectoryEntry, path: string): boolean {
    const { recursive, followLinks } = this.#how;
    return recursive && (kind === 'directory' || (kind === 'symlink' && followLinks)) && this.#globs?.mayHold(path) !== false;
  }

  #descend(directory: ScanDirectory, entry: DirectoryEntry, path: string): void {
    if (entry.nameBytes === undefined) {
      this.#pending.push({ path, depth: directory.depth + 1, way: directory.way });
    } else if (entry.kind === 'directory') {
      // The text that stands for the name may be that of another directory.
      const error = new IoError('TIDEMARK_INVALID_PATH', {
        errno: EINVAL, errnoName: errnoName(EINVAL), syscall: 'scan', path, explanation: 'the name of the directory is not UTF-8, so it was not entered',
      });
      this.#failures.push({ path, error: toWire(error) });
    }
  }

  #count({ kind, sizeBytes }: DirectoryEntry): void {
    const counts = this.#counts;
    if (kind === 'file') counts.files++;
    else if (kind === 'directory') counts.directories++;
    else if (kind === 'symlink') counts.links++;
    else counts.others++;
    counts.bytes += sizeBytes ?? 0;
  }
}

/** Opens a directory below the base. Where no link is followed, piece by piece: the path may be longer than a call takes. */
function openDirectory(platform: Platform, base: Place, path: string, followLinks: boolean): number {
  if (path === '' || followLinks || base.root === undefined) {
    return openPlace(platform, { root: base.root, path: path === '' ? base.path : `${base.path}/${path}` }, { write: false, directory: true });
  }
  const { root } = base;
  return inFile(`${base.path}/${path}`, () => openPieces(platform, root, piecesOf(path)));
}

function openPieces(platform: Platform, root: number, pieces: readonly string[]): number {
  let at = root;
  for (const [index, piece] of pieces.entries()) {
    const before = at;
    try {
      at = platform.places.openBeneath(at, piece, { write: false, directory: true, noFollow: true, noLinks: true, pathOnly: index < pieces.length - 1 });
    } finally {
      if (before !== root) platform.files.close(before);
    }
  }
  return at;
}

function piecesOf(path: string): string[] {
  const pieces: string[] = [];
  for (const name of path.split('/')) {
    const piece = pieces.at(-1);
    if (piece === undefined || piece.length + name.length >= PIECE_CHARACTERS) pieces.push(name);
    else pieces[pieces.length - 1] = `${piece}/${name}`;
  }
  return pieces;
}
