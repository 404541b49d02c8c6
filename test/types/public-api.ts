/**
 * The public types: this file only has to compile. Each `@ts-expect-error` is a mistake that the types must catch.
 */
import {
  IoError, IoScheduler, Journal, JournalError, JournalReader, TidemarkError, defaultScheduler,
  type AckLevel, type Advice, type Backend, type FollowOptions, type IoErrorCode, type IoSchedulerOptions, type JournalErrorCode, type JournalOptions,
  type JournalReaderOptions, type JournalRecord, type JournalStats, type OpenReport, type RecordBytes, type SharedJournalHandle, type Submission,
  type JournalSegment, type ReaderFollowOptions, type Tail, type TailState, type TornTail,
  FileHandle, OperationError, alignedBuffer, type CopyFileResult, type Files, type OperationErrorCode, type ReplaceResult, type ScopedFiles, type SharedHandle,
} from 'tidemark';

/** True exactly when each type is assignable to the other. */
type Same<A, B> = [A, B] extends [B, A] ? true : false;
/** Compiles when its argument is the type's answer. */
function same<A, B>(expected: Same<A, B>): boolean {
  return expected;
}

same<AckLevel, 'buffered' | 'written' | 'durable'>(true);
same<Advice, 'normal' | 'sequential' | 'random' | 'willNeed' | 'dontNeed' | 'noReuse'>(true);
same<RecordBytes, string | Uint8Array>(true);
same<Backend['kind'], 'io_uring' | 'blocking'>(true);
same<Tail['state'], TailState>(true);
same<OpenReport['torn'], TornTail | undefined>(true);
same<IoErrorCode & JournalErrorCode, never>(true);
same<Extract<JournalErrorCode, 'TIDEMARK_LOCKED' | 'TIDEMARK_CORRUPT' | 'TIDEMARK_POISONED'>, 'TIDEMARK_LOCKED' | 'TIDEMARK_CORRUPT' | 'TIDEMARK_POISONED'>(true);
same<ReturnType<Journal['append']>, Promise<number>>(true);
same<ReturnType<Journal['tryAppend']>, number | undefined>(true);
same<ReturnType<Journal['syncThrough']>, Promise<void>>(true);
same<ReturnType<Journal['share']>, SharedJournalHandle>(true);
same<JournalReader['tail'], Tail | undefined>(true);
same<JournalReader['layout'], 'file' | 'segments'>(true);
same<JournalReader['durableLsn'], number | undefined>(true);
same<ReturnType<JournalReader['segments']>, Promise<readonly JournalSegment[]>>(true);
same<ReaderFollowOptions['from'], number | 'end' | undefined>(true);

export async function use(): Promise<number> {
  const options: JournalOptions = { layout: 'file', direct: false, ack: 'written', exitDrainMs: 500, scheduler: defaultScheduler() };
  const journal = await Journal.open('journal', options);
  await journal.append('text');
  await journal.append(new Uint8Array(3));
  await journal.appendBatch(['text', Buffer.from('bytes')] as const);
  const { start, end, written, durable }: Submission = await journal.submit('text');
  const seen: number[] = [start, end, await written, await durable];
  const place: number = journal.tryAppend('text') ?? -1;
  seen.push(place, journal.stats().syncLatencyNsMax);
  for await (const { payload } of journal.follow({ from: 0, signal: AbortSignal.timeout(1) })) seen.push(payload.length);
  const reader = await JournalReader.open('journal', { from: 17, to: 99, durable: true });
  const disposable: AsyncIterable<JournalRecord> & AsyncDisposable = reader;
  for await (const { end } of reader.follow({ from: 'end', signal: AbortSignal.timeout(1), pollMs: 10 })) seen.push(end);
  for await (const record of reader) seen.push(record.end);
  const disposables: AsyncDisposable[] = [journal, disposable, new IoScheduler({ backend: 'blocking', workerUrl: new URL('file:///entry.js') })];
  return disposables.length;
}

