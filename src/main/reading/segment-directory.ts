/** The directory of a journal in the segment layout, as a reader sees it: names, files, headers. Others may change it. */
import { constants } from 'node:fs';
import { lstat, readdir, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fromNodeError } from '../../platform/errno.js';
import { IoError, JournalError, NotSupportedError } from '../../platform/errors.js';
import { idChecksum } from '../../workers/protocol/frame.js';
import type { SegmentFormat } from '../../workers/protocol/segment-walk.js';
import {
  baseOfName, decodeSegmentHeader, FORMAT_VERSION, Geometry, SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN, SEGMENT_HEADER_BYTES, segmentName,
  type CommitMark, type SegmentHeader,
} from '../../workers/protocol/segment.js';
import { openRegularFile, readFully } from './files.js';
import { LOOK_AGAIN_MS, LOOKS_MAX, type JournalSegment } from './source.js';

/** A segment's file that is open. It keeps its content's place even after the directory has another file of its name. */
export interface SegmentFile {
  readonly base: number;
  readonly name: string;
  readonly handle: FileHandle;
  readonly device: bigint;
  readonly inode: bigint;
}

export interface EnteredSegment extends SegmentFile {
  readonly header: SegmentHeader;
}

/**
 * What the directory says of a segment: `here`, the file that is open has the name; `replaced`, another file has it;
 * `trimmed`, the oldest segment is a younger one; `ahead`, it is younger than all there are; `hole`, older and younger
 * ones are there.
 */
export type Whereabouts = 'here' | 'replaced' | 'trimmed' | 'ahead' | 'hole';

/** Trimming may take away the oldest segment between two looks, not forever. */
const OPENS_MAX = 1000;

export class SegmentDirectory {
  readonly path: string;
  readonly format: SegmentFormat;
  readonly #journalId: Uint8Array;
  readonly #open = new Set<FileHandle>();
  #bases: readonly number[];
  #provenLsn = 0;
  #closed = false;

  /** Finds out which journal the directory holds, by its oldest segment. */
  static async open(path: string): Promise<SegmentDirectory> {
    for (let opens = 0; opens < OPENS_MAX; opens++) {
      const bases = await listBases(path);
      const [oldest] = bases;
      if (oldest === undefined) throw new JournalError('TIDEMARK_NOT_A_JOURNAL', `directory '${path}' is no journal: it has no segments`, { path });
      const file = await openSegmentFile(path, oldest);
      if (file === undefined) continue;
      try {
        const header = await readHeader(path, file, 'TIDEMARK_NOT_A_JOURNAL');
        if (header !== undefined) return new SegmentDirectory(path, header, bases);
      } finally {
        await file.handle.close();
      }
    }
    throw new JournalError('TIDEMARK_TRIMMED', `the oldest segment of '${path}' was trimmed at every look`, { path });
  }

  private constructor(path: string, header: SegmentHeader, bases: readonly number[]) {
    this.path = path;
    this.#journalId = header.journalId;
    this.format = { idSum: idChecksum(header.journalId), geometry: new Geometry(header.segmentBytes) };
    this.#bases = bases;
  }

  /** Bases of the segments, ascending, as of the last look. */
  get bases(): readonly number[] {
    return this.#bases;
  }

