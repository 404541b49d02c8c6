/**
 * An io_uring of one's own, as an object with promises: for storage engines that do their own positioned IO.
 *
 * It belongs to the thread that creates it and is waited for by that thread's event loop. The journal does not use this
 * class: its ring lives in a worker.
 */
import { closeSync } from 'node:fs';
import { Socket } from 'node:net';
import { EAGAIN, EINTR, EIO, ioError } from '../platform/errno.js';
import { assert, JournalError } from '../platform/errors.js';
import { addressOf, NativeMemory } from '../platform/ffi.js';
import type { Pipe, Ring, RingFile } from '../platform/platform.js';
import { selectPlatform } from '../platform/select.js';
import * as check from './options.js';

export interface IoUringOptions {
  /**
   * Most operations in flight, a power of two from 4 to 4096; each chain of operations takes one more. The rest
   * waits its turn. Default 128.
   */
  readonly entries?: number;
  /** A kernel thread polls for submissions: saves system calls, burns a core. Default false. */
  readonly sqpoll?: boolean;
}

/** A part of a registered buffer. */
export interface FixedRange {
  /** Index of the buffer in the list given to {@link IoUring.registerBuffers}. */
  readonly buffer: number;
  /** First byte in it. Default 0. */
  readonly start?: number;
  /** Bytes. Default: to its end. */
  readonly bytes?: number;
}

/** Typed arrays up to this size may lie on the JavaScript heap, where they move. */
const MOVABLE_BYTES_MAX = 64;
const TRANSFER_BYTES_MAX = 0x7ffff000;
const RETRIES_MAX = 100;

type Kind = 'write' | 'read';

/** A transfer that goes on until all of it is done, in as many operations as that takes. `keep` is its memory. */
interface Transfer {
  readonly kind: Kind;
  readonly descriptor: number;
  readonly address: number;
  readonly bytes: number;
  readonly offset: number;
  readonly bufferSlot: number;
  readonly keep: Uint8Array;
}

export class IoUring {
  readonly #ring: Ring;
  /** Each chain of operations ends with one that writes a byte into it: that is how the event loop learns of completions. */
  readonly #pipe: Pipe;
  readonly #wakeUps: Socket;
  readonly #wakeByte = new NativeMemory(8, 8);
  readonly #backlog: { readonly count: number; readonly queue: () => void }[] = [];
  readonly #slots = new Map<number, number>();
  readonly #freeSlots: number[];
  #buffers: readonly Uint8Array[] = [];
  #submitScheduled = false;
  /** What was called and has not settled, with the memory that the kernel may have. */
  readonly #calls = new Set<object>();
  /** Operations that the ring has, or will have. */
  #operations = 0;
  #onIdle: (() => void) | undefined;
  #closing: Promise<void> | undefined;

  /** Sets up a ring. Throws `TIDEMARK_NOT_SUPPORTED` with the reason where the system has none to give. */
  static create(options: IoUringOptions = {}): IoUring {
    check.checkKeys('options', options, ['entries', 'sqpoll']);
    const entries = check.powerOfTwo('entries', options.entries, 128, 4, 4096);
    const sqpoll = check.boolean('sqpoll', options.sqpoll, false);
    return new IoUring(selectPlatform().createRing({ entries, sqpoll, reaping: 'eventLoop' }));
  }

