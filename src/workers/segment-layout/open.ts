/**
 * Opens a segment-layout journal for writing: lock, recover, set a torn tail aside, clear the window, sync, begin with a
 * mark. Runs in a file worker.
 *
 * Nothing on disk changes before the directory is locked and known to be a journal that is whole. Nothing is called
 * durable before it is synced.
 */
import { randomBytes } from 'node:crypto';
import { basename, dirname, join } from 'node:path';
import { EEXIST, inFile, notAFile } from '../../platform/errno.js';
import { assert, IoError, JournalError, NotSupportedError } from '../../platform/errors.js';
import { NativeMemory } from '../../platform/ffi.js';
import type { Platform } from '../../platform/platform.js';
import { keepAside, lockPatiently, probeDirect, realPath, statOf } from '../opening.js';
import { ControlBlock } from '../protocol/control-block.js';
import { idChecksum, JOURNAL_ID_BYTES } from '../protocol/frame.js';
import { LOG_BUFFER_ALIGNMENT } from '../protocol/log-buffer.js';
import {
  PACE, type FilledSegment, type OpenedSegments, type OpenSegmentsTask, type SegmentFile, type SegmentMaking, type TornTail,
} from '../protocol/messages.js';
import {
  closingBytes, closingFrames, encodeMark, encodePad, Geometry, MARK_BYTES, MARK_FLAG, sealFrame, segmentName, SEGMENT_HEADER_BYTES, type CommitMark,
} from '../protocol/segment.js';
import { listDirectory, removeSpares, trimSegments } from './directory.js';
import { prepareSegment } from './prepare.js';
import { examineBlocking } from './recovery.js';
import { SegmentSource } from './source.js';
import { describeFinding, type LogState, type SegmentEntry, type SegmentsVerdict } from './verdict.js';

/** Sectors of buffered writes: none is written twice, as with direct ones. */
const BUFFERED_SECTOR_BYTES = 512;

/** Writes of a killed process may be under way in no more segments than these: one or two, and behind them those prepared. */
const LOCKED_SEGMENTS_MAX = 128;

/** More spares than this are left-overs. */
const SPARES_MAX = 64;

export function openSegmentsJournal(platform: Platform, task: OpenSegmentsTask): OpenedSegments {
  const created = createDirectory(platform, task);
  const lockDescriptor = lockDirectory(platform, task.path);
  const opening = new Opening(platform, task, lockDescriptor);
  try {
    return opening.run(created);
  } catch (error) {
    // Under the lock: nobody else has begun in it.
    if (created) removeEmpty(platform, task.path);
    opening.abandon();
    throw error;
  }
}

class Opening {
  readonly #platform: Platform;
  readonly #task: OpenSegmentsTask;
  readonly #lock: number;
  /** Closed if opening fails. */
  readonly #segments: SegmentFile[] = [];

  constructor(platform: Platform, task: OpenSegmentsTask, lock: number) {
    this.#platform = platform;
    this.#task = task;
    this.#lock = lock;
  }

