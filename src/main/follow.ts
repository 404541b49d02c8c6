/** Follows a journal inside its process: durable records only, woken by the watermark. */
import { JournalError } from '../platform/errors.js';
import { walkFrames } from '../workers/protocol/frame-walk.js';
import { advance, openRegularFile, type JournalRecord } from './reader.js';

export interface FollowOptions {
  /** LSN of the record to begin with. Default 0. */
  readonly from?: number;
  /** Ends the iteration by throwing its reason. */
  readonly signal?: AbortSignal;
}

/** What following needs to know of the journal. */
export interface FollowSource {
  durableLsn(): number;
  /** Resolves once the durable watermark is beyond `lsn`, or never will be. */
  durableBeyond(lsn: number): Promise<void>;
  ended(): boolean;
  failure(): Error | undefined;
}

export async function* followJournal(
  path: string,
  from: number,
  signal: AbortSignal | undefined,
  source: FollowSource,
): AsyncGenerator<JournalRecord, void, void> {
  signal?.throwIfAborted();
  const aborted = abortion(signal);
  const handle = await openRegularFile(path);
  try {
    let position = from;
    for (;;) {
      // Below the watermark every frame is whole: the walk sees no more of the file than that.
      const walk = walkFrames(position, Math.max(position, source.durableLsn()));
      let step = await advance(handle, walk);
      while (step.done !== true) {
        position = step.value.end;
        yield step.value;
        signal?.throwIfAborted();
        step = await advance(handle, walk);
      }
      if (step.value.state !== 'clean-end') throw damage(path, step.value.position, step.value.detail);
      if (source.durableLsn() > position) continue;
      const failure = source.failure();
      if (failure !== undefined) throw failure;
      if (source.ended()) return;
      await Promise.race([source.durableBeyond(position), aborted.promise]);
      signal?.throwIfAborted();
    }
  } finally {
    aborted.dispose();
    await handle.close();
  }
}

function damage(path: string, lsn: number, detail: string): JournalError {
  return new JournalError('TIDEMARK_CORRUPT', `no record at LSN ${lsn} of '${path}', which is durable: ${detail}`, { path, lsn });
}

/** A promise that resolves when the signal fires, and leaves no listener behind. */
function abortion(signal: AbortSignal | undefined): { promise: Promise<void>; dispose: () => void } {
  let fire: () => void = () => undefined;
  const promise = new Promise<void>((resolve) => {
    fire = resolve;
  });
  signal?.addEventListener('abort', fire, { once: true });
  return { promise, dispose: () => signal?.removeEventListener('abort', fire) };
}