  private constructor(ring: Ring) {
    this.#ring = ring;
    this.#freeSlots = Array.from({ length: ring.fileSlots }, (_, i) => ring.fileSlots - 1 - i);
    this.#pipe = selectPlatform().createPipe();
    // Node's own stream over the pipe: it ends in good order with the thread, whenever that is.
    this.#wakeUps = new Socket({ fd: this.#pipe.readEnd, readable: true, writable: false });
    this.#wakeUps.on('data', () => {
      ring.reap();
      this.#drainBacklog();
    });
    this.#wakeUps.unref();
  }

  /** Flags it was set up with. */
  get setupFlags(): readonly string[] {
    return this.#ring.setupFlags;
  }

  /** Operations that have not come back. */
  get inFlight(): number {
    return this.#operations;
  }

  // ---- files -----------------------------------------------------------------------------------------------------

  /** How many descriptors the table of registered files holds. */
  get fileSlots(): number {
    return this.#ring.fileSlots;
  }

  /**
   * Registers an open descriptor, which spares the kernel a look-up per operation. Answers false when the table is full:
   * the descriptor is then used as it is. A registered descriptor must leave the table before it is closed, by
   * {@link closeFile} or {@link unregisterFile}: the table would keep naming the old file when its number is used again.
   */
  registerFile(descriptor: number): boolean {
    this.#checkOpen();
    checkDescriptor(descriptor);
    if (this.#slots.has(descriptor)) return true;
    const slot = this.#freeSlots.pop();
    if (slot === undefined) return false;
    try {
      this.#ring.setFile(slot, descriptor);
    } catch (error) {
      this.#freeSlots.push(slot);
      throw error;
    }
    this.#slots.set(descriptor, slot);
    return true;
  }

  /** Takes a descriptor out of the table; without effect when it is not there. */
  unregisterFile(descriptor: number): void {
    const slot = this.#slots.get(descriptor);
    if (slot === undefined) return;
    this.#ring.setFile(slot, -1);
    this.#slots.delete(descriptor);
    this.#freeSlots.push(slot);
  }

  /** Takes a descriptor out of the table and closes it. */
  closeFile(descriptor: number): void {
    this.#checkOpen();
    checkDescriptor(descriptor);
    this.unregisterFile(descriptor);
    selectPlatform().files.close(descriptor);
  }

  // ---- buffers ---------------------------------------------------------------------------------------------------

  /**
   * Registers memory that {@link writeFixed} and {@link readFixed} use, in place of what was registered before: views over
   * `SharedArrayBuffer`s, whose memory never moves. Counts against RLIMIT_MEMLOCK. Throws when something is in flight.
   */
  registerBuffers(buffers: readonly Uint8Array[]): void {
    this.#checkOpen();
    check.list('buffers', buffers);
    const { bufferSlots } = this.#ring;
    if (buffers.length > bufferSlots) check.fail('buffers.length', `at most ${bufferSlots}`, buffers.length);
    buffers.forEach((buffer, i) => {
      const usable = buffer instanceof Uint8Array && buffer.buffer instanceof SharedArrayBuffer && buffer.length > 0;
      if (!usable) check.fail(`buffers[${i}]`, 'a Uint8Array over a SharedArrayBuffer that is not empty', buffer);
    });
    if (this.#calls.size > 0) check.fail('registerBuffers', 'called while nothing is in flight', this.#calls.size);
    for (let slot = 0; slot < this.#buffers.length; slot++) this.#ring.setBuffer(slot, 0, 0);
    this.#buffers = [];
    buffers.forEach((buffer, slot) => {
      this.#ring.setBuffer(slot, addressOf(buffer), buffer.length);
      this.#buffers = [...this.#buffers, buffer];
    });
  }

  // ---- operations ------------------------------------------------------------------------------------------------

  /**
   * Writes all of `data` at byte `offset`; resolves with its length. Short writes are continued. Leave `data` unchanged
   * until it settles. Rejects with an `IoError`.
   */
  async writeAt(descriptor: number, data: Uint8Array, offset: number): Promise<number> {
    return await this.#transfer('write', descriptor, checkData('data', data), offset);
  }

  /** Reads into `target` from byte `offset`; resolves with the bytes read, fewer than asked for only at the end of the file. */
  async readAt(descriptor: number, target: Uint8Array, offset: number): Promise<number> {
    return await this.#transfer('read', descriptor, checkData('target', target), offset);
  }

  /** Writes a part of a registered buffer. */
  async writeFixed(descriptor: number, range: FixedRange, offset: number): Promise<number> {
    return await this.#run(this.#fixed('write', descriptor, range, offset));
  }

  /** Reads into a part of a registered buffer. */
  async readFixed(descriptor: number, range: FixedRange, offset: number): Promise<number> {
    return await this.#run(this.#fixed('read', descriptor, range, offset));
  }

  /** Makes a file's data durable, and the metadata that reading it back needs (fdatasync(2)). */
  async fdatasync(descriptor: number): Promise<void> {
    const file = this.#file(descriptor);
    await this.#call({}, () => this.#sync(file));
  }

  /**
   * Writes all of `data` and then syncs, linked in one submission. Resolves when both are done. After a short write the
   * rest is written and synced again, so success always means that all of it is durable.
   */
  async writeLinkedFsync(descriptor: number, data: Uint8Array, offset: number): Promise<number> {
    const transfer = this.#plain('write', descriptor, checkData('data', data), offset);
    const file = this.#file(descriptor);
    return await this.#call(transfer, () => this.#writeLinked(file, transfer));
  }

  async #writeLinked(file: RingFile, transfer: Transfer): Promise<number> {
    let synced: (result: number) => void = () => undefined;
    const sync = new Promise<number>((resolve) => {
      synced = resolve;
    });
    const count = Math.min(transfer.bytes, TRANSFER_BYTES_MAX);
    const written = await this.#operation(2, (done) => {
      this.#ring.write(file, transfer.address, count, transfer.offset, -1, false, 'always', done);
      this.#ring.syncData(file, 'always', this.#counted(synced));
    });
    const syncResult = await sync;
    if (written === transfer.bytes && syncResult === 0) return written;
    if (written < 0 && !isTransient(written)) throw ioError(-written, 'write');
    if (syncResult < 0) throw ioError(-syncResult, 'fdatasync');
    await this.#continue(transfer, Math.max(written, 0));
    await this.#sync(file);
    return transfer.bytes;
  }

  async #sync(file: RingFile): Promise<void> {
    const result = await this.#operation(1, (done) => {
      this.#ring.syncData(file, 'always', done);
    });
    if (result < 0) throw ioError(-result, 'fdatasync');
  }

  /** Waits for what was called before, then closes the ring. Descriptors stay open; they are the caller's. */
  close(): Promise<void> {
    this.#closing ??= this.#shutDown();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #shutDown(): Promise<void> {
    if (this.#calls.size > 0) {
      await new Promise<void>((resolve) => {
        this.#onIdle = resolve;
      });
    }
    // What is left are the last wake-ups, which are complete or about to be.
    while (this.#ring.inFlight > 0) {
      this.#ring.reap();
      await new Promise((resolve) => setImmediate(resolve));
    }
    this.#wakeUps.destroy();
    closeSync(this.#pipe.writeEnd);
    this.#ring.close();
    this.#buffers = [];
  }

  // ---- inside ----------------------------------------------------------------------------------------------------

  #transfer(kind: Kind, descriptor: number, view: Uint8Array, offset: number): Promise<number> {
    return this.#run(this.#plain(kind, descriptor, view, offset), kind === 'read' ? view : undefined);
  }

  #plain(kind: Kind, descriptor: number, view: Uint8Array, offset: number): Transfer {
    checkOffset(offset);
    let keep = view;
    if (view.buffer.byteLength <= MOVABLE_BYTES_MAX) {
      keep = new Uint8Array(new SharedArrayBuffer(Math.max(view.length, 1)), 0, view.length);
      keep.set(view);
    }
    const address = view.length === 0 ? 0 : addressOf(keep);
    return { kind, descriptor, address, bytes: view.length, offset, bufferSlot: -1, keep };
  }

  #fixed(kind: Kind, descriptor: number, range: FixedRange, offset: number): Transfer {
    check.checkKeys('range', range, ['buffer', 'start', 'bytes']);
    checkOffset(offset);
    const slot = check.integer('range.buffer', range.buffer, -1, 0, this.#buffers.length - 1);
    const buffer = this.#buffers[slot];
    assert(buffer !== undefined, 'a registered buffer has memory');
    const start = check.integer('range.start', range.start, 0, 0, buffer.length);
    const bytes = check.integer('range.bytes', range.bytes, buffer.length - start, 0, buffer.length - start);
    return { kind, descriptor, address: addressOf(buffer) + start, bytes, offset, bufferSlot: slot, keep: buffer };
  }

  /** Does something from its call until it has settled, whatever operations that takes. `call`: what holds its memory. */
  async #call<T>(call: object, work: () => Promise<T>): Promise<T> {
    this.#checkOpen();
    this.#calls.add(call);
    try {
      return await work();
    } finally {
      this.#calls.delete(call);
      if (this.#calls.size === 0) this.#onIdle?.();
    }
  }

  async #run(transfer: Transfer, target?: Uint8Array): Promise<number> {
    const bytes = await this.#call(transfer, () => this.#continue(transfer, 0));
    // A small target was read into memory that does not move.
    if (target !== undefined && target !== transfer.keep) target.set(transfer.keep.subarray(0, bytes));
    return bytes;
  }

  /** Transfers from `from` to the end; a read stops at the end of the file. */
  async #continue(transfer: Transfer, from: number): Promise<number> {
    const { kind, address, bytes, offset, bufferSlot } = transfer;
    let idle = 0;
    let done = from;
    while (done < bytes) {
      const count = Math.min(bytes - done, TRANSFER_BYTES_MAX);
      const file = this.#file(transfer.descriptor);
      const result = await this.#operation(1, (complete) => {
        if (kind === 'write') this.#ring.write(file, address + done, count, offset + done, bufferSlot, false, 'always', complete);
        else this.#ring.read(file, address + done, count, offset + done, bufferSlot, 'always', complete);
      });
      if (result < 0 && !isTransient(result)) throw ioError(-result, kind);
      if (result === 0 && kind === 'read') break;
      idle = result > 0 ? 0 : idle + 1;
      if (idle > RETRIES_MAX) throw ioError(result === 0 ? EIO : -result, kind);
      done += Math.max(result, 0);
    }
    return done;
  }

  /** Queues operations once `count` of them fit the ring; resolves with the result of the one that `done` belongs to. */
  #operation(count: number, queue: (done: (result: number) => void) => void): Promise<number> {
    return new Promise((resolve) => {
      const done = this.#counted(resolve);
      this.#backlog.push({ count, queue: () => {
        queue(done);
      } });
      this.#drainBacklog();
    });
  }

  /** Keeps the process alive from here until the operation has come back. */
  #counted(done: (result: number) => void): (result: number) => void {
    if (this.#operations++ === 0) this.#wakeUps.ref();
    return (result) => {
      if (--this.#operations === 0) this.#wakeUps.unref();
      done(result);
    };
  }

  #drainBacklog(): void {
    for (let next = this.#backlog[0]; next !== undefined; next = this.#backlog[0]) {
      if (this.#ring.inFlight + next.count + 1 > this.#ring.capacity) break;
      this.#backlog.shift();
      next.queue();
      this.#wake();
    }
    if (this.#submitScheduled) return;
    this.#submitScheduled = true;
    // What one turn queues goes to the kernel in one system call.
    queueMicrotask(() => {
      this.#submitScheduled = false;
      if (this.#operations > 0) this.#ring.submit();
    });
  }

  /** The end of a chain. A pipe that is full will wake the event loop anyway. */
  #wake(): void {
    this.#ring.write({ descriptor: this.#pipe.writeEnd, slot: -1 }, this.#wakeByte.address, 1, 0, -1, false, 'none', () => undefined);
  }

  #file(descriptor: number): RingFile {
    checkDescriptor(descriptor);
    return { descriptor, slot: this.#slots.get(descriptor) ?? -1 };
  }

  #checkOpen(): void {
    if (this.#closing !== undefined) throw new JournalError('TIDEMARK_CLOSED', 'the ring is closed');
  }
}

function isTransient(result: number): boolean {
  return result === -EAGAIN || result === -EINTR;
}

function checkDescriptor(descriptor: number): void {
  if (!Number.isInteger(descriptor) || descriptor < 0) check.fail('descriptor', 'an open file descriptor', descriptor);
}

function checkOffset(offset: number): void {
  if (!Number.isSafeInteger(offset) || offset < 0) check.fail('offset', 'a byte offset from 0 to 2^53 - 1', offset);
}

function checkData(name: string, data: Uint8Array): Uint8Array {
  if (!(data instanceof Uint8Array)) check.fail(name, 'a Uint8Array', data);
  return data;
}
