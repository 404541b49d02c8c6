/** `tidemark follow`: the records of a journal that another process writes, as they appear in the file. */
import { watch, type FSWatcher } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { setImmediate } from 'node:timers/promises';
import { InvalidArgumentError as InvalidValueError, type Command } from 'commander';
import { JournalError } from '../../platform/errors.js';
import { findData, walkFrames, type Tail } from '../../workers/protocol/frame-walk.js';
import { FILE_BATCH_BYTES_MAX, frameBytes, HEADER_BYTES } from '../../workers/protocol/frame.js';
import { isDirectory, JournalReader, type JournalRecord } from '../reader.js';
import { advance } from '../reading/file-source.js';
import { openRegularFile } from '../reading/files.js';
import { RecordOutput, withFormatOptions, type FormatOptions } from './output.js';
import { checkFrom, DamageError, note, onInterruption, parseLsn } from './support.js';

interface FollowOptions extends FormatOptions {
  readonly from?: number | 'end';
}

/** Where changes of a file are not reported, this is how late a record may be seen. */
const LOOK_AGAIN_MS = 250;

/** A frame that stays incomplete for so long is worth a question, and twice as long the next one. */
const STUCK_MS = 1000;

export function addFollow(program: Command): void {
  const command = program
    .command('follow')
    .description(
      'print the records of a journal, then each new one, until SIGINT or SIGTERM; of a journal of segments only durable ones, '
        + 'of one file as they appear in it: there a record that another process has just written may not be durable yet',
    )
    .argument('<journal>', 'path of the journal')
    .option('--from <lsn>', "LSN of the record to begin with, or 'end' for new ones only; default: the oldest there is", parseFrom);
  withFormatOptions(command).action(follow);
}

function parseFrom(value: string): number | 'end' {
  if (value === 'end') return 'end';
  try {
    return parseLsn(value);
  } catch {
    throw new InvalidValueError(`Expected an LSN, an integer from 0 to ${Number.MAX_SAFE_INTEGER}, or 'end'.`);
  }
}

async function follow(path: string, options: FollowOptions): Promise<void> {
  if (await isDirectory(path)) return followSegments(path, options);
  const { signal, dispose } = onInterruption();
  const handle = await openRegularFile(path);
  const changes = new Changes(path, signal);
  try {
    const from = options.from ?? 0;
    if (from !== 'end') await checkFrom(path, from);
    await new Follower(path, handle, new RecordOutput(options)).run(from, changes, signal);
  } finally {
    changes.close();
    await handle.close();
    dispose();
  }
}

async function followSegments(path: string, options: FollowOptions): Promise<void> {
  const { signal, dispose } = onInterruption();
  try {
    await using reader = await JournalReader.open(path);
    await printAll(reader.follow({ signal, ...(options.from === undefined ? {} : { from: options.from }) }), new RecordOutput(options));
  } catch (error) {
    if (!signal.aborted || error !== signal.reason) throw error;
  } finally {
    dispose();
  }
}

/** Prints records as they come: many at once while there are many, and none is held while the next one is waited for. */
async function printAll(records: AsyncGenerator<JournalRecord, void, void>, output: RecordOutput): Promise<void> {
  try {
    for (;;) {
      const next = records.next();
      const waits = await Promise.race([next.then(() => false, () => false), setImmediate(true)]);
      if (waits) await output.flush();
      const step = await next;
      if (step.done === true) return;
      if (output.add(step.value)) await output.flush();
    }
  } finally {
    await output.flush();
  }
}

class Follower {
  readonly #path: string;
  readonly #handle: FileHandle;
  readonly #output: RecordOutput;
  #sawRecord = false;
  #stuck = { position: -1, sinceMs: 0, askAfterMs: STUCK_MS, proven: false, noted: false };

  constructor(path: string, handle: FileHandle, output: RecordOutput) {
    this.#path = path;
    this.#handle = handle;
    this.#output = output;
  }

  async run(from: number | 'end', changes: Changes, signal: AbortSignal): Promise<void> {
    let tail = from === 'end' ? await this.#pass(0, signal, false) : await this.#pass(from, signal, true);
    while (!signal.aborted) {
      await this.#judge(tail);
      await changes.next();
      tail = await this.#pass(tail.position, signal, true);
    }
  }

