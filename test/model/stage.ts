/**
 * The stage: shared memory through which threads take turns, so that one seed always gives one interleaving.
 *
 * Exactly one thread has the turn; every other one waits for it. At each point of interest the thread that has it lets a
 * seeded generator decide whether to hand it over, and to whom. So all that is here is touched by one thread at a time; the
 * real `Atomics` hand the turn, and with it all memory, from one to the next.
 *
 * Interleavings are sequentially consistent, as `Atomics` are. Plain copies are divided from what comes before and behind
 * them, not within.
 */

/** Kept before a thread's global one is replaced. */
const atomics = Atomics;

/** The opener, two threads that attach, the writer. */
export const ROLES = ['opener', 'second', 'third', 'writer'] as const;
export const OPENER = 0;
export const WRITER = 3;
export const APPENDERS = 3;

/** What happens, in the order of the history. The first of them are the operations of `Atomics`. */
export const EVENTS = [
  'load', 'store', 'compareExchange', 'add', 'sub', 'exchange', 'notify', 'sleep',
  'call', 'refused', 'resolve', 'reject', 'closing', 'closed', 'copy', 'submit', 'wrote', 'stable', 'complete', 'synced', 'died', 'timer', 'quiet', 'turn', 'idle',
] as const;
export type EventKind = (typeof EVENTS)[number];

export interface StageEvent {
  readonly thread: number;
  readonly kind: EventKind;
  readonly a: number;
  readonly b: number;
  readonly c: number;
}

/** In place of the new value: a compare-exchange found something else than it expected. */
export const NOT_EXCHANGED = -2;

/** What one thread tells another: in the product a message, or the end of a thread. */
export const MESSAGES = ['wanted', 'entered', 'half', 'near', 'filled', 'idle', 'addSegment', 'added', 'detach', 'detached', 'writerDied'] as const;
export type Message = (typeof MESSAGES)[number];

/** Status of a thread: waits for something, could go on, or takes no part any more. */
const STATUS = { blocked: 0, ready: 1, gone: 2 } as const;

const STEPS_MAX = 60_000;
const EVENT_NUMBERS = 5;
const EVENTS_MAX = 2 * STEPS_MAX;
const MAIL_MAX = 64;
const TEXT_BYTES = 16_384;

/** 32-bit words. Words of threads lie apart, for the one that each waits on is waited on by the kernel. */
const WORD = { ended: 0, schedule: 16, random: 17, steps: 18, events: 19, chance: 20, textBytes: 21, switches: 22 } as const;
const THREAD_WORDS = 32;
const OWN = { turn: 0, status: 16, asleep: 17, woken: 18, timers: 19, fire: 20, mailed: 21, read: 22, dead: 23 } as const;
const own = (thread: number, word: number): number => THREAD_WORDS * (1 + thread) + word;

/** 64-bit numbers: the clock, then the mail of each thread. */
const NUMBERS = 1 + ROLES.length * MAIL_MAX * 2;
const mail = (thread: number, index: number): number => 1 + (thread * MAIL_MAX + index) * 2;

export interface StageMemory {
  readonly words: SharedArrayBuffer;
  readonly numbers: SharedArrayBuffer;
  readonly events: SharedArrayBuffer;
  readonly text: SharedArrayBuffer;
}

/** Thrown through the product's code when its thread ends there. */
export class Died extends Error {}

export class Stage {
  readonly memory: StageMemory;
  readonly #words: Int32Array;
  readonly #numbers: Float64Array;
  readonly #events: Float64Array;
  readonly #text: Uint8Array;

  constructor(memory: StageMemory) {
    this.memory = memory;
    this.#words = new Int32Array(memory.words);
    this.#numbers = new Float64Array(memory.numbers);
    this.#events = new Float64Array(memory.events);
    this.#text = new Uint8Array(memory.text);
  }

  static create(): Stage {
    return new Stage({
      words: new SharedArrayBuffer(THREAD_WORDS * (1 + ROLES.length) * 4),
      numbers: new SharedArrayBuffer(NUMBERS * 8),
      events: new SharedArrayBuffer(EVENTS_MAX * EVENT_NUMBERS * 8),
      text: new SharedArrayBuffer(TEXT_BYTES),
    });
  }

  // ---- by who directs: the main thread -------------------------------------------------------------------------------

