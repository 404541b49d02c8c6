/** Journals in the segment layout, built byte by byte after docs/format.md: what the tests expect must not come from the code they test. */
import { pattern } from '../conformance/format.js';

const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = (value & 1) === 1 ? (value >>> 1) ^ 0x82f63b78 : value >>> 1;
  return value >>> 0;
});

function crc32c(...parts: readonly Uint8Array[]): number {
  let value = 0xffffffff;
  for (const part of parts) for (const byte of part) value = (value >>> 8) ^ (TABLE[(value ^ byte) & 0xff] ?? 0);
  return (value ^ 0xffffffff) >>> 0;
}

function u64(value: bigint | number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

export const HEADER = 4096;
export const MARK = 64;
export const FOOTER_FLAG = 1;
export const CLOSED_FLAG = 2;

export interface MarkFields {
  readonly durableLsn: number;
  readonly number: number;
  readonly records: number;
  readonly lastRecordLsn: number;
  readonly windowBytes: number;
  readonly segmentRecords: number;
  readonly flags: number;
}

/** A frame without its checksum, or a pad without what it fills. */
export function frameHead(kind: number, length: number): Buffer {
  return Buffer.concat([Buffer.from([0x46, 0x53, 0x59, kind]), u32(length)]);
}

/** `covered` and the checksum that binds it to its journal and its LSN. */
export function bound(id: Uint8Array, lsn: number, covered: Uint8Array): Buffer {
  return Buffer.concat([covered, u32(crc32c(id, u64(lsn), covered))]);
}

export function recordFrame(id: Uint8Array, lsn: number, payload: Uint8Array): Buffer {
  return bound(id, lsn, Buffer.concat([frameHead(2, payload.length), payload]));
}

export function padFrame(id: Uint8Array, lsn: number, total: number, filler = 0): Buffer {
  return Buffer.concat([bound(id, lsn, frameHead(3, total - 12)), Buffer.alloc(total - 12, filler)]);
}

export function markFrame(id: Uint8Array, lsn: number, mark: MarkFields): Buffer {
  return bound(id, lsn, Buffer.concat([
    frameHead(4, 52), u64(mark.durableLsn), u64(mark.number), u64(1_700_000_000_000), u64(mark.records), u64(mark.lastRecordLsn),
    u32(mark.windowBytes), u32(mark.segmentRecords), u32(mark.flags),
  ]));
}

export interface HeaderFields {
  readonly base: number;
  readonly segmentBytes: number;
  readonly windowBytes: number;
  readonly earlierBase?: number | undefined;
  readonly version?: number;
}

export function headerFrame(id: Uint8Array, { base, segmentBytes, windowBytes, earlierBase, version }: HeaderFields): Buffer {
  const payload = Buffer.concat([
    u32(version ?? 1), u32(HEADER), id, u64(base), u64(segmentBytes), u64(1_700_000_000_000), u64(earlierBase ?? 2n ** 64n - 1n), u32(windowBytes),
  ]);
  return bound(id, base, Buffer.concat([frameHead(5, 4084), payload, Buffer.alloc(4084 - payload.length)]));
}

export interface BuiltFrame {
  readonly kind: 'record' | 'pad' | 'mark' | 'footer';
  readonly start: number;
  readonly end: number;
  /** LSN after the bytes that its checksum covers, and the checksum. */
  readonly coveredEnd: number;
  readonly payload: Buffer | undefined;
  readonly mark: MarkFields | undefined;
}

export interface BuilderOptions {
  readonly segmentBytes?: number;
  readonly windowBytes?: number;
  readonly id?: Buffer;
  readonly firstBase?: number;
  /** Records and marks before the first segment. */
  readonly records?: number;
  readonly marks?: number;
  /** What a segment's file held in its earlier life. */
  readonly earlier?: (base: number) => { readonly bytes: Buffer; readonly base: number } | undefined;
  /** LSN of the record that the mark before told to be durable: how far marks lag behind. By default none. */
  readonly lag?: boolean;
}

export const ID = pattern(4242, 16);

/** Writes a log into memory, as a writer would. */
export class SegmentBuilder {
  readonly files = new Map<number, Buffer>();
  readonly frames: BuiltFrame[] = [];
  readonly id: Buffer;
  readonly segmentBytes: number;
  readonly windowBytes: number;
  readonly #options: BuilderOptions;
  position: number;
  records: number;
  marks: number;
  #base: number;
  #segmentRecords = 0;
  #lastRecordLsn = 0;
  #previousMark: number;

  constructor(options: BuilderOptions = {}) {
    this.#options = options;
    this.id = options.id ?? ID;
    this.segmentBytes = options.segmentBytes ?? 65536;
    this.windowBytes = options.windowBytes ?? 16384;
    this.records = options.records ?? 0;
    this.marks = options.marks ?? 0;
    this.#base = options.firstBase ?? 0;
    this.prepare(this.#base);
    this.position = this.#base + HEADER;
    this.#previousMark = this.position;
  }

  /** A segment with nothing but a header, and what was there before. */
  prepare(base: number): void {
    const earlier = this.#options.earlier?.(base);
    const bytes = Buffer.alloc(this.segmentBytes);
    earlier?.bytes.copy(bytes);
    headerFrame(this.id, { base, segmentBytes: this.segmentBytes, windowBytes: this.windowBytes, earlierBase: earlier?.base }).copy(bytes);
    this.files.set(base, bytes);
  }

  get base(): number {
    return this.#base;
  }

  get footerLsn(): number {
    return this.#base + this.segmentBytes - MARK;
  }

  fits(total: number): boolean {
    const left = this.footerLsn - this.position;
    return total === left || total + 12 <= left;
  }

  /** Appends a record, in the next segment if it does not fit into this one. */
  record(payload: Buffer): this {
    if (!this.fits(payload.length + 12)) this.seal();
    const start = this.position;
    this.#put('record', recordFrame(this.id, start, payload), { payload });
    this.records++;
    this.#segmentRecords++;
    this.#lastRecordLsn = start;
    return this;
  }

  pad(total: number, filler = 0): this {
    this.#put('pad', padFrame(this.id, this.position, total, filler), {});
    return this;
  }

  mark(fields: Partial<MarkFields> = {}): this {
    if (!this.fits(MARK)) this.seal();
    const start = this.position;
    this.#putMark('mark', fields);
    this.#previousMark = start;
    return this;
  }

  /** Fills the segment, writes its footer and begins the next one. */
  seal(fields: Partial<MarkFields> = {}, filler = 0xee): this {
    if (this.position < this.footerLsn) this.pad(this.footerLsn - this.position, filler);
    this.#putMark('footer', { flags: FOOTER_FLAG, ...fields });
    this.#base += this.segmentBytes;
    if (!this.files.has(this.#base)) this.prepare(this.#base);
    this.position = this.#base + HEADER;
    this.#segmentRecords = 0;
    this.#lastRecordLsn = 0;
    return this;
  }

  close(): this {
    this.mark({ flags: CLOSED_FLAG, durableLsn: this.position });
    const rest = 512 - (this.position % 512);
    if (rest < 512) this.pad(rest < 12 ? rest + 512 : rest);
    return this;
  }

  #putMark(kind: 'mark' | 'footer', fields: Partial<MarkFields>): void {
    const mark: MarkFields = {
      durableLsn: this.#options.lag === true ? this.#previousMark : this.position,
      number: ++this.marks,
      records: this.records,
      lastRecordLsn: this.#lastRecordLsn,
      windowBytes: this.windowBytes,
      segmentRecords: this.#segmentRecords,
      flags: 0,
      ...fields,
    };
    this.#put(kind, markFrame(this.id, this.position, mark), { mark });
  }

  #put(kind: BuiltFrame['kind'], bytes: Buffer, rest: { payload?: Buffer; mark?: MarkFields }): void {
    const start = this.position;
    bytes.copy(this.files.get(this.#base) ?? Buffer.alloc(0), start - this.#base);
    this.position += bytes.length;
    this.frames.push({ kind, start, end: this.position, coveredEnd: kind === 'pad' ? start + 12 : this.position, payload: rest.payload, mark: rest.mark });
  }
}
