/**
 * Threads that append, write, fail, end and close, interleaved at every operation on shared memory, against a model without
 * threads.
 *
 *     SEED=4711 SCHEDULES=1 node build/test/model/interleavings.test.js     one schedule again
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { LONG } from '../support.js';
import { MUTATIONS } from './mutations.js';
import { type Change, withCopy } from './product-copy.js';
import { Theatre, type Played } from './theatre.js';

/** Schedules in all, and within how many a mistake has to show. */
const SCHEDULES = LONG ? 100_000 : 1500;
const MUTATION_SCHEDULES = 4000;

/** What a schedule has to lead to often enough for the comparison to mean something. */
const COMES_UP = [
  'a record', 'a record that streams', 'a pad at the end of a segment', 'a mark of the writer', 'the window wraps', 'several writes in flight',
  'a segment is wanted', 'rejected for want of space', 'tryAppend refuses', 'the writer sleeps', 'an appender sleeps', 'a producer dies',
  'the writer dies', 'poisoned', 'rejected as poisoned', 'closed', 'rejected as closed',
] as const;

const seed = Number(process.env['SEED'] ?? 1 + (Date.now() % 1_000_000_000));
const schedules = Number(process.env['SCHEDULES'] ?? SCHEDULES);
const test = suite('interleavings');

function play(count: number, ...changes: readonly Change[]): Promise<Played> {
  return withCopy(changes, async (product) => {
    const theatre = await Theatre.open(product);
    try {
      return theatre.play(seed, count);
    } finally {
      await theatre.close();
    }
  });
}

test(`${schedules} schedules from seed ${seed} on do what the model does`, async () => {
  const started = performance.now();
  const { failure, ...played } = await play(schedules);
  if (failure !== undefined) {
    console.log(failure.story.join('\n'));
    assert.unreachable(`${failure.what}\nagain: SEED=${failure.seed} SCHEDULES=1`);
  }
  if (played.schedules >= SCHEDULES) {
    for (const what of COMES_UP) assert.ok((played.seen[what] ?? 0) >= played.schedules / 100, `'${what}' comes up in one schedule of a hundred`);
  }
  const seconds = (performance.now() - started) / 1000;
  console.log(`${played.schedules} schedules, ${played.steps} steps, ${played.switches} switches of threads, ${seconds.toFixed(1)} s`, played.seen);
});

for (const mutation of schedules === 1 ? [] : MUTATIONS) {
  test(`a mistake is seen: ${mutation.name}`, async () => {
    const { failure, schedules: played } = await play(MUTATION_SCHEDULES, ...[mutation, mutation.besides ?? []].flat());
    console.log(`${played}: ${failure?.what.split('\n')[0]}`);
    assert.ok(failure, `not seen in ${played} schedules from seed ${seed} on`);
  });
}

test.run();
