/** Followers of a soak: each sees every record into a tally, and answers what is wrong in the end. */
import type { Journal, JournalRecord } from 'tidemark';
import type { Tally } from './records.js';

/** Follows from the start until the tally is done. */
export async function followInto(
  tally: Tally,
  follow: (signal: AbortSignal) => AsyncIterable<JournalRecord>,
  seen: (end: number) => void = () => undefined,
): Promise<string | undefined> {
  const stop = new AbortController();
  void tally.done.then(() => {
    stop.abort();
  });
  await seeUntil(stop.signal, tally, follow(stop.signal), seen);
  return tally.problem;
}

/** Likewise, by followers that are ended every `periodMs` and taken up by another one where they were. */
export async function followInTurns(tally: Tally, journal: Journal, periodMs: number, seen: (end: number) => void): Promise<string | undefined> {
  const turn = { stop: new AbortController(), isLast: false };
  void tally.done.then(() => {
    turn.isLast = true;
    turn.stop.abort();
  });
  const timer = setInterval(() => {
    turn.stop.abort();
  }, periodMs);
  let from: number | undefined;
  while (!turn.isLast) {
    turn.stop = new AbortController();
    const { signal } = turn.stop;
    await seeUntil(signal, tally, journal.follow({ signal, ...(from === undefined ? {} : { from }) }), (end) => {
      from = end;
      seen(end);
    });
  }
  clearInterval(timer);
  return tally.problem;
}

async function seeUntil(signal: AbortSignal, tally: Tally, records: AsyncIterable<JournalRecord>, seen: (end: number) => void): Promise<void> {
  try {
    for await (const { start, end, payload } of records) {
      tally.see(payload, start);
      seen(end);
    }
    tally.fail('following ended by itself');
  } catch (error) {
    if (!signal.aborted) tally.fail(String(error));
  }
}
