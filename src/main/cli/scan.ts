/** Reads a journal to its end. */
import { assert } from '../../platform/errors.js';
import type { Tail } from '../../workers/protocol/frame-walk.js';
import { JournalReader, type JournalRecord } from '../reader.js';
import { startProgress } from './progress.js';

/** Takes a record; answers whether it wants another one. */
export type Visit = (record: JournalRecord) => boolean | Promise<boolean>;

/** Visits every record from the reader's position on; tells how the journal ends, or nothing when the visitor had enough. */
export async function readToEnd(reader: JournalReader, visit: Visit): Promise<Tail | undefined> {
  for await (const record of reader) {
    const more = visit(record);
    if (more === false || (more !== true && !(await more))) return undefined;
  }
  return reader.tail;
}

export interface Survey {
  readonly layout: JournalReader['layout'];
  /** Files of the journal, and their bytes. */
  readonly segments: number;
  readonly fileBytes: number;
  /** LSN of the first byte of the oldest file. */
  readonly baseLsn: number;
  readonly records: number;
  readonly payloadBytes: number;
  /** LSN of the first record and of the last one; undefined when there is none. */
  readonly firstLsn: number | undefined;
  readonly lastLsn: number | undefined;
  readonly tail: Tail;
}

/** Reads everything, counting, with a progress bar. */
export async function survey(label: string, path: string): Promise<Survey> {
  await using reader = await JournalReader.open(path);
  const files = await extentOf(reader);
  const progress = startProgress(label, files.fileBytes);
  let records = 0;
  let payloadBytes = 0;
  let firstLsn: number | undefined;
  let lastLsn: number | undefined;
  try {
    const tail = await readToEnd(reader, ({ start, end, payload }) => {
      records++;
      payloadBytes += payload.length;
      firstLsn ??= start;
      lastLsn = start;
      progress.update(end - files.baseLsn, records);
      return true;
    });
    assert(tail !== undefined, 'a walk that wants everything comes to the end');
    // After the walk: a journal that is being written grows.
    const extent = await extentOf(reader);
    progress.update(extent.fileBytes, records);
    return { ...extent, layout: reader.layout, records, payloadBytes, firstLsn, lastLsn, tail };
  } finally {
    progress.stop();
  }
}

async function extentOf(reader: JournalReader): Promise<Pick<Survey, 'segments' | 'fileBytes' | 'baseLsn'>> {
  const segments = await reader.segments();
  return {
    segments: segments.length,
    fileBytes: segments.reduce((sum, { bytes }) => sum + bytes, 0),
    baseLsn: segments[0]?.baseLsn ?? 0,
  };
}
