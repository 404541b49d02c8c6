/** `tidemark append`: records from stdin, acknowledged when they are durable. */
import { fstatSync } from 'node:fs';
import { Option, type Command } from 'commander';
import { EISDIR, fromNodeError, ioError } from '../../platform/errno.js';
import type { JournalOptions } from '../journal-options.js';
import { Journal } from '../journal.js';
import type { IoSchedulerOptions } from '../scheduler.js';
import type { Layout } from '../storage.js';
import { LengthPrefixSplitter, LineSplitter, type RecordSplitter } from './input.js';
import { startProgress, type Progress } from './progress.js';
import { BACKEND_CHOICES, LAYOUT_CHOICES, note, onInterruption, parseSize, plural, print, printJson, schedulerFor } from './support.js';

interface AppendOptions {
  readonly lengthPrefixed?: true;
  readonly json?: true;
  readonly direct: boolean;
  readonly create: boolean;
  readonly layout?: Layout;
  readonly segmentBytes?: number;
  readonly preallocate?: number;
  readonly backend?: IoSchedulerOptions['backend'];
}

const STDIN = 0;

/** Enough for large group commits, little beside the log buffer. */
const IN_FLIGHT_RECORDS_MAX = 8192;
const IN_FLIGHT_BYTES_MAX = 32 * 1024 * 1024;

export function addAppend(program: Command): void {
  program
    .command('append')
    .description('append records from stdin, one per line, and wait until all are durable')
    .argument('<journal>', 'path of the journal; created if need be')
    .option('--length-prefixed', 'records are a little-endian u32 length, then the bytes')
    .option('--json', 'print the summary as JSON')
    .option('--no-direct', 'write through the page cache')
    .option('--no-create', 'fail if the journal does not exist')
    .addOption(new Option('--layout <layout>', 'layout of a journal that is created; default: segments').choices(LAYOUT_CHOICES))
    .option('--segment-bytes <bytes>', 'layout segments, of a journal that is created: bytes of a segment (suffixes k, M, G)', parseSize)
    .option('--preallocate <bytes>', 'layout file: space to keep prepared ahead of the log (suffixes k, M, G)', parseSize)
    .addOption(new Option('--backend <backend>', 'who writes').choices(BACKEND_CHOICES))
    .action(append);
}

async function append(path: string, options: AppendOptions): Promise<void> {
  const totalBytes = inputBytes();
  const scheduler = schedulerFor(options.backend);
  try {
    const journal = await Journal.open(path, { ...journalOptionsOf(options), scheduler });
    reportTorn(journal);
    const splitter = options.lengthPrefixed === true ? new LengthPrefixSplitter() : new LineSplitter();
    const inFlight = new InFlight();
    const failure = await appendAll(journal, splitter, inFlight, totalBytes);
    await journal.close();
    await printSummary(journal, inFlight, options);
    if (failure !== undefined) throw failure.error;
  } finally {
    await scheduler.close();
  }
}

function journalOptionsOf(options: AppendOptions): JournalOptions {
  const { direct, create, layout, segmentBytes, preallocate } = options;
  return {
    direct,
    create,
    ...(layout === undefined ? {} : { layout }),
    ...(segmentBytes === undefined ? {} : { segmentBytes }),
    ...(preallocate === undefined ? {} : { preallocate }),
  };
}

interface Failure {
  readonly error: unknown;
}

/** Appends everything stdin has. Answers, once nothing is in flight any more, what stopped it early. */
async function appendAll(journal: Journal, splitter: RecordSplitter, inFlight: InFlight, totalBytes: number | undefined): Promise<Failure | undefined> {
  const { signal, dispose } = onInterruption();
  const progress = startProgress('append', totalBytes);
  signal.addEventListener('abort', () => process.stdin.destroy(), { once: true });
  let failure: Failure | undefined;
  try {
    for await (const chunk of process.stdin) {
      await appendRecords(journal, splitter.push(chunk as Buffer), inFlight);
      inFlight.show(progress, splitter.overheadBytes);
      if (inFlight.failure !== undefined) break;
    }
    if (!signal.aborted) await appendRecords(journal, splitter.end(), inFlight);
  } catch (error) {
    failure = { error: fromNodeError(error, 'stdin') };
  }
  await inFlight.settled();
  inFlight.show(progress, splitter.overheadBytes);
  progress.stop();
  dispose();
  return signal.aborted ? { error: signal.reason } : (inFlight.failure ?? failure);
}

async function appendRecords(journal: Journal, records: Iterable<Buffer>, inFlight: InFlight): Promise<void> {
  for (const record of records) {
    if (!inFlight.hasRoom(record.length)) await inFlight.room(record.length);
    if (inFlight.failure !== undefined) return;
    inFlight.add(journal.append(record), record.length);
  }
}

/** Appends that wait for their acknowledgement: bounded in number and bytes. */
class InFlight {
  acknowledgedRecords = 0;
  acknowledgedBytes = 0;
  /** What the first append that failed rejected with. */
  failure: Failure | undefined;
  #records = 0;
  #bytes = 0;
  #wake: (() => void) | undefined;

  hasRoom(bytes: number): boolean {
    return this.#records === 0 || (this.#records < IN_FLIGHT_RECORDS_MAX && this.#bytes + bytes <= IN_FLIGHT_BYTES_MAX);
  }

  add(appended: Promise<number>, bytes: number): void {
    this.#records++;
    this.#bytes += bytes;
    appended.then(
      () => {
        this.acknowledgedRecords++;
        this.acknowledgedBytes += bytes;
        this.#settle(bytes);
      },
      (error: unknown) => {
        this.failure ??= { error };
        this.#settle(bytes);
      },
    );
  }

  async room(bytes: number): Promise<void> {
    while (!this.hasRoom(bytes)) await this.#change();
  }

  async settled(): Promise<void> {
    while (this.#records > 0) await this.#change();
  }

  show(progress: Progress, overheadBytes: number): void {
    progress.update(this.acknowledgedBytes + this.acknowledgedRecords * overheadBytes, this.acknowledgedRecords);
  }

  #settle(bytes: number): void {
    this.#records--;
    this.#bytes -= bytes;
    this.#wake?.();
  }

  #change(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }
}

/** How much will come, where stdin is a regular file. Refuses a directory, which would read as an empty input. */
function inputBytes(): number | undefined {
  const status = fstatSync(STDIN);
  if (status.isDirectory()) throw ioError(EISDIR, 'read', 'stdin');
  return status.isFile() ? status.size : undefined;
}

function reportTorn(journal: Journal): void {
  const torn = journal.openReport?.torn;
  if (torn === undefined) return;
  note(`the journal had a torn tail at LSN ${torn.lsn} (${torn.state}, ${torn.detail}); its ${plural(torn.bytes, 'byte')} are kept in '${torn.keptAs}'`);
}

async function printSummary(journal: Journal, inFlight: InFlight, options: AppendOptions): Promise<void> {
  const { acknowledgedRecords: records, acknowledgedBytes: bytes } = inFlight;
  const { path, durableLsn, openReport } = journal;
  if (options.json === true) {
    await printJson({ path, records, bytes, durableLsn, torn: openReport?.torn ?? null });
  } else {
    await print(`${plural(records, 'record')}, ${plural(bytes, 'byte')}, durable through LSN ${durableLsn}\n`);
  }
}
