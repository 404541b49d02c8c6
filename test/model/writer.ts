/** The writer's thread: the product's write sides on a modelled disk. */
import type { WriteEngine } from '../../dist/workers/segment-layout/journal.js';
import type { MemoryPiece, Platform, Ring } from '../../dist/platform/platform.js';
import type { SegmentFile, WriterNews } from '../../dist/workers/protocol/messages.js';
import { Disk, type Operation, type Piece } from './disk.js';
import type { Product } from './product.js';
import { JOURNAL_ID, SEGMENT_BYTES, type Scenario } from './scenario.js';
import { OPENER, type Message, MESSAGES } from './stage.js';
import type { Shared } from './theatre.js';
import type { Part, StageThread } from './thread.js';

/** What all three kinds of journal on a writer's thread have in common here. */
interface WriterJournal {
  readonly loop: { run(): void };
  end(): Promise<unknown>;
  addSegment?(segment: SegmentFile): void;
}

export class WriterPart implements Part {
  readonly #thread: StageThread;
  readonly #product: Product;
  readonly #shared: Shared;
  readonly #scenarioOf: () => Scenario;
  #disk: Disk | undefined;
  #journal: WriterJournal | undefined;
  #ended = false;

  constructor(thread: StageThread, product: Product, shared: Shared, scenarioOf: () => Scenario) {
    this.#thread = thread;
    this.#product = product;
    this.#shared = shared;
    this.#scenarioOf = scenarioOf;
  }

  get gone(): boolean {
    return this.#ended;
  }

  begin(): void {
    const scenario = this.#scenarioOf();
    this.#ended = false;
    this.#disk = new Disk(this.#thread, scenario, this.#shared.stable, this.#product);
    this.#journal = scenario.layout === 'file' ? this.#file(scenario, this.#disk) : this.#segments(scenario, this.#disk);
    this.#journal.loop.run();
  }

  choices(): (() => void)[] {
    return this.#disk?.completions() ?? [];
  }

