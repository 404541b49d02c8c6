/**
 * Lives of journals on a disk that fails as told: one task per line of input, one report per line of output. It ends with
 * its input, and whatever is left behind then keeps it from ending.
 */
import { subscribe } from 'node:diagnostics_channel';
import { readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { IoScheduler, Journal, JournalReader, type Backend, type JournalOptions } from 'tidemark';
import type { Rule } from '../faultfs/faultfs.js';
import { failureOf, report, type Failure } from './report.js';
import { recordOf } from './records.js';

/** When rules come into force: before the journal is opened, appended to, trimmed, closed. */
export type Stage = 'open' | 'append' | 'trim' | 'close';

export interface FaultTask {
  readonly path: string;
  /** The control file of the disk. */
  readonly control: string;
  readonly backend: Backend['kind'];
  readonly options: JournalOptions;
  readonly stage: Stage;
  readonly rules: readonly Rule[];
  /** Records that are appended before the stage `append`, by a loop of their own. */
  readonly before?: number;
  /** Loops that append, and records of each. */
  readonly appenders: number;
  readonly records: number;
  /** Appending begins, or ends, when the first rule has been hit by nothing that was asked for. */
  readonly hit?: 'before' | 'after';
  /** Reads everything with the rules in force: `follow` beside the writer, or a reader of its own after it. */
  readonly reads?: 'follow' | 'reader';
}

export interface FaultReport {
  readonly refused?: Failure;
  /** In the words of {@link Claims}. */
  readonly said: readonly string[];
  readonly failures: readonly Failure[];
  /** An append made after a failure that is final. */
  readonly later?: Failure;
  readonly durableAtFailure?: number;
  readonly durableAtEnd: number;
  /** Of trimming, and of trimming once more. */
  readonly trimFailures: readonly Failure[];
  readonly readFailure?: Failure;
  readonly closeFailure?: Failure;
  /** Of somebody who follows the journal to its end. */
  readonly followFailure?: Failure;
  /** Hits of each rule, before they were cleared. */
  readonly hits: readonly number[];
  /** Journal events of the diagnostics channels, in order. */
  readonly events: readonly string[];
  readonly warnings: readonly string[];
  readonly unhandled: readonly string[];
  /** Files of the journal that are still open. */
  readonly descriptors: readonly string[];
}

const BOUND_MS = 10_000;
const RETRY_MS = 5;

const warnings: string[] = [];
const unhandled: string[] = [];
const events: string[] = [];
process.on('warning', ({ message }) => warnings.push(message));
process.on('unhandledRejection', (reason) => unhandled.push(String(reason)));
for (const name of ['poisoned', 'segment', 'trim', 'space', 'close']) subscribe(`tidemark:journal:${name}`, () => events.push(name));

const schedulers = new Map<string, IoScheduler>();

function schedulerOf(backend: Backend['kind']): IoScheduler {
  const scheduler = schedulers.get(backend) ?? new IoScheduler({ backend });
  schedulers.set(backend, scheduler);
  return scheduler;
}

/** What a promise fails with, or that it does not settle. */
async function failureIn(what: string, promise: Promise<unknown>): Promise<Failure | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const bound = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} does not settle`)), BOUND_MS);
  });
  try {
    await Promise.race([promise, bound]);
    return undefined;
  } catch (error) {
    return failureOf(error);
  } finally {
    clearTimeout(timer);
  }
}

async function until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  const end = performance.now() + BOUND_MS;
  while (!(await condition())) {
    if (performance.now() > end) throw new Error(`${what} did not come`);
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
}

async function readThrough(records: AsyncIterable<{ readonly end: number }>, end: number): Promise<void> {
  for await (const record of records) if (record.end >= end) return;
}

class Life {
  readonly #task: FaultTask;
  readonly #said: string[] = ['life 0'];
  readonly #failures: Failure[] = [];
  #durableAtFailure: number | undefined;
  readonly #trimFailures: Failure[] = [];
  #hits: number[] | undefined;
  #lastEnd = 0;

  constructor(task: FaultTask) {
    this.#task = task;
    for (const list of [warnings, unhandled, events]) list.length = 0;
  }

  async run(): Promise<FaultReport> {
    const { path, options, backend } = this.#task;
    this.#enter('open');
    let journal: Journal | undefined;
    const refused = await failureIn('opening', Journal.open(path, { ...options, scheduler: schedulerOf(backend) }).then((opened) => (journal = opened)));
    const lived = journal === undefined ? { durableAtEnd: 0 } : await this.#live(journal);
    this.#clear();
    // What is rejected without being awaited shows in a later turn.
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    return {
      ...lived,
      ...(refused && { refused }),
      ...(this.#durableAtFailure !== undefined && { durableAtFailure: this.#durableAtFailure }),
      said: this.#said, failures: this.#failures, trimFailures: this.#trimFailures, hits: this.#hits ?? [], events: [...events], warnings: [...warnings], unhandled: [...unhandled],
      descriptors: openFiles().filter((file) => file.includes(path)),
    };
  }

  async #live(journal: Journal): Promise<Partial<FaultReport> & { durableAtEnd: number }> {
    const { before = 0, appenders, hit, reads } = this.#task;
    await this.#append(journal, appenders + 1, before);
    this.#enter('append');
    if (hit === 'before') await this.#hit();
    await Promise.all(Array.from({ length: appenders }, (_, thread) => this.#append(journal, thread, this.#task.records)));
    if (hit === 'after') await this.#hit();
    if (this.#task.stage === 'trim') await this.#trim(journal);
    const readFailure = reads === undefined ? undefined : await failureIn('reading', this.#read(journal, reads));
    const later = this.#failures.some(({ code }) => code === 'TIDEMARK_POISONED') || this.#trimFailures.length > 0 || hit === 'after'
      ? await failureIn('a later append', this.#appendOne(journal, appenders, 0)) : undefined;
    if (this.#task.stage === 'close') {
      await this.#proven(journal);
      this.#enter('close');
    }
    const followed = reads === undefined ? failureIn('a follower', readThrough(journal.follow(), Infinity)) : undefined;
    const closeFailure = await failureIn('closing', journal.close());
    const followFailure = await followed;
    return { durableAtEnd: journal.durableLsn, ...(readFailure && { readFailure }), ...(later && { later }), ...(closeFailure && { closeFailure }), ...(followFailure && { followFailure }) };
  }

  async #append(journal: Journal, thread: number, records: number): Promise<void> {
    for (let sequence = 0; sequence < records; sequence++) {
      try {
        await this.#appendOne(journal, thread, sequence);
      } catch (error) {
        this.#durableAtFailure ??= journal.durableLsn;
        this.#failures.push(failureOf(error));
        if ((error as { code?: unknown }).code !== 'TIDEMARK_NO_SPACE') return;
        await this.#appendWithRoom(journal, thread, sequence);
      }
    }
  }

  /** The disk has room again: the same record has to find its place. */
  async #appendWithRoom(journal: Journal, thread: number, sequence: number): Promise<void> {
    this.#clear();
    await until('room for a segment', () => this.#appendOne(journal, thread, sequence).then(() => true, () => false));
  }

  async #appendOne(journal: Journal, thread: number, sequence: number): Promise<void> {
    this.#said.push(`! ${thread} ${sequence}`);
    const end = await journal.append(recordOf({ life: 0, thread, sequence }));
    this.#said.push(`+ ${thread} ${sequence} ${end}`);
    this.#lastEnd = Math.max(this.#lastEnd, end);
  }

  async #trim(journal: Journal): Promise<void> {
    // With two whole segments ahead no further one is made: what the rules are for is the first to meet them.
    await journal.preallocate(2 * (this.#task.options.segmentBytes ?? 0) + 1);
    this.#enter('trim');
    const end = journal.durableLsn;
    this.#said.push(`trim ${end}`);
    for (let i = 0; i < 2; i++) {
      const failure = await failureIn('trimming', journal.trimBefore(end));
      if (failure === undefined) continue;
      this.#durableAtFailure ??= journal.durableLsn;
      this.#trimFailures.push(failure);
    }
  }

  async #read(journal: Journal, how: 'follow' | 'reader'): Promise<void> {
    if (how === 'follow') {
      await readThrough(journal.follow(), this.#lastEnd);
      return;
    }
    const reader = await JournalReader.open(this.#task.path);
    try {
      await readThrough(reader, this.#lastEnd);
    } finally {
      await reader.close();
    }
  }

  #hit(): Promise<void> {
    return until('the first hit', () => (this.#hitsNow()[0] ?? 0) > 0);
  }

  /** Waits for the mark that an idle writer makes: until then writes may come that nobody asked for. */
  async #proven(journal: Journal): Promise<void> {
    if (journal.layout === 'file') return;
    await until('the mark of an idle log', async () => {
      const reader = await JournalReader.open(this.#task.path, { durable: true });
      let end = 0;
      for await (const record of reader) end = record.end;
      await reader.close();
      return end === this.#lastEnd;
    });
  }

  #enter(stage: Stage): void {
    if (this.#task.stage !== stage) return;
    const lines = this.#task.rules.map((rule) => `rule ${Object.entries(rule).map(([key, value]) => `${key}=${value}`).join(' ')}\n`);
    writeFileSync(this.#task.control, lines.join(''));
  }

  #clear(): void {
    if (this.#hits !== undefined) return;
    this.#hits = this.#hitsNow();
    writeFileSync(this.#task.control, 'clear\n');
  }

  #hitsNow(): number[] {
    return readFileSync(this.#task.control, 'utf8').split('\n').filter((line) => line.startsWith('rule ')).map((line) => Number(line.split(' ')[2]));
  }
}

function openFiles(): string[] {
  return readdirSync('/proc/self/fd').flatMap((descriptor) => {
    try {
      return [readlinkSync(`/proc/self/fd/${descriptor}`)];
    } catch {
      // That of the directory itself.
      return [];
    }
  });
}

for await (const line of createInterface({ input: process.stdin })) {
  report(await new Life(JSON.parse(line) as FaultTask).run().catch((error: unknown) => ({ broken: String(error) })));
}
await Promise.all([...schedulers.values()].map((scheduler) => scheduler.close()));
