/**
 * A thread that writes with blocking calls: `pwrite`, then `fdatasync`. It serves where there is no io_uring.
 *
 * Each of its journals has its own loop; between two batches the event loop gets a turn, for the control plane.
 */
import { assert } from '../platform/errors.js';
import type { Platform } from '../platform/platform.js';
import { BlockingJournal } from './file-layout/blocking-journal.js';
import { WriteSide } from './file-layout/write-side.js';
import type { Attached, WriterControl, WriterStarted, WriteSideRequest } from './protocol/messages.js';
import { sealing } from './sealer.js';

export class BlockingWriter implements WriterControl {
  readonly started: WriterStarted = { kind: 'blocking', setupFlags: [], ring: undefined, sealing: sealing() };
  readonly #platform: Platform;
  readonly #journals = new Map<number, BlockingJournal>();

  constructor(platform: Platform) {
    this.#platform = platform;
  }

  attach(request: WriteSideRequest): Attached {
    assert(!this.#journals.has(request.id), 'a journal is attached once');
    const journal = new BlockingJournal(new WriteSide(request), this.#platform);
    this.#journals.set(request.id, journal);
    journal.loop.run();
    return { registered: false };
  }

  close(): void {
    assert(this.#journals.size === 0, 'no journal is attached when its writer closes');
  }

  detach(id: number): Promise<void> {
    const journal = this.#journals.get(id);
    assert(journal !== undefined, 'only an attached journal is detached');
    journal.loop.end();
    this.#journals.delete(id);
    return Promise.resolve();
  }

  prepare(id: number, bytes: number): Promise<void> {
    const journal = this.#journals.get(id);
    assert(journal !== undefined, 'only an attached journal prepares space');
    return journal.prepare(bytes);
  }
}
