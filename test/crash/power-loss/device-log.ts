/**
 * Reads the log of a disk, in the format of the kernel's dm-log-writes target
 * (Documentation/admin-guide/device-mapper/log-writes.rst).
 */
import { closeSync, fstatSync, openSync, readSync, writeSync } from 'node:fs';

export const SECTOR_BYTES = 512;
const MAGIC = 0x6a736677736872n;
const FLAG = { flush: 1, discard: 4, mark: 8 } as const;
const ENTRY_BYTES = 32;

export type LogEntry =
  | { readonly kind: 'write'; readonly sector: number; readonly sectors: number; /** Where the data lies in the log. */ readonly at: number }
  | { readonly kind: 'discard'; readonly sector: number; readonly sectors: number }
  | { readonly kind: 'flush' }
  | { readonly kind: 'mark'; readonly text: string };

/** What changes the disk. */
export type Change = Extract<LogEntry, { kind: 'write' | 'discard' }>;

const ZEROS = Buffer.alloc(1024 * 1024);

export class DeviceLog {
  readonly entries: readonly LogEntry[];
  readonly #descriptor: number;

  constructor(path: string) {
    this.#descriptor = openSync(path, 'r');
    this.entries = this.#parse();
  }

  close(): void {
    closeSync(this.#descriptor);
  }

  /** Does to a disk image what an entry did to the disk, or to those of its sectors that are `kept`. */
  apply(image: number, change: Change, kept?: (sector: number) => boolean): void {
    const { sector, sectors } = change;
    if (change.kind === 'discard') {
      for (let at = sector * SECTOR_BYTES, end = at + sectors * SECTOR_BYTES; at < end; at += ZEROS.length) writeSync(image, ZEROS, 0, Math.min(ZEROS.length, end - at), at);
      return;
    }
    const data = this.#read(change.at, sectors * SECTOR_BYTES);
    if (kept === undefined) {
      writeSync(image, data, 0, data.length, sector * SECTOR_BYTES);
      return;
    }
    for (let i = 0; i < sectors; i++) {
      if (kept(sector + i)) writeSync(image, data, i * SECTOR_BYTES, SECTOR_BYTES, (sector + i) * SECTOR_BYTES);
    }
  }

  #read(at: number, bytes: number): Buffer {
    const data = Buffer.allocUnsafe(bytes);
    if (readSync(this.#descriptor, data, 0, bytes, at) !== bytes) throw new Error(`the log ends within the ${bytes} bytes at ${at}`);
    return data;
  }

  #parse(): LogEntry[] {
    const size = fstatSync(this.#descriptor).size;
    const superblock = this.#read(0, SECTOR_BYTES);
    if (superblock.readBigUInt64LE(0) !== MAGIC || superblock.readUInt32LE(24) !== SECTOR_BYTES) throw new Error('not a log of writes with sectors of 512 bytes');
    const entries: LogEntry[] = [];
    for (let at = SECTOR_BYTES; at < size;) {
      const head = this.#read(at, ENTRY_BYTES);
      const [sector, sectors, flags, dataBytes] = [0, 8, 16, 24].map((offset) => Number(head.readBigUInt64LE(offset))) as [number, number, number, number];
      at += SECTOR_BYTES;
      if ((flags & FLAG.mark) !== 0) {
        entries.push({ kind: 'mark', text: this.#read(at, dataBytes).toString() });
        at += Math.ceil(dataBytes / SECTOR_BYTES) * SECTOR_BYTES;
      } else if ((flags & FLAG.discard) !== 0) {
        entries.push({ kind: 'discard', sector, sectors });
      } else if ((flags & FLAG.flush) !== 0) {
        entries.push({ kind: 'flush' });
      } else {
        entries.push({ kind: 'write', sector, sectors, at });
        at += sectors * SECTOR_BYTES;
      }
    }
    return entries;
  }
}
