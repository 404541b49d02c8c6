/**
 * Counts the flushes that reached a disk while the guest did one thing, and compares them with what that should cause.
 *
 *     node build/test/vm/flushes.js <log of the disk>
 *
 * The guest writes a block behind its filesystem before and after each thing; its text says the thing and the number.
 */
import { readFileSync } from 'node:fs';
import { DeviceLog } from '../crash/power-loss/device-log.js';

/** "TIDEMARK-VM begin 3 a thing\n", and the same with `end`. */
const MARK = /^TIDEMARK-VM (begin|end) (\d+) ([^\n]+)\n/;
const MARK_BYTES_MAX = 200;

const path = process.argv[2];
if (path === undefined) throw new Error('usage: flushes.js <log>');
const bytes = readFileSync(path);
const log = new DeviceLog(path);
let flushes = 0;
let things = 0;
let begun: { readonly name: string; readonly flushes: number } | undefined;
for (const entry of log.entries) {
  if (entry.kind === 'flush') flushes++;
  if (entry.kind !== 'write') continue;
  const [, word, expected = '', name = ''] = MARK.exec(bytes.toString('latin1', entry.at, entry.at + MARK_BYTES_MAX)) ?? [];
  if (word === 'begin') begun = { name, flushes };
  if (word !== 'end' || begun?.name !== name) continue;
  const count = flushes - begun.flushes;
  console.log(`${count === Number(expected) ? 'PASS' : 'FAIL'} ${name}: ${count} flushes reached the disk, expected ${expected}`);
  things++;
}
log.close();
console.log(`${things > 0 ? 'PASS' : 'FAIL'} the guest marked ${things} things in the log of the disk, which has ${flushes} flushes in all`);
