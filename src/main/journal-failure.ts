/** Why a journal can do no more: poisoned, with the cause, or closed. */
import { ioError } from '../platform/errno.js';
import { JournalError } from '../platform/errors.js';
import type { Threads } from '../platform/platform.js';
import { type ControlBlock, POISON } from '../workers/protocol/control-block.js';
import { report } from './diagnostics.js';

export class JournalFailure {
  readonly #control: ControlBlock;
  readonly #path: string;
  /** One error for all that wait: made when first asked for. */
  #poisoned: JournalError | undefined;
  #closed: JournalError | undefined;
  #death: Error | undefined;

  constructor(control: ControlBlock, path: string) {
    this.#control = control;
    this.#path = path;
  }

  /** The writer thread has ended: nothing becomes durable any more. */
  workerDied(cause: Error): void {
    this.#death = cause;
    this.#control.poison(POISON.workerDied);
  }

  /** Looks whether the writer thread lives, on behalf of a thread that is not told. */
  watchWriter(threads: Threads): void {
    const { writerThread } = this.#control;
    if (writerThread !== 0 && !threads.isAlive(writerThread)) this.#control.poison(POISON.workerDied);
  }

  /** Why nothing becomes durable any more, if that is so. */
  poisoned(): JournalError | undefined {
    if (this.#control.poisonKind === POISON.none) return undefined;
    if (this.#poisoned === undefined) {
      const cause = this.#cause();
      const lsn = this.#control.durableLsn;
      const message = `journal '${this.#path}' is poisoned, nothing beyond LSN ${lsn} is durable: ${cause.message}`;
      this.#poisoned = new JournalError('TIDEMARK_POISONED', message, { path: this.#path, lsn, cause });
      report('poisoned', { path: this.#path, error: this.#poisoned });
    }
    return this.#poisoned;
  }

  /** Why nothing can be appended any more, if that is so: poisoned, or closed by the thread that opened it. */
  any(): JournalError | undefined {
    return this.poisoned() ?? (this.#control.closed ? this.closed() : undefined);
  }

  closed(): JournalError {
    this.#closed ??= new JournalError('TIDEMARK_CLOSED', `journal '${this.#path}' is closed`, { path: this.#path });
    return this.#closed;
  }

  #cause(): Error {
    const { kind, errno, syscall } = this.#control.poisonCause;
    const path = this.#path;
    if (kind === POISON.io) return ioError(errno, syscall, path);
    if (kind === POISON.workerDied) return this.#death ?? new JournalError('TIDEMARK_WORKER_DIED', 'the writer thread ended', { path });
    if (kind === POISON.producerDied) {
      return new JournalError('TIDEMARK_PRODUCER_DIED', 'a thread ended while it was copying a record into the log', { path });
    }
    return new JournalError('TIDEMARK_WORKER_DIED', 'the writer found its own state broken; see the warning it printed', { path });
  }
}
