/** Reads journals in the segment layout by walking every body, as recovery does. */
import { closeSync, openSync, readSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { JournalReader } from 'tidemark';
import {
  baseOfName, examineBlocking, idChecksum, Geometry, listDirectory, segmentName, walkSegment,
  type SegmentFrame, type SegmentRead, type SegmentsVerdict,
} from './internals.js';

export interface Placed {
  readonly start: number;
  readonly end: number;
  readonly payload: Buffer;
}

/** Names of the segments in a journal's directory, oldest first. */
export function segmentsIn(directory: string): string[] {
  return readdirSync(directory).filter((name) => baseOfName(name) !== undefined).sort();
}

/** The bases of those segments. */
export function basesIn(directory: string): number[] {
  return segmentsIn(directory).map((name) => baseOfName(name) ?? 0);
}

/** Names in a journal's directory that end with `.spare`. */
export function sparesIn(directory: string): string[] {
  return readdirSync(directory).filter((name) => name.endsWith('.spare')).sort();
}

/** Answers requests for bytes of a journal's segments while `use` runs. */
function withSource<T>(directory: string, use: (read: (request: SegmentRead) => Uint8Array) => T): T {
  const open = new Map<number, number>();
  const descriptorOf = (base: number): number => {
    const descriptor = open.get(base) ?? openSync(join(directory, segmentName(base)), 'r');
    open.set(base, descriptor);
    return descriptor;
  };
  try {
    return use(({ base, offset, bytes }) => {
      const target = Buffer.allocUnsafeSlow(bytes);
      return target.subarray(0, readSync(descriptorOf(base), target, 0, bytes, offset));
    });
  } finally {
    for (const descriptor of open.values()) closeSync(descriptor);
  }
}

/** What recovery says of a journal. */
export function examine(directory: string, depth: 'tail' | 'all' = 'all'): SegmentsVerdict {
  return withSource(directory, (read) => examineBlocking(listDirectory(directory).segments, { depth }, read));
}

/** Every frame of the log, in order: from the oldest segment to where it ends. */
export function framesOf(directory: string): SegmentFrame[] {
  const verdict = examine(directory, 'tail');
  if (verdict.kind === 'not-a-journal' || verdict.kind === 'corrupt') throw new Error(`'${directory}' cannot be read: ${JSON.stringify(verdict)}`);
  const { journalId, segmentBytes, firstBase } = verdict.log;
  const format = { idSum: idChecksum(journalId), geometry: new Geometry(segmentBytes) };
  const { geometry } = format;
  const frames: SegmentFrame[] = [];
  withSource(directory, (read) => {
    for (let base = firstBase, full = true; full && basesIn(directory).includes(base); base = geometry.nextBase(base)) {
      const steps = walkSegment(format, geometry.bodyStart(base));
      let step = steps.next(Buffer.alloc(0));
      while (step.done !== true) {
        if ('frame' in step.value) frames.push(step.value.frame);
        step = steps.next('read' in step.value ? read(step.value.read) : Buffer.alloc(0));
      }
      full = step.value.kind === 'full' && step.value.footer !== undefined;
    }
  });
  return frames;
}

export function readSegments(directory: string): Promise<Placed[]> {
  const records = framesOf(directory).flatMap((frame) =>
    frame.kind === 'record' ? [{ start: frame.start, end: frame.end, payload: Buffer.from(frame.payload) }] : []);
  return Promise.resolve(records);
}

/** The records of a journal, whichever layout it has. */
export async function readBack(path: string): Promise<Placed[]> {
  if (statSync(path).isDirectory()) return readSegments(path);
  const reader = await JournalReader.open(path);
  const records: Placed[] = [];
  for await (const { start, end, payload } of reader) records.push({ start, end, payload: Buffer.from(payload) });
  await reader.close();
  return records;
}
