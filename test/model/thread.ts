/**
 * One thread on the stage: the event loop that the product sees there. What it does with shared memory, time and the loop
 * goes through the stage, so that other threads may come in between, and so that it is the same each time.
 */
import { Died, NOT_EXCHANGED, type Message, type Stage } from './stage.js';
import type { Product } from './product.js';
import type { Words } from './words.js';

/** What a thread plays. */
export interface Part {
  /** A new schedule: state from scratch. */
  begin(): void;
  /** What it could do by itself now, besides what the event loop has for it. */
  choices(): (() => void)[];
  hear(message: Message, argument: number): void;
  /** It takes no part any more. */
  readonly gone: boolean;
}

interface Timer {
  readonly run: () => void;
  ref(): Timer;
  unref(): Timer;
}

type AnyWords = Int32Array | BigInt64Array;
type LogBuffer = InstanceType<Product['LogBuffer']>;

const HEADER_BYTES = 8;
const OVERHEAD_BYTES = 12;

const real = { atomics: Atomics, setImmediate };

export class StageThread {
  readonly me: number;
  readonly stage: Stage;
  readonly #words: Words;
  readonly #control: SharedArrayBuffer;
  #immediates: (() => void)[] = [];
  #timers = new Set<Timer>();
  #wait: (() => void) | undefined;
  /** Intervals that keep the process alive: the product has one per journal, and it never comes. */
  #held = new Set<Timer>();
  /** Points until this thread ends; infinite when it lives. */
  #stepsLeft = Infinity;
  #woken = false;
  #due = false;
  #copying = false;

  constructor(stage: Stage, me: number, control: SharedArrayBuffer, words: Words) {
    this.me = me;
    this.stage = stage;
    this.#control = control;
    this.#words = words;
  }

  /** Plays schedule after schedule. */
  async perform(part: Part, stepsOf: () => number): Promise<never> {
    let schedule = 0;
    this.stage.awaitTurn(this.me);
    for (;;) {
      if (this.stage.schedule !== schedule) {
        schedule = this.stage.schedule;
        this.#reset(stepsOf());
        await this.#run(() => {
          part.begin();
        });
      } else {
        const task = part.gone ? undefined : this.#next(part);
        if (task !== undefined) await this.#run(task);
        else {
          this.stage.record(this.me, 'idle', this.#held.size);
          this.stage.rest(this.me, part.gone, this.#timers.size);
        }
      }
      if (this.#isDead) this.stage.rest(this.me, true, 0);
      this.stage.handOver(this.me);
    }
  }

  /** A place in the product's code at which other threads may come in, and this one may end. */
  point(mayEnd = true): void {
    if (this.#isDead) throw new Died();
    this.#stepsLeft--;
    if (this.#stepsLeft <= 0 && mayEnd) {
      this.stage.die(this.me);
      throw new Died();
    }
    this.stage.point(this.me);
  }

  complain(what: string, error: unknown): never {
    this.stage.complain(this.me, `${what}: ${error instanceof Error ? error.stack ?? error.message : String(error)}`);
  }

  get #isDead(): boolean {
    return this.stage.isDead(this.me);
  }

  #reset(steps: number): void {
    this.#immediates = [];
    this.#timers = new Set();
    this.#held = new Set();
    this.#wait = undefined;
    this.#woken = false;
    this.#due = false;
    this.#copying = false;
    this.#stepsLeft = steps;
  }