  /** Plays one schedule to its end. False when it did not end within `boundMs`: a thread hangs or has crashed. */
  play(seed: number, switchPercent: number, boundMs: number): boolean {
    this.#words.fill(0);
    this.#numbers.fill(0);
    this.#set(WORD.schedule, seed);
    this.#set(WORD.random, seed);
    this.#set(WORD.chance, switchPercent);
    for (let thread = 0; thread < ROLES.length; thread++) this.#set(own(thread, OWN.status), STATUS.ready);
    this.#give(this.random(ROLES.length));
    return atomics.wait(this.#words, WORD.ended, 0, boundMs) !== 'timed-out';
  }

  /** What a thread found wrong. */
  get complaint(): string | undefined {
    const bytes = this.#get(WORD.textBytes);
    return bytes === 0 ? undefined : Buffer.from(this.#text.slice(0, bytes)).toString();
  }

  get steps(): number {
    return this.#get(WORD.steps);
  }

  get switches(): number {
    return this.#get(WORD.switches);
  }

  get length(): number {
    return this.#get(WORD.events);
  }

  event(index: number): StageEvent {
    const at = index * EVENT_NUMBERS;
    const number = (offset: number): number => this.#events[at + offset] ?? 0;
    return { thread: number(0), kind: EVENTS[number(1)] ?? 'idle', a: number(2), b: number(3), c: number(4) };
  }

  // ---- turns ---------------------------------------------------------------------------------------------------------

  /** The seed of the schedule that is played. */
  get schedule(): number {
    return this.#get(WORD.schedule);
  }

  awaitTurn(thread: number): void {
    const word = own(thread, OWN.turn);
    while (atomics.load(this.#words, word) === 0) atomics.wait(this.#words, word, 0);
    atomics.store(this.#words, word, 0);
  }

  /** A place at which another thread may come in between. */
  point(thread: number): void {
    const steps = this.#get(WORD.steps) + 1;
    this.#set(WORD.steps, steps);
    if (steps > STEPS_MAX) this.complain(thread, `no end after ${STEPS_MAX} steps`);
    if (this.random(100) < this.#get(WORD.chance)) this.handOver(thread);
  }

  /** Lets any thread that could go on have the turn, this one among them. */
  handOver(thread: number): void {
    const ready: number[] = [];
    for (let i = 0; i < ROLES.length; i++) if (this.#get(own(i, OWN.status)) === STATUS.ready) ready.push(i);
    if (ready.length === 0) ready.push(...this.#quiet());
    const next = ready[this.random(ready.length)];
    if (next === thread) return;
    this.#set(WORD.switches, this.#get(WORD.switches) + 1);
    if (next === undefined) this.#end();
    else this.#give(next);
    this.awaitTurn(thread);
  }

  /** This thread has nothing to do until it is woken or told something. */
  rest(thread: number, gone: boolean, timers: number): void {
    this.#set(own(thread, OWN.status), gone ? STATUS.gone : STATUS.blocked);
    this.#set(own(thread, OWN.timers), gone ? 0 : timers);
  }

  /** No thread can go on: time passes until the timer of one of them. The schedule has ended when there is none. */
  #quiet(): number[] {
    this.record(WRITER, 'quiet');
    const timed: number[] = [];
    for (let i = 0; i < ROLES.length; i++) if (this.#get(own(i, OWN.timers)) > 0) timed.push(i);
    const next = timed[this.random(timed.length)];
    if (next === undefined) return [];
    this.#set(own(next, OWN.fire), 1);
    this.#set(own(next, OWN.status), STATUS.ready);
    return [next];
  }

  /** Whether a timer of this thread has come. */
  takeFire(thread: number): boolean {
    const fire = this.#get(own(thread, OWN.fire)) === 1;
    this.#set(own(thread, OWN.fire), 0);
    return fire;
  }

  #give(thread: number): void {
    atomics.store(this.#words, own(thread, OWN.turn), 1);
    atomics.notify(this.#words, own(thread, OWN.turn));
  }

  #end(): void {
    atomics.store(this.#words, WORD.ended, 1);
    atomics.notify(this.#words, WORD.ended);
  }

  // ---- sleep, mail, death --------------------------------------------------------------------------------------------

  /** `Atomics.waitAsync`: the thread is woken by {@link wake} of the same word. One wait per thread. */
  sleep(thread: number, offset: number): void {
    if (this.#get(own(thread, OWN.asleep)) !== 0) this.complain(thread, 'a second wait in one thread');
    this.#set(own(thread, OWN.asleep), offset + 1);
  }

  /** `Atomics.notify`; answers how many it has woken. */
  wake(offset: number): number {
    let woken = 0;
    for (let thread = 0; thread < ROLES.length; thread++) {
      if (this.#get(own(thread, OWN.asleep)) !== offset + 1) continue;
      this.#set(own(thread, OWN.asleep), 0);
      this.#set(own(thread, OWN.woken), 1);
      this.#rouse(thread);
      woken++;
    }
    return woken;
  }

  #rouse(thread: number): void {
    if (this.#get(own(thread, OWN.status)) === STATUS.blocked) this.#set(own(thread, OWN.status), STATUS.ready);
  }

  takeWoken(thread: number): boolean {
    const woken = this.#get(own(thread, OWN.woken)) === 1;
    this.#set(own(thread, OWN.woken), 0);
    return woken;
  }

  post(to: number, message: Message, argument = 0): void {
    const index = this.#get(own(to, OWN.mailed));
    if (index === MAIL_MAX) this.complain(to, `more than ${MAIL_MAX} messages to ${ROLES[to] ?? ''}`);
    this.#numbers[mail(to, index)] = MESSAGES.indexOf(message);
    this.#numbers[mail(to, index) + 1] = argument;
    this.#set(own(to, OWN.mailed), index + 1);
    this.#rouse(to);
  }

  hasMail(thread: number): boolean {
    return this.#get(own(thread, OWN.read)) < this.#get(own(thread, OWN.mailed));
  }

  takeMail(thread: number): { message: Message; argument: number } {
    const index = this.#get(own(thread, OWN.read));
    this.#set(own(thread, OWN.read), index + 1);
    const message = MESSAGES[this.#numbers[mail(thread, index)] ?? 0] ?? 'idle';
    return { message, argument: this.#numbers[mail(thread, index) + 1] ?? 0 };
  }

  die(thread: number): void {
    this.record(thread, 'died');
    this.#set(own(thread, OWN.dead), 1);
    this.#set(own(thread, OWN.asleep), 0);
    if (thread === WRITER) this.post(OPENER, 'writerDied');
  }

  isDead(thread: number): boolean {
    return this.#get(own(thread, OWN.dead)) === 1;
  }

  // ---- what is decided and kept --------------------------------------------------------------------------------------

  /** A number from 0 on, below `below`. */
  random(below: number): number {
    const state = (this.#get(WORD.random) + 0x6d2b79f5) | 0;
    this.#set(WORD.random, state);
    return scramble(state) % Math.max(1, below);
  }

  /** Milliseconds. Time passes only by looking at the clock: nothing or little, at times much. */
  now(): number {
    const passed = this.random(8) === 0 ? 0.5 : this.random(100) / 1000;
    this.#numbers[0] = (this.#numbers[0] ?? 0) + passed;
    return this.#numbers[0];
  }

  record(thread: number, kind: EventKind, a = 0, b = 0, c = 0): void {
    const index = this.#get(WORD.events);
    if (index === EVENTS_MAX) return;
    const at = index * EVENT_NUMBERS;
    this.#events[at] = thread;
    this.#events[at + 1] = EVENTS.indexOf(kind);
    this.#events[at + 2] = a;
    this.#events[at + 3] = b;
    this.#events[at + 4] = c;
    this.#set(WORD.events, index + 1);
  }

  /** Something is wrong: the schedule ends here, and the thread with it. */
  complain(thread: number, what: string): never {
    const text = Buffer.from(`${ROLES[thread] ?? 'a thread'}: ${what}`).subarray(0, TEXT_BYTES);
    this.#text.set(text);
    this.#set(WORD.textBytes, text.length);
    this.#end();
    for (;;) atomics.wait(this.#words, own(thread, OWN.turn), 0);
  }

  #get(word: number): number {
    return this.#words[word] ?? 0;
  }

  #set(word: number, value: number): void {
    this.#words[word] = value;
  }
}

/** The mixing step of mulberry32. */
export function scramble(state: number): number {
  let mixed = Math.imul(state ^ (state >>> 15), state | 1);
  mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
  return (mixed ^ (mixed >>> 14)) >>> 0;
}