export function explain(error: unknown): string {
  if (error instanceof JournalError) return `${error.code} ${error.holderPid ?? ''} ${error.lsn ?? ''}`;
  if (error instanceof IoError) return `${error.syscall} ${error.errno} ${error.errnoName} ${error.path ?? ''}`;
  return error instanceof TidemarkError ? error.code : 'not of this library';
}

interface Given {
  readonly scheduler: IoSchedulerOptions;
  readonly reader: JournalReaderOptions;
  readonly follow: FollowOptions;
  readonly stats: JournalStats;
  readonly record: JournalRecord;
  readonly submission: Submission;
}

export async function mistakes(journal: Journal, options: JournalOptions, reader: JournalReader, given: Given): Promise<void> {
  // @ts-expect-error: options are not changed once given
  options.direct = true;
  // @ts-expect-error: a scheduler's neither
  given.scheduler.backend = 'auto';
  // @ts-expect-error: nor a reader's
  given.reader.from = 17;
  // @ts-expect-error: nor a follower's
  given.follow.from = 17;
  // @ts-expect-error: nor figures
  given.stats.batches = 0;
  // @ts-expect-error: nor records
  given.record.start = 0;
  // @ts-expect-error: nor submissions
  given.submission.end = 0;
  // @ts-expect-error: there is no such option
  await Journal.open('journal', { flush: true });
  // @ts-expect-error: nor such a level
  await Journal.open('journal', { ack: 'synced' });
  // @ts-expect-error: an option that is left out is not undefined
  await Journal.open('journal', { direct: undefined });
  // @ts-expect-error: journals are opened, not constructed
  new Journal('journal');
  // @ts-expect-error: as are readers
  new JournalReader('journal');
  // @ts-expect-error: a record is text or bytes
  await journal.append(17);
  // @ts-expect-error: one record is no batch
  await journal.appendBatch('text');
  // @ts-expect-error: room may be missing
  const end: number = journal.tryAppend('text');
  // @ts-expect-error: an LSN is a number
  await journal.syncThrough('17');
  // @ts-expect-error: watermarks are the journal's
  journal.durableLsn = end;
  // @ts-expect-error: the tail is unknown before the end has been read
  const state: TailState = reader.tail.state;
  // @ts-expect-error: a code that does not exist
  const code: JournalErrorCode = 'TIDEMARK_BROKEN';
  await journal.advise((code + state) as Advice);
}

same<Parameters<Files['replaceFile']>[1], string | Uint8Array>(true);
same<ReturnType<Files['copyFile']>, Promise<CopyFileResult>>(true);
same<CopyFileResult['primitive'], 'FICLONE' | 'copy_file_range' | 'read_write'>(true);
same<ReplaceResult['primitive'], 'renameat'>(true);
same<Extract<OperationErrorCode, 'TIDEMARK_TIMEOUT' | 'TIDEMARK_QUEUE_FULL' | 'TIDEMARK_OUTSIDE_ROOT'>, 'TIDEMARK_TIMEOUT' | 'TIDEMARK_QUEUE_FULL' | 'TIDEMARK_OUTSIDE_ROOT'>(true);

export async function useFiles(): Promise<number> {
  const { files } = new IoScheduler({ fileWorkers: 3, lanes: { bulk: { concurrency: 1, queueMax: 10 } } });
  const scope: ScopedFiles = files.scoped('directory');
  await scope.replaceFile('name', 'text', { preserve: { owner: true }, lane: 'urgent', timeoutMs: 100 });
  const handle: FileHandle = await files.openRead('name', { direct: true });
  const shared: SharedHandle = handle.share();
  const { data } = await files.readRange(FileHandle.attach(shared), 0, 10, { into: alignedBuffer(4096) });
  for await (const { path, kind } of files.find('.', '**/*.log', { signal: AbortSignal.timeout(1) })) console.log(path, kind);
  // @ts-expect-error a lane that there is not
  await files.unlink('name', { lane: 'fast' });
  // @ts-expect-error only a handle of a file has a range to read
  await files.readRange(7, 0, 10);
  // @ts-expect-error results are not to be changed
  (await files.statx('name')).size = 0;
  const error: unknown = undefined;
  return error instanceof OperationError && error.begun === true ? 1 : data.length;
}