  /** Runs one turn of the event loop, and the promises that follow from it. */
  async #run(task: () => void): Promise<void> {
    this.stage.record(this.me, 'turn');
    try {
      task();
    } catch (error) {
      if (!(error instanceof Died)) this.complain('an exception', error);
    }
    await new Promise((resolve) => real.setImmediate(resolve));
  }

  #next(part: Part): (() => void) | undefined {
    if (this.#isDead) return undefined;
    this.#woken ||= this.stage.takeWoken(this.me);
    this.#due ||= this.stage.takeFire(this.me);
    const choices = part.choices();
    if (this.#immediates.length > 0) choices.push(() => this.#immediates.shift()?.());
    if (this.#woken) choices.push(() => {
      this.#wake();
    });
    if (this.#due) choices.push(() => {
      this.#fire();
    });
    if (this.stage.hasMail(this.me)) choices.push(() => {
      const { message, argument } = this.stage.takeMail(this.me);
      part.hear(message, argument);
    });
    return choices[this.stage.random(choices.length)];
  }

  #wake(): void {
    const wait = this.#wait;
    this.#wait = undefined;
    this.#woken = false;
    wait?.();
  }

  #fire(): void {
    this.#due = false;
    const timers = [...this.#timers];
    const timer = timers[this.stage.random(timers.length)];
    if (timer === undefined) return;
    this.#timers.delete(timer);
    this.stage.record(this.me, 'timer');
    timer.run();
  }

  // ---- what the product finds here -----------------------------------------------------------------------------------

  /** Puts the stage in the place of what the product uses. */
  install(product: Product): void {
    globalThis.Atomics = this.#atomics() as unknown as typeof Atomics;
    this.#installLoop();
    this.#installClock();
    const { threads } = product.selectPlatform();
    Object.assign(threads, {
      currentId: () => this.me + 1,
      isAlive: (id: number): boolean => {
        this.point();
        return !this.stage.isDead(id - 1);
      },
      yield: () => {
        this.point();
        this.stage.handOver(this.me);
      },
    });
    this.#installCopies(product);
    process.emitWarning = (warning) => this.complain('a warning', warning);
    // Microtasks and reactions of promises have nobody who would catch what ends this thread.
    for (const event of ['unhandledRejection', 'uncaughtException'] as const) {
      process.on(event, (error: unknown) => {
        if (!(error instanceof Died)) this.complain(event, error);
      });
    }
  }

  /** Copies into the log buffer: others may come in before each of them. */
  #installCopies({ LogBuffer }: Product): void {
    const { prototype } = LogBuffer;
    const replace = <Name extends 'put' | 'putHeader' | 'putText' | 'putPad'>(name: Name, bytesOf: (...args: Parameters<LogBuffer[Name]>) => number): void => {
      const perform = Reflect.get(prototype, name) as (...args: Parameters<LogBuffer[Name]>) => void;
      const copy = (log: LogBuffer, args: Parameters<LogBuffer[Name]>): void => {
        // One of them may use another.
        const outermost = !this.#copying;
        if (outermost) {
          this.point();
          this.stage.record(this.me, 'copy', args[0], bytesOf(...args));
        }
        this.#copying = true;
        Reflect.apply(perform, log, args);
        this.#copying = !outermost;
      };
      Reflect.set(prototype, name, function (this: LogBuffer, ...args: Parameters<LogBuffer[Name]>) {
        copy(this, args);
      });
    };
    replace('put', (_, source) => source.length);
    replace('putHeader', () => HEADER_BYTES);
    replace('putText', (_lsn, _text, bytes) => bytes);
    replace('putPad', (lsn, _, zeroedEnd) => Math.max(OVERHEAD_BYTES, zeroedEnd - lsn));
  }

  #installClock(): void {
    const now = (): number => this.stage.now();
    Object.defineProperty(globalThis, 'performance', { value: { now }, configurable: true });
    Date.now = () => 1_700_000_000_000 + Math.floor(now());
  }

  #installLoop(): void {
    const timer = (run: () => void, held: boolean): Timer => {
      const made: Timer = {
        run,
        ref: () => {
          if (held) this.#held.add(made);
          return made;
        },
        unref: () => {
          this.#held.delete(made);
          return made;
        },
      };
      return made;
    };
    const clear = (one: Timer | undefined): void => {
      if (one === undefined) return;
      this.#timers.delete(one);
      this.#held.delete(one);
    };
    Object.assign(globalThis, {
      setImmediate: (run: () => void) => void this.#immediates.push(run),
      setTimeout: (run: () => void) => {
        const made = timer(run, false);
        this.#timers.add(made);
        return made;
      },
      setInterval: (run: () => void) => timer(run, true).ref(),
      clearTimeout: clear,
      clearInterval: clear,
    });
  }

  #atomics(): Record<string, unknown> {
    const { atomics } = real;
    const at = (words: AnyWords, index: number): number => index * words.BYTES_PER_ELEMENT;
    const plain = (words: AnyWords, index: number): boolean => words.buffer !== this.#control || !this.#words.has(at(words, index));
    const operation = <T extends number | bigint>(kind: 'load' | 'store' | 'add' | 'sub' | 'exchange' | 'compareExchange') => {
      const perform = Reflect.get(atomics, kind) as unknown as (words: AnyWords, index: number, ...values: T[]) => T;
      return (words: AnyWords, index: number, ...values: T[]): T => {
        if (plain(words, index)) return perform(words, index, ...values);
        this.point();
        const found = perform(words, index, ...values);
        const [first = 0] = values;
        // For a compare-exchange: what was there, and what it has become, if it has.
        const done = kind !== 'compareExchange' ? Number(first) : found === first ? Number(values[1]) : NOT_EXCHANGED;
        this.stage.record(this.me, kind, at(words, index), Number(found), done);
        return found;
      };
    };
    return {
      load: operation('load'),
      store: operation('store'),
      add: operation('add'),
      sub: operation('sub'),
      exchange: operation('exchange'),
      compareExchange: operation('compareExchange'),
      notify: (words: Int32Array, index: number): number => {
        if (plain(words, index)) return atomics.notify(words, index);
        // The engine ends a thread where functions and loops begin: not between a change and its notification.
        this.point(false);
        const woken = this.stage.wake(at(words, index));
        this.stage.record(this.me, 'notify', at(words, index), woken);
        return woken;
      },
      waitAsync: (words: Int32Array, index: number, expected: number) => {
        this.point();
        const found = atomics.load(words, index);
        this.stage.record(this.me, 'sleep', at(words, index), found, expected);
        if (found !== expected) return { async: false, value: 'not-equal' };
        this.stage.sleep(this.me, at(words, index));
        const value = new Promise((resolve) => {
          this.#wait = () => {
            resolve('ok');
          };
        });
        return { async: true, value };
      },
    };
  }
}
