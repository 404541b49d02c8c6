/** Extents of a segment journal as blocking calls. What is asked for in one turn is done together, at its end. */
import { IoError } from '../../platform/errors.js';
import type { Files } from '../../platform/platform.js';
import type { WriteEngine } from './journal.js';

export class BlockingEngine implements WriteEngine {
  readonly writeCall = 'pwrite';
  readonly #files: Files;
  #jobs: (() => void)[] = [];

  constructor(files: Files) {
    this.#files = files;
  }

  write(descriptor: number, address: number, bytes: number, offset: number, _inLogBuffer: boolean, _dsync: boolean, done: (result: number) => void): void {
    this.#add(() => {
      this.#files.writeFully(descriptor, address, bytes, offset);
      return bytes;
    }, done);
  }

  syncData(descriptor: number, done: (result: number) => void): void {
    this.#add(() => {
      this.#files.syncData(descriptor);
      return 0;
    }, done);
  }

  resume(turn: () => void): void {
    // The event loop gets its turn, for the control plane.
    setImmediate(turn);
  }

  #add(call: () => number, done: (result: number) => void): void {
    if (this.#jobs.length === 0) queueMicrotask(() => this.#run());
    this.#jobs.push(() => {
      let result: number;
      try {
        result = call();
      } catch (error) {
        if (!(error instanceof IoError)) throw error;
        result = -error.errno;
      }
      done(result);
    });
  }

  #run(): void {
    for (const job of this.#jobs.splice(0)) job();
  }
}
