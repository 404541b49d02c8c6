/** Examines a whole journal of segments, as recovery would, while others may be writing to it or trimming it. */
import { constants } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { ENOENT } from '../../platform/errno.js';
import { IoError } from '../../platform/errors.js';
import type { SegmentRead } from '../../workers/protocol/segment-walk.js';
import { segmentName } from '../../workers/protocol/segment.js';
import { listDirectory } from '../../workers/segment-layout/directory.js';
import { examine } from '../../workers/segment-layout/recovery.js';
import type { Finding, SegmentsVerdict } from '../../workers/segment-layout/verdict.js';
import { openRegularFile, readFully } from '../reading/files.js';
import { LOOK_AGAIN_MS, LOOKS_MAX } from '../reading/source.js';
import { startProgress, type Progress } from './progress.js';

export interface Examined {
  readonly verdict: SegmentsVerdict;
  readonly segments: number;
  readonly fileBytes: number;
}

export function findingsOf(verdict: SegmentsVerdict): readonly Finding[] {
  if (verdict.kind === 'corrupt') return verdict.findings;
  return verdict.kind === 'torn' ? [verdict.finding] : [];
}

/**
 * Looks again at what is not clean: between two reads of one look a writer may have filled a hole, and written behind it.
 * What is really damaged looks the same twice.
 */
export async function examineJournal(label: string, path: string): Promise<Examined> {
  let before: string | undefined;
  for (let looks = 1; ; looks++) {
    const examined = await lookWhole(label, path);
    const { verdict } = examined;
    if (verdict.kind === 'clean' || verdict.kind === 'not-a-journal') return examined;
    const [first] = findingsOf(verdict);
    const seen = `${verdict.kind} ${first?.kind ?? ''} ${first?.lsn ?? ''}`;
    if (seen === before) return examined;
    // It was whole by the next look each time: that is the end of a journal in use.
    if (looks > LOOKS_MAX && verdict.kind === 'torn') return { ...examined, verdict: { kind: 'clean', log: verdict.log } };
    before = seen;
    await delay(LOOK_AGAIN_MS);
  }
}

/** One look at everything; begins anew when a segment is trimmed under it. */
async function lookWhole(label: string, path: string): Promise<Examined> {
  for (let attempt = 1; ; attempt++) {
    let progress: Progress | undefined;
    const files = new OpenSegment(path);
    try {
      const { segments } = listDirectory(path);
      const fileBytes = segments.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
      const first = segments[0]?.base ?? 0;
      const bar = progress = startProgress(label, fileBytes);
      const verdict = await examine(segments, { depth: 'all', onProgress: (lsn, records) => bar.update(lsn - first, records) }, (request) => files.read(request));
      return { verdict, segments: segments.length, fileBytes };
    } catch (error) {
      if (!(error instanceof IoError) || error.errno !== ENOENT || attempt > LOOKS_MAX) throw error;
    } finally {
      progress?.stop();
      await files.close();
    }
  }
}

/** Reads segments, one of which is open at a time. */
class OpenSegment {
  readonly #directory: string;
  #open: { readonly base: number; readonly handle: FileHandle } | undefined;

  constructor(directory: string) {
    this.#directory = directory;
  }

  async read({ base, offset, bytes }: SegmentRead): Promise<Uint8Array> {
    const path = join(this.#directory, segmentName(base));
    if (this.#open?.base !== base) {
      await this.close();
      this.#open = { base, handle: await openRegularFile(path, constants.O_NOFOLLOW) };
    }
    return readFully(this.#open.handle, path, offset, bytes);
  }

  async close(): Promise<void> {
    const open = this.#open;
    this.#open = undefined;
    await open?.handle.close();
  }
}
