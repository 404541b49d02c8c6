/** Cuts a stream of bytes into records. */
import { JournalError, TidemarkError } from '../../platform/errors.js';
import { RECORD_BYTES_MAX } from '../../workers/protocol/frame.js';

export interface RecordSplitter {
  /** Bytes that the input has for each record beside its own. */
  readonly overheadBytes: number;
  /** The records that are complete with `bytes`. They may share its memory. */
  push(bytes: Buffer): Iterable<Buffer>;
  /** What is left at the end of the input. Throws when that is no whole record. */
  end(): Iterable<Buffer>;
}

const NEWLINE = 0x0a;

/** One record per line, without its newline. A last line needs none. */
export class LineSplitter implements RecordSplitter {
  readonly overheadBytes = 1;
  #pieces: Buffer[] = [];
  #heldBytes = 0;
  /** Offset in the input where the line at hand starts. */
  #offset = 0;

  *push(bytes: Buffer): Iterable<Buffer> {
    let from = 0;
    for (let at = bytes.indexOf(NEWLINE); at >= 0; at = bytes.indexOf(NEWLINE, from)) {
      this.#hold(bytes.subarray(from, at));
      from = at + 1;
      const record = this.#take();
      this.#offset += record.length + 1;
      yield record;
    }
    if (from < bytes.length) this.#hold(bytes.subarray(from));
  }

  *end(): Iterable<Buffer> {
    if (this.#heldBytes > 0) yield this.#take();
  }

  #hold(piece: Buffer): void {
    this.#pieces.push(piece);
    this.#heldBytes += piece.length;
    if (this.#heldBytes > RECORD_BYTES_MAX) throw tooLarge(this.#offset);
  }

  #take(): Buffer {
    const [only] = this.#pieces;
    const record = this.#pieces.length === 1 && only !== undefined ? only : Buffer.concat(this.#pieces);
    this.#pieces = [];
    this.#heldBytes = 0;
    return record;
  }
}

const PREFIX_BYTES = 4;

/** A little-endian u32 length before each record. */
export class LengthPrefixSplitter implements RecordSplitter {
  readonly overheadBytes = PREFIX_BYTES;
  #pieces: Buffer[] = [];
  #heldBytes = 0;
  #neededBytes = PREFIX_BYTES;
  #offset = 0;

  *push(bytes: Buffer): Iterable<Buffer> {
    this.#pieces.push(bytes);
    this.#heldBytes += bytes.length;
    if (this.#heldBytes < this.#neededBytes) return;
    const input = this.#pieces.length === 1 ? bytes : Buffer.concat(this.#pieces);
    let at = 0;
    for (;;) {
      const held = input.length - at;
      this.#neededBytes = PREFIX_BYTES + (held < PREFIX_BYTES ? 0 : this.#length(input, at));
      if (held < PREFIX_BYTES || held < this.#neededBytes) break;
      yield input.subarray(at + PREFIX_BYTES, at + this.#neededBytes);
      at += this.#neededBytes;
      this.#offset += this.#neededBytes;
    }
    this.#pieces = [input.subarray(at)];
    this.#heldBytes = input.length - at;
  }

  *end(): Iterable<Buffer> {
    if (this.#heldBytes === 0) return;
    const expected = this.#heldBytes < PREFIX_BYTES ? `${PREFIX_BYTES} bytes of length` : `${this.#neededBytes} bytes`;
    throw new TidemarkError(
      'TIDEMARK_TRUNCATED_INPUT',
      `the input ends within the record at offset ${this.#offset}: expected ${expected}, got ${this.#heldBytes}`,
    );
  }

  #length(input: Buffer, at: number): number {
    const length = input.readUInt32LE(at);
    if (length > RECORD_BYTES_MAX) throw tooLarge(this.#offset);
    return length;
  }
}

function tooLarge(offset: number): JournalError {
  return new JournalError('TIDEMARK_RECORD_TOO_LARGE', `the record at offset ${offset} of the input has more than ${RECORD_BYTES_MAX} bytes`);
}
