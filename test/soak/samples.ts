/** What a process holds, measured again and again. */
import { readdirSync, readFileSync } from 'node:fs';
import type { Histogram } from 'node:perf_hooks';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

export interface Sample {
  readonly atMs: number;
  readonly rssMib: number;
  readonly heapMib: number;
  readonly arrayBuffersMib: number;
  readonly descriptors: number;
  readonly threads: number;
  readonly mappings: number;
  /** Of the appends since the sample before. */
  readonly latencyP99Ms: number;
}

const MIB = 1024 * 1024;
/** The kernel's threads for an io_uring come and go with what is in flight. */
const KERNEL_WORKER = /^iou-/;
setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

function threads(): number {
  const names = readdirSync('/proc/self/task').map((id) => {
    try {
      return readFileSync(`/proc/self/task/${id}/comm`, 'latin1');
    } catch {
      return 'iou-: it has just ended';
    }
  });
  return names.filter((name) => !KERNEL_WORKER.test(name)).length;
}

/** Measures this process, and begins the latencies anew. */
export function takeSample(startedAt: number, latencies: readonly Histogram[]): Sample {
  collectGarbage();
  const { rss, heapUsed, arrayBuffers } = process.memoryUsage();
  const latencyP99Ms = Math.max(...latencies.map((latency) => latency.percentile(99))) / 1e6;
  for (const latency of latencies) latency.reset();
  return {
    atMs: performance.now() - startedAt,
    rssMib: rss / MIB,
    heapMib: heapUsed / MIB,
    arrayBuffersMib: arrayBuffers / MIB,
    descriptors: readdirSync('/proc/self/fd').length,
    threads: threads(),
    mappings: readFileSync('/proc/self/maps', 'latin1').split('\n').length - 1,
    latencyP99Ms,
  };
}
