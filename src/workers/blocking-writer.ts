/**
 * A thread that writes with blocking calls: `pwrite`, then `fdatasync`. It serves where there is no io_uring.
 *
 * Each of its journals has its own loop; between two batches the event loop gets a turn, for the control plane.
 */
import { assert } from '../platform/errors.js';
import type { Platform } from '../platform/platform.js';
import { BlockingJournal } from './file-layout/blocking-journal.js';
import { WriteSide } from './file-layout/write-side.js';
import type { Attached, Detached, SegmentFile, WriterControl, WriterStarted, WriteSideRequest } from './protocol/messages.js';
import { sealing } from './sealer.js';
import { BlockingEngine } from './segment-layout/blocking-engine.js';
import { SegmentsJournal } from './segment-layout/journal.js';
import { SegmentsWriteSide } from './segment-layout/write-side.js';
import { WriteTeam } from './write-team.js';

export class BlockingWriter implements WriterControl {
  readonly started: WriterStarted = { kind: 'blocking', setupFlags: [], ring: undefined, sealing: sealing() };
  readonly #platform: Platform;
  readonly #team: WriteTeam;
  readonly #journals = new Map<number, BlockingJournal | SegmentsJournal>();

  /** `team`: memory that all blocking writers of the scheduler share. */
  constructor(platform: Platform, team: SharedArrayBuffer) {
    this.#platform = platform;
    this.#team = new WriteTeam(team, platform.files, platform.threads);
    this.#team.listen();
  }

  attach(request: WriteSideRequest): Attached {
    assert(!this.#journals.has(request.id), 'a journal is attached once');
    const journal = request.layout === 'file'
      ? new BlockingJournal(new WriteSide(request), this.#platform)
      : new SegmentsJournal(new SegmentsWriteSide(request), new BlockingEngine(this.#team), this.#platform.threads, request.news);
    this.#journals.set(request.id, journal);
    journal.loop.run();
    return { registered: false };
  }

  close(): void {
    assert(this.#journals.size === 0, 'no journal is attached when its writer closes');
    this.#team.end();
  }

  async detach(id: number): Promise<Detached> {
    const journal = this.#journals.get(id);
    assert(journal !== undefined, 'only an attached journal is detached');
    const position = await journal.end();
    this.#journals.delete(id);
    return { position };
  }

  prepare(id: number, bytes: number): Promise<void> {
    const journal = this.#journals.get(id);
    assert(journal instanceof BlockingJournal, 'only an attached file journal prepares space here');
    return journal.prepare(bytes);
  }

  addSegment(id: number, segment: SegmentFile): void {
    const journal = this.#journals.get(id);
    assert(journal instanceof SegmentsJournal, 'only an attached segment journal takes segments');
    journal.addSegment(segment);
  }
}
