/**
 * The reading process of a soak: `reader.js <journal> <seed>`. It follows the journal, tells its parent how far it is, and,
 * once it was told how many records there are, what was wrong.
 */
import { JournalReader } from 'tidemark';
import { followInto } from './following.js';
import { Tally } from './records.js';

/** What it tells: where it is, or what is wrong in the end, if anything. */
export type Told = { readonly read: number } | { readonly problem: string | undefined };

const TELL_BYTES = 64 * 1024;
const [path = '', seed = '0'] = process.argv.slice(2);
const tell = (message: Told): void => {
  if (process.connected) process.send?.(message);
};
const tally = new Tally(Number(seed));
process.on('message', (totals: number[]) => {
  tally.expect(totals);
});
process.on('disconnect', () => {
  tally.fail('the parent has gone');
});
const reader = await JournalReader.open(path);
let told = 0;
const problem = await followInto(tally, (signal) => reader.follow({ signal }), (end) => {
  if (end - told < TELL_BYTES) return;
  told = end;
  tell({ read: end });
});
await reader.close();
tell({ problem });
if (process.connected) process.disconnect();
