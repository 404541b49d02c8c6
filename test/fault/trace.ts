/** Reads what `strace -f -tt -y -o` wrote: every call with the lines where it began and ended. */

export interface Call {
  readonly thread: string;
  readonly name: string;
  /** The arguments as printed, with `<path>` behind each descriptor. */
  readonly args: string;
  readonly result: number;
  /** Line numbers: the order in which the tracer saw the call begin and end. */
  readonly began: number;
  readonly ended: number;
}

/** The calls that ended, in the order of their ends. */
export function parseTrace(text: string): Call[] {
  const calls: Call[] = [];
  const open = new Map<string, { name: string; args: string; began: number }>();
  text.split('\n').forEach((line, number) => {
    const [, thread, rest] = /^(\d+)\s+[\d:.]+\s+(.*)$/.exec(line) ?? [];
    if (thread === undefined || rest === undefined) return;
    const unfinished = /^(\w+)\((.*)<unfinished \.\.\.>$/.exec(rest);
    if (unfinished !== null) {
      open.set(thread, { name: unfinished[1] ?? '', args: (unfinished[2] ?? '').trimEnd(), began: number });
      return;
    }
    const resumed = /^<\.\.\. (\w+) resumed>(.*)\)\s+= (-?\d+)/.exec(rest);
    const begun = open.get(thread);
    if (resumed !== null && begun !== undefined && begun.name === resumed[1]) {
      open.delete(thread);
      calls.push({ thread, name: begun.name, args: begun.args + (resumed[2] ?? ''), result: Number(resumed[3]), began: begun.began, ended: number });
      return;
    }
    const whole = /^(\w+)\((.*)\)\s+= (-?\d+)/.exec(rest);
    if (whole !== null) {
      calls.push({ thread, name: whole[1] ?? '', args: whole[2] ?? '', result: Number(whole[3]), began: number, ended: number });
    }
  });
  return calls;
}

/** True when the call's first argument is a descriptor of `path`. */
export function isOn(call: Call, path: string): boolean {
  return new RegExp(`^\\d+<${path.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}>`).test(call.args);
}

export interface Marker {
  readonly kind: 'append' | 'ack';
  readonly sequence: number;
  /** Of acknowledgements: the record's frame. */
  readonly start: number;
  readonly end: number;
  /** The line where the marker's write began. */
  readonly at: number;
}

/** What the program wrote with `markers`. */
export function markersOf(calls: readonly Call[]): Marker[] {
  const markers: Marker[] = [];
  for (const call of calls) {
    const [, kind, sequence, start, end] = call.name === 'write' ? (/^3<[^>]*>, "(append|ack) (\d+)(?: (\d+) (\d+))?\\n"/.exec(call.args) ?? []) : [];
    if (kind === undefined) continue;
    markers.push({ kind: kind as Marker['kind'], sequence: Number(sequence), start: Number(start), end: Number(end), at: call.began });
  }
  return markers;
}

interface Range {
  readonly start: number;
  readonly end: number;
}

/** True when the ranges together cover `wanted`. */
function covers(ranges: readonly Range[], wanted: Range): boolean {
  let at = wanted.start;
  for (const { start, end } of [...ranges].sort((a, b) => a.start - b.start)) {
    if (start <= at && end > at) at = end;
  }
  return at >= wanted.end;
}

/**
 * Holds each acknowledgement against the writes and syncs of the blocking backend: its frame must have been written, by
 * calls that began after the append did, and a sync that began after those writes ended must have ended before it.
 * Answers how many acknowledgements there were and which of them were not true.
 */
export function checkSynced(calls: readonly Call[], path: string): { acknowledged: number; lies: string[] } {
  const writes = calls
    .filter((call) => call.name === 'pwrite64' && isOn(call, path) && call.result > 0)
    .map((call) => {
      const offset = Number(/, (\d+)$/.exec(call.args)?.[1]);
      return { start: offset, end: offset + call.result, call };
    });
  const syncs = calls.filter((call) => call.name === 'fdatasync' && isOn(call, path) && call.result === 0);
  const markers = markersOf(calls);
  const appended = new Map(markers.filter(({ kind }) => kind === 'append').map(({ sequence, at }) => [sequence, at]));
  const acks = markers.filter(({ kind }) => kind === 'ack');
  const lies: string[] = [];
  for (const ack of acks) {
    const began = appended.get(ack.sequence) ?? Infinity;
    const true_ = syncs.some((sync) => {
      if (sync.ended > ack.at) return false;
      return covers(writes.filter(({ call }) => call.began > began && call.ended < sync.began), ack);
    });
    if (!true_) lies.push(`record ${ack.sequence}, ${ack.start} to ${ack.end}, was acknowledged without a sync`);
  }
  return { acknowledged: acks.length, lies };
}

