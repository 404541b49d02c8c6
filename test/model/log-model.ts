/**
 * What a log is, without threads: judges the history of a schedule, event after event, in the order in which it happened.
 *
 * The order of successful reservations is the order of the log. Everything else follows from it: where each record lies,
 * what is published, how far each watermark may be, and who must have been told what.
 */
import { frame as fileFrame } from '../conformance/format.js';
import { frame as segmentFrame, KIND } from '../conformance/segment-files.js';
import { JOURNAL_ID, recordOf, SEGMENT_BYTES, type Scenario, type Step } from './scenario.js';
import { APPENDERS, NOT_EXCHANGED, OPENER, ROLES, WRITER, type StageEvent } from './stage.js';
import type { Words } from './words.js';

const OVERHEAD_BYTES = 12;
const CHECKSUM_BYTES = 4;
const MARK_BYTES = 64;
const SEGMENT_HEADER_BYTES = 4096;
const ID = Buffer.from(JOURNAL_ID);
const IDLE = -1;
const EIO = 5;
const SEALED = Number.MAX_SAFE_INTEGER;
const POISON = { io: 1, workerDied: 2, producerDied: 3 } as const;
const CODE = { none: 0, poisoned: 1, closed: 2, noSpace: 3, workerDied: 4 } as const;

export class Violation extends Error {}

/** One call of a script that appends. */
interface Call {
  readonly thread: number;
  readonly step: number;
  readonly kind: Exclude<Step['kind'], 'await' | 'close'>;
  readonly sizes: readonly number[];
  /** Its place; undefined while it has none. */
  range: Range | undefined;
  settled: boolean;
}

/** One reservation. */
interface Range {
  readonly start: number;
  /** Where its frames end, and where the log goes on: behind a footer and a header, perhaps. */
  readonly end: number;
  readonly next: number;
  /** What it is reserved for; undefined for pads and marks. */
  readonly call: Call | undefined;
  copied: number;
  /** It is published up to here. */
  published: number;
}

type Watermark = 'written' | 'durable' | 'released';

export class LogModel {
  /** What came up. */
  readonly seen = new Set<string>();
  readonly #scenario: Scenario;
  readonly #words: Words;
  readonly #ranges: Range[] = [];
  /** The reservation that a thread has not published in full. */
  readonly #open = new Map<number, Range>();
  /** The last reservation of the writer. */
  #lastMark: Range | undefined;
  readonly #calls: Call[] = [];
  readonly #slots = new Map<number, number>();
  readonly #slotOf = new Map<string, number>();
  readonly #dead = new Set<number>();
  /** Threads that have begun to close their journal, and those that have ended that. */
  readonly #closing = new Set<number>();
  readonly #ended = new Set<number>();
  /** A call whose promise a later one was quicker than, by thread. */
  readonly #overtaken = new Map<number, Call>();
  readonly #held = new Map<number, number>();
  readonly #wrote: Coverage;
  readonly #stable: Coverage;
  readonly #watermarks: Record<Watermark, number>;
  #end: number;
  #spaceEnd: number;
  #inFlight = 0;
  #poisoned = false;
  #failed = false;
  #closed = false;
  #sealed = false;
  #diskFull = false;
  #index = 0;

  constructor(scenario: Scenario, words: Words) {
    this.#scenario = scenario;
    this.#words = words;
    const { start, origin, released } = scenario;
    this.#end = start;
    this.#watermarks = { written: start, durable: start, released };
    this.#spaceEnd = scenario.layout === 'segments' ? origin + scenario.segments * SEGMENT_BYTES : Infinity;
    this.#wrote = new Coverage(origin);
    this.#stable = new Coverage(origin);
  }