  get firstLsn(): number {
    return this.format.geometry.bodyStart(this.#bases[0] ?? 0);
  }

  /** The greatest durable LSN of all commit marks that were read. */
  get provenLsn(): number {
    return this.#provenLsn;
  }

  noteMark(mark: CommitMark): void {
    this.#provenLsn = Math.max(this.#provenLsn, mark.durableLsn);
  }

  async look(): Promise<readonly number[]> {
    this.#bases = await listBases(this.path);
    return this.#bases;
  }

  /** Opens the segment at `base` as it is, without a look at its header; undefined when the directory has none. */
  async openFile(base: number): Promise<SegmentFile | undefined> {
    this.#checkOpen();
    const file = await openSegmentFile(this.path, base);
    if (file !== undefined) this.#open.add(file.handle);
    return file;
  }

  /** Opens the segment at `base` and checks its header; undefined when the directory has none. */
  async enter(base: number): Promise<EnteredSegment | undefined> {
    const file = await this.openFile(base);
    if (file === undefined) return undefined;
    try {
      const header = await readHeader(this.path, file, 'TIDEMARK_CORRUPT');
      if (header !== undefined) {
        this.#checkSame(file, header);
        return { ...file, header };
      }
    } catch (error) {
      this.#checkOpen();
      await this.leave(file);
      throw error;
    }
    await this.leave(file);
    return undefined;
  }

  async leave(file: SegmentFile): Promise<void> {
    if (this.#open.delete(file.handle)) await file.handle.close();
  }

  /** Runs `use` with the segment at `base` open; undefined when the directory has none. */
  async withFile<T>(base: number, use: (file: SegmentFile) => Promise<T>): Promise<T | undefined> {
    const file = await this.openFile(base);
    if (file === undefined) return undefined;
    try {
      return await use(file);
    } finally {
      await this.leave(file);
    }
  }

  async read(file: SegmentFile, offset: number, bytes: number): Promise<Uint8Array> {
    this.#checkOpen();
    try {
      return await readFully(file.handle, join(this.path, file.name), offset, bytes);
    } catch (error) {
      // Closing the reader closes its files, under an iteration too.
      this.#checkOpen();
      throw error;
    }
  }

  /** Looks for the segment at `base`, of which `file` may be open. */
  async whereabouts(base: number, file: SegmentFile | undefined): Promise<Whereabouts> {
    const found = await statusOf(join(this.path, segmentName(base)));
    if (found !== undefined) return file !== undefined && isSame(found, file) ? 'here' : 'replaced';
    const bases = await this.look();
    if (bases.includes(base)) return 'replaced';
    if ((bases.at(-1) ?? Infinity) < base) return 'ahead';
    return (bases[0] ?? Infinity) > base ? 'trimmed' : 'hole';
  }

  async segments(): Promise<readonly JournalSegment[]> {
    const found: JournalSegment[] = [];
    for (const base of await this.look()) {
      const path = join(this.path, segmentName(base));
      const status = await statusOf(path);
      if (status !== undefined) found.push({ path, baseLsn: base, bytes: Number(status.size) });
    }
    return found;
  }

  async close(): Promise<void> {
    this.#closed = true;
    const handles = [...this.#open];
    this.#open.clear();
    await Promise.all(handles.map((handle) => handle.close()));
  }

  // ---- errors ------------------------------------------------------------------------------------------------------

  trimmed(lsn: number): JournalError {
    return new JournalError('TIDEMARK_TRIMMED', `LSN ${lsn} of '${this.path}' was trimmed; the oldest record there can be is at LSN ${this.firstLsn}`, { path: this.path, lsn });
  }

  corrupt(lsn: number, what: string): JournalError {
    return new JournalError('TIDEMARK_CORRUPT', `journal '${this.path}' is corrupt: ${what}`, { path: this.path, lsn });
  }

  missing(base: number): JournalError {
    return this.corrupt(base, `segment ${segmentName(base)} is missing, though older and younger ones are there`);
  }

  /** Segment file, offset and LSN of a place in the log, in words. */
  describe(lsn: number): string {
    const base = this.format.geometry.baseOf(lsn);
    return `segment ${segmentName(base)}, offset ${lsn - base}, LSN ${lsn}`;
  }

  #checkSame(file: SegmentFile, header: SegmentHeader): void {
    const { segmentBytes } = this.format.geometry;
    const sameJournal = Buffer.compare(header.journalId, this.#journalId) === 0;
    if (sameJournal && header.segmentBytes === segmentBytes) return;
    const expected = sameJournal ? `segments of ${segmentBytes} bytes` : `journal id ${hexOf(this.#journalId)}`;
    const found = sameJournal ? `${header.segmentBytes} bytes` : hexOf(header.journalId);
    throw this.corrupt(file.base, `${this.describe(file.base)}: expected ${expected}, found ${found}`);
  }

  #checkOpen(): void {
    if (this.#closed) throw new JournalError('TIDEMARK_CLOSED', `the reader of '${this.path}' is closed`, { path: this.path });
  }
}

async function listBases(path: string): Promise<readonly number[]> {
  try {
    return (await readdir(path)).flatMap((name) => baseOfName(name) ?? []).sort((a, b) => a - b);
  } catch (error) {
    throw fromNodeError(error, path);
  }
}

interface FileIdentity {
  readonly dev: bigint;
  readonly ino: bigint;
  readonly size: bigint;
}

async function statusOf(path: string): Promise<FileIdentity | undefined> {
  try {
    return await lstat(path, { bigint: true });
  } catch (error) {
    const known = fromNodeError(error, path);
    if (known instanceof IoError && known.errnoName === 'ENOENT') return undefined;
    throw known;
  }
}

function isSame(found: FileIdentity, file: SegmentFile): boolean {
  return found.dev === file.device && found.ino === file.inode;
}

async function openSegmentFile(path: string, base: number): Promise<SegmentFile | undefined> {
  const name = segmentName(base);
  let handle: FileHandle;
  try {
    handle = await openRegularFile(join(path, name), constants.O_NOFOLLOW);
  } catch (error) {
    if (error instanceof IoError && error.errnoName === 'ENOENT') return undefined;
    throw error;
  }
  const { dev, ino } = await handle.stat({ bigint: true });
  return { base, name, handle, device: dev, inode: ino };
}

/** The segment's header; undefined when the file has lost its name, so that its header may be another one's already. */
async function readHeader(path: string, file: SegmentFile, notASegment: 'TIDEMARK_NOT_A_JOURNAL' | 'TIDEMARK_CORRUPT'): Promise<SegmentHeader | undefined> {
  for (let look = 0; ; look++) {
    const verdict = decodeSegmentHeader(await readFully(file.handle, join(path, file.name), 0, SEGMENT_HEADER_BYTES));
    const problem = verdict.ok ? misplaced(file.base, verdict.header) : verdict;
    if (verdict.ok && problem === undefined) return verdict.header;
    const found = await statusOf(join(path, file.name));
    if (found === undefined || !isSame(found, file)) return undefined;
    if (!verdict.ok && verdict.problem === 'newer-version') {
      throw new NotSupportedError(`reading '${path}'`, `segment ${file.name} has format version ${verdict.found}, this library reads versions up to ${FORMAT_VERSION}`);
    }
    if (look === LOOKS_MAX) {
      const code = !verdict.ok && verdict.problem === 'not-a-segment' ? notASegment : 'TIDEMARK_CORRUPT';
      const what = code === 'TIDEMARK_CORRUPT' ? `journal '${path}' is corrupt` : `directory '${path}' is no journal`;
      const where = `segment ${file.name}, offset 0, LSN ${file.base}`;
      throw new JournalError(code, `${what}: ${where}: expected ${problem?.expected ?? ''}, found ${problem?.found ?? ''}`, { path, lsn: file.base });
    }
    await delay(LOOK_AGAIN_MS);
  }
}

/** Why a valid header does not belong to the file of that name. */
function misplaced(base: number, header: SegmentHeader): { readonly expected: string; readonly found: string } | undefined {
  const { segmentBytes } = header;
  if (header.base !== base) return { expected: `base LSN ${base}`, found: `${header.base}` };
  const legal = segmentBytes >= SEGMENT_BYTES_MIN && segmentBytes <= SEGMENT_BYTES_MAX && 2 ** Math.round(Math.log2(segmentBytes)) === segmentBytes;
  if (!legal) return { expected: 'a legal size of segments', found: `${segmentBytes} bytes` };
  return base % segmentBytes === 0 ? undefined : { expected: `a base that is a multiple of ${segmentBytes}`, found: `${base}` };
}

function hexOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}