  hear(message: Message, argument: number): void {
    if (message === 'addSegment') {
      this.#journal?.addSegment?.(segmentAt(argument));
      this.#thread.stage.post(OPENER, 'added');
    } else if (message === 'detach') {
      void this.#journal?.end().then(() => {
        this.#ended = true;
        this.#thread.stage.post(OPENER, 'detached');
      });
    }
  }

  #file(scenario: Scenario, disk: Disk): WriterJournal {
    const { BlockingJournal, RingJournal, WriteSide, selectPlatform } = this.#product;
    const { direct, sectorBytes, dsyncWrites, groupCommitWindowUs } = scenario;
    const file = { descriptor: 0, direct, sectorBytes, dsyncWrites: dsyncWrites && scenario.backend === 'ring', spaceEnd: scenario.start };
    const side = new WriteSide({
      layout: 'file', id: 1, shared: { control: this.#shared.control, log: logOf(this.#shared, scenario) }, file, preallocateBytes: 0, groupCommitWindowUs,
    });
    if (scenario.backend === 'blocking') return new BlockingJournal(side, this.#blockingPlatform(disk, false));
    const ring = ringOn(disk);
    return new RingJournal(side, { enqueue: (_, queue) => {
      queue(ring);
    } }, { descriptor: 0, slot: 0 }, 0, selectPlatform().threads);
  }

  #segments(scenario: Scenario, disk: Disk): WriterJournal {
    const { SegmentsJournal, SegmentsWriteSide, selectPlatform } = this.#product;
    const { sectorBytes, dsyncWrites, queueDepth, groupCommitWindowUs } = scenario;
    const side = new SegmentsWriteSide({
      layout: 'segments', id: 1, shared: { control: this.#shared.control, log: logOf(this.#shared, scenario) },
      writing: { direct: true, sectorBytes, dsyncWrites, queueDepth },
      position: { journalId: JOURNAL_ID, recordsEver: 0, lastRecordLsn: 0, segmentRecords: 0, markNumber: 0 },
      segments: segmentsOf(scenario), groupCommitWindowUs,
      news: undefined as never,
    });
    const news = {
      postMessage: (one: WriterNews) => {
        this.#thread.stage.post(OPENER, MESSAGES.find((name) => name === one.kind) ?? 'idle', 'base' in one ? one.base : 0);
      },
      close: () => undefined,
    };
    return new SegmentsJournal(side, this.#engine(scenario, disk, side.control), selectPlatform().threads, news as never);
  }

  #engine(scenario: Scenario, disk: Disk, control: InstanceType<Product['ControlBlock']>): WriteEngine {
    const { BlockingEngine, RingEngine } = this.#product;
    const platform = this.#blockingPlatform(disk, scenario.dsyncWrites);
    if (scenario.backend === 'ring') {
      const ring = ringOn(disk);
      return new RingEngine({ isAlone: scenario.ringIsAlone, enqueue: (_, queue) => {
        queue(ring);
      } }, 0, platform.files, control);
    }
    const perform = (work: () => void, result: number): number => {
      try {
        work();
        return result;
      } catch (error) {
        if (error instanceof this.#product.IoError) return -error.errno;
        throw error;
      }
    };
    const run = (jobs: readonly { kind: 'write' | 'sync'; descriptor: number; address: number; bytes: number; offset: number }[]): number[] =>
      jobs.map(({ kind, descriptor, address, bytes, offset }) => kind === 'sync'
        ? perform(() => platform.files.syncData(descriptor), 0)
        : perform(() => platform.files.writePiece(descriptor, { address, bytes }, offset), bytes));
    return new BlockingEngine({ run } as never);
  }

  /** Blocking calls: others may come in while the kernel has the memory. */
  #blockingPlatform(disk: Disk, dsync: boolean): Platform {
    const call = (name: string, submit: (done: (result: number) => void) => Operation): void => {
      let failed = 0;
      const operation = submit((result) => {
        failed = Math.min(0, result);
      });
      this.#thread.point();
      this.#thread.point();
      disk.complete(operation, false)();
      if (failed < 0) throw this.#product.ioError(-failed, name, 'model');
    };
    const files = {
      writePiece: (descriptor: number, piece: MemoryPiece, offset: number) => {
        call('pwrite', (done) => disk.submitWrite(descriptor, lsnOf(descriptor, offset), [piece], dsync, done));
      },
      syncData: (descriptor: number) => {
        call('fdatasync', (done) => disk.submitSync(descriptor, done));
      },
    };
    return { ...this.#product.selectPlatform(), files: files as Platform['files'] };
  }
}

/** A ring whose operations the disk completes. A linked operation waits for the one queued before it. */
function ringOn(disk: Disk): Ring {
  let linked: Operation | undefined;
  const queue = (link: string, operation: Operation): void => {
    linked = link === 'success' ? operation : undefined;
  };
  const write = (descriptor: number, pieces: readonly Piece[], offset: number, dsync: boolean, link: string, done: (result: number) => void): void => {
    queue(link, disk.submitWrite(descriptor, lsnOf(descriptor, offset), pieces, dsync, done, linked));
  };
  const ring: Pick<Ring, 'write' | 'writeVector' | 'syncData'> = {
    write: (file, address, bytes, offset, _slot, dsync, link, done) => {
      write(file.descriptor, [{ address, bytes }], offset, dsync, link, done);
    },
    writeVector: (file, pieces, offset, dsync, link, done) => {
      write(file.descriptor, pieces, offset, dsync, link, done);
    },
    syncData: (file, link, done) => {
      queue(link, disk.submitSync(file.descriptor, done, linked));
    },
  };
  return ring as Ring;
}

/** The descriptor of a segment is its number, that of a file 0. */
function lsnOf(descriptor: number, offset: number): number {
  return descriptor * SEGMENT_BYTES + offset;
}

export function segmentAt(base: number): SegmentFile {
  return { base, descriptor: base / SEGMENT_BYTES };
}

export function segmentsOf({ origin, segments }: Scenario): SegmentFile[] {
  return Array.from({ length: segments }, (_, i) => segmentAt(origin + i * SEGMENT_BYTES));
}

export function logOf({ log, skipBytes }: Shared, { capacity, layout }: Scenario): { buffer: SharedArrayBuffer; skipBytes: number; capacity: number; segmentBytes?: number } {
  return { buffer: log, skipBytes, capacity, ...(layout === 'segments' && { segmentBytes: SEGMENT_BYTES }) };
}
