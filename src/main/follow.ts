/** Follows a journal inside its process: durable records only, woken by the watermark. */
import { JournalError } from '../platform/errors.js';
import type { ControlBlock } from '../workers/protocol/control-block.js';
import { walkFrames } from '../workers/protocol/frame-walk.js';
import { isDirectory, type JournalRecord } from './reader.js';
import { advance } from './reading/file-source.js';
import { openRegularFile } from './reading/files.js';
import { recordOf, SegmentCursor } from './reading/segment-cursor.js';
import { SegmentDirectory } from './reading/segment-directory.js';
import { lookAgain } from './reading/segment-end.js';
import { placeOf } from './reading/segment-source.js';

export interface FollowOptions {
  /** LSN of the record to begin with. Default: the oldest there is. */
  readonly from?: number;
  /** Ends the iteration by throwing its reason. */
  readonly signal?: AbortSignal;
}

/** What following needs to know of the journal. */
export interface FollowSource {
  durableLsn(): number;
  /** Calls `notify` once when the durable watermark is beyond `lsn`, or never will be. Answers how to take that back. */
  onDurableBeyond(lsn: number, notify: () => void): () => void;
  ended(): boolean;
  failure(): Error | undefined;
  /** Told the position before a segment is opened: nothing at or beyond it may be trimmed. */
  reading?(lsn: number): void;
  /** Told that the follower has ended. */
  done?(): void;
}

/** The followers of one thread. What the rearmost of them still has to read is not trimmed. */
export class Followers {
  readonly #control: ControlBlock;
  readonly #slot: number;
  readonly #moved: () => void;
  readonly #positions = new Map<object, number>();
  #retired = false;

  constructor(control: ControlBlock, slot: number, moved: () => void) {
    this.#control = control;
    this.#slot = slot;
    this.#moved = moved;
  }

  /** A new follower, as {@link FollowSource} tells of it. */
  join(): Required<Pick<FollowSource, 'reading' | 'done'>> {
    const follower = {};
    return {
      reading: (lsn) => {
        this.#positions.set(follower, lsn);
        this.#tell();
      },
      done: () => {
        this.#positions.delete(follower);
        this.#tell();
      },
    };
  }

  /** The thread gives its slot back: it may be another's from now on. */
  retire(): void {
    this.#positions.clear();
    this.#tell();
    this.#retired = true;
  }

  #tell(): void {
    if (this.#retired) return;
    this.#control.setFollower(this.#slot, this.#positions.size === 0 ? undefined : Math.min(...this.#positions.values()));
    this.#moved();
  }
}

export async function* followJournal(
  path: string,
  from: number | undefined,
  signal: AbortSignal | undefined,
  source: FollowSource,
): AsyncGenerator<JournalRecord, void, void> {
  signal?.throwIfAborted();
  const follow = (await isDirectory(path)) ? followSegments : followFile;
  try {
    yield* follow(path, from, signal, source);
  } finally {
    source.done?.();
  }
}

async function* followFile(path: string, from: number | undefined, signal: AbortSignal | undefined, source: FollowSource): AsyncGenerator<JournalRecord, void, void> {
  const handle = await openRegularFile(path);
  try {
    let position = from ?? 0;
    for (;;) {
      // Below the watermark every frame is whole: the walk sees no more of the file than that.
      const walk = walkFrames(position, Math.max(position, source.durableLsn()));
      let step = await advance(handle, path, walk);
      while (step.done !== true) {
        position = step.value.end;
        yield step.value;
        signal?.throwIfAborted();
        step = await advance(handle, path, walk);
      }
      if (step.value.state !== 'clean-end') throw damage(path, step.value.position, step.value.detail);
      if (!(await hasMore(source, position, signal))) return;
    }
  } finally {
    await handle.close();
  }
}

async function* followSegments(path: string, from: number | undefined, signal: AbortSignal | undefined, source: FollowSource): AsyncGenerator<JournalRecord, void, void> {
  // Before the directory is read: what is found there must not be trimmed before it is opened.
  source.reading?.(from ?? 0);
  const directory = await SegmentDirectory.open(path);
  try {
    const cursor = new SegmentCursor(directory, await placeOf(directory, from), (lsn) => source.reading?.(lsn));
    // A limit that moved with each record would have each record read on its own.
    for (let looks = 0, limit = source.durableLsn(); ;) {
      const step = await cursor.next(limit);
      if (step.kind === 'frame') {
        looks = 0;
        if (step.frame.kind === 'record') yield recordOf(step.frame);
        signal?.throwIfAborted();
      } else if (step.kind === 'limit') {
        if (!(await hasMore(source, cursor.position, signal))) return;
        limit = source.durableLsn();
      } else {
        await lookAgain(directory, cursor, step, looks++, limit);
      }
    }
  } finally {
    await directory.close();
  }
}

/** Waits until more than what is below `position` is durable; false when the journal has ended with it. */
async function hasMore(source: FollowSource, position: number, signal: AbortSignal | undefined): Promise<boolean> {
  if (source.durableLsn() > position) return true;
  const failure = source.failure();
  if (failure !== undefined) throw failure;
  if (source.ended()) return false;
  await wake(source, position, signal);
  signal?.throwIfAborted();
  return true;
}

function damage(path: string, lsn: number, detail: string): JournalError {
  return new JournalError('TIDEMARK_CORRUPT', `no record at LSN ${lsn} of '${path}', which is durable: ${detail}`, { path, lsn });
}

/** Waits for the watermark or the signal, and leaves nothing behind on either. */
async function wake(source: FollowSource, position: number, signal: AbortSignal | undefined): Promise<void> {
  let cancel: () => void = () => undefined;
  let resolveOnAbort: () => void = () => undefined;
  await new Promise<void>((resolve) => {
    resolveOnAbort = resolve;
    signal?.addEventListener('abort', resolveOnAbort, { once: true });
    cancel = source.onDurableBeyond(position, resolve);
  });
  cancel();
  signal?.removeEventListener('abort', resolveOnAbort);
}
