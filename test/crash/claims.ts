/**
 * What programs that append said before they were cut off: which records may be in their journal, and which must be.
 *
 * They say it in lines: `life <n>` a new process begins; `! <thread> <n>` records up to n may be appended; `+ <thread> <n>
 * <lsn>` record n is acknowledged and ends there (-1: it cannot tell); `trim <lsn>` what is below may go; `damage <lsn>`
 * the record around that LSN was destroyed.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Journal } from 'tidemark';
import { segments } from '../internals.js';
import { nameOf, recordOf, REPLACED_BYTES } from '../programs/records.js';

/** Magic, length and checksum around a record. */
const FRAME_OVERHEAD_BYTES = 12;

/** A record as it was read back. */
export interface Found {
  readonly start: number;
  readonly end: number;
  readonly payload: Uint8Array;
}

interface ThreadClaims {
  readonly life: number;
  readonly thread: number;
  /** Records up to this number may have been appended. */
  announced: number;
  /** Acknowledged: the record's number and the LSN that was answered. */
  readonly acknowledged: Map<number, number>;
}

export class Claims {
  /** No record below this LSN has to be there. */
  trimmedTo = 0;
  /** The records that hold these LSNs are gone. */
  readonly #damaged: number[] = [];
  #life: number;
  readonly #threads = new Map<string, ThreadClaims>();

  constructor(life = 0) {
    this.#life = life;
  }

  /** Takes in one line. What is none of these lines says nothing. */
  hear(line: string): void {
    const [kind, first = '', second = '', third = ''] = line.split(' ');
    if (kind === 'life') this.#life = Number(first);
    else if (kind === 'trim') this.trimmedTo = Math.max(this.trimmedTo, Number(first));
    else if (kind === 'damage') this.#damaged.push(Number(first));
    else if (kind === '!') this.#of(Number(first)).announced = Number(second);
    else if (kind === '+') this.#of(Number(first)).acknowledged.set(Number(second), Number(third));
  }

  /** What a thread of the present life said. */
  ofThread(thread: number): { readonly announced: number; readonly acknowledged: ReadonlyMap<number, number> } {
    return this.#of(thread);
  }

  get acknowledged(): number {
    return [...this.#threads.values()].reduce((sum, { acknowledged }) => sum + acknowledged.size, 0);
  }

  /** Threads that acknowledged something. */
  get threads(): number {
    return [...this.#threads.values()].filter(({ acknowledged }) => acknowledged.size > 0).length;
  }

  /**
   * Compares the records of a journal, or of that part of it, with what was said: one line per lie. `from`: what is
   * below was looked at before. `first`: what is below was trimmed.
   */
  lies(records: readonly Found[], first: number, from = 0): string[] {
    const found: string[] = [];
    const nextOf = new Map<ThreadClaims, number>();
    for (const { start, end, payload } of records) {
      const name = nameOf(payload);
      const claims = name && this.#threads.get(keyOf(name.life, name.thread));
      if (name === undefined || claims === undefined || name.sequence > claims.announced) {
        found.push(`the record at LSN ${start} was never appended${name === undefined ? '' : `: ${JSON.stringify(name)}`}`);
        continue;
      }
      const label = `record ${name.life}/${name.thread}/${name.sequence}`;
      // The first one of a log that was trimmed may be any.
      let expected = nextOf.get(claims) ?? (first > from ? name.sequence : 0);
      while (expected < name.sequence && this.#isDamaged(claims, expected)) expected++;
      if (name.sequence !== expected) found.push(`${label} comes where ${expected} should`);
      nextOf.set(claims, name.sequence + 1);
      const lsn = claims.acknowledged.get(name.sequence) ?? -1;
      if (lsn !== -1 && lsn !== end) found.push(`${label} ends at ${end}, acknowledged was ${lsn}`);
    }
    return [...found, ...this.#lost(nextOf, first)];
  }

  #lost(nextOf: ReadonlyMap<ThreadClaims, number>, first: number): string[] {
    return [...this.#threads.values()].flatMap((claims) => {
      const next = nextOf.get(claims) ?? 0;
      return [...claims.acknowledged].flatMap(([sequence, lsn]) =>
        sequence >= next && (lsn === -1 || lsn > first) && !this.#isDamaged(claims, sequence) ? [`record ${claims.life}/${claims.thread}/${sequence} was acknowledged and is lost`] : []);
    });
  }

  #isDamaged({ life, thread, acknowledged }: ThreadClaims, sequence: number): boolean {
    const end = acknowledged.get(sequence);
    if (end === undefined) return false;
    const start = end - recordOf({ life, thread, sequence }).length - FRAME_OVERHEAD_BYTES;
    return this.#damaged.some((lsn) => lsn >= start && lsn < end);
  }

  #of(thread: number): ThreadClaims {
    const key = keyOf(this.#life, thread);
    const claims = this.#threads.get(key) ?? { life: this.#life, thread, announced: -1, acknowledged: new Map<number, number>() };
    this.#threads.set(key, claims);
    return claims;
  }
}

/** The LSN below which a journal was trimmed. */
export function trimmedBelow({ layout, firstLsn = 0 }: Journal): number {
  return layout === 'segments' ? firstLsn - segments.SEGMENT_HEADER_BYTES : 0;
}

function keyOf(life: number, thread: number): string {
  return `${life}/${thread}`;
}

/** Holds files that were replaced (`programs/replacer.ts`) against what was said of their versions: one line per lie. */
export function liesAboutReplaced(directory: string, claims: Claims, files: number): string[] {
  return Array.from({ length: files }, (_, file) => {
    const { announced, acknowledged } = claims.ofThread(file);
    const last = Math.max(-1, ...acknowledged.keys());
    const content = contentOf(join(directory, `replaced-${file}`));
    const name = content && nameOf(content, REPLACED_BYTES);
    const version = name?.thread === file ? name.sequence : undefined;
    const isRight = content === undefined ? last === -1 : version !== undefined && version >= last && version <= announced;
    return isRight ? [] : [`file ${file}: version ${version} of ${content?.length} bytes where version ${last} was acknowledged and is lost`];
  }).flat();
}

function contentOf(path: string): Buffer | undefined {
  try {
    return readFileSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
