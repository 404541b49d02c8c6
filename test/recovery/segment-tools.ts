/** What the tests of segment recovery share: journals to examine, damage to do to them, and the examination itself. */
import { pattern } from '../conformance/format.js';
import { examineBlocking, type LogState, type SegmentEntry, type SegmentRead, type SegmentsVerdict } from '../internals.js';
import { MARK, SegmentBuilder, type BuilderOptions } from './segment-builder.js';

export const SEGMENT = 65536;
export const WINDOW = 16384;
export const FOOTER_AT = SEGMENT - MARK;
export const DEPTHS = ['tail', 'all'] as const;
export type Depth = typeof DEPTHS[number];
export type Files = ReadonlyMap<number, Buffer>;

export function listingOf(files: Files): SegmentEntry[] {
  return [...files].map(([base, bytes]) => ({ base, sizeBytes: bytes.length })).sort((a, b) => a.base - b.base);
}

export function readOf(files: Files, { base, offset, bytes }: SegmentRead): Uint8Array {
  const file = files.get(base);
  if (file === undefined || bytes <= 0 || offset < 0) throw new Error(`read of ${bytes} bytes at ${offset} of ${base}`);
  return Uint8Array.prototype.slice.call(file, offset, offset + bytes);
}

export function verdictOf(files: Files, depth: Depth, reads: SegmentRead[] = []): SegmentsVerdict {
  return examineBlocking(listingOf(files), { depth }, (request) => {
    reads.push(request);
    return readOf(files, request);
  });
}

export function logOf(verdict: SegmentsVerdict): LogState {
  if (verdict.kind === 'not-a-journal' || verdict.log === undefined) throw new Error(`no log: ${JSON.stringify(verdict)}`);
  return verdict.log;
}

export function random(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + 0x9e3779b9) >>> 0;
    return Math.floor((((state ^ (state >>> 13)) >>> 0) / 2 ** 32) * below);
  };
}

/** Records of several sizes with marks between them, up to `end`. */
export function fill(builder: SegmentBuilder, end: number, seed = 1): SegmentBuilder {
  const sizes = [0, 7, 300, 3500, 64, 8000, 1, 1900];
  for (let i = seed; builder.position < end; i++) {
    builder.record(pattern(i, sizes[i % sizes.length] ?? 0));
    if (i % 5 === 0) builder.mark();
    const padBytes = 12 + (i * 37) % 500;
    if (i % 7 === 0 && builder.fits(padBytes)) builder.pad(padBytes, 0xaa);
  }
  return builder;
}

export const byteAt = (files: Files, lsn: number): readonly [Buffer, number] => {
  const base = lsn - (lsn % SEGMENT);
  return [files.get(base) ?? Buffer.alloc(0), lsn - base];
};

export function flip(files: Files, lsn: number, mask = 1): void {
  const [bytes, offset] = byteAt(files, lsn);
  bytes[offset] = (bytes[offset] ?? 0) ^ mask;
}

export function put(files: Files, lsn: number, what: Buffer): void {
  const [bytes, offset] = byteAt(files, lsn);
  what.copy(bytes, offset);
}

/** A segment full of valid frames of an earlier life at `base`. */
export function earlierLife(base: number): Buffer {
  const builder = fill(new SegmentBuilder({ firstBase: base }), base + FOOTER_AT - 6000, 50);
  builder.seal();
  return builder.files.get(base) ?? Buffer.alloc(0);
}

export const RECYCLED: BuilderOptions = { firstBase: 8 * SEGMENT, records: 100, marks: 9, earlier: (base) => ({ bytes: earlierLife(base - 8 * SEGMENT), base: base - 8 * SEGMENT }) };
