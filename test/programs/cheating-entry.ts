/** The workers' entry, with syncs that do nothing: what a test of durability must notice. */
import type { Files, Ring } from '../../dist/platform/platform.js';
import type { Cheat } from './power-writer.js';

function internal<T>(file: string): Promise<T> {
  return import(new URL(`../../../dist/${file}`, import.meta.url).href) as Promise<T>;
}

const { selectPlatform } = await internal<typeof import('../../dist/platform/select.js')>('platform/select.js');
// The program that starts this thread would run if it were imported: only its types are.
const cheat = process.env['TIDEMARK_TEST_CHEAT'] as Cheat;
const platform = selectPlatform() as { files: Files; createRing: (options: object) => Ring };
const nothing = (): void => undefined;

function withoutSyncs(ring: Ring): Ring {
  const write = ring.write.bind(ring);
  const writeVector = ring.writeVector.bind(ring);
  ring.write = (file, address, bytes, offset, slot, _dsync, link, done) => {
    write(file, address, bytes, offset, slot, false, link, done);
  };
  ring.writeVector = (file, pieces, offset, _dsync, link, done) => {
    writeVector(file, pieces, offset, false, link, done);
  };
  ring.syncData = (_file, _link, done) => {
    queueMicrotask(() => {
      done(0);
    });
  };
  return ring;
}

if (cheat === 'never syncs') {
  const open = platform.files.open.bind(platform.files);
  platform.files.open = (path, flags) => open(path, { ...flags, dsync: false });
  platform.files.syncData = nothing;
  platform.files.syncFull = nothing;
  const { createRing } = platform;
  platform.createRing = (options) => withoutSyncs(createRing(options));
}
platform.files.syncDirectory = nothing;

export default (await internal<typeof import('../../dist/workers/entry.js')>('workers/entry.js')).default;
