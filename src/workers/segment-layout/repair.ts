/**
 * Repairs a damaged journal in the segment layout, as `repair-plan.ts` plans it. Runs in a file worker.
 *
 * Nothing is changed before a copy of it is durable beside the journal. Whenever this is cut short, what is left is damaged
 * as before or less so, and can be repaired again.
 */
import { join } from 'node:path';
import { assert, NotSupportedError } from '../../platform/errors.js';
import type { Platform } from '../../platform/platform.js';
import { copyAside, renameFile } from '../opening.js';
import { idChecksum } from '../protocol/frame.js';
import type { RepairedRange, RepairReport, RepairTask } from '../protocol/messages.js';
import { Geometry, MARK_BYTES, segmentName, SPARE_SUFFIX } from '../protocol/segment.js';
import { framesOf, walkSegment, type SegmentFormat } from '../protocol/segment-walk.js';
import { listDirectory, removeSpares } from './directory.js';
import { awaitWrites, lockDirectory } from './open.js';
import { Overlay, type Patch, type PlannedSegment } from './overlay.js';
import { examineBlocking } from './recovery.js';
import { planRepair, type PlannedRange, type RepairPlan } from './repair-plan.js';
import { SegmentSource } from './source.js';

export function repairSegmentsJournal(platform: Platform, task: RepairTask): RepairReport {
  const lock = lockDirectory(platform, task.path);
  try {
    const { segments } = listDirectory(task.path);
    awaitWrites(platform, task.path, segments);
    const source = new SegmentSource(platform.files, task.path);
    try {
      const overlay = new Overlay(segments, (request) => source.read(request));
      const plan = planRepair(task.path, overlay);
      const repairing = new Repairing(platform, task, overlay, plan);
      const ranges = repairing.ranges();
      const { end, records } = plan.verdict.log;
      if (!task.dryRun && ranges.length > 0) repairing.carryOut();
      return { path: task.path, layout: 'segments', dryRun: task.dryRun, repaired: !task.dryRun && ranges.length > 0, ranges, end, records };
    } finally {
      source.close();
    }
  } finally {
    platform.files.close(lock);
  }
}

class Repairing {
  readonly #platform: Platform;
  readonly #task: RepairTask;
  readonly #overlay: Overlay;
  readonly #plan: RepairPlan;

  constructor(platform: Platform, task: RepairTask, overlay: Overlay, plan: RepairPlan) {
    this.#platform = platform;
    this.#task = task;
    this.#overlay = overlay;
    this.#plan = plan;
  }

