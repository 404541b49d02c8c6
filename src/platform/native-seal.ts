/** The optional native shim: seals a batch of frames in one call. See native-shims/seal.c. */
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { koffi } from './native-modules.js';
import { sharedLibraryPath } from './select.js';
import { uninterrupted } from './thread-start.js';

/** Fields of `struct seal_state`, 64-bit words. */
export const SEAL_STATE = {
  frameStart: 0, frameEnd: 1, checksum: 2, kind: 3, bound: 4, idChecksum: 5, records: 6, lastRecord: 7, lastStart: 8, lastKind: 9, words: 10,
} as const;

/** `state` is native memory with a `struct seal_state`. Answers the LSN sealed through, or -1 where no frame lies. */
export type NativeSeal = (window: number, capacity: number, at: number, limit: number, state: number) => number | bigint;

let loaded: { readonly seal: NativeSeal | undefined } | undefined;

/** The shim of this system, or undefined where none was built. */
export function nativeSeal(): NativeSeal | undefined {
  loaded ??= { seal: load() };
  return loaded.seal;
}

function load(): NativeSeal | undefined {
  const file = fileURLToPath(new URL(`../native/${sharedLibraryPath('tidemark')}`, import.meta.url));
  if (process.env['TIDEMARK_DISABLE_NATIVE'] === '1' || !existsSync(file)) return undefined;
  try {
    const parameters = ['uintptr_t', 'uint64_t', 'uint64_t', 'uint64_t', 'uintptr_t'];
    return uninterrupted(() => koffi().load(file).func('tidemark_seal', 'int64_t', parameters) as NativeSeal);
  } catch {
    // Built for another C library, say. `Backend.sealing` shows that it is not in use.
    return undefined;
  }
}
