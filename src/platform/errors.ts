/**
 * Every error that this library throws or rejects with.
 *
 * One class per family, each with a stable `code`. The texts may change, the codes do not.
 * They live in the lowest layer because all three layers raise them.
 */

/** Base of all errors of this library. Branch on `code`, never on `message`. */
export class TidemarkError extends Error {
  readonly code: string;

  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    this.name = new.target.name;
  }
}

/** An option or argument that cannot be used. Nothing was done and nothing changed on disk. */
export class InvalidArgumentError extends TidemarkError {
  constructor(message: string) {
    super('TIDEMARK_INVALID_ARGUMENT', message);
  }
}

/** The platform, kernel or filesystem cannot do what was asked; `reason` says why. */
export class NotSupportedError extends TidemarkError {
  readonly operation: string;
  readonly reason: string;

  constructor(operation: string, reason: string) {
    super('TIDEMARK_NOT_SUPPORTED', `${operation} is not supported here: ${reason}`);
    this.operation = operation;
    this.reason = reason;
  }
}

export type IoErrorCode =
  | 'TIDEMARK_NOT_FOUND'
  | 'TIDEMARK_PERMISSION'
  | 'TIDEMARK_IS_DIRECTORY'
  | 'TIDEMARK_NOT_A_FILE'
  | 'TIDEMARK_EXISTS'
  | 'TIDEMARK_NOT_EMPTY'
  | 'TIDEMARK_CROSS_DEVICE'
  | 'TIDEMARK_NO_SPACE'
  | 'TIDEMARK_READ_ONLY'
  | 'TIDEMARK_TOO_MANY_FILES'
  | 'TIDEMARK_INVALID_PATH'
  | 'TIDEMARK_NO_ATTRIBUTE'
  | 'TIDEMARK_IO';

/** A system call that failed. `errno` is the positive number, `errnoName` its symbol. */
export class IoError extends TidemarkError {
  declare readonly code: IoErrorCode;
  readonly errno: number;
  readonly errnoName: string;
  readonly syscall: string;
  readonly path: string | undefined;
  /** The error in words. */
  readonly explanation: string;

  constructor(
    code: IoErrorCode,
    detail: { errno: number; errnoName: string; syscall: string; path?: string | undefined; explanation: string },
  ) {
    const where = detail.path === undefined ? '' : ` '${detail.path}'`;
    super(code, `${detail.syscall}${where}: ${detail.explanation} (${detail.errnoName})`);
    this.errno = detail.errno;
    this.errnoName = detail.errnoName;
    this.syscall = detail.syscall;
    this.path = detail.path;
    this.explanation = detail.explanation;
  }
}

export type JournalErrorCode =
  | 'TIDEMARK_CLOSED'
  | 'TIDEMARK_POISONED'
  | 'TIDEMARK_LOCKED'
  | 'TIDEMARK_NOT_A_JOURNAL'
  | 'TIDEMARK_CORRUPT'
  | 'TIDEMARK_NO_RECORD'
  | 'TIDEMARK_TRIMMED'
  | 'TIDEMARK_RECORD_TOO_LARGE'
  | 'TIDEMARK_LSN_OUT_OF_RANGE'
  | 'TIDEMARK_QUEUE_FULL'
  | 'TIDEMARK_WORKER_DIED'
  | 'TIDEMARK_PRODUCER_DIED'
  | 'TIDEMARK_TOO_MANY_PRODUCERS';

/** A journal that cannot do what was asked. Details that a program may want stand beside the code. */
export class JournalError extends TidemarkError {
  declare readonly code: JournalErrorCode;
  /** The journal's path, where there is one. */
  readonly path: string | undefined;
  /** The log position that the error is about, in bytes. */
  readonly lsn: number | undefined;
  /** `TIDEMARK_LOCKED`: the process id that holds the journal, where the system tells. */
  readonly holderPid: number | undefined;

  constructor(
    code: JournalErrorCode,
    message: string,
    detail: { path?: string | undefined; lsn?: number | undefined; holderPid?: number | undefined; cause?: unknown } = {},
  ) {
    super(code, message, detail.cause === undefined ? undefined : { cause: detail.cause });
    this.path = detail.path;
    this.lsn = detail.lsn;
    this.holderPid = detail.holderPid;
  }
}

export type OperationErrorCode =
  | 'TIDEMARK_ABORTED'
  | 'TIDEMARK_CLOSED'
  | 'TIDEMARK_OUTSIDE_ROOT'
  | 'TIDEMARK_QUEUE_FULL'
  | 'TIDEMARK_TIMEOUT';

/** A file operation that was not done, or given up, for a reason that is not the system's. */
export class OperationError extends TidemarkError {
  declare readonly code: OperationErrorCode;
  readonly path: string | undefined;
  /** `TIDEMARK_TIMEOUT`: a thread had begun it, so it may have taken effect, or still do so. */
  readonly begun: boolean | undefined;

  constructor(code: OperationErrorCode, message: string, detail: { path?: string; begun?: boolean } = {}) {
    super(code, message);
    this.path = detail.path;
    this.begun = detail.begun;
  }
}

/** A broken promise of this library to itself: a bug here, never bad input. */
export class InternalError extends TidemarkError {
  constructor(message: string) {
    super('TIDEMARK_INTERNAL', message);
  }
}

/** Throws an {@link InternalError} unless `condition` holds. */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new InternalError(`Assertion failed: ${message}`);
}

/** An error as a plain object, for the way between threads (structured clone drops `code` and the class). */
export interface WireError {
  readonly family: 'io' | 'journal' | 'operation' | 'notSupported' | 'argument' | 'internal' | 'other';
  readonly message: string;
  readonly stack: string | undefined;
  readonly fields: Readonly<Record<string, unknown>>;
  readonly cause: WireError | undefined;
}

const FAMILIES = {
  io: IoError,
  journal: JournalError,
  operation: OperationError,
  notSupported: NotSupportedError,
  argument: InvalidArgumentError,
  internal: InternalError,
  other: Error,
} as const;

export function toWire(error: unknown): WireError {
  if (!(error instanceof Error)) {
    return { family: 'other', message: String(error), stack: undefined, fields: {}, cause: undefined };
  }
  const family = error instanceof IoError ? 'io'
    : error instanceof JournalError ? 'journal'
    : error instanceof OperationError ? 'operation'
    : error instanceof NotSupportedError ? 'notSupported'
    : error instanceof InvalidArgumentError ? 'argument'
    : error instanceof InternalError ? 'internal'
    : 'other';
  return {
    family,
    message: error.message,
    stack: error.stack,
    fields: Object.fromEntries(Object.entries(error)),
    cause: error.cause === undefined ? undefined : toWire(error.cause),
  };
}

export function fromWire(wire: WireError): Error {
  const error = Object.create(FAMILIES[wire.family].prototype) as Error;
  const define = (key: string, value: unknown, enumerable: boolean): void => {
    Object.defineProperty(error, key, { value, enumerable, writable: true, configurable: true });
  };
  define('message', wire.message, false);
  define('stack', wire.stack, false);
  for (const [key, value] of Object.entries(wire.fields)) if (key !== 'cause') define(key, value, true);
  if (wire.cause !== undefined) define('cause', fromWire(wire.cause), false);
  return error;
}
