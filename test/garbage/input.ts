/** Input number n of a seed: which journal, how it is spoilt, and what is checked. */
import { random } from '../recovery/segment-tools.js';
import { checkFile, SegmentCheck } from './checks.js';
import { FILE_JOURNALS, Forgeries, LONG_FILE_JOURNAL, SEGMENT_JOURNALS, type SegmentJournal } from './journals.js';
import type { MemoryFiles } from './memory-files.js';
import { spoilFile, spoilSegments, type Draw } from './mutations.js';

export interface Input {
  readonly check: (memory: MemoryFiles) => Promise<void>;
}

export function drawOf(seed: number, number: number): Draw {
  const draw = random(Math.imul(seed, 0x9e3779b1) ^ Math.imul(number + 1, 0x85ebca6b));
  // Neighbours begin alike.
  for (let i = 0; i < 4; i++) draw(2);
  return draw;
}

export interface SpoiltSegments {
  readonly journal: SegmentJournal;
  readonly files: Map<number, Buffer>;
  readonly forgeries: Forgeries;
}

export function spoiltSegments(draw: Draw): SpoiltSegments {
  const journal = SEGMENT_JOURNALS[draw(SEGMENT_JOURNALS.length)];
  if (journal === undefined) throw new Error('there are journals');
  const forgeries = new Forgeries();
  return { journal, files: spoilSegments(journal, forgeries, draw), forgeries };
}

export function inputOf(seed: number, number: number): Input {
  const draw = drawOf(seed, number);
  if (draw(3) > 0) {
    const { journal, files, forgeries } = spoiltSegments(draw);
    return { check: (memory) => new SegmentCheck(journal, files, forgeries, draw).run(memory) };
  }
  const journal = draw(1000) === 0 ? LONG_FILE_JOURNAL : FILE_JOURNALS[draw(FILE_JOURNALS.length)] ?? LONG_FILE_JOURNAL;
  const forgeries = new Forgeries();
  const bytes = spoilFile(journal, forgeries, draw);
  return { check: (memory) => checkFile(memory, journal, bytes, forgeries, draw) };
}
