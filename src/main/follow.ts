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
  /** Calls `notify` once when the durable watermark is beyond `lsn`, or never will be. Answers how to take that back. */
  onDurableBeyond(lsn: number, notify: () => void): () => void;
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
      await wake(source, position, signal);
      signal?.throwIfAborted();
    }
  } finally {
    await handle.close();
  }
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
