/**
 * The write side of one journal in the segment layout, apart from how bytes reach the disk: what is published becomes
 * sealed extents, which begin and end at sectors; finished extents move the watermarks, in order.
 *
 * No sector is written twice, so several extents may be in flight. What is left of a sector is closed with a commit mark
 * and a pad, reserved like a producer would, once the writer has caught up with the producers.
 */
import { assert } from '../../platform/errors.js';
import { addressOf, NativeMemory } from '../../platform/ffi.js';
import { POISON, ControlBlock, type PoisonSyscall } from '../protocol/control-block.js';
import { idChecksum, OVERHEAD_BYTES } from '../protocol/frame.js';
import { LOG_BUFFER_ALIGNMENT, LogBuffer } from '../protocol/log-buffer.js';
import type { LogPosition, SegmentFile, SegmentsWriteSideRequest, SegmentWriting } from '../protocol/messages.js';
import { closingBytes, borrowMark, MARK_BYTES, MARK_FLAG, sealFrame, SEGMENT_HEADER_BYTES, type CommitMark, type Geometry } from '../protocol/segment.js';
import { createSealer, type Sealer } from '../sealer.js';

/** A larger write is split: the kernel would do so anyway, and parts can be in flight together. */
const EXTENT_BYTES_MAX = 1024 * 1024;

/** Another write beside those in flight is worth its while from so many pending bytes on, for each of them. */
const WORTH_BYTES = 64 * 1024;

/** Under constant load, when no sector is left to be closed, a mark is due after so many bytes or milliseconds. */
const MARK_BYTES_APART = 4 * 1024 * 1024;
const MARK_MS_APART = 50;

/** One contiguous write. */
export interface Extent {
  readonly segment: SegmentFile;
  readonly offset: number;
  readonly address: number;
  readonly bytes: number;
  readonly inLogBuffer: boolean;
  /** LSN up to which the log is written with it and all extents before it. */
  readonly end: number;
  /** The last frame boundary at or before {@link end} that is known: as far as `durableLsn` may move. */
  readonly frameEnd: number;
  /** The last one of its segment. */
  readonly fills: boolean;
}

export class SegmentsWriteSide {
  readonly id: number;
  readonly control: ControlBlock;
  readonly log: LogBuffer;
  readonly writing: SegmentWriting;
  readonly groupCommitWindowUs: number;
  readonly logAddress: number;
  readonly geometry: Geometry;
  readonly #journalId: Uint8Array;
  readonly #idSum: number;
  readonly #sealer: Sealer;
  /** In place, by base, from the one being written on. */
  readonly #segments = new Map<number, SegmentFile>();
  /** Footers are written from memory beside the log buffer: the pad before them may be longer than that. */
  readonly #footers: NativeMemory[];
  #footersMade = 0;
  #taken: number;
  /** The greatest published LSN seen: a producer that enters with an old bound must not move it back. */
  #published: number;
  /** What was published when nothing of it could be written. */
  #stuckAt = -1;
  /** Frame boundaries that were sealed and lie beyond the extents taken so far, in order. */
  #boundaries: number[] = [];
  #frameEnd: number;
  #footer: number;
  // What the next mark tells.
  readonly #recordsBefore: number;
  #segmentRecordsBefore: number;
  #lastRecordBefore: number;
  #markNumber: number;
  #markedLsn: number;
  #markedDurable = 0;
  #markedMs = 0;

