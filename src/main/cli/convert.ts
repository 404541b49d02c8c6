/** `tidemark export` and `tidemark import`: the records of a journal in a new one, of either layout. */
import { lstatSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { Option, type Command } from 'commander';
import { EEXIST, fromNodeError, ioError } from '../../platform/errno.js';
import { JournalError, TidemarkError } from '../../platform/errors.js';
import { frameBytes } from '../../workers/protocol/frame.js';
import { Journal } from '../journal.js';
import { JournalReader } from '../reader.js';
import type { Layout } from '../storage.js';
import { startProgress } from './progress.js';
import { LAYOUT_CHOICES, onInterruption, parseSize, plural, print, printJson, schedulerFor } from './support.js';

interface ConvertOptions {
  readonly layout: Layout;
  readonly segmentBytes?: number;
  readonly json?: true;
}

interface Converted {
  readonly records: number;
  readonly bytes: number;
  readonly durableLsn: number;
}

const BATCH_BYTES_MAX = 1024 * 1024;
const BATCH_RECORDS_MAX = 4096;
/** Bytes in batches that are not durable yet. */
const IN_FLIGHT_BYTES_MAX = 32 * 1024 * 1024;

const LSNS_CHANGE = `
The new journal holds the same records in the same order. Their LSNs are others: an LSN is a place in one journal.
A journal that is damaged, or has a torn tail, is refused; then the new one is removed.`;

export function addExport(program: Command): void {
  addConversion(program, 'export', 'journal', 'target', 'file',
    'copy the records of a journal into a new one, by default a single file as fsys reads it; LSNs change');
}

export function addImport(program: Command): void {
  addConversion(program, 'import', 'source', 'journal', 'segments',
    'copy the records of a journal, such as a file of fsys, into a new one, by default of segments; LSNs change');
}

function addConversion(program: Command, name: string, from: string, to: string, layout: Layout, description: string): void {
  program
    .command(name)
    .description(description)
    .argument(`<${from}>`, 'path of the journal to read, of either layout')
    .argument(`<${to}>`, 'path of the new journal; nothing may be there')
    .addOption(new Option('--layout <layout>', 'layout of the new journal').choices(LAYOUT_CHOICES).default(layout))
    .option('--segment-bytes <bytes>', 'layout segments: bytes of a segment (suffixes k, M, G)', parseSize)
    .option('--json', 'print the summary as JSON')
    .addHelpText('after', LSNS_CHANGE)
    .action((source: string, target: string, options: ConvertOptions) => convert(name, source, target, options));
}

async function convert(label: string, source: string, target: string, options: ConvertOptions): Promise<void> {
  const { layout, json } = options;
  await using reader = await JournalReader.open(source);
  refuseExisting(target);
  const scheduler = schedulerFor(undefined);
  try {
    const segmentBytes = options.segmentBytes === undefined ? {} : { segmentBytes: options.segmentBytes };
    // A journal that is written once, in one go, needs no space prepared ahead.
    const journal = await Journal.open(target, { scheduler, layout, preallocate: 0, ...segmentBytes });
    if (journal.openReport?.created !== true) {
      await journal.close();
      throw ioError(EEXIST, 'open', target);
    }
    const converted = await fill(label, reader, journal, layout === 'file' ? Infinity : options.segmentBytes ?? Infinity).catch(async (error: unknown) => {
      await journal.close().catch(() => undefined);
      await rm(target, { recursive: true });
      throw error;
    });
    const { records, bytes } = converted;
    if (json === true) await printJson({ source, target, layout, ...converted });
    else await print(`${plural(records, 'record')}, ${plural(bytes, 'byte')}, durable in '${target}'\n`);
  } finally {
    await scheduler.close();
  }
}

function refuseExisting(target: string): void {
  try {
    if (lstatSync(target, { throwIfNoEntry: false }) === undefined) return;
  } catch (error) {
    throw fromNodeError(error, target);
  }
  throw ioError(EEXIST, 'open', target);
}

/** Copies everything, closes the journal, and tells what it holds. */
async function fill(label: string, reader: JournalReader, journal: Journal, segmentBytes: number): Promise<Converted> {
  const { signal, dispose } = onInterruption();
  const files = await reader.segments();
  const progress = startProgress(label, files.reduce((sum, { bytes }) => sum + bytes, 0));
  const base = files[0]?.baseLsn ?? 0;
  // Half a segment at most, so that batches waste little of it.
  const batches = new Batches(journal, Math.min(BATCH_BYTES_MAX, segmentBytes / 2));
  let records = 0;
  let bytes = 0;
  try {
    for await (const { end, payload } of reader) {
      await batches.add(payload);
      records++;
      bytes += payload.length;
      progress.update(end - base, records);
      signal.throwIfAborted();
    }
    await batches.finish();
    refuseDamage(reader);
  } catch (error) {
    throw withAdvice(error, reader.path);
  } finally {
    await batches.settled();
    progress.stop();
    dispose();
  }
  await journal.close();
  return { records, bytes, durableLsn: journal.durableLsn };
}

function refuseDamage({ path, tail }: JournalReader): void {
  if (tail === undefined || tail.state === 'clean-end') return;
  const advice = 'appending to it sets a torn tail aside, `tidemark repair` mends damage';
  throw new TidemarkError('TIDEMARK_DAMAGED', `'${path}' ends in ${tail.state} at LSN ${tail.position}: ${tail.detail}; ${advice}`);
}

function withAdvice(error: unknown, path: string): unknown {
  if (!(error instanceof JournalError) || error.code !== 'TIDEMARK_CORRUPT') return error;
  return new JournalError('TIDEMARK_CORRUPT', `${error.message}; \`tidemark repair\` mends it`, { path, lsn: error.lsn, cause: error });
}

/** Appends in batches, a bounded number of bytes at a time. */
class Batches {
  readonly #journal: Journal;
  readonly #bytesMax: number;
  readonly #inFlight: { readonly bytes: number; readonly durable: Promise<unknown> }[] = [];
  #inFlightBytes = 0;
  #batch: Uint8Array[] = [];
  #batchBytes = 0;

  constructor(journal: Journal, bytesMax: number) {
    this.#journal = journal;
    this.#bytesMax = bytesMax;
  }

  async add(record: Uint8Array): Promise<void> {
    const bytes = frameBytes(record.length);
    if (this.#batchBytes + bytes > this.#bytesMax || this.#batch.length === BATCH_RECORDS_MAX) await this.#append();
    this.#batch.push(record);
    this.#batchBytes += bytes;
  }

  async finish(): Promise<void> {
    await this.#append();
    while (this.#inFlight.length > 0) await this.#oldest();
  }

  /** Waits until nothing is in flight, whatever becomes of it. */
  async settled(): Promise<void> {
    await Promise.allSettled(this.#inFlight.map(({ durable }) => durable));
  }

  async #append(): Promise<void> {
    const [first, ...others] = this.#batch;
    if (first === undefined) return;
    const bytes = this.#batchBytes;
    const durable = others.length === 0 ? this.#journal.append(first) : this.#journal.appendBatch(this.#batch);
    // Whoever waits for it sees the failure; until then it must not end the process.
    durable.catch(() => undefined);
    this.#inFlight.push({ bytes, durable });
    this.#inFlightBytes += bytes;
    this.#batch = [];
    this.#batchBytes = 0;
    while (this.#inFlightBytes > IN_FLIGHT_BYTES_MAX) await this.#oldest();
  }

  async #oldest(): Promise<void> {
    const oldest = this.#inFlight.shift();
    if (oldest === undefined) return;
    this.#inFlightBytes -= oldest.bytes;
    await oldest.durable;
  }
}
