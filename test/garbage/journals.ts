/** Whole journals to be spoilt, and what is known of each: which records were appended to it, and where. */
import { endsOf, journalOf, pattern } from '../conformance/format.js';
import { FILE_BATCH_BYTES_MAX } from '../internals.js';
import { HEADER, SegmentBuilder, type BuilderOptions, type BuiltFrame } from '../recovery/segment-builder.js';
import { earlierLife, fill, RECYCLED, SEGMENT, WINDOW } from '../recovery/segment-tools.js';

/** Anything that a mutation made valid on purpose: no damage, as far as a reader can tell. */
export class Forgeries {
  readonly #payloads = new Map<number, Buffer[]>();
  /** Something was forged; what is proven by then may be proven by a forgery. */
  any = false;
  /** Of the longest forged record. */
  bytesMax = 0;

  /** A record that was given a right checksum at `lsn`. */
  add(lsn: number, payload: Uint8Array): void {
    this.any = true;
    this.bytesMax = Math.max(this.bytesMax, payload.length);
    this.#payloads.set(lsn, [...this.#payloads.get(lsn) ?? [], Buffer.from(payload)]);
  }

  /**
   * A checksum cannot tell one frame with a right checksum from another one within its payload: the difference of the two
   * is divisible by its polynomial. So a later forgery may lie inside an earlier one.
   */
  has(lsn: number, payload: Uint8Array): boolean {
    return this.#payloads.get(lsn)?.some((forged) => forged.length === payload.length) === true;
  }

  /** Where the layout does not bind a frame to its place. */
  hasAnywhere(payload: Uint8Array): boolean {
    return [...this.#payloads.values()].some((payloads) => payloads.some((forged) => forged.length === payload.length));
  }
}

export interface SegmentJournal {
  readonly layout: 'segments';
  readonly name: string;
  readonly builder: SegmentBuilder;
  /** Of its records, by LSN. */
  readonly records: ReadonlyMap<number, BuiltFrame>;
  /** What the segments held before, of the same journal; undefined where they are new files. */
  readonly earlier: ReadonlyMap<number, Buffer>;
}

export interface FileJournal {
  readonly layout: 'file';
  readonly name: string;
  readonly bytes: Buffer;
  readonly payloads: readonly Buffer[];
  /** LSN after each record. */
  readonly ends: readonly number[];
}

export type Journal = SegmentJournal | FileJournal;

function segmentJournal(name: string, options: BuilderOptions, bytesInLast: number, segments: number, close = false, prepared = 0): SegmentJournal {
  const builder = new SegmentBuilder(options);
  // A long pad behind the records: it costs nobody time, and input after input is checked.
  for (let n = 0; n < segments; n++) fill(builder, builder.base + HEADER + 9000, name.length + n).seal();
  fill(builder, builder.base + HEADER + bytesInLast, name.length);
  if (close) builder.close();
  for (let n = 1; n <= prepared; n++) builder.prepare(builder.base + n * SEGMENT);
  const records = new Map(builder.frames.filter(({ kind }) => kind === 'record').map((frame) => [frame.start, frame]));
  const earlier = new Map(options.earlier === undefined ? [] : [...builder.files.keys()].map((base) => [base, earlierLife(base - 8 * SEGMENT)]));
  return { layout: 'segments', name, builder, records, earlier };
}

export const OTHER_ID = pattern(777, 16);

/** Another journal that has the same bases: what comes from it is never the first one's. */
export const OTHER = segmentJournal('another journal', { id: OTHER_ID }, 20000, 2);

export const SEGMENT_JOURNALS: readonly SegmentJournal[] = [
  segmentJournal('open', {}, 5000, 1),
  segmentJournal('open, marks that lag', { lag: true }, 9000, 2),
  segmentJournal('closed', { lag: true }, 8000, 1, true),
  segmentJournal('trimmed, little in its last segment', { lag: true, firstBase: 3 * SEGMENT, records: 55, marks: 7 }, 1000, 2),
  segmentJournal('used again', { ...RECYCLED, lag: true }, 9000, 1),
  segmentJournal('used again and closed, segments ahead', RECYCLED, 8000, 1, true, 2),
  segmentJournal('one segment', {}, 25000, 0, false, 1),
  segmentJournal('a large window', { windowBytes: 8 * WINDOW, lag: true }, 8000, 2),
];

function fileJournal(name: string, sizes: readonly number[], zeros: number): FileJournal {
  const payloads = sizes.map((bytes, i) => pattern(i + 100 * name.length, bytes));
  return { layout: 'file', name, bytes: Buffer.concat([journalOf(payloads), Buffer.alloc(zeros)]), payloads, ends: endsOf(payloads) };
}

export const FILE_JOURNALS: readonly FileJournal[] = [
  fileJournal('empty', [], 0),
  fileJournal('one record', [5], 0),
  fileJournal('small records', Array.from({ length: 60 }, (_, i) => (i * 37) % 300), 0),
  fileJournal('space ahead', [0, 1, 4000, 12, 0, 0, 900], 20000),
];

/** Long enough that damage at its start is told from a torn tail. */
export const LONG_FILE_JOURNAL = fileJournal('longer than a batch', [300, 2000, ...Array.from({ length: 9 }, () => FILE_BATCH_BYTES_MAX / 8), 20, 700], 5000);
