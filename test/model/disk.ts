/**
 * A modelled disk. Writes and syncs are under way until the schedule completes them, in any order; some come short, one may
 * fail. What was written becomes stable by a later sync of its file, or at once with `dsync`.
 *
 * Byte `lsn - origin` of it is byte `lsn` of the log: the files of segments lie one behind the other.
 */
import { DISK_BYTES, type Scenario } from './scenario.js';
import type { Product } from './product.js';
import type { StageThread } from './thread.js';

const EIO = 5;
const EINTR = 4;
const EAGAIN = 11;
const ECANCELED = 125;

export interface Piece {
  readonly address: number;
  readonly bytes: number;
}

/** Looked up once per thread. */
let memcpy: ReturnType<Product['native']> | undefined;

export interface Operation {
  readonly kind: 'write' | 'sync';
  readonly file: number;
  readonly lsn: number;
  readonly pieces: readonly Piece[];
  /** What the memory held when it was submitted. */
  readonly content: Buffer;
  readonly dsync: boolean;
  /** Writes that a sync covers: those complete when it was submitted. */
  readonly covered: readonly Written[];
  /** It starts when this one is complete in full, and is cancelled otherwise. */
  readonly after: Operation | undefined;
  readonly done: (result: number) => void;
  state: 'under way' | 'complete' | 'incomplete';
}

interface Written {
  readonly file: number;
  readonly lsn: number;
  readonly content: Buffer;
}

export class Disk {
  readonly #thread: StageThread;
  readonly #scenario: Scenario;
  readonly #stable: Uint8Array;
  readonly #copyFrom: (address: number, bytes: number) => Buffer;
  #underWay: Operation[] = [];
  #written: Written[] = [];
  #completed = 0;

  constructor(thread: StageThread, scenario: Scenario, stable: SharedArrayBuffer, product: Product) {
    this.#thread = thread;
    this.#scenario = scenario;
    this.#stable = new Uint8Array(stable, 0, DISK_BYTES);
    const copy = (memcpy ??= product.native('memcpy', 'uintptr_t', ['void *', 'uintptr_t', 'size_t']));
    this.#copyFrom = (address, bytes) => {
      // Native code must not be given memory that may move: small buffers do.
      const target = Buffer.allocUnsafeSlow(Math.max(bytes, 128));
      copy(target, address, bytes);
      return target.subarray(0, bytes);
    };
  }

  submitWrite(file: number, lsn: number, pieces: readonly Piece[], dsync: boolean, done: (result: number) => void, after?: Operation): Operation {
    const content = this.#read(pieces);
    let dataEnd = content.length;
    while (dataEnd > 0 && content[dataEnd - 1] === 0) dataEnd--;
    this.#thread.stage.record(this.#thread.me, 'submit', lsn, lsn + content.length, lsn + dataEnd);
    return this.#submit({ kind: 'write', file, lsn, pieces, content, dsync, covered: [], after, done, state: 'under way' });
  }

  submitSync(file: number, done: (result: number) => void, after?: Operation): Operation {
    const covered = after === undefined ? this.#written.filter((one) => one.file === file) : [];
    return this.#submit({ kind: 'sync', file, lsn: 0, pieces: [], content: Buffer.alloc(0), dsync: false, covered, after, done, state: 'under way' });
  }

  /** Completions that may come now. */
  completions(): (() => void)[] {
    return this.#underWay.filter((one) => one.after?.state !== 'under way').map((one) => () => {
      this.complete(one, true)();
    });
  }

  /** Lets an operation complete; answers how its owner is told. `partly`: it may come short. */
  complete(operation: Operation, partly: boolean): () => void {
    this.#underWay.splice(this.#underWay.indexOf(operation), 1);
    const result = this.#result(operation, partly);
    operation.state = operation.kind === 'sync' ? 'complete' : result === operation.content.length ? 'complete' : 'incomplete';
    this.#thread.stage.record(this.#thread.me, operation.kind === 'write' ? 'complete' : 'synced', operation.lsn, result);
    return () => {
      operation.done(result);
    };
  }

  #submit(operation: Operation): Operation {
    this.#underWay.push(operation);
    return operation;
  }

  #read(pieces: readonly Piece[]): Buffer {
    return Buffer.concat(pieces.map(({ address, bytes }) => this.#copyFrom(address, bytes)));
  }

  #result(operation: Operation, partly: boolean): number {
    if (operation.after?.state === 'incomplete') return -ECANCELED;
    this.#completed++;
    const { fault, sectorBytes } = this.#scenario;
    const fails = fault.kind === 'io' && fault.operation === this.#completed;
    if (operation.kind === 'sync') {
      if (fails) return -EIO;
      this.#harden(operation.after === undefined ? operation.covered : this.#written.filter((one) => one.file === operation.file));
      return 0;
    }
    if (fails) return -EIO;
    if (!this.#read(operation.pieces).equals(operation.content)) this.#thread.complain('memory was changed while it was written', operation.lsn);
    if (partly && this.#thread.stage.random(20) === 0) return -(this.#thread.stage.random(2) === 0 ? EAGAIN : EINTR);
    const short = partly && this.#thread.stage.random(8) === 0;
    const bytes = short ? this.#down(this.#thread.stage.random(operation.content.length), sectorBytes) : operation.content.length;
    this.#take({ file: operation.file, lsn: operation.lsn, content: operation.content.subarray(0, bytes) }, operation.dsync);
    return bytes;
  }

  #take(written: Written, dsync: boolean): void {
    const { lsn, content } = written;
    if (content.length === 0) return;
    this.#thread.stage.record(this.#thread.me, 'wrote', lsn, lsn + content.length);
    if (dsync) this.#harden([written]);
    else this.#written.push(written);
  }

  #harden(all: readonly Written[]): void {
    for (const { lsn, content } of all) {
      const at = lsn - this.#scenario.origin;
      if (at < 0 || at + content.length > DISK_BYTES) this.#thread.complain('a write beyond the disk', lsn);
      this.#stable.set(content, at);
      this.#thread.stage.record(this.#thread.me, 'stable', lsn, lsn + content.length);
    }
    this.#written = this.#written.filter((one) => !all.includes(one));
  }

  #down(bytes: number, sectorBytes: number): number {
    return bytes - (bytes % sectorBytes);
  }
}