  /** Tells of every range, with a durable copy of what is there unless this is a dry run. */
  ranges(): RepairedRange[] {
    const around = this.#recordsAround();
    const ranges = this.#plan.ranges.map((range) => this.#rangeOf(range, around.get(range) ?? { before: undefined, after: undefined }));
    if (!this.#task.dryRun && ranges.length > 0) this.#platform.files.syncDirectory(this.#task.path);
    return ranges;
  }

  #rangeOf(range: PlannedRange, recordsAround: RepairedRange['recordsAround']): RepairedRange {
    const { base, offset, finding } = range;
    const { kind, expected, found, proof } = finding;
    assert(kind !== 'torn-tail' && kind !== 'foreign-segment' && kind !== 'newer-version', 'only what can be repaired is planned');
    const lsn = base + offset;
    const bytes = Math.max(0, Math.min((this.#overlay.foundBytes(base) ?? 0) - offset, range.bytes));
    const kept = this.#task.dryRun || bytes === 0 ? undefined : this.#keep(base, offset, bytes);
    return {
      segment: segmentName(base), offset, lsn, endLsn: lsn + range.bytes, bytes, keptAs: kept, recordsAround, droppedRecords: 0,
      finding: { kind, expected, found, proof },
    };
  }

  #keep(base: number, offset: number, bytes: number): string {
    const name = join(this.#task.path, segmentName(base));
    const descriptor = this.#platform.files.open(name, { write: false, noFollow: true });
    try {
      return copyAside(this.#platform, { descriptor, offset, bytes }, `${name}.damaged-${base + offset}`).name;
    } finally {
      this.#platform.files.close(descriptor);
    }
  }

  /** The records next to each range that will be there, in its segment. */
  #recordsAround(): Map<PlannedRange, { before: number | undefined; after: number | undefined }> {
    const { journalId, segmentBytes } = this.#plan.verdict.log;
    const format: SegmentFormat = { idSum: idChecksum(journalId), geometry: new Geometry(segmentBytes) };
    const around = new Map<PlannedRange, { before: number | undefined; after: number | undefined }>();
    for (const base of new Set(this.#plan.ranges.map((range) => range.base))) {
      const records: number[] = [];
      const walk = framesOf(walkSegment(format, format.geometry.bodyStart(base)), ({ kind, start }) => {
        if (kind === 'record') records.push(start);
        return true;
      });
      for (let step = walk.next(); step.done !== true;) step = walk.next(this.#overlay.read(step.value));
      for (const range of this.#plan.ranges) {
        if (range.base !== base) continue;
        const lsn = base + range.offset;
        around.set(range, { before: records.findLast((start) => start < lsn), after: records.find((start) => start >= lsn + range.bytes) });
      }
    }
    return around;
  }

  /** Makes the planned changes, each file durable before the next; marks come last, for they vouch for the others. */
  carryOut(): void {
    const { path } = this.#task;
    const { segmentBytes } = this.#plan.verdict.log;
    const isMark = ({ offset }: Patch): boolean => offset === segmentBytes - MARK_BYTES;
    const changed = this.#overlay.changed;
    for (const segment of changed) if (segment.foundBytes === undefined) this.#make(segment);
    for (const segment of changed) this.#write(segment, segment.patches.filter((patch) => !isMark(patch)));
    this.#platform.files.syncDirectory(path);
    for (const segment of changed) this.#write(segment, segment.patches.filter(isMark));
    const source = new SegmentSource(this.#platform.files, path);
    try {
      const { kind } = examineBlocking(listDirectory(path).segments, { depth: 'all' }, (request) => source.read(request));
      assert(kind === this.#plan.verdict.kind, 'a repaired journal is what was planned');
    } finally {
      source.close();
    }
  }

  /** A segment that is missing: it gets its name when its header is durable. */
  #make({ base, sizeBytes, patches }: PlannedSegment): void {
    const { path } = this.#task;
    const spare = `${segmentName(base)}${SPARE_SUFFIX}`;
    removeSpares(this.#platform, path, [spare]);
    const beside = this.#overlay.listing.find(({ base: other }) => this.#overlay.foundBytes(other) !== undefined);
    assert(beside !== undefined, 'a journal has a segment');
    const mode = this.#modeOf(beside.base);
    const descriptor = this.#platform.files.open(join(path, spare), { write: true, create: true, exclusive: true, mode });
    try {
      this.#reserve(descriptor, sizeBytes);
      for (const patch of patches) if (patch.offset === 0) this.#put(descriptor, patch);
      this.#platform.files.syncFull(descriptor);
    } finally {
      this.#platform.files.close(descriptor);
    }
    renameFile(this.#platform, join(path, spare), join(path, segmentName(base)));
    this.#platform.files.syncDirectory(path);
  }

  #modeOf(base: number): number {
    const descriptor = this.#platform.files.open(join(this.#task.path, segmentName(base)), { write: false, noFollow: true });
    try {
      return this.#platform.files.status(descriptor).mode;
    } finally {
      this.#platform.files.close(descriptor);
    }
  }

  #reserve(descriptor: number, sizeBytes: number): void {
    try {
      this.#platform.files.allocate(descriptor, 0, sizeBytes);
    } catch (error) {
      if (!(error instanceof NotSupportedError)) throw error;
      this.#platform.files.truncate(descriptor, sizeBytes);
    }
  }

  #write({ base, sizeBytes, foundBytes }: PlannedSegment, patches: readonly Patch[]): void {
    const resized = foundBytes !== undefined && foundBytes !== sizeBytes;
    if (patches.length === 0 && !resized) return;
    const descriptor = this.#platform.files.open(join(this.#task.path, segmentName(base)), { write: true, noFollow: true });
    try {
      if (resized) {
        if (foundBytes < sizeBytes) this.#reserve(descriptor, sizeBytes);
        else this.#platform.files.truncate(descriptor, sizeBytes);
      }
      for (const patch of patches) this.#put(descriptor, patch);
      this.#platform.files.syncFull(descriptor);
    } finally {
      this.#platform.files.close(descriptor);
    }
  }

  #put(descriptor: number, { offset, bytes }: Patch): void {
    this.#platform.files.writeFully(descriptor, bytes, offset);
  }
}
