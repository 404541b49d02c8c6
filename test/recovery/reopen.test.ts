/** What opening made of a damaged journal opens again, and nothing that it took out of the log comes back. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { JournalOptions } from 'tidemark';
import { pattern } from '../conformance/format.js';
import { segmentName } from '../internals.js';
import { basesIn, readBack } from '../segments.js';
import { schedulerOf, temporaryDirectory, withJournal } from '../support.js';
import { HEADER, MARK, SegmentBuilder } from './segment-builder.js';
import { fill, flip, put, SEGMENT } from './segment-tools.js';

const test = suite('reopening');
const OPTIONS: JournalOptions = { scheduler: schedulerOf('blocking'), newSegments: 'plain', logBufferBytes: 64 * 1024 };

/** Where the log ends, and what is spoilt there: at the start of a segment, or at the footer of the one before it. */
const ENDS: readonly (readonly [name: string, footerToo: boolean])[] = [['fills a segment', false], ['begins with a footer and fills a segment', true]];

for (const [name, footerToo] of ENDS) test(`a torn tail that ${name}, its header too, and goes on in the next one`, async () => {
  const builder = new SegmentBuilder({ lag: true });
  fill(builder, HEADER + 9000).seal();
  const body = builder.position;
  const end = footerToo ? SEGMENT - MARK : body;
  fill(builder, body + 9000).seal();
  for (let i = 0; i < 3; i++) builder.record(pattern(i, 3000));
  // It looks like one long frame that is torn: how far it reached, nobody can tell.
  put(builder.files, SEGMENT, pattern(3, 40));
  put(builder.files, body, Buffer.concat([Buffer.from('4653590200e00000', 'hex'), pattern(5, SEGMENT - HEADER - 8)]));
  if (footerToo) flip(builder.files, end);
  const path = join(temporaryDirectory(), 'journal');
  mkdirSync(path);
  for (const [base, bytes] of builder.files) writeFileSync(join(path, segmentName(base)), bytes);
  const whole = builder.frames.filter(({ kind, start }) => kind === 'record' && start < end).map(({ payload }) => payload?.toString('latin1'));

  await withJournal(path, OPTIONS, async (journal) => {
    assert.equal([journal.openReport?.torn?.lsn, journal.openReport?.records], [end, whole.length]);
    const kept = readFileSync(journal.openReport?.torn?.keptAs ?? '');
    assert.ok(kept.includes(builder.files.get(2 * SEGMENT)?.subarray(HEADER, HEADER + 9000) ?? 'nothing'), 'what is taken out of the log is kept');
    await journal.append('and on');
  });
  for (const more of [['and on'], ['and on', 'again']]) {
    assert.equal((await readBack(path)).map(({ payload }) => payload.toString('latin1')), [...whole, ...more]);
    if (more.length === 1) await withJournal(path, OPTIONS, (journal) => {
      assert.is(journal.openReport?.torn, undefined);
      return journal.append('again');
    });
  }
  // The next segments are new ones, whatever was there.
  await withJournal(path, OPTIONS, async (journal) => {
    for (let i = 0; i < 3; i++) await journal.append(Buffer.alloc(40_000, 1));
  });
  assert.is((await readBack(path)).length, whole.length + 5);
  assert.ok(basesIn(path).includes(2 * SEGMENT));
});

test.run();
