/** The same spoilt journals on a disk: opened, appended to, opened again; and repaired where opening refuses. */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Journal, JournalReader, type IoScheduler, type JournalOptions } from 'tidemark';
import { snapshot } from '../conformance/helpers.js';
import { segments } from '../internals.js';
import { examine } from '../segments.js';
import { codeOf, holds, REPAIR_CODES } from './checks.js';
import { drawOf, spoiltSegments } from './input.js';

const { baseOfName, segmentName } = segments;

async function openAndAppend(path: string, options: JournalOptions, record: string): Promise<{ code: string } | { start: number }> {
  let journal: Journal;
  try {
    journal = await Journal.open(path, options);
  } catch (error) {
    return { code: codeOf(error, REPAIR_CODES) };
  }
  try {
    const { start, durable } = await journal.submit(record);
    await durable;
    return { start };
  } finally {
    await journal.close();
  }
}

async function checkAppended(path: string, start: number, text: string): Promise<void> {
  await using reader = await JournalReader.open(path);
  const { payload } = await reader.readAt(start);
  holds(Buffer.from(payload).toString() === text, 'what was appended can be read', start);
}

export async function checkOnDisk(seed: number, number: number, path: string, scheduler: IoScheduler): Promise<void> {
  const { files } = spoiltSegments(drawOf(seed, number));
  const options: JournalOptions = { scheduler, create: false, logBufferBytes: 64 * 1024, newSegments: 'plain', direct: false };
  mkdirSync(path);
  try {
    for (const [base, bytes] of files) if (baseOfName(segmentName(base)) !== undefined) writeFileSync(join(path, segmentName(base)), bytes);
    const before = snapshot(path);
    // Opening does not read history: damage there may show later.
    let whole = examine(path).kind !== 'corrupt';
    let first = await openAndAppend(path, options, 'first');
    if ('code' in first) {
      holds(String(snapshot(path)) === String(before), 'what cannot be opened is left as it is');
      try {
        await Journal.repair(path, { scheduler });
      } catch (error) {
        codeOf(error, REPAIR_CODES);
        return;
      }
      whole = true;
      first = await openAndAppend(path, options, 'first');
      holds('start' in first, 'a repaired journal opens', first);
    }
    await checkAppended(path, first.start, 'first');
    const second = await openAndAppend(path, options, 'second');
    if (!whole && 'code' in second) return;
    holds('start' in second && second.start > first.start, 'what was opened once opens again', first, second);
    await checkAppended(path, second.start, 'second');
  } finally {
    rmSync(path, { recursive: true });
  }
}
