/** Linux, 5.6 or later for io_uring, any for the blocking calls. */
import type { Platform } from '../platform.js';
import { createPipe } from './pipe.js';
import { files } from './files.js';
import { IoUringRing, probeRing, releaseRing } from './io-uring.js';
import { attributes } from './attributes.js';
import { copy } from './copy.js';
import { device } from './device.js';
import { directories } from './directories.js';
import { hints } from './hints.js';
import { memory } from './memory.js';
import { metadata } from './metadata.js';
import { names } from './names.js';
import { nvme } from './nvme.js';
import { ownership } from './ownership.js';
import { space } from './space.js';
import { special } from './special.js';
import { transfer } from './transfer.js';
import { places } from './places.js';
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
    missingOperations: {},
  },
  files,
  attributes,
  copy,
  device,
  directories,
  hints,
  memory,
  metadata,
  names,
  nvme,
  ownership,
  space,
  special,
  transfer,
  places,
  threads,
  createRing: (options) => IoUringRing.create(options),
  probeRing,
  releaseRing,
  createPipe,
};
