/** Threads on Linux, through system calls that the C library does not wrap everywhere. */
import { ESRCH } from '../errno.js';
import { lastErrno, native } from '../ffi.js';
import type { Threads } from '../platform.js';

/** gettid(2) has a wrapper only from glibc 2.30 on, and its number differs between architectures. */
const SYS_GETTID: Readonly<Partial<Record<NodeJS.Architecture, number>>> = { x64: 186, ia32: 224, arm: 224, ppc64: 207, s390x: 236 };
const SYS_GETTID_GENERIC = 178;
/** tgkill(2) likewise. */
const SYS_TGKILL: Readonly<Partial<Record<NodeJS.Architecture, number>>> = { x64: 234, ia32: 270, arm: 268, ppc64: 250, s390x: 241 };
const SYS_TGKILL_GENERIC = 131;

const gettid = native('syscall', 'long', ['long']);
const tgkill = native('syscall', 'long', ['long', 'long', 'long', 'long']);
const schedYield = native('sched_yield', 'int', []);

/** By a signal that is none. Only a clear no is a no: whoever counts as dead is taken over. */
function isAlive(id: number): boolean {
  return tgkill(SYS_TGKILL[process.arch] ?? SYS_TGKILL_GENERIC, process.pid, id, 0) >= 0 || lastErrno() !== ESRCH;
}

export const threads: Threads = {
  currentId: () => gettid(SYS_GETTID[process.arch] ?? SYS_GETTID_GENERIC),
  isAlive,
  yield: () => {
    schedYield();
  },
};
