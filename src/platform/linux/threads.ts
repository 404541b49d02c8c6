/** Threads on Linux, through system calls that the C library does not wrap everywhere. */
import { existsSync } from 'node:fs';
import { native } from '../ffi.js';
import type { Threads } from '../platform.js';

type Numbers = Readonly<Partial<Record<NodeJS.Architecture, number>>>;

/** gettid(2) has a wrapper only from glibc 2.30 on, and its number differs between architectures. */
const SYS_GETTID: Numbers = { x64: 186, ia32: 224, arm: 224, ppc64: 207, s390x: 236 };
const SYS_GETTID_GENERIC = 178;
const SYS_SCHED_SETATTR: Numbers = { x64: 314, ia32: 351, arm: 380, ppc64: 355, s390x: 345 };
const SYS_SCHED_SETATTR_GENERIC = 274;

/** struct sched_attr (sched_setattr(2)): its first version has 48 bytes. */
const SCHED_ATTR_BYTES = 4 + 4 + 8 + 4 + 4 + 8 + 8 + 8;
const SCHED_ATTR_RUNTIME = 4 + 4 + 8 + 4 + 4;
/**
 * The shortest slice that the scheduler grants (Linux 6.12). Of two threads that want a processor the one with the
 * shorter slice is served first, and used up its share no sooner for that.
 */
const SLICE_NS = 100_000n;

const gettid = native('syscall', 'long', ['long']);
const schedSetattr = native('syscall', 'long', ['long', 'int', 'void *', 'uint32_t']);
const schedYield = native('sched_yield', 'int', []);

export const threads: Threads = {
  currentId: () => gettid(SYS_GETTID[process.arch] ?? SYS_GETTID_GENERIC),
  isAlive: (id) => existsSync(`/proc/self/task/${id}`),
  yield: () => {
    schedYield();
  },
  workInBursts() {
    const attributes = new DataView(new SharedArrayBuffer(128));
    attributes.setUint32(0, SCHED_ATTR_BYTES, true);
    attributes.setBigUint64(SCHED_ATTR_RUNTIME, SLICE_NS, true);
    // Policy and nice value stay 0, what a thread has by default. Kernels before 6.12 take the slice and ignore it.
    return schedSetattr(SYS_SCHED_SETATTR[process.arch] ?? SYS_SCHED_SETATTR_GENERIC, 0, new Uint8Array(attributes.buffer), 0) === 0;
  },
};
