/** What has to hold for any bytes whatever: the properties that the fuzzer checks for each input. */
import { JournalReader, TidemarkError, type JournalReaderOptions, type JournalRecord, type Tail } from 'tidemark';
import { FILE_BATCH_BYTES_MAX, fileRecovery, segments, type SegmentRead, type SegmentsVerdict } from '../internals.js';
import { HEADER, MARK, type BuiltFrame } from '../recovery/segment-builder.js';
import { DEPTHS, listingOf, SEGMENT } from '../recovery/segment-tools.js';
import { OTHER, type FileJournal, type Forgeries, type SegmentJournal } from './journals.js';
import { checkedRead, type MemoryFiles, type Reading } from './memory-files.js';
import type { Draw } from './mutations.js';

const { examineBlocking, Overlay, planRepair, segmentName } = segments;

/** The most memory for one read, however long a frame claims to be: one step of a search. */
export const READ_BYTES_MAX = 1024 * 1024 + 4096;
/** So many times its own bytes may be read of a journal in one go: damage upon damage is searched anew each time. */
const READ_TIMES_MAX = 4000;

/** Codes that reading something which is no whole journal may end with. */
const READING_CODES = ['TIDEMARK_NOT_A_JOURNAL', 'TIDEMARK_CORRUPT', 'TIDEMARK_NOT_SUPPORTED', 'TIDEMARK_TRIMMED', 'TIDEMARK_LSN_OUT_OF_RANGE'];
export const REPAIR_CODES = ['TIDEMARK_NOT_A_JOURNAL', 'TIDEMARK_CORRUPT', 'TIDEMARK_NOT_SUPPORTED'];

export class PropertyError extends Error {}

export function holds(condition: boolean, property: string, ...facts: unknown[]): asserts condition {
  if (!condition) throw new PropertyError([property, ...facts.map((fact) => (typeof fact === 'string' ? fact : JSON.stringify(fact)))].join(' | '));
}

/** The code of a documented error; anything else is what must never be thrown. */
export function codeOf(error: unknown, allowed: readonly string[]): string {
  if (error instanceof TidemarkError && allowed.includes(error.code)) return error.code;
  throw error instanceof Error ? error : new Error(String(error));
}

// ---- reading -----------------------------------------------------------------------------------------------------------

interface ReadBack {
  readonly records: readonly JournalRecord[];
  readonly tail: Tail | undefined;
  readonly durableLsn: number | undefined;
  /** Undefined: it came to an end. */
  readonly code: string | undefined;
}

async function collect(records: AsyncIterable<JournalRecord>, into: JournalRecord[], allowed: readonly string[]): Promise<string | undefined> {
  try {
    for await (const record of records) into.push(record);
    return undefined;
  } catch (error) {
    return error instanceof AbortedError ? 'aborted' : codeOf(error, allowed);
  }
}

class AbortedError extends Error {}

/** Opens a reader for `use`; undefined when the journal could not even be opened. */
async function withReader<T>(memory: MemoryFiles, path: string, options: JournalReaderOptions, use: (reader: JournalReader) => Promise<T>): Promise<T | undefined> {
  let reader: JournalReader;
  try {
    reader = await JournalReader.open(path, options);
  } catch (error) {
    codeOf(error, READING_CODES);
    holds(memory.openFiles === 0, 'a reader that did not open left files open');
    return undefined;
  }
  try {
    return await use(reader);
  } finally {
    await reader.close();
    holds(memory.openFiles === 0, 'a reader that was closed left files open');
  }
}

async function readAll(memory: MemoryFiles, path: string, options: JournalReaderOptions): Promise<ReadBack | undefined> {
  return withReader(memory, path, options, async (reader) => {
    const records: JournalRecord[] = [];
    const code = await collect(reader, records, READING_CODES);
    holds(code !== undefined || options.to !== undefined || reader.tail !== undefined, 'a loop that came to the end tells how');
    return { records, tail: reader.tail, durableLsn: reader.durableLsn, code };
  });
}

async function readFollowing(memory: MemoryFiles, path: string): Promise<ReadBack | undefined> {
  const abort = new AbortController();
  memory.onDelay = (delays) => {
    if (delays > 40) abort.abort(new AbortedError());
  };
  return withReader(memory, path, {}, async (reader) => {
    const records: JournalRecord[] = [];
    const code = await collect(reader.follow({ signal: abort.signal, pollMs: 1 }), records, READING_CODES);
    return { records, tail: undefined, durableLsn: reader.durableLsn, code };
  });
}

// ---- segments ----------------------------------------------------------------------------------------------------------

type Files = ReadonlyMap<number, Buffer>;