/** The LSN of the byte at `offset` of the segment that a path names; undefined when it names none. */
function baseOfPath(path: string, directory: string): number | undefined {
  const [, digits] = path.startsWith(`${directory}/`) ? (/^\/([0-9a-f]{16})\.segment$/.exec(path.slice(directory.length)) ?? []) : [];
  return digits === undefined ? undefined : Number.parseInt(digits, 16);
}

function pathOf(call: Call): string {
  return /^\d+<([^>]*)>/.exec(call.args)?.[1] ?? '';
}

interface SegmentWrite extends Range {
  readonly call: Call;
  readonly base: number;
  readonly dsync: boolean;
}

/** What was written to segments, with how its descriptor was opened. */
function segmentWrites(calls: readonly Call[], directory: string): SegmentWrite[] {
  const dsync = new Map<string, boolean>();
  const writes: SegmentWrite[] = [];
  for (const call of calls) {
    const [descriptor = ''] = /^\d+/.exec(call.args) ?? [];
    if (call.name === 'openat' && call.result >= 0) dsync.set(String(call.result), call.args.includes('O_DSYNC'));
    if (call.name !== 'pwrite64' || call.result <= 0) continue;
    const base = baseOfPath(pathOf(call), directory);
    if (base === undefined) continue;
    const start = base + Number(/, (\d+)$/.exec(call.args)?.[1]);
    writes.push({ start, end: start + call.result, call, base, dsync: dsync.get(descriptor) === true });
  }
  return writes;
}

/** When the segment at `base` was in place for good: its file synced, renamed, and its directory synced; Infinity if it never was. */
function placedAt(calls: readonly Call[], directory: string, base: number): number {
  const name = `"${directory}/${base.toString(16).padStart(16, '0')}.segment"`;
  const renamed = calls.find((call) => call.name.startsWith('rename') && call.result === 0 && call.args.includes(`, ${name}`));
  if (renamed === undefined) return Infinity;
  const written = calls.findLast((call) => call.name === 'pwrite64' && pathOf(call).endsWith('.spare') && call.ended < renamed.began);
  const synced = calls.some((call) => call.name === 'fsync' && call.result === 0 && pathOf(call).endsWith('.spare') && call.began > (written?.ended ?? Infinity) && call.ended < renamed.began);
  const placed = calls.find((call) => call.name === 'fsync' && call.result === 0 && pathOf(call) === directory && call.began > renamed.ended);
  return synced ? placed?.ended ?? Infinity : Infinity;
}

/**
 * The same for segments: what covers a record's frame must have been written since its append began, and have ended, or
 * been synced, before it was acknowledged. Its segment must have been in place by then. A write is durable by itself where
 * its descriptor was opened with `O_DSYNC`.
 */
export function checkSegments(calls: readonly Call[], directory: string): { acknowledged: number; segments: number; dsync: boolean; lies: string[] } {
  const writes = segmentWrites(calls, directory);
  const syncs = calls.filter((call) => call.name === 'fdatasync' && call.result === 0);
  const markers = markersOf(calls);
  const appended = new Map(markers.filter(({ kind }) => kind === 'append').map(({ sequence, at }) => [sequence, at]));
  const acks = markers.filter(({ kind }) => kind === 'ack');
  const lies: string[] = [];
  const placed = new Map<number, number>();
  let dsync = true;
  for (const ack of acks) {
    const began = appended.get(ack.sequence) ?? Infinity;
    const own = writes.filter(({ call, start, end }) => call.began > began && call.ended < ack.at && start < ack.end && end > ack.start);
    const durable = own.filter((write) => write.dsync || syncs.some((sync) => pathOf(sync) === pathOf(write.call) && sync.began > write.call.ended && sync.ended < ack.at));
    if (own.some((write) => !write.dsync)) dsync = false;
    if (!covers(durable, ack)) lies.push(`record ${ack.sequence}, ${ack.start} to ${ack.end}, was acknowledged before it was durable`);
    for (const { base } of own) {
      const at = placed.get(base) ?? placedAt(calls, directory, base);
      placed.set(base, at);
      if (at > ack.at) lies.push(`record ${ack.sequence} was acknowledged before the segment at ${base} was in place`);
    }
  }
  return { acknowledged: acks.length, segments: placed.size, dsync, lies };
}

/** Holds the acknowledgements of a single appender against the ring: each needs a submission of its own before it. */
export function checkSubmitted(calls: readonly Call[]): { acknowledged: number; submitted: number; lies: string[] } {
  const submissions = calls.filter((call) => call.name === 'io_uring_enter' && call.result > 0 && Number(/^[^,]+, (\d+)/.exec(call.args)?.[1]) > 0);
  const acks = markersOf(calls).filter(({ kind }) => kind === 'ack');
  const lies: string[] = [];
  acks.forEach((ack, i) => {
    const before = submissions.filter(({ ended }) => ended < ack.at).length;
    if (before < i + 1) lies.push(`acknowledgement ${i + 1} came after ${before} submissions`);
  });
  return { acknowledged: acks.length, submitted: submissions.length, lies };
}
