/** The workers' entry, with syncs that do nothing: what a test of durability must notice. */
import type { Completion, Files, Ring } from '../../dist/platform/platform.js';
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
  // Told later, as a ring does: to an owner that has an event loop, and to one that waits.
  const done: Completion[] = [];
  const tell = (): number => {
    const told = done.splice(0);
    for (const one of told) one(0);
    return told.length;
  };
  ring.syncData = (_file, _link, completion) => {
    done.push(completion);
    queueMicrotask(tell);
  };
  const reap = ring.reap.bind(ring);
  const wait = ring.wait.bind(ring);
  ring.reap = () => reap() + tell();
  ring.wait = (timeoutUs) => {
    if (done.length === 0) wait(timeoutUs);
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
const syncFull = platform.files.syncFull.bind(platform.files);
platform.files.syncFull = (descriptor) => {
  if (platform.files.status(descriptor).kind !== 'directory') syncFull(descriptor);
};

export default (await internal<typeof import('../../dist/workers/entry.js')>('workers/entry.js')).default;
