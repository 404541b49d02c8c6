/** Threads on Linux, through system calls that the C library does not wrap everywhere. */
import { existsSync } from 'node:fs';
import { native } from '../ffi.js';
import type { Threads } from '../platform.js';

/** gettid(2) has a wrapper only from glibc 2.30 on, and its number differs between architectures. */
const SYS_GETTID: Readonly<Partial<Record<NodeJS.Architecture, number>>> = { x64: 186, ia32: 224, arm: 224, ppc64: 207, s390x: 236 };
const SYS_GETTID_GENERIC = 178;

const gettid = native('syscall', 'long', ['long']);
const schedYield = native('sched_yield', 'int', []);

export const threads: Threads = {
  currentId: () => gettid(SYS_GETTID[process.arch] ?? SYS_GETTID_GENERIC),
  isAlive: (id) => existsSync(`/proc/self/task/${id}`),
  yield: () => {
    schedYield();
  },
};