  observe(index: number, event: StageEvent): void {
    this.#index = index;
    const { thread, kind, a, b, c } = event;
    switch (kind) {
      case 'store': case 'exchange': case 'compareExchange': this.#word(event); break;
      case 'call': this.#call(thread, a); break;
      case 'refused': this.#refused(this.#callAt(thread, a)); break;
      case 'resolve': this.#resolve(this.#callAt(thread, a), b); break;
      case 'reject': this.#reject(this.#callAt(thread, a), b); break;
      case 'closing': this.#closing.add(thread); break;
      case 'closed': this.#closedBy(thread, a); break;
      case 'copy': this.#copy(thread, a, b); break;
      case 'submit': this.#submit(a, b, c); break;
      case 'wrote': this.#wrote.add(a, b); break;
      case 'stable': this.#stable.add(a, b); break;
      case 'complete': this.#inFlight--; this.#failed ||= b === -EIO; break;
      case 'synced': this.#failed ||= b === -EIO; break;
      case 'died': this.#dead.add(thread); this.seen.add(`${thread === WRITER ? 'the writer' : 'a producer'} dies`); break;
      case 'turn': this.#turn(thread); break;
      case 'idle': this.#held.set(thread, a); break;
      case 'sleep': this.seen.add(thread === WRITER ? 'the writer sleeps' : 'an appender sleeps'); break;
      case 'quiet': this.#quiet(); break;
      case 'load': case 'add': case 'sub': case 'notify': case 'timer': break;
    }
  }

  // ---- reserving and publishing --------------------------------------------------------------------------------------

