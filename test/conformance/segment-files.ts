/** The segment layout, written a second time from its description: journals for readers, byte by byte. */
import { closeSync, constants, existsSync, mkdirSync, openSync, readdirSync, renameSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { crc32c, OVERHEAD } from './format.js';

export const SEGMENT = 64 * 1024;
export const HEADER = 4096;
export const MARK = 64;
export const BODY = SEGMENT - HEADER - MARK;
export const KIND = { record: 2, pad: 3, mark: 4, header: 5 } as const;
export const FLAG = { footer: 1, closed: 2 } as const;
const WINDOW = 32 * 1024;

export const nameOf = (base: number): string => `${base.toString(16).padStart(16, '0')}.segment`;
export const bodyOf = (number: number): number => number * SEGMENT + HEADER;
export const footerOf = (number: number): number => (number + 1) * SEGMENT - MARK;

function u64(value: number | bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

export function frame(id: Buffer, kind: number, payload: Uint8Array, lsn: number): Buffer {
  const begin = Buffer.concat([Buffer.from([0x46, 0x53, 0x59, kind]), u32(payload.length)]);
  const covered = kind === KIND.pad ? begin : Buffer.concat([begin, payload]);
  const checksum = u32(crc32c(Buffer.concat([id, u64(lsn), covered])));
  return kind === KIND.pad ? Buffer.concat([begin, checksum, payload]) : Buffer.concat([covered, checksum]);
}

export interface HeaderFields {
  readonly version?: number;
  readonly id?: Buffer;
  readonly base?: number;
  readonly earlierBase?: number;
  readonly windowBytes?: number;
}

export function header(id: Buffer, base: number, fields: HeaderFields = {}): Buffer {
  const payload = Buffer.alloc(HEADER - OVERHEAD);
  Buffer.concat([
    u32(fields.version ?? 1), u32(HEADER), fields.id ?? id, u64(fields.base ?? base), u64(SEGMENT), u64(1_700_000_000_000),
    u64(fields.earlierBase ?? 2n ** 64n - 1n), u32(fields.windowBytes ?? WINDOW),
  ]).copy(payload);
  return frame(fields.id ?? id, KIND.header, payload, fields.base ?? base);
}

export function writeAt(path: string, bytes: Uint8Array, offset: number): void {
  const descriptor = openSync(path, constants.O_WRONLY | constants.O_CREAT);
  for (let done = 0; done < bytes.length;) done += writeSync(descriptor, bytes, done, bytes.length - done, offset + done);
  closeSync(descriptor);
}

/** How the bytes of a frame come into a file: at once, or in the order of somebody who wants to confuse. */
export type Write = (path: string, bytes: Buffer, offset: number) => void;

/** Writes a journal as a writer would, only simpler: every call is in the files when it returns. */
export class SegmentJournal {
  readonly path: string;
  readonly id = Buffer.from('0123456789abcdef');
  /** LSN of what is written next. */
  position = HEADER;
  first = 0;
  readonly #write: Write;
  #marks = 0;
  #records = 0;
  #segmentRecords = 0;
  #lastRecord = 0;
  readonly #spares: { readonly path: string; readonly base: number }[] = [];

  constructor(path: string, write: Write = writeAt, first = 0) {
    this.path = path;
    this.#write = write;
    if (!existsSync(path)) mkdirSync(path);
    this.first = first;
    this.position = bodyOf(first);
    this.prepare(first);
  }

  get segment(): number {
    return Math.floor(this.position / SEGMENT);
  }

  fileOf(number = this.segment): string {
    return join(this.path, nameOf(number * SEGMENT));
  }

  /** Bytes left in the body. */
  get left(): number {
    return footerOf(this.segment) - this.position;
  }

  /** Puts a segment in its place, of a spare if there is one. */
  prepare(number: number, fields: HeaderFields = {}): void {
    const path = this.fileOf(number);
    if (existsSync(path)) return;
    const spare = this.#spares.shift();
    const temporary = spare?.path ?? join(this.path, `new-${number}.spare`);
    if (spare === undefined) writeAt(temporary, Buffer.alloc(SEGMENT), 0);
    writeAt(temporary, header(this.id, number * SEGMENT, spare === undefined ? fields : { earlierBase: spare.base, ...fields }), 0);
    renameSync(temporary, path);
  }

  /** Takes the oldest segments away, up to `number`. */
  trim(number: number): void {
    for (; this.first < number; this.first++) {
      const base = this.first * SEGMENT;
      const path = join(this.path, `trimmed-${this.first}.spare`);
      renameSync(join(this.path, nameOf(base)), path);
      this.#spares.push({ path, base });
    }
  }

  put(kind: number, payload: Uint8Array): number {
    const start = this.position;
    const bytes = frame(this.id, kind, payload, start);
    this.#write(this.fileOf(), bytes, start % SEGMENT);
    this.position += bytes.length;
    return start;
  }

  /** Writes a record, into the next segment if it does not fit; answers its LSN. */
  record(payload: Uint8Array | string, durableLsn = this.position): number {
    const bytes = Buffer.from(payload);
    this.makeRoom(bytes.length + OVERHEAD, durableLsn);
    this.#records++;
    this.#segmentRecords++;
    this.#lastRecord = this.position;
    return this.put(KIND.record, bytes);
  }

  mark(durableLsn = this.position, flags = 0): number {
    this.makeRoom(MARK, durableLsn);
    return this.put(KIND.mark, this.#markPayload(durableLsn, flags));
  }

  makeRoom(total: number, durableLsn: number): void {
    if (total !== this.left && total + OVERHEAD > this.left) this.rotate(durableLsn);
  }

  /** Fills the segment, with a footer, and goes on in the next one. */
  rotate(durableLsn = this.position, footer = true): void {
    if (this.left > 0) this.put(KIND.pad, Buffer.alloc(this.left - OVERHEAD, 'FSY'));
    const number = this.segment;
    this.prepare(number + 1);
    if (footer) {
      const bytes = frame(this.id, KIND.mark, this.#markPayload(durableLsn, FLAG.footer), footerOf(number));
      this.#write(this.fileOf(number), bytes, SEGMENT - MARK);
    }
    this.position = bodyOf(number + 1);
    this.#segmentRecords = 0;
    this.#lastRecord = 0;
  }

  #markPayload(durableLsn: number, flags: number): Buffer {
    return Buffer.concat([
      u64(durableLsn), u64(++this.#marks), u64(1_700_000_000_000), u64(this.#records), u64(this.#lastRecord), u32(WINDOW), u32(this.#segmentRecords), u32(flags),
    ]);
  }

  get files(): string[] {
    return readdirSync(this.path).sort();
  }
}
