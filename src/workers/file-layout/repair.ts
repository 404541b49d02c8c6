/**
 * Repairs a damaged journal in the file layout. That layout has nothing that could take the place of a damaged record, so
 * the journal is cut where the damage begins, and all that lay behind is kept in a copy. Runs in a file worker.
 */
import { basename, dirname } from 'node:path';
import type { Platform } from '../../platform/platform.js';
import { copyAside, realPath } from '../opening.js';
import type { RepairedRange, RepairReport, RepairTask } from '../protocol/messages.js';
import { notAJournal, openLocked } from './open.js';
import { recover, surveyDamage, type Verdict } from './recovery.js';

export function repairFileJournal(platform: Platform, task: RepairTask): RepairReport {
  const { path, dryRun } = task;
  const { descriptor } = openLocked(platform, { path, create: false, mode: 0 });
  try {
    const verdict = recover(platform.files, descriptor);
    if (verdict.kind === 'not-a-journal') throw notAJournal(path, verdict.detail);
    const { end, records } = verdict;
    const ranges = verdict.kind === 'corrupt' ? [cutAt(platform, task, descriptor, verdict)] : [];
    return { path, layout: 'file', dryRun, repaired: !dryRun && ranges.length > 0, ranges, end, records };
  } finally {
    platform.files.close(descriptor);
  }
}

function cutAt(platform: Platform, { path, dryRun }: RepairTask, descriptor: number, { end, tail, proof }: Extract<Verdict, { kind: 'corrupt' }>): RepairedRange {
  const { laterFrames, firstLater, lastBefore, dataEnd } = surveyDamage(platform.files, descriptor, end);
  const journal = realPath(path);
  let keptAs: string | undefined;
  if (!dryRun) {
    keptAs = copyAside(platform, { descriptor, offset: end, bytes: dataEnd - end }, `${journal}.damaged-${end}`).name;
    platform.files.syncDirectory(dirname(journal));
    platform.files.truncate(descriptor, end);
    platform.files.syncFull(descriptor);
  }
  return {
    segment: basename(journal), offset: end, lsn: end, endLsn: dataEnd, bytes: dataEnd - end, keptAs,
    recordsAround: { before: lastBefore, after: firstLater }, droppedRecords: laterFrames,
    finding: {
      kind: 'corruption', expected: 'a whole frame', found: `${tail.state}: ${tail.detail}`, proof,
    },
  };
}
