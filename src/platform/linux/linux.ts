/** Linux, 5.6 or later for io_uring, any for the blocking calls. */
import type { Platform } from '../platform.js';
import { createPipe } from './pipe.js';
import { files } from './files.js';
import { IoUringRing, releaseRing } from './io-uring.js';
import { threads } from './threads.js';

export const linux: Platform = {
  name: 'linux',
  supports: {
    ioUring: true,
    directIo: true,
    dsyncWrites: true,
    directorySync: true,
    exclusiveLock: true,
    advise: ['normal', 'sequential', 'random', 'willNeed', 'dontNeed', 'noReuse'],
  },
  files,
  threads,
  createRing: (options) => IoUringRing.create(options),
  releaseRing,
  createPipe,
};