  constructor(request: SegmentsWriteSideRequest) {
    const { position, shared } = request;
    this.id = request.id;
    this.control = new ControlBlock(shared.control);
    this.log = new LogBuffer(shared.log);
    this.writing = request.writing;
    this.groupCommitWindowUs = request.groupCommitWindowUs;
    this.logAddress = addressOf(this.log.bytes);
    assert(this.log.geometry !== undefined, 'the log of a segment journal knows its segments');
    this.geometry = this.log.geometry;
    assert(this.logAddress % LOG_BUFFER_ALIGNMENT === 0 && LOG_BUFFER_ALIGNMENT % this.writing.sectorBytes === 0, 'the log buffer is aligned to sectors');
    this.#journalId = position.journalId;
    this.#idSum = idChecksum(position.journalId);
    this.#taken = this.control.writtenLsn;
    assert(this.#taken % this.writing.sectorBytes === 0, 'a writer begins with a sector');
    this.#published = this.#taken;
    this.#frameEnd = this.#taken;
    this.#footer = this.geometry.footerOf(this.geometry.baseOf(this.#taken));
    this.#sealer = createSealer(this.log, this.#taken, this.#idSum);
    this.#footers = Array.from({ length: this.writing.queueDepth + 1 }, () => new NativeMemory(LOG_BUFFER_ALIGNMENT, LOG_BUFFER_ALIGNMENT));
    this.#recordsBefore = position.recordsEver;
    this.#segmentRecordsBefore = position.segmentRecords;
    this.#lastRecordBefore = position.lastRecordLsn;
    this.#markNumber = position.markNumber;
    this.#markedLsn = this.#taken;
    for (const segment of request.segments) this.#segments.set(segment.base, segment);
  }

  /** A segment is in place behind the others. */
  add(segment: SegmentFile): void {
    assert(segment.base === this.control.spaceEnd, 'segments are put in place in order');
    this.#segments.set(segment.base, segment);
    this.#stuckAt = -1;
    this.control.setSpaceEnd(this.geometry.nextBase(segment.base));
  }

  get taken(): number {
    return this.#taken;
  }

  get hasUnpublished(): boolean {
    return this.control.reservedLsn > this.#published;
  }

  get poisoned(): boolean {
    return this.control.poisonKind !== POISON.none;
  }

  poison(errno: number, syscall: PoisonSyscall): void {
    this.control.poison(POISON.io, errno, syscall);
  }

  /** A producer waits for a segment. */
  get isCalled(): boolean {
    return this.control.segmentWanted;
  }

  get published(): number {
    return this.#published;
  }

  /** None while what is there cannot be written: part of a sector, behind which a producer is still copying. */
  pendingBytes(): number {
    this.#published = Math.max(this.#published, this.control.publishedLsn());
    return this.#published === this.#stuckAt ? 0 : this.#published - this.#taken;
  }

  /** The next extent to write beside the `inFlight` others; undefined when there is none that is worth it now. */
  next(inFlight: number): Extent | undefined {
    const pending = this.pendingBytes();
    if (pending <= 0 || pending < inFlight * WORTH_BYTES) return undefined;
    const extent = this.#cut(inFlight);
    // Beside other writes no sector is closed: what is left of one then can be written once they have ended.
    if (extent === undefined && inFlight === 0) this.#stuckAt = this.#published;
    return extent;
  }

  #cut(inFlight: number): Extent | undefined {
    const segment = this.#segments.get(this.geometry.baseOf(this.#taken));
    // Only the writer itself may run ahead of the segments, with a pad; nothing lies behind it.
    if (segment === undefined) return undefined;
    if (inFlight === 0) this.#close();
    else this.#markInPassing();
    const full = this.#published >= this.#footer;
    const limit = full ? this.#footer : this.#published;
    const lastSector = this.#down(this.#footer);
    const cut = Math.min(this.#down(limit), this.#taken + EXTENT_BYTES_MAX, this.#windowEnd());
    if (cut > this.#taken) return this.#body(segment, cut, limit);
    return full && this.#taken === lastSector ? this.#footerExtent(segment) : undefined;
  }

  /** The memory of an extent beside the log buffer. */
  footerMemory(extent: Extent): Uint8Array {
    const memory = this.#footers.find(({ address }) => address === extent.address);
    assert(memory !== undefined, 'a footer lies in its own memory');
    return memory.bytes.subarray(0, extent.bytes);
  }

  /** Finished extents, in order: the log up to their end has reached the kernel. */
  written(extent: Extent): void {
    this.control.advance({ written: extent.frameEnd });
  }

  /** The log up to the end of the extent is on stable storage: its frames are durable, the window before it is free. */
  durable(extent: Extent): void {
    // More may have been written while this was synced.
    const written = Math.max(extent.frameEnd, this.control.writtenLsn);
    this.control.advance({ written, durable: extent.frameEnd, released: extent.end });
  }

  /** Where the log stands, for whoever writes the last mark. Nothing is in flight any more. */
  get position(): LogPosition {
    const { records } = this.#sealer;
    return {
      journalId: this.#journalId,
      recordsEver: this.#recordsBefore + records,
      lastRecordLsn: this.#lastRecord(this.#taken),
      segmentRecords: this.#segmentRecordsBefore + records,
      markNumber: this.#markNumber,
    };
  }

  /** What the last marks leave unproven is worth a mark of its own once nothing else is to be done. */
  get lacksProof(): boolean {
    const { records, lastRecordLsn } = this.#sealer;
    return records > 0 && lastRecordLsn >= this.#markedDurable && this.#taken === this.control.durableLsn;
  }

  /** Reserves a mark for the proof that is lacking; false when a producer was quicker. */
  prove(): boolean {
    return this.lacksProof && this.#reserveClosing(this.#taken);
  }

  // ---- extents ---------------------------------------------------------------------------------------------------

  #body(segment: SegmentFile, wanted: number, limit: number): Extent | undefined {
    const cut = this.#seal(wanted, limit);
    if (cut <= this.#taken) return undefined;
    const start = this.#taken;
    const dataEnd = Math.min(cut, this.#skippedFrom(cut));
    // What a pad leaves out up to the footer's sector needs no write.
    this.#taken = dataEnd < cut ? this.#down(this.#footer) : cut;
    if (dataEnd <= start) return this.#footerExtent(segment);
    const bytes = dataEnd - start;
    assert(start % this.writing.sectorBytes === 0 && bytes % this.writing.sectorBytes === 0, 'an extent covers whole sectors');
    assert(start >= segment.base + SEGMENT_HEADER_BYTES && dataEnd <= this.#footer, 'an extent lies in the body of its segment');
    this.control.countBatch(bytes);
    const address = this.logAddress + this.log.position(start);
    return {
      segment, offset: start - segment.base, address, bytes, inLogBuffer: true, end: this.#taken, frameEnd: this.#boundaryBefore(this.#taken), fills: false,
    };
  }

  /** Seals what lies below `wanted`; answers up to where that is final, which is a sector's end. */
  #seal(wanted: number, limit: number): number {
    this.#sealTo(wanted);
    // The cut may divide a header or a checksum, which is written as a whole.
    if (this.#sealer.position < wanted) this.#sealTo(limit);
    return Math.min(wanted, this.#down(this.#sealer.position));
  }

  #sealTo(lsn: number): void {
    if (this.#sealer.position >= lsn) return;
    this.#sealer.seal(lsn);
    const { frameEnd } = this.#sealer;
    if (frameEnd > (this.#boundaries.at(-1) ?? this.#frameEnd)) this.#boundaries.push(frameEnd);
  }

  /** The last frame boundary that is known at or before `lsn`. */
  #boundaryBefore(lsn: number): number {
    while (this.#boundaries.length > 0 && (this.#boundaries[0] ?? 0) <= lsn) this.#frameEnd = this.#boundaries.shift() ?? 0;
    return this.#frameEnd;
  }

  /** The sector's end behind which a pad leaves out the rest of the segment; infinite when no such pad begins before `cut`. */
  #skippedFrom(cut: number): number {
    const { pad } = this.#sealer;
    if (pad?.end !== this.#footer || pad.start + OVERHEAD_BYTES > cut) return Infinity;
    return Math.min(this.#up(pad.start + OVERHEAD_BYTES), this.#down(this.#footer));
  }

  /** The last sector of a segment: what the body has in it, and the footer. */
  #footerExtent(segment: SegmentFile): Extent {
    const { sectorBytes } = this.writing;
    const start = this.#taken;
    const footer = this.#footer;
    this.#sealTo(footer);
    assert(this.#sealer.frameEnd === footer, 'the frames of a segment end at its footer');
    const memory = this.#footers[this.#footersMade++ % this.#footers.length];
    assert(memory !== undefined, 'there is memory for as many footers as may be in flight');
    const { pad } = this.#sealer;
    const dataEnd = Math.max(start, pad?.end === footer ? pad.start + OVERHEAD_BYTES : footer);
    memory.bytes.fill(0);
    let at = 0;
    for (const piece of this.log.pieces(start, dataEnd)) {
      memory.bytes.set(piece, at);
      at += piece.length;
    }
    memory.bytes.set(borrowMark(this.#mark(footer, MARK_FLAG.footer)), footer - start);
    sealFrame(memory.bytes, footer - start, MARK_BYTES, this.#idSum, footer);
    this.#segmentRecordsBefore = -this.#sealer.records;
    this.#lastRecordBefore = 0;
    this.#taken = this.geometry.nextBody(segment.base);
    this.#frameEnd = this.#taken;
    this.#boundaries = [];
    this.#sealer.moveTo(this.#taken);
    this.#published = Math.max(this.#published, this.#taken);
    this.#footer = this.geometry.footerOf(this.geometry.nextBase(segment.base));
    this.#segments.delete(segment.base);
    return { segment, offset: start - segment.base, address: memory.address, bytes: sectorBytes, inLogBuffer: false, end: this.#taken, frameEnd: this.#taken, fills: true };
  }

  // ---- marks and pads --------------------------------------------------------------------------------------------

  /** Closes the last sector, if the writer has caught up with the producers. */
  #close(): void {
    const end = this.#published;
    if (end >= this.#footer || end % this.writing.sectorBytes === 0) return;
    // More than an extent's room: with one write at a time it may be so for as long as there is load.
    if (end - this.#taken > EXTENT_BYTES_MAX) this.#markInPassing();
    else this.#reserveClosing(end);
  }

  /** Reserves a mark and a pad to the sector's end at `end`, if that is where the log ends; like a producer, but at once published. */
  #reserveClosing(end: number): boolean {
    // Behind a full segment there may be none: what nobody can write would never become durable.
    if (!this.#segments.has(this.geometry.baseOf(end))) return false;
    const bytes = closingBytes(end, this.writing.sectorBytes);
    if (end + bytes > this.control.releasedLsn + this.log.capacity) return false;
    if (!this.geometry.fits(end, bytes)) return this.#reserveRest(end);
    if (this.control.reserve(end, bytes) !== end) return false;
    this.log.put(end, borrowMark(this.#mark(end, 0)));
    if (bytes > MARK_BYTES) this.log.putPad(end + MARK_BYTES, end + bytes, end + bytes);
    this.#published = end + bytes;
    return true;
  }

  /** The segment has no room for a mark and a pad: its rest becomes a pad, and its footer is the mark. */
  #reserveRest(end: number): boolean {
    const rest = this.#footer - end;
    assert(rest >= OVERHEAD_BYTES, 'frames leave room for a pad before the footer');
    if (this.control.reserve(end, rest + MARK_BYTES + SEGMENT_HEADER_BYTES) !== end) return false;
    this.log.putPad(end, this.#footer, Math.min(this.#footer, this.#up(end + OVERHEAD_BYTES)));
    this.#published = this.geometry.nextBody(this.geometry.baseOf(end));
    return true;
  }

  /** A mark among the records, so that the proof stays recent while no sector is ever left to be closed. */
  #markInPassing(): void {
    const end = this.#published;
    if (end >= this.#footer) return;
    const due = end - this.#markedLsn >= MARK_BYTES_APART || performance.now() - this.#markedMs >= MARK_MS_APART;
    if (!due || end + MARK_BYTES > this.control.releasedLsn + this.log.capacity || end + MARK_BYTES + OVERHEAD_BYTES > this.#footer) return;
    if (this.control.reserve(end, MARK_BYTES) !== end) return;
    this.log.put(end, borrowMark(this.#mark(end, 0)));
    this.#published = end + MARK_BYTES;
  }

  /** What a mark at `lsn` tells. All records before it are sealed first, for it counts them. */
  #mark(lsn: number, flags: number): CommitMark {
    // First up to the last whole sector: how far its frames reach must be known when it is cut.
    this.#sealTo(this.#down(lsn));
    this.#sealTo(lsn);
    assert(this.#sealer.frameEnd === lsn, 'a mark stands behind a whole frame');
    this.control.count('marks');
    const { records } = this.#sealer;
    this.#markedLsn = lsn;
    this.#markedDurable = this.control.durableLsn;
    this.#markedMs = performance.now();
    return {
      durableLsn: this.#markedDurable,
      number: ++this.#markNumber,
      clockMs: Date.now(),
      records: this.#recordsBefore + records,
      lastRecordLsn: this.#lastRecord(lsn),
      windowBytes: this.log.capacity,
      segmentRecords: this.#segmentRecordsBefore + records,
      flags,
    };
  }

  /** The last record before `lsn` in its segment, 0 if there is none. */
  #lastRecord(lsn: number): number {
    const { lastRecordLsn } = this.#sealer;
    return lastRecordLsn > this.geometry.baseOf(lsn) ? lastRecordLsn : this.#lastRecordBefore;
  }

  // ---- sectors ---------------------------------------------------------------------------------------------------

  #down(lsn: number): number {
    return lsn - (lsn % this.writing.sectorBytes);
  }

  #up(lsn: number): number {
    return this.#down(lsn + this.writing.sectorBytes - 1);
  }

  /** Where the window wraps around: an extent is one piece of memory. */
  #windowEnd(): number {
    return this.#taken - (this.#taken % this.log.capacity) + this.log.capacity;
  }
}
