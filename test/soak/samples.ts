/** What a process holds, measured again and again. */
import { readdirSync, readFileSync } from 'node:fs';
import type { Histogram } from 'node:perf_hooks';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import koffi from 'koffi';

export interface Sample {
  readonly atMs: number;
  readonly rssMib: number;
  readonly heapMib: number;
  readonly arrayBuffersMib: number;
  readonly descriptors: number;
  readonly threads: number;
  /** Without those of machine code that V8 has made. */
  readonly mappings: number;
  /** Of the appends since the sample before. */
  readonly latencyP99Ms: number;
}

const MIB = 1024 * 1024;
/** The kernel's threads for an io_uring come and go with what is in flight. */
const KERNEL_WORKER = /^iou-/;
setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;
/** Has malloc(3) give back to the system what it keeps though it is free. */
const trimHeap = koffi.load(null).func('int malloc_trim(size_t)') as (kept: number) => number;

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

/** V8 makes machine code for minutes, and keeps a page of it in four mappings: a header, the code, a guard behind each. */
const MAPPINGS_PER_CODE_PAGE = 4;

function mappings(): number {
  const lines = readFileSync('/proc/self/maps', 'latin1').trimEnd().split('\n');
  const codePages = lines.filter((line) => / rwxp .* 0 *$/.test(line)).length;
  return lines.length - MAPPINGS_PER_CODE_PAGE * codePages;
}

/** Measures this process, and begins the latencies anew. */
export function takeSample(startedAt: number, latencies: readonly Histogram[]): Sample {
  collectGarbage();
  trimHeap(0);
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
    mappings: mappings(),
    latencyP99Ms,
  };
}