export class SegmentCheck {
  readonly #journal: SegmentJournal;
  readonly #files: Files;
  readonly #forgeries: Forgeries;
  readonly #draw: Draw;
  readonly #limit: number;
  #proven: number | undefined;

  constructor(journal: SegmentJournal, files: Files, forgeries: Forgeries, draw: Draw) {
    this.#journal = journal;
    this.#files = files;
    this.#forgeries = forgeries;
    this.#draw = draw;
    this.#limit = READ_TIMES_MAX * [...files.values()].reduce((sum, { length }) => sum + length + HEADER, 0);
  }

  async run(memory: MemoryFiles): Promise<void> {
    const [tail, all] = DEPTHS.map((depth) => this.#examine(depth));
    holds(tail !== undefined && all !== undefined, 'two depths');
    for (const verdict of [tail, all]) this.#checkVerdict(verdict);
    if (!this.#forgeries.any && (all.kind === 'clean' || all.kind === 'torn')) holds(tail.kind === all.kind && tail.log.end === all.log.end, 'what is whole is whole at either depth', tail, all);
    const path = memory.put(new Map([...this.#files].map(([base, bytes]) => [segmentName(base), bytes])));
    memory.begin(this.#limit);
    // Not everything of each input: more inputs tell more.
    const way = this.#draw(12);
    if (way < 4) this.#checkRead(await readAll(memory, path, {}), all);
    else if (way < 6) this.#checkRead(await readAll(memory, path, { durable: true }), undefined);
    else if (way < 7) this.#checkRead(await readFollowing(memory, path), undefined);
    else if (way < 9) await this.#checkPlaces(memory, path);
    holds(memory.reading.bytesMax <= READ_BYTES_MAX, 'memory for a read is bounded', memory.reading);
    if (all.kind === 'corrupt' && this.#draw(25) === 0) this.#repair();
  }

  #examine(depth: typeof DEPTHS[number]): SegmentsVerdict {
    const reading: Reading = { bytes: 0, bytesMax: 0, delays: 0 };
    const verdict = examineBlocking(listingOf(this.#files), { depth }, (request) => this.#read(reading, request));
    holds(reading.bytesMax <= READ_BYTES_MAX, 'memory for a read is bounded', reading);
    return verdict;
  }

  #read(reading: Reading, { base, offset, bytes }: SegmentRead): Uint8Array {
    const file = this.#files.get(base);
    holds(file !== undefined, 'only segments that there are can be read', base);
    return checkedRead(reading, this.#limit, file, offset, bytes);
  }

  /** The journal that the oldest segment names; undefined when its header is not as one of them wrote it. */
  get #identity(): SegmentJournal | undefined {
    const oldest = Math.min(...this.#files.keys());
    const header = this.#files.get(oldest)?.subarray(0, HEADER);
    return [this.#journal, OTHER].find(({ builder }) => header !== undefined && builder.files.get(oldest)?.subarray(0, HEADER).equals(header) === true);
  }

  #isIntact({ builder }: SegmentJournal, { start, coveredEnd }: BuiltFrame, files = this.#files): boolean {
    const base = start - (start % builder.segmentBytes);
    const [was, is] = [builder.files.get(base), files.get(base)];
    if (was === undefined || is === undefined) return false;
    return was === is || (is.length >= coveredEnd - base && was.compare(is, start - base, coveredEnd - base, start - base, coveredEnd - base) === 0);
  }

  /** What the marks that are left prove; they are the same that recovery may rely on. */
  #provenLsn(journal: SegmentJournal): number {
    return this.#proven ??= Math.max(0, ...journal.builder.frames.filter((frame) => frame.mark !== undefined && this.#isIntact(journal, frame)).map(({ mark }) => mark?.durableLsn ?? 0));
  }

  #recordsFrom(journal: SegmentJournal): BuiltFrame[] {
    const oldest = Math.min(...this.#files.keys());
    return [...journal.records.values()].filter(({ start }) => start >= oldest);
  }

  #checkVerdict(verdict: SegmentsVerdict): void {
    if (verdict.kind === 'torn') holds(verdict.dataEnd > verdict.log.end, 'a torn tail holds something', verdict);
    const journal = this.#identity;
    if (this.#forgeries.any || journal === undefined || verdict.kind === 'corrupt') return;
    holds(verdict.kind !== 'not-a-journal', 'a segment with its header is one', verdict);
    holds(verdict.log.end >= this.#provenLsn(journal), 'nothing that a mark proves durable is dropped in silence', verdict, this.#provenLsn(journal));
    const records = this.#recordsFrom(journal).filter(({ end }) => end <= verdict.log.end);
    holds(verdict.log.records === records.length, 'the records are counted', verdict, records.length);
  }

  /** `verdict`: that of a look at everything; undefined where not all is shown. */
  #checkRead(read: ReadBack | undefined, verdict: SegmentsVerdict | undefined): void {
    if (read === undefined) {
      holds(this.#forgeries.any || this.#identity === undefined, 'a journal whose oldest header is whole can be opened');
      return;
    }
    let previous = 0;
    for (const record of read.records) {
      holds(record.start >= previous && record.end === record.start + record.payload.length + 12, 'records come in order', record.start, previous);
      previous = record.end;
      this.#checkRecord(record);
    }
    const journal = this.#identity;
    if (this.#forgeries.any) return;
    holds(journal !== undefined, 'only a journal can be opened');
    const expected = this.#recordsFrom(journal).slice(0, read.records.length).map(({ start }) => start);
    holds(String(expected) === String(read.records.map(({ start }) => start)), 'no record is left out', expected.length, read.records.length);
    holds((read.durableLsn ?? 0) <= Math.max(...journal.builder.frames.map(({ mark }) => mark?.durableLsn ?? 0)), 'no more is called durable than was', read.durableLsn);
    if (verdict === undefined || (verdict.kind !== 'clean' && verdict.kind !== 'torn')) return;
    // A footer that never landed ends the log; a reader goes on without it.
    const atFooter = (verdict.log.end + MARK) % SEGMENT === 0;
    // Opening makes a segment anew that has no valid header and none of the log; a reader, which changes nothing, names it.
    holds(read.code === undefined || !verdict.log.endInPlace || atFooter, 'what recovery finds whole can be read', read.code ?? '', verdict);
    holds(read.records.length === verdict.log.records || (atFooter && read.records.length > verdict.log.records), 'all of it is read', read.records.length, verdict);
  }

  /** Each record that comes out was put in: there, and into that journal, or by the fuzzer on purpose. */
  #checkRecord({ start, payload }: JournalRecord): void {
    const journals = this.#forgeries.any ? [this.#journal, OTHER] : [this.#identity];
    const known = journals.some((journal) => journal?.records.get(start)?.payload?.equals(payload) === true);
    holds(known || this.#forgeries.has(start, payload), 'a record that was never written', start, payload.length);
  }

  async #checkPlaces(memory: MemoryFiles, path: string): Promise<void> {
    const journal = this.#identity;
    const starts = [...this.#journal.records.keys()];
    const lsns = [this.#draw(2 ** 18), 2 ** 53 - 1 - this.#draw(2), ...[0, 0, 1].map((more) => (starts[this.#draw(starts.length)] ?? 0) + more)];
    await withReader(memory, path, {}, async (reader) => {
      for (const lsn of lsns) {
        const frame = journal?.records.get(lsn);
        try {
          const record = await reader.readAt(lsn);
          holds(record.start === lsn, 'a record is the one that was asked for', record.start, lsn);
          this.#checkRecord(record);
        } catch (error) {
          if (error instanceof PropertyError) throw error;
          codeOf(error, [...READING_CODES, 'TIDEMARK_NO_RECORD']);
          const there = !this.#forgeries.any && journal !== undefined && frame !== undefined && this.#isIntact(journal, frame);
          holds(!there, 'a record that is whole can be read by its LSN', lsn, String(error));
        }
      }
    });
    const from = lsns[this.#draw(lsns.length)] ?? 0;
    const read = await readAll(memory, path, { from, to: Math.min(from + this.#draw(2 ** 17), 2 ** 53 - 1) });
    for (const record of read?.records ?? []) this.#checkRecord(record);
  }

  #repair(): void {
    const reading: Reading = { bytes: 0, bytesMax: 0, delays: 0 };
    const overlay = new Overlay(listingOf(this.#files), (request) => this.#read(reading, request));
    let plan;
    try {
      plan = planRepair('spoilt', overlay);
    } catch (error) {
      codeOf(error, REPAIR_CODES);
      return;
    }
    const repaired = new Map(overlay.listing.map(({ base, sizeBytes }) => [base, Buffer.from(overlay.read({ base, offset: 0, bytes: sizeBytes }))]));
    const { end, records } = plan.verdict.log;
    for (const depth of DEPTHS) {
      const verdict = examineBlocking(listingOf(repaired), { depth }, ({ base, offset, bytes }) => Buffer.from(repaired.get(base)?.subarray(offset, offset + bytes) ?? []));
      holds(verdict.kind === 'clean' || verdict.kind === 'torn', 'a repaired journal opens', depth, verdict);
      holds(this.#forgeries.any || (verdict.log.end === end && verdict.log.records === records), 'a repaired journal is as it was planned', depth, verdict, { end, records });
    }
    const journal = this.#identity;
    if (this.#forgeries.any || journal === undefined) return;
    holds(end >= this.#provenLsn(journal), 'a repaired journal holds what the marks prove', end, this.#provenLsn(journal));
    for (const frame of journal.builder.frames) {
      if (frame.kind !== 'record' || frame.end > end || !this.#isIntact(journal, frame)) continue;
      holds(this.#isIntact(journal, frame, repaired), 'a repaired journal holds every record that was whole', frame.start, plan.ranges);
    }
  }
}

// ---- one file ----------------------------------------------------------------------------------------------------------

/** A frame of the file layout is not bound to its place: what was copied inside a journal may be valid where it is. */
export async function checkFile(memory: MemoryFiles, journal: FileJournal, bytes: Buffer, forgeries: Forgeries, draw: Draw): Promise<void> {
  const longest = Math.max(READ_BYTES_MAX, forgeries.bytesMax + 12, ...journal.payloads.map(({ length }) => length + 12));
  const limit = READ_TIMES_MAX * (bytes.length + HEADER);
  const reading: Reading = { bytes: 0, bytesMax: 0, delays: 0 };
  const verdict = fileRecovery.recover({
    status: () => ({ sizeBytes: bytes.length }),
    readFully: (_: number, target: Uint8Array, offset: number) => {
      const found = checkedRead(reading, limit, bytes, offset, target.length);
      target.set(found);
      return found.length;
    },
  } as never, 3);
  holds(reading.bytesMax <= longest, 'memory for a read is bounded', reading);
  const path = memory.put(new Map([['file', bytes]]));
  memory.begin(limit);
  const read = await readAll(memory, path, {});
  holds(read?.tail !== undefined && read.code === undefined, 'a file can be read to where it ends');
  holds(memory.reading.bytesMax <= longest, 'memory for a read is bounded', memory.reading);
  let end = 0;
  for (const record of read.records) {
    holds(record.start === end, 'records lie side by side', record.start, end);
    end = record.end;
    checkFileRecord(journal, forgeries, record);
  }
  holds(read.tail.position === end, 'the tail begins where the last record ends');
  const whole = journal.ends.findIndex((one, i) => !isSame(journal, bytes, i, one));
  holds(read.records.length >= (whole < 0 ? journal.ends.length : whole), 'no record before the damage is left out', read.records.length, whole);
  checkFileVerdict(journal, bytes, verdict, read, end);
  await withReader(memory, path, {}, async (reader) => {
    for (const lsn of [0, draw(bytes.length + 2), journal.ends[draw(journal.ends.length + 1)] ?? 2 ** 53 - 1]) {
      try {
        checkFileRecord(journal, forgeries, await reader.readAt(lsn));
      } catch (error) {
        if (error instanceof PropertyError) throw error;
        codeOf(error, ['TIDEMARK_NO_RECORD']);
      }
    }
  });
}

function isSame(journal: FileJournal, bytes: Buffer, index: number, end: number): boolean {
  const start = end - 12 - (journal.payloads[index]?.length ?? 0);
  return end <= bytes.length && journal.bytes.subarray(start, end).equals(bytes.subarray(start, end));
}

function checkFileRecord(journal: FileJournal, forgeries: Forgeries, { start, payload }: JournalRecord): void {
  const known = journal.payloads.some((one) => one.equals(payload)) || forgeries.hasAnywhere(payload);
  holds(known, 'a record that was never written', start, payload.length);
}

function checkFileVerdict(journal: FileJournal, bytes: Buffer, verdict: ReturnType<typeof fileRecovery.recover>, { records, tail }: ReadBack, end: number): void {
  if (verdict.kind === 'not-a-journal') {
    holds(records.length === 0, 'what has records is a journal');
    return;
  }
  holds(verdict.end === end && verdict.records === records.length, 'recovery and readers see the same', verdict, end, records.length);
  holds((verdict.kind === 'clean') === (tail?.state === 'clean-end'), 'recovery and readers see the same end', verdict, tail);
  if (verdict.kind === 'corrupt') return;
  const later = journal.ends.some((one, i) => one - 12 - (journal.payloads[i]?.length ?? 0) >= end + FILE_BATCH_BYTES_MAX && isSame(journal, bytes, i, one));
  holds(!later || verdict.kind === 'clean', 'damage far before a whole frame is no torn tail', verdict);
  if (verdict.kind === 'torn') holds(bytes[verdict.dataEnd - 1] !== 0 && bytes.subarray(verdict.dataEnd).equals(Buffer.alloc(bytes.length - verdict.dataEnd)), 'a torn tail ends with the data', verdict.dataEnd);
}
