/**
 * Recovery of a file-layout journal: where its valid log ends, and whether what follows is a torn tail or corruption.
 *
 * Reading only. What to do about the verdict is `open.ts`.
 */
import type { Files } from '../../platform/platform.js';
import { ChecksumBudget } from '../protocol/checksum-budget.js';
import { crc32c } from '../protocol/crc32c.js';
import { CHECKSUM_BYTES, FILE_BATCH_BYTES_MAX, frameBytes, HEADER_BYTES, RECORD_BYTES_MAX, KIND } from '../protocol/frame.js';
import { dataLength, findData, walkFrames, type Frame, type Tail, type WalkStep } from '../protocol/frame-walk.js';

export type Verdict =
  /** Valid frames, then zeros or the end. */
  | { readonly kind: 'clean'; readonly end: number; readonly records: number }
  /** Valid frames, then bytes that nothing proves to have been durable. `dataEnd`: after the last that is not zero. */
  | { readonly kind: 'torn'; readonly end: number; readonly records: number; readonly tail: Tail; readonly dataEnd: number }
  /** `proof`: in words, why the damaged bytes had been durable, or why that cannot be told. */
  | { readonly kind: 'corrupt'; readonly end: number; readonly records: number; readonly tail: Tail; readonly proof: string }
  | { readonly kind: 'not-a-journal'; readonly detail: string };

const SEARCH_BYTES = 1024 * 1024;

/** A frame that is looked at costs a read of its own, however short it is. */
const CANDIDATE_BYTES_MIN = 4096;

/** Reads a file through `files`; runs the generators of the frame walk. */
class BlockingSource {
  readonly #files: Files;
  readonly #descriptor: number;
  readonly sizeBytes: number;

  constructor(files: Files, descriptor: number) {
    this.#files = files;
    this.#descriptor = descriptor;
    this.sizeBytes = files.status(descriptor).sizeBytes;
  }

