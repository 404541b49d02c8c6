/** The native packages, each loaded at its first use, so that importing this library never fails for want of one. */
import { createRequire } from 'node:module';
import { isOwnThread, uninterrupted } from './thread-start.js';

type Koffi = typeof import('koffi');
type Crc32 = typeof import('@node-rs/crc32');

const require = createRequire(import.meta.url);

/**
 * What koffi keeps per thread for calls, and does not give back when a thread ends. Its defaults take 3 MiB; the calls
 * made here pass numbers, short strings and pointers to functions that need little stack.
 */
const CALL_STACK_BYTES = 256 * 1024;
const CALL_HEAP_BYTES = 64 * 1024;

let koffiModule: Koffi | undefined;
let crc32Module: Crc32 | undefined;

export function koffi(): Koffi {
  koffiModule ??= uninterrupted(() => {
    const loaded = require('koffi') as Koffi;
    // Only in threads of this library: elsewhere koffi may serve the application too, which has its own settings.
    if (isOwnThread()) loaded.config({ sync_stack_size: CALL_STACK_BYTES, sync_heap_size: CALL_HEAP_BYTES });
    return loaded;
  });
  return koffiModule;
}

export function crc32(): Crc32 {
  crc32Module ??= uninterrupted(() => require('@node-rs/crc32') as Crc32);
  return crc32Module;
}
