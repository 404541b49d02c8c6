/** Records on stdout: as lines, with length prefixes or as JSON; many small ones in one write. */
import { isUtf8 } from 'node:buffer';
import { Option, type Command } from 'commander';
import type { JournalRecord } from '../reader.js';
import { print } from './support.js';

export interface FormatOptions {
  readonly json?: true;
  readonly lengthPrefixed?: true;
}

/** Adds the options that choose a format. */
export function withFormatOptions(command: Command): Command {
  return command
    .addOption(new Option('--json', 'one JSON object per record: start, end, bytes, and text or base64').conflicts('lengthPrefixed'))
    .option('--length-prefixed', 'a little-endian u32 length, then the bytes; no newlines');
}

type Format = (record: JournalRecord) => readonly Uint8Array[];

const NEWLINE = Buffer.from('\n');

const asLine: Format = ({ payload }) => [payload, NEWLINE];

const asLengthPrefixed: Format = ({ payload }) => {
  const prefix = Buffer.alloc(4);
  prefix.writeUInt32LE(payload.length);
  return [prefix, payload];
};

const asJson: Format = ({ start, end, payload }) => {
  const bytes = Buffer.from(payload.buffer, payload.byteOffset, payload.length);
  const content = isUtf8(bytes) ? { text: bytes.toString('utf8') } : { base64: bytes.toString('base64') };
  return [Buffer.from(`${JSON.stringify({ start, end, bytes: payload.length, ...content })}\n`)];
};

/** Bytes that are collected before they are written. */
const COLLECT_BYTES = 64 * 1024;

export class RecordOutput {
  readonly #format: Format;
  #parts: Uint8Array[] = [];
  #heldBytes = 0;

  constructor(options: FormatOptions) {
    this.#format = options.json === true ? asJson : options.lengthPrefixed === true ? asLengthPrefixed : asLine;
  }

  /** True when the caller has to await {@link flush} before the next record. */
  add(record: JournalRecord): boolean {
    for (const part of this.#format(record)) {
      this.#parts.push(part);
      this.#heldBytes += part.length;
    }
    return this.#heldBytes >= COLLECT_BYTES;
  }

  /** Resolves when stdout has taken everything. */
  async flush(): Promise<void> {
    const parts = this.#parts;
    this.#parts = [];
    this.#heldBytes = 0;
    if (parts.length > 0) await print(Buffer.concat(parts));
  }
}