  /** Prints, or skips, the whole frames there are from `position` on. */
  async #pass(position: number, signal: AbortSignal, printed: boolean): Promise<Tail> {
    const walk = wholeFrames(this.#path, this.#handle, position);
    let step = await walk.next();
    for (; step.done !== true && !signal.aborted; step = await walk.next()) {
      this.#sawRecord = true;
      if (printed && this.#output.add(step.value)) await this.#output.flush();
    }
    await this.#output.flush();
    return step.done === true ? step.value : { state: 'clean-end', position, detail: 'interrupted' };
  }

  /** Tells a frame that is still being written from one that never will be whole. */
  async #judge(tail: Tail): Promise<void> {
    const now = performance.now();
    const stuck = this.#stuck;
    if (tail.position !== stuck.position) {
      this.#stuck = { position: tail.position, sinceMs: now, askAfterMs: STUCK_MS, proven: false, noted: false };
      return;
    }
    if (stuck.proven) throw new DamageError(this.#path, tail);
    if (now - stuck.sinceMs < stuck.askAfterMs) return;
    stuck.askAfterMs *= 2;
    const neverBegan = tail.state === 'bad-magic' && !this.#sawRecord;
    // The proof may be younger than the tail: it holds once a further look finds no frame either.
    stuck.proven = neverBegan || (await provesDamage(this.#handle, tail));
    if (tail.state === 'clean-end' || stuck.noted || stuck.proven) return;
    stuck.noted = true;
    note(`waiting at LSN ${tail.position} for a whole frame: ${tail.state}, ${tail.detail}`);
  }
}

/** What is read first; more as long as that is all frames. Keeps a look at an idle journal cheap. */
const REACH_BYTES_MIN = 64 * 1024;
const REACH_BYTES_MAX = 16 * 1024 * 1024;

/** The whole, valid frames from `position` on; returns where and why they end. Looks at little beyond them. */
async function* wholeFrames(path: string, handle: FileHandle, position: number): AsyncGenerator<JournalRecord, Tail> {
  for (let at = position, reach = REACH_BYTES_MIN; ;) {
    const { size } = await handle.stat();
    if (size < at) throw new JournalError('TIDEMARK_CORRUPT', `journal '${path}' was cut to ${size} bytes, having been read up to LSN ${at}`, { path, lsn: size });
    const limit = Math.min(size, at + reach);
    const walk = walkFrames(at, limit);
    let step = await advance(handle, path, walk);
    for (; step.done !== true; step = await advance(handle, path, walk)) {
      at = step.value.end;
      yield step.value;
    }
    const tail = step.value;
    const cutShort = limit < size && (at === limit || tail.state === 'truncated-header' || tail.state === 'truncated-payload');
    if (!cutShort) return tail;
    // A frame longer than the reach is given all it may need; many small ones are read in larger pieces.
    const progressed = at > limit - reach;
    reach = progressed ? Math.min(reach * 4, REACH_BYTES_MAX) : reach * 4;
  }
}

/**
 * True when data lies so far behind the unfinished frame that the frame had been durable before that was written.
 * A frame that announces more than the file holds proves nothing: a large record is written in many batches.
 */
async function provesDamage(handle: FileHandle, tail: Tail): Promise<boolean> {
  if (tail.state === 'truncated-header' || tail.state === 'truncated-payload') return false;
  const { size } = await handle.stat();
  let from = tail.position + FILE_BATCH_BYTES_MAX;
  if (tail.state === 'checksum-mismatch') {
    const header = Buffer.alloc(HEADER_BYTES);
    await handle.read(header, 0, HEADER_BYTES, tail.position);
    from = Math.max(from, tail.position + frameBytes(header.readUInt32LE(4)));
  }
  const search = findData(from, size);
  const chunk = Buffer.alloc(256 * 1024);
  for (let step = search.next(new Uint8Array(0)); ;) {
    if (step.done === true) return step.value !== undefined;
    if (!('read' in step.value)) return false;
    const { offset, bytes } = step.value.read;
    const { bytesRead } = await handle.read(chunk, 0, Math.min(bytes, chunk.length), offset);
    step = search.next(chunk.subarray(0, bytesRead));
  }
}

/** Tells that a file may have changed: from the system's own reports, and now and then without one. */
class Changes {
  readonly #watcher: FSWatcher | undefined;
  readonly #signal: AbortSignal;
  #changed = false;
  #wake: () => void = () => undefined;

  constructor(path: string, signal: AbortSignal) {
    this.#signal = signal;
    signal.addEventListener('abort', () => this.#notify(), { once: true });
    this.#watcher = this.#watch(path);
  }

  /** Resolves at the next change, or at one since the last call, or after a while. */
  async next(): Promise<void> {
    if (!this.#changed && !this.#signal.aborted) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, LOOK_AGAIN_MS);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    this.#changed = false;
  }

  close(): void {
    this.#watcher?.close();
  }

  #notify(): void {
    this.#changed = true;
    this.#wake();
  }

  #watch(path: string): FSWatcher | undefined {
    try {
      const watcher = watch(path, () => this.#notify());
      // Watching may be refused or end (no more watches, a network filesystem): looking again remains.
      watcher.on('error', () => watcher.close());
      return watcher;
    } catch {
      return undefined;
    }
  }
}