  abandon(): void {
    for (const { descriptor } of this.#segments) this.#platform.files.close(descriptor);
    this.#platform.files.close(this.#lock);
  }

  run(created: boolean): OpenedSegments {
    const { path } = this.#task;
    const listing = listDirectory(path);
    if (listing.segments.length > 0) return this.#continue();
    // An opening that was cut short may have left a spare behind.
    if (listing.others.length > 0 || (!created && !this.#task.create)) throw notAJournal(path, `the directory holds no segment${listing.others.length > 0 ? `, but '${listing.others[0] ?? ''}'` : ''}`);
    removeSpares(this.#platform, path, listing.spares);
    return this.#begin(created || this.#task.create);
  }

  // ---- a new journal ---------------------------------------------------------------------------------------------

  #begin(created: boolean): OpenedSegments {
    const log: LogState = {
      journalId: randomBytes(JOURNAL_ID_BYTES), segmentBytes: this.#task.segmentBytes, firstBase: 0, end: SEGMENT_HEADER_BYTES, records: 0, recordsEver: 0,
      lastRecordLsn: 0, segmentRecords: 0, markNumber: 0, endInPlace: true, provenLsn: SEGMENT_HEADER_BYTES, windowBytes: this.#task.windowBytes, closed: false, prepared: [],
    };
    const filesystem = this.#platform.files.filesystem(this.#lock);
    // Whether direct IO is to be had shows on a file.
    this.#segments.push(this.#make(log, 0, false));
    const { direct, sectorBytes, refused } = this.#probe(log);
    if (direct) for (const { descriptor } of this.#segments) this.#platform.files.setDirect(descriptor);
    return this.#opened(log, { start: log.end, created, torn: undefined, direct, sectorBytes, refused, filesystem, filled: [], spares: [] });
  }

  #make(log: LogState, base: number, direct: boolean): SegmentFile {
    const pace = new SharedArrayBuffer(4);
    new Int32Array(pace)[0] = PACE.calm;
    const task = { role: 'prepare-segment', making: this.#making(log, direct), base, spare: undefined, zeroBytes: this.#task.firstZeroBytes, pace, control: this.#task.control } as const;
    return prepareSegment(this.#platform, task).segment;
  }

  #making(log: LogState, direct: boolean): SegmentMaking {
    const { path, mode, windowBytes } = this.#task;
    return { directory: path, lockDescriptor: this.#lock, journalId: log.journalId, segmentBytes: log.segmentBytes, windowBytes, mode, direct, dsync: this.#dsync };
  }

  get #dsync(): boolean {
    // Buffered writes are followed by a sync of their own.
    return this.#task.direct && this.#platform.files.filesystem(this.#lock).dsyncWrites;
  }

  // ---- a journal that exists -------------------------------------------------------------------------------------

  #continue(): OpenedSegments {
    const { path } = this.#task;
    const listing = listDirectory(path);
    awaitWrites(this.#platform, path, listing.segments);
    const source = new SegmentSource(this.#platform.files, path);
    let verdict: SegmentsVerdict;
    try {
      verdict = examineBlocking(listing.segments, { depth: 'tail' }, (request) => source.read(request));
    } finally {
      source.close();
    }
    const log = this.#settle(verdict);
    const geometry = new Geometry(log.segmentBytes);
    const active = geometry.baseOf(log.end);
    const prepared = log.endInPlace ? log.prepared.filter((base, i) => base === active + (i + 1) * log.segmentBytes) : [];
    const filled = listing.segments.filter(({ base }) => base < active).map(({ base, changedMs }) => ({ base, filledMs: changedMs }));
    const last = prepared.at(-1) ?? active;
    const behind = listing.segments.map(({ base }) => base).filter((base) => base > last);
    return this.#resume({ ...log, prepared }, verdict, filled, listing.spares, behind);
  }

  /**
   * Segments behind one that has no valid header. An interrupted write may have reached them, and its frames would be valid
   * where they are: so they do not become spares, for the log comes to their place before it comes to any other.
   */
  #removeBehind(bases: readonly number[]): void {
    // From the last one on, so that there never is a gap that was not there before.
    trimSegments(this.#platform, { role: 'trim-segments', directory: this.#task.path, lockDescriptor: this.#lock, bases: bases.toReversed(), keep: 0 });
  }

  /** Refuses what is damaged; answers where the log stands. */
  #settle(verdict: SegmentsVerdict): LogState {
    const { path } = this.#task;
    if (verdict.kind === 'not-a-journal') throw notAJournal(path, verdict.detail);
    if (verdict.kind !== 'corrupt') return verdict.log;
    const [finding] = verdict.findings;
    const message = `journal '${path}': ${describeFinding(finding)}. Nothing was changed`;
    if (finding.kind === 'newer-version') throw new NotSupportedError(`opening journal '${path}'`, describeFinding(finding));
    throw new JournalError('TIDEMARK_CORRUPT', message, { path, lsn: finding.lsn });
  }

  #resume(log: LogState, verdict: SegmentsVerdict, filled: FilledSegment[], spares: readonly string[], behind: readonly number[]): OpenedSegments {
    const geometry = new Geometry(log.segmentBytes);
    const filesystem = this.#platform.files.filesystem(this.#lock);
    const active = geometry.baseOf(log.end);
    this.#syncRecovered(geometry, log, active);
    const torn = verdict.kind === 'torn' ? this.#keepAside(geometry, log, verdict, behind.at(-1)) : undefined;
    this.#removeBehind(behind);
    this.#takeSegments(log, active);
    const { direct, sectorBytes, refused } = this.#probe(log);
    if (!log.closed) this.#clearWindow(geometry, log, verdict.kind === 'torn' ? verdict.dataEnd : log.end);
    const begun = this.#beginWithMark(geometry, log, sectorBytes, direct);
    if (direct) for (const { descriptor } of this.#segments) this.#platform.files.setDirect(descriptor);
    const tooMany = spares.slice(SPARES_MAX);
    removeSpares(this.#platform, this.#task.path, tooMany);
    return this.#opened(begun.log, {
      start: begun.start, created: false, torn, direct, sectorBytes, refused, filesystem, filled: [...filled, ...begun.filled], spares: spares.slice(0, SPARES_MAX),
    });
  }

  /** Before anything of it is called durable. */
  #syncRecovered(geometry: Geometry, log: LogState, active: number): void {
    for (let base = geometry.baseOf(log.provenLsn); base <= active; base = geometry.nextBase(base)) {
      const name = join(this.#task.path, segmentName(base));
      if (statOf(name) === undefined) continue;
      const descriptor = this.#platform.files.open(name, { write: true, noFollow: true });
      try {
        this.#platform.files.syncFull(descriptor);
      } finally {
        this.#platform.files.close(descriptor);
      }
    }
    this.#platform.files.syncDirectory(this.#task.path);
  }

  /** Opens the segment that holds the end, made anew if the one before it is full, and those prepared behind it. */
  #takeSegments(log: LogState, active: number): void {
    const { path } = this.#task;
    this.#segments.push(log.endInPlace ? lockSegment(this.#platform, path, active, this.#dsync) : this.#make(log, active, false));
    for (const base of log.prepared) this.#segments.push(lockSegment(this.#platform, path, base, this.#dsync));
  }

  /** Copies what the interrupted write left into a new file, durable before the window is cleared. */
  #keepAside(geometry: Geometry, log: LogState, { finding, dataEnd }: Extract<SegmentsVerdict, { kind: 'torn' }>, last = lastInPlace(geometry, log)): TornTail {
    const { path } = this.#task;
    const base = geometry.baseOf(log.end);
    const source = new SegmentSource(this.#platform.files, path);
    const segment = join(path, segmentName(base));
    // No more may be read of the copy than of the journal.
    const mode = Number(statOf(segment)?.mode ?? 0o600n) & 0o777;
    let bytes = 0;
    const copy = (target: number): void => {
      for (const { start, end } of bodies(geometry, last, log.end, dataEnd)) {
        for (let at = start; at < end;) {
          const piece = source.read({ base: geometry.baseOf(at), offset: at - geometry.baseOf(at), bytes: Math.min(1024 * 1024, end - at) });
          if (piece.length === 0) break;
          this.#platform.files.writeFully(target, piece, bytes);
          bytes += piece.length;
          at += piece.length;
        }
      }
    };
    let name: string;
    try {
      name = keepAside(this.#platform, `${segment}.torn-${log.end}`, mode, copy);
    } finally {
      source.close();
    }
    this.#platform.files.syncDirectory(path);
    return { lsn: log.end, state: finding.state ?? 'bad-magic', detail: `expected ${finding.expected}, got ${finding.found}`, bytes, keptAs: name };
  }

  /** Zeros behind the end, as far as the last writer may have written: nothing of it ever comes back. */
  #clearWindow(geometry: Geometry, log: LogState, dataEnd: number): void {
    const through = Math.max(dataEnd, log.end + log.windowBytes);
    const { bytes: zeros } = new NativeMemory(1024 * 1024, LOG_BUFFER_ALIGNMENT);
    for (const { start, end } of bodies(geometry, lastInPlace(geometry, log), log.end, through)) {
      const base = geometry.baseOf(start);
      const segment = this.#segments.find((one) => one.base === base);
      if (segment === undefined) break;
      for (let at = start; at < end; at += zeros.length) {
        this.#platform.files.writeFully(segment.descriptor, zeros.subarray(0, Math.min(zeros.length, end - at)), at - base);
      }
      this.#platform.files.syncFull(segment.descriptor);
    }
  }

  /** The mark that every writer begins with: what lies before it is durable, and was closed or cleared. */
  #beginWithMark(geometry: Geometry, log: LogState, sectorBytes: number, direct: boolean): { log: LogState; start: number; filled: FilledSegment[] } {
    const active = this.#segments[0];
    assert(active !== undefined, 'a writer has a segment to begin with');
    const idSum = idChecksum(log.journalId);
    const mark: CommitMark = {
      durableLsn: log.end, number: log.markNumber + 1, clockMs: Date.now(), records: log.recordsEver, lastRecordLsn: log.lastRecordLsn,
      windowBytes: this.#task.windowBytes, segmentRecords: log.segmentRecords, flags: 0,
    };
    if (geometry.fits(log.end, closingBytes(log.end, sectorBytes))) {
      const bytes = closingFrames(mark, idSum, log.end, sectorBytes);
      this.#put(active, log.end - active.base, bytes);
      return { log: { ...log, markNumber: mark.number }, start: log.end + bytes.length, filled: [] };
    }
    // No room for it: a pad fills the segment, and its footer is the mark.
    const footer = geometry.footerOf(active.base);
    const bytes = new Uint8Array(footer + MARK_BYTES - log.end);
    if (footer > log.end) {
      bytes.set(encodePad(footer - log.end), 0);
      sealFrame(bytes, 0, footer - log.end, idSum, log.end);
    }
    bytes.set(encodeMark({ ...mark, flags: MARK_FLAG.footer }), footer - log.end);
    sealFrame(bytes, footer - log.end, MARK_BYTES, idSum, footer);
    this.#put(active, log.end - active.base, bytes);
    if (this.#segments.length === 1) this.#segments.push(this.#make(log, geometry.nextBase(active.base), direct));
    this.#segments.shift();
    this.#platform.files.close(active.descriptor);
    return {
      log: { ...log, markNumber: mark.number, segmentRecords: 0, lastRecordLsn: 0 },
      start: geometry.nextBody(active.base),
      filled: [{ base: active.base, filledMs: mark.clockMs }],
    };
  }

  #put(segment: SegmentFile, offset: number, bytes: Uint8Array): void {
    this.#platform.files.writeFully(segment.descriptor, bytes, offset);
    this.#platform.files.syncFull(segment.descriptor);
  }

  // ---- both ------------------------------------------------------------------------------------------------------

  #probe(log: LogState): { direct: boolean; sectorBytes: number; refused: string | undefined } {
    const base = this.#segments[0]?.base ?? log.firstBase;
    const probed = this.#task.direct ? probeDirect(this.#platform, join(this.#task.path, segmentName(base)), { noFollow: true }) : undefined;
    const direct = probed?.sectorBytes !== undefined;
    return { direct, sectorBytes: probed?.sectorBytes ?? BUFFERED_SECTOR_BYTES, refused: probed?.refused };
  }