  #word({ thread, kind, a, b, c }: StageEvent): void {
    const word = this.#words.get(a) ?? '';
    const swapped = kind === 'compareExchange';
    if (swapped && c === NOT_EXCHANGED) return;
    if (word === 'reserved') this.#reserve(thread, b, c);
    else if (word.startsWith('owner') && swapped) this.#slotOf.set(word.replace('owner', 'slot'), thread);
    else if (word.startsWith('slot')) this.#slot(thread, word, c);
    else if (word === 'written' || word === 'durable' || word === 'released') this.#raise(word, c);
    else if (word === 'spaceEnd') this.#spaceEnd = c;
    else if (word === 'closed') this.#closed = true;
    else if (word === 'diskFull' && c === 1) this.#diskFull = true;
    else if (word === 'segmentWanted' && c === 1) this.seen.add('a segment is wanted');
    else if (word === 'poison' && b === 0) this.#poison(c & 0xff);
  }

  #reserve(thread: number, from: number, to: number): void {
    this.#check(!this.#sealed, 'a reservation in a sealed log');
    this.#check(from === this.#end, 'a reservation begins where the log ends');
    if (to === SEALED) {
      this.#seal(thread, from);
      return;
    }
    const range = thread === WRITER ? this.#closingRange(from, to) : this.#producerRange(thread, from, to);
    this.#ranges.push(range);
    this.#end = to;
  }

  #seal(thread: number, end: number): void {
    this.#check(thread === OPENER && this.#closed, 'only a journal that closes is sealed');
    this.#check(this.#watermarks.durable === end && this.#open.size === 0, 'a log is sealed once all of it is durable');
    this.#sealed = true;
  }

  #producerRange(thread: number, from: number, to: number): Range {
    const call = this.#calls.find((one) => one.thread === thread && one.range === undefined && !one.settled);
    if (call === undefined) throw this.#violation('a reservation that nobody asked for');
    this.#check(!this.#open.has(thread), 'a thread reserves while it has a reservation');
    this.#check(to <= this.#spaceEnd, 'nothing is reserved beyond the segments in place');
    const bytes = call.sizes.reduce((sum, size) => sum + size + OVERHEAD_BYTES, 0);
    const { fits, next } = this.#place(from, bytes);
    this.#check(to === next, `a reservation at ${from} goes to ${next}, not to ${to}`);
    const range: Range = { start: from, end: fits ? from + bytes : this.#footerOf(from), next, call: fits ? call : undefined, copied: 0, published: from };
    if (fits) call.range = range;
    this.seen.add(fits ? 'a record' : 'a pad at the end of a segment');
    if (fits && next > range.end) this.seen.add('a record up to the footer');
    this.#open.set(thread, range);
    return range;
  }

  /** What the writer reserves counts as published at once: nobody but itself takes it. */
  #closingRange(from: number, to: number): Range {
    this.#check(this.#scenario.layout === 'segments', 'only segments have marks');
    this.seen.add('a mark of the writer');
    const end = baseOf(to) > baseOf(from) ? this.#footerOf(from) : to;
    this.#lastMark = { start: from, end, next: to, call: undefined, copied: 0, published: to };
    return this.#lastMark;
  }

  /** Where frames of `bytes` go that are appended at `from`, and where the log ends then: the definition of the layouts. */
  #place(from: number, bytes: number): { fits: boolean; next: number } {
    if (this.#scenario.layout === 'file') return { fits: true, next: from + bytes };
    const left = this.#footerOf(from) - from;
    const behind = from + left + MARK_BYTES + SEGMENT_HEADER_BYTES;
    if (bytes === left) return { fits: true, next: behind };
    return bytes + OVERHEAD_BYTES <= left ? { fits: true, next: from + bytes } : { fits: false, next: behind };
  }

  #slot(thread: number, word: string, lsn: number): void {
    this.#check(this.#slotOf.get(word) === thread, 'a slot is written by its owner');
    this.#slots.set(thread, lsn);
    const range = this.#open.get(thread);
    if (range === undefined) return;
    if (lsn !== IDLE && lsn < range.next && range.call !== undefined) {
      this.#check(lsn >= range.published, 'publishing goes forward');
      range.published = lsn;
      this.seen.add('a record that streams');
      return;
    }
    const wanted = range.call === undefined ? OVERHEAD_BYTES : range.call.sizes.reduce((sum, size) => sum + size + OVERHEAD_BYTES - CHECKSUM_BYTES, 0);
    this.#check(range.copied >= wanted, `published with ${range.copied} of ${wanted} bytes copied`);
    range.published = range.next;
    this.#open.delete(thread);
  }

  /** Every byte below it is copied, and every byte between the reservations of the others and it is not. */
  get #published(): number {
    let published = this.#end;
    for (const range of this.#open.values()) published = Math.min(published, range.published);
    return published;
  }

  #copy(thread: number, lsn: number, bytes: number): void {
    const range = thread === WRITER ? this.#lastMark : this.#open.get(thread);
    if (range === undefined) throw this.#violation('a copy without a reservation');
    this.#check(lsn >= range.start && lsn + bytes <= range.next, 'a copy lies in its reservation');
    this.#check(lsn + bytes <= this.#watermarks.released + this.#scenario.capacity, 'the window is overwritten before it is released');
    this.#check(this.#poisoned || lsn >= range.published || thread === WRITER, 'what is published is not written again');
    range.copied += bytes;
    if (Math.floor((lsn + bytes) / this.#scenario.capacity) > Math.floor(this.#scenario.start / this.#scenario.capacity)) this.seen.add('the window wraps');
  }

  // ---- writing and watermarks ----------------------------------------------------------------------------------------

  #submit(start: number, end: number, dataEnd: number): void {
    this.#inFlight++;
    if (this.#inFlight > 1) this.seen.add('several writes in flight');
    const { layout } = this.#scenario;
    // In the file layout zeros follow the log up to the end of its last sector.
    this.#check((layout === 'file' ? dataEnd : end) <= this.#published, 'only what is published is written');
    if (layout === 'segments') this.#check(this.#stable.isFree(start, end), 'a sector that is durable is not written again');
  }

  #raise(watermark: Watermark, lsn: number): void {
    const { written, durable } = this.#watermarks;
    this.#check(lsn >= this.#watermarks[watermark], `the watermark '${watermark}' goes back`);
    this.#check(lsn <= this.#published, `the watermark '${watermark}' is beyond what is published`);
    this.#watermarks[watermark] = lsn;
    if (watermark === 'written') this.#check(this.#covered(this.#wrote, durable, lsn), 'written, but not handed to the kernel');
    if (watermark === 'durable') {
      this.#check(!this.#poisoned || lsn === durable, 'a poisoned journal becomes more durable');
      this.#check(lsn <= written, 'durable before it is written');
      this.#check(this.#covered(this.#stable, durable, lsn), 'durable, but not on stable storage');
      this.#check(!this.#frames().some(({ start, end }) => start < lsn && lsn < end), 'durable in the middle of a frame');
    }
    if (watermark === 'released') this.#check(this.#covered(this.#stable, durable, lsn), 'released, but not on stable storage');
  }

  /** Whether all records between two LSNs are there. What pads leave out is never written. */
  #covered(coverage: Coverage, from: number, to: number): boolean {
    return this.#ranges.every(({ start, end, call }) => call === undefined || end <= from || start >= to || coverage.has(Math.max(start, from), Math.min(end, to)));
  }

  #poison(kind: number): void {
    this.#poisoned = true;
    this.seen.add('poisoned');
    const why = kind === POISON.io ? this.#failed
      : kind === POISON.workerDied ? this.#dead.has(WRITER)
      : kind === POISON.producerDied ? this.#isHeldUp : false;
    this.#check(why, `poisoned without a reason, kind ${kind}`);
  }

  /** A thread that has ended holds a slot that is not idle. */
  get #isHeldUp(): boolean {
    return [...this.#dead].some((thread) => thread !== WRITER && (this.#slots.get(thread) ?? IDLE) !== IDLE);
  }

  // ---- calls and promises --------------------------------------------------------------------------------------------

  #call(thread: number, step: number): void {
    const one = this.#scenario.scripts[thread]?.[step];
    if (one === undefined || one.kind === 'await' || one.kind === 'close') throw this.#violation('no such call');
    this.#calls.push({ thread, step, kind: one.kind, sizes: one.sizes, range: undefined, settled: false });
  }

  #callAt(thread: number, step: number): Call {
    const call = this.#calls.find((one) => one.thread === thread && one.step === step);
    if (call === undefined) throw this.#violation('a promise of no call');
    this.#check(!call.settled, 'a promise is settled once');
    return call;
  }

  #refused(call: Call): void {
    this.#check(call.kind === 'try', 'only tryAppend refuses');
    this.seen.add('tryAppend refuses');
    call.settled = true;
  }

  #watermarkOf({ thread, kind }: Call): number {
    const level = kind === 'try' || kind === 'submit' ? 'durable' : this.#scenario.acks[thread] ?? 'durable';
    return this.#watermarks[level];
  }

  #resolve(call: Call, end: number): void {
    if (call.range === undefined) throw this.#violation('a record is acknowledged that has no place');
    this.#check(call.range.end === end, `a record that ends at ${call.range.end} is acknowledged as ${end}`);
    this.#check(this.#watermarkOf(call) >= end, 'acknowledged before the watermark has come there');
    call.settled = true;
    // A record that waited for room is told a few microtasks after its watermark was seen, but in the same turn.
    const earlier = this.#calls.find((one) => isPlain(one) && one.thread === call.thread && !one.settled && one.step < call.step);
    if (isPlain(call) && earlier !== undefined) this.#overtaken.set(call.thread, earlier);
  }

  #turn(thread: number): void {
    const overtaken = this.#overtaken.get(thread);
    this.#check(overtaken === undefined || overtaken.settled, `${this.#describe(overtaken)} is acknowledged after a later one`);
    this.#overtaken.delete(thread);
  }

  #reject(call: Call, code: number): void {
    call.settled = true;
    const { range } = call;
    if (code === CODE.poisoned) {
      this.#check(this.#poisoned, 'rejected as poisoned without a poison');
      this.#check(range === undefined || range.end > this.#watermarks.durable, 'rejected, but durable');
      this.seen.add('rejected as poisoned');
    } else if (code === CODE.closed) {
      this.#check(this.#closed || this.#closing.has(call.thread), 'rejected as closed before it was');
      this.#check(range === undefined, 'rejected as closed, but in the log');
      this.seen.add('rejected as closed');
    } else {
      this.#check(code === CODE.noSpace && this.#diskFull && range === undefined, `rejected for no reason, code ${code}`);
      this.seen.add('rejected for want of space');
    }
  }

  #closedBy(thread: number, code: number): void {
    this.#ended.add(thread);
    if (code === CODE.none) {
      this.#check(thread !== OPENER || this.#sealed || this.#poisoned, 'closed, but not sealed');
      if (!this.#poisoned) this.seen.add('closed');
    } else this.#check(code === CODE.workerDied && this.#dead.has(WRITER), `closing failed, code ${code}`);
  }

  // ---- when nothing moves --------------------------------------------------------------------------------------------

  /** No thread can go on by itself: nobody may be waiting for what is there, and nothing may be left to do. */
  #quiet(): void {
    const waiting = this.#calls.filter(({ thread, settled }) => !settled && !this.#dead.has(thread));
    const due = waiting.find((call) => call.range !== undefined && call.range.end <= this.#watermarkOf(call));
    this.#check(due === undefined, `${this.#describe(due)} sleeps, but its watermark has come`);
    // Until a timer looks after the thread that has ended.
    if (this.#isHeldUp && !this.#poisoned) return;
    this.#check(waiting.length === 0, `${this.#describe(waiting[0])} waits, and nobody will wake it`);
    this.#check(this.#poisoned || this.#watermarks.durable === this.#end || this.#sealed, 'the writer sleeps, and published log is not durable');
    for (const thread of this.#closing) this.#check(this.#ended.has(thread) || this.#dead.has(thread), `${ROLES[thread] ?? ''} waits for its close() for ever`);
  }

  /** After the last event: what everybody was told, and what is on the disk. */
  end(stable: Uint8Array): void {
    for (const call of this.#calls) this.#check(call.settled || this.#dead.has(call.thread), `${this.#describe(call)} was never settled`);
    for (let thread = 0; thread < APPENDERS; thread++) {
      this.#check((this.#held.get(thread) ?? 0) === 0 || this.#dead.has(thread), `${ROLES[thread] ?? ''} would keep its process alive`);
    }
    for (const frame of this.#frames()) {
      if (frame.end > this.#watermarks.durable) continue;
      const at = frame.start - this.#scenario.origin;
      const found = Buffer.from(stable.buffer, stable.byteOffset + at, frame.end - frame.start);
      this.#check(found.equals(this.#bytesOf(frame)), `the durable record at ${frame.start} is another one on the disk`);
    }
  }

  /** Frames of records, in order. */
  #frames(): { start: number; end: number; thread: number; number: number; size: number }[] {
    return this.#ranges.flatMap(({ start, call }) => {
      let at = start;
      return (call?.sizes ?? []).map((size, i) => {
        const frame = { start: at, end: at + size + OVERHEAD_BYTES, thread: call?.thread ?? 0, number: (call?.step ?? 0) * 4 + i, size };
        at = frame.end;
        return frame;
      });
    });
  }

  #bytesOf({ start, thread, number, size }: { start: number; thread: number; number: number; size: number }): Buffer {
    const record = recordOf(thread, number, size);
    return this.#scenario.layout === 'file' ? fileFrame(record) : segmentFrame(ID, KIND.record, record, start);
  }

  // ---- words ---------------------------------------------------------------------------------------------------------

  #footerOf(lsn: number): number {
    return this.#scenario.layout === 'file' ? Infinity : baseOf(lsn) + SEGMENT_BYTES - MARK_BYTES;
  }

  #describe(call: Call | undefined): string {
    return call === undefined ? '' : `${ROLES[call.thread] ?? ''}'s step ${call.step}`;
  }

  #check(holds: boolean, what: string): void {
    if (!holds) throw this.#violation(what);
  }

  #violation(what: string): Violation {
    return new Violation(`event ${this.#index}: ${what}`);
  }
}

/** Resolved straight from a watermark. */
function isPlain({ kind }: Call): boolean {
  return kind === 'append' || kind === 'batch';
}

function baseOf(lsn: number): number {
  return lsn - (lsn % SEGMENT_BYTES);
}

/** Which bytes of the log something has happened to. */
class Coverage {
  readonly #origin: number;
  readonly #bytes = Buffer.alloc(8 * SEGMENT_BYTES);

  constructor(origin: number) {
    this.#origin = origin;
  }

  add(start: number, end: number): void {
    this.#bytes.fill(1, start - this.#origin, end - this.#origin);
  }

  has(start: number, end: number): boolean {
    return !this.#bytes.subarray(start - this.#origin, end - this.#origin).includes(0);
  }

  isFree(start: number, end: number): boolean {
    return !this.#bytes.subarray(start - this.#origin, end - this.#origin).includes(1);
  }
}