  read(offset: number, bytes: number): Uint8Array {
    const target = Buffer.allocUnsafeSlow(bytes);
    return target.subarray(0, this.#files.readFully(this.#descriptor, target, offset));
  }

  run<T>(walk: Generator<WalkStep, T, Uint8Array>, onFrame?: (frame: Frame) => void): T {
    let step = walk.next(new Uint8Array(0));
    while (step.done !== true) {
      if ('frame' in step.value) {
        onFrame?.(step.value.frame);
        step = walk.next(new Uint8Array(0));
      } else {
        step = walk.next(this.read(step.value.read.offset, step.value.read.bytes));
      }
    }
    return step.value;
  }
}

/** Tells how the journal behind `descriptor` ends. */
export function recover(files: Files, descriptor: number): Verdict {
  const source = new BlockingSource(files, descriptor);
  let records = 0;
  const tail = source.run(walkFrames(0, source.sizeBytes), () => {
    records++;
  });
  const end = tail.position;
  if (tail.state === 'clean-end') return { kind: 'clean', end, records };
  const budget = new ChecksumBudget(source.sizeBytes - end);
  if (records === 0 && !startsLikeJournal(source, budget)) {
    return { kind: 'not-a-journal', detail: tail.detail };
  }
  // The batch of the damaged bytes was durable before one that begins this far behind them was written. The damaged frame's
  // own length proves nothing: it may be what is damaged.
  const laterFrame = findFrame(source, end + FILE_BATCH_BYTES_MAX, budget);
  const proof = laterFrame !== undefined ? `a whole frame at ${laterFrame} proves that the damaged bytes had been durable`
    : budget.spent ? 'behind it so many bytes look like frames upon frames that checking them was given up'
    : undefined;
  if (proof !== undefined) return { kind: 'corrupt', end, records, tail, proof };
  return { kind: 'torn', end, records, tail, dataEnd: findDataEnd(source, end) };
}

/** Whole frames behind the damage at `end`, as far as they were looked for; where the last of the data ends, and the last record before the damage. */
export function surveyDamage(files: Files, descriptor: number, end: number): { laterFrames: number; firstLater: number | undefined; lastBefore: number | undefined; dataEnd: number } {
  const source = new BlockingSource(files, descriptor);
  const budget = new ChecksumBudget(source.sizeBytes - end);
  let laterFrames = 0;
  let firstLater: number | undefined;
  for (let next = findFrame(source, end + 1, budget); next !== undefined;) {
    firstLater ??= next;
    const stop = source.run(walkFrames(next, source.sizeBytes), () => {
      laterFrames++;
    });
    next = findFrame(source, stop.position + 1, budget);
  }
  let lastBefore: number | undefined;
  source.run(walkFrames(0, end), ({ start }) => {
    lastBefore = start;
  });
  return { laterFrames, firstLater, lastBefore, dataEnd: findDataEnd(source, end) };
}

/** A first frame may be torn too. Its magic, as far as the file holds it, or a later whole frame, tells a journal. */
function startsLikeJournal(source: BlockingSource, budget: ChecksumBudget): boolean {
  const head = source.read(0, Math.min(4, source.sizeBytes));
  const magic = Buffer.alloc(4);
  magic.writeUInt32BE(KIND.record);
  return magic.subarray(0, head.length).equals(head) || findFrame(source, 0, budget) !== undefined || budget.spent;
}

/** The start of the first whole, valid frame at or after `from`; undefined, too, when the budget is spent. */
function findFrame(source: BlockingSource, from: number, budget: ChecksumBudget): number | undefined {
  const magic = Buffer.alloc(4);
  magic.writeUInt32BE(KIND.record);
  for (let at = from; at < source.sizeBytes; at += SEARCH_BYTES) {
    // Steps overlap by a magic less one byte, so that none is missed on the border.
    const chunk = Buffer.from(source.read(at, Math.min(SEARCH_BYTES + magic.length - 1, source.sizeBytes - at)));
    for (let hit = chunk.indexOf(magic); hit >= 0 && hit < SEARCH_BYTES; hit = chunk.indexOf(magic, hit + 1)) {
      if (isFrame(source, at + hit, budget)) return at + hit;
      if (budget.spent) return undefined;
    }
  }
  return undefined;
}

/** Checks piece by piece: the length is believed when the checksum is right. */
function isFrame(source: BlockingSource, at: number, budget: ChecksumBudget): boolean {
  const header = source.read(at, HEADER_BYTES);
  if (header.length < HEADER_BYTES) return false;
  const recordBytes = new DataView(header.buffer, header.byteOffset).getUint32(4, true);
  if (recordBytes > RECORD_BYTES_MAX || at + frameBytes(recordBytes) > source.sizeBytes) return false;
  const covered = HEADER_BYTES + recordBytes;
  if (!budget.spend(Math.max(covered, CANDIDATE_BYTES_MIN))) return false;
  let sum = 0;
  for (let done = 0; done < covered;) {
    const piece = source.read(at + done, Math.min(SEARCH_BYTES, covered - done));
    if (piece.length === 0) return false;
    sum = crc32c(piece, sum);
    done += piece.length;
  }
  const checksum = source.read(at + covered, CHECKSUM_BYTES);
  return checksum.length === CHECKSUM_BYTES && new DataView(checksum.buffer, checksum.byteOffset).getUint32(0, true) === sum;
}

/** The offset after the last byte from `from` on that is not zero. */
function findDataEnd(source: BlockingSource, from: number): number {
  let end = from;
  for (let at = source.run(findData(from, source.sizeBytes)); at !== undefined && at < source.sizeBytes;) {
    const chunk = source.read(at, Math.min(1024 * 1024, source.sizeBytes - at));
    if (chunk.length === 0) break;
    for (let part = 0; part < chunk.length; part += 64 * 1024) {
      const length = dataLength(chunk.subarray(part, part + 64 * 1024));
      if (length > 0) end = at + part + length;
    }
    at += chunk.length;
  }
  return end;
}
