/** Linux, 5.6 or later for io_uring, any for the blocking calls. */
import { existsSync } from 'node:fs';
import { native } from '../ffi.js';
import type { Platform } from '../platform.js';
import { createPipe } from './pipe.js';
import { files } from './files.js';
import { IoUringRing, releaseRing } from './io-uring.js';

/** gettid(2) has a wrapper only from glibc 2.30 on, and its number differs between architectures. */
const SYS_GETTID: Readonly<Partial<Record<NodeJS.Architecture, number>>> = { x64: 186, ia32: 224, arm: 224, ppc64: 207, s390x: 236 };
const SYS_GETTID_GENERIC = 178;
const syscall = native('syscall', 'long', ['long']);
const schedYield = native('sched_yield', 'int', []);

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
  threads: {
    currentId: () => syscall(SYS_GETTID[process.arch] ?? SYS_GETTID_GENERIC),
    isAlive: (id) => existsSync(`/proc/self/task/${id}`),
    yield: () => {
      schedYield();
    },
  },
  createRing: (options) => IoUringRing.create(options),
  releaseRing,
  createPipe,
};