  #opened(log: LogState, more: {
    start: number; created: boolean; torn: TornTail | undefined; direct: boolean; sectorBytes: number; refused: string | undefined;
    filesystem: { name: string; dsyncWrites: boolean }; filled: readonly FilledSegment[]; spares: readonly string[];
  }): OpenedSegments {
    const { direct, sectorBytes, start } = more;
    const control = new ControlBlock(this.#task.control);
    control.start(start, start);
    // Before any thread appends: each keeps what it has seen of it, for it only grows.
    control.setSpaceEnd(new Geometry(log.segmentBytes).nextBase(this.#segments.at(-1)?.base ?? 0));
    return {
      layout: 'segments',
      journalId: log.journalId,
      segmentBytes: log.segmentBytes,
      writing: { direct, sectorBytes, dsyncWrites: direct && more.filesystem.dsyncWrites, queueDepth: this.#task.queueDepth },
      position: { journalId: log.journalId, recordsEver: log.recordsEver, lastRecordLsn: log.lastRecordLsn, segmentRecords: log.segmentRecords, markNumber: log.markNumber },
      lockDescriptor: this.#lock,
      segments: this.#segments,
      filled: more.filled,
      spares: more.spares,
      end: start,
      records: log.records,
      created: more.created,
      filesystem: more.filesystem.name,
      torn: more.torn,
      directRefused: more.refused,
    };
  }
}

function lastInPlace(geometry: Geometry, log: LogState): number {
  return log.prepared.at(-1) ?? geometry.baseOf(log.end);
}

/** The parts of [from, to) that lie in bodies, footers included, of segments up to the one at `last`. */
function* bodies(geometry: Geometry, last: number, from: number, to: number): Generator<{ start: number; end: number }> {
  for (let base = geometry.baseOf(from); base <= last && base < to; base = geometry.nextBase(base)) {
    const start = Math.max(from, geometry.bodyStart(base));
    const end = Math.min(to, geometry.nextBase(base));
    if (start < end) yield { start, end };
  }
}

function createDirectory(platform: Platform, { path, create, mode }: OpenSegmentsTask): boolean {
  if (!create) return false;
  const made = makeDirectory(platform, path, mode);
  // Whoever made it: its name may not be durable yet.
  platform.files.syncDirectory(dirname(realPath(path)));
  return made;
}

function makeDirectory({ names }: Platform, path: string, mode: number): boolean {
  try {
    inFile(path, () => {
      // Whoever may read the files may enter the directory.
      names.makeDirectory({ directory: undefined, path }, mode | ((mode & 0o444) >> 2));
    });
  } catch (error) {
    if (error instanceof IoError && error.errno === EEXIST) return false;
    throw error;
  }
  return true;
}

/** What opening has created and could not fill. */
function removeEmpty({ names }: Platform, path: string): void {
  try {
    names.removeDirectory({ directory: undefined, path });
  } catch {
    // Something is in it after all, and stays.
  }
}

/** Opens the directory of a journal and takes its lock. */
export function lockDirectory(platform: Platform, path: string): number {
  const status = statOf(path);
  if (status !== undefined && !status.isDirectory()) throw notAFile(path);
  const descriptor = platform.files.open(path, { write: false, directory: true });
  const holder = lockPatiently(platform, descriptor, ({ alive }) => !alive);
  if (holder === undefined) return descriptor;
  platform.files.close(descriptor);
  throw new JournalError('TIDEMARK_LOCKED', `journal '${path}' is open for writing in ${holder.description}`, { path, holderPid: holder.pid });
}

/** Opens a segment and takes its lock. */
export function lockSegment(platform: Platform, directory: string, base: number, dsync: boolean): SegmentFile {
  const name = join(directory, segmentName(base));
  const descriptor = platform.files.open(name, { write: true, noFollow: true, dsync });
  const holder = lockPatiently(platform, descriptor, () => true);
  if (holder === undefined) return { base, descriptor };
  platform.files.close(descriptor);
  throw new JournalError('TIDEMARK_LOCKED', `segment '${name}' is being written in ${holder.description}`, { path: name, holderPid: holder.pid });
}

/** Waits for the writes of a killed process that the kernel still has in hand: they hold the locks of the newest segments. */
export function awaitWrites(platform: Platform, directory: string, segments: readonly SegmentEntry[]): void {
  for (const { base } of segments.slice(-LOCKED_SEGMENTS_MAX)) platform.files.close(lockSegment(platform, directory, base, false).descriptor);
}

function notAJournal(path: string, detail: string): JournalError {
  return new JournalError('TIDEMARK_NOT_A_JOURNAL', `'${basename(path)}' is not a journal and was left untouched: ${detail}`, { path });
}
