/**
 * What file operations do when the disk fails: who calls is told the truth, what was there stays or is wholly replaced, nothing
 * stays behind, and no sync is ever tried again.
 *
 * Each operation of the table is one that works; each of its steps is a call to the disk that may fail. `CASE` runs only those
 * whose name contains it.
 */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { BatchError, IoError, IoScheduler, type BatchKind, type FileHandle, type OperationError, type WriteMethod } from 'tidemark';
import { LoggedDisk, memoryDirectory, mountCopy, noFilesystem, run, unmount, type FilesystemName } from '../crash/power-loss/disk.js';
import { FaultyDirectory, noFaultfs, type Operation as Op, type Rule } from '../faultfs/faultfs.js';
import { rejected } from '../files/tools.js';
import { temporaryDirectory } from '../support.js';
import { inMountNamespace, latestTick, noLoopDevices, skip, TICK_MS, until } from './tools.js';

await inMountNamespace(import.meta.url);

type Errno = 'EIO' | 'ENOSPC' | 'EDQUOT' | 'EROFS' | 'ESTALE' | 'EINTR' | 'EAGAIN';
/** The files of a directory, by name. */
type Contents = Readonly<Record<string, string>>;

const OLD = 'what was there before';
const NEW = 'what is there afterwards, and longer';
const SOURCE = 'from where it is copied';
const BEFORE: Contents = { target: OLD, source: SOURCE };
/** A left-over of a replacement that was killed. */
const LEFTOVER = '.target.tidemark-2';
/** A call that only meets passing errors is made once more so often. */
const RETRIES_MAX = 100;
/** What a short write takes. */
const SHORT = 5;
/** For `at`: the directory itself. */
const DIRECTORY = '.';

// ---- the table -----------------------------------------------------------------------------------------------------

/** A call to the disk that an operation makes, and what follows where it fails. */
interface Step {
  readonly op: Op;
  readonly syscall: string;
  /** The file that the error has to name. Default: `target`. */
  readonly at?: string;
  /** Of several calls of the kind, the one after so many. */
  readonly skip?: number;
  /** Errors after which it is repeated. */
  readonly patient?: readonly Errno[];
  /** The directory afterwards. Default: as before. */
  readonly left?: Contents;
  /** The directory when a write has put {@link SHORT} bytes into the file and what is left of it fails. Default: as before. */
  readonly begun?: Contents;
  /** A short write of this kind is an error already: FUSE says so of direct writes. */
  readonly whole?: boolean;
  readonly batch?: { readonly kind: BatchKind; readonly step: number; readonly completed: number };
}

interface Paths {
  readonly at: (name: string) => string;
  /** Of `target`, where the operation has `open`. */
  readonly handle: FileHandle;
}

interface Operation {
  readonly what: string;
  readonly run: (paths: Paths) => Promise<unknown>;
  readonly steps: readonly Step[];
  readonly before?: Contents;
  readonly open?: (path: string) => Promise<FileHandle>;
  /** The directory when nothing failed. Default: as before. */
  readonly done?: Contents;
}

const INTERRUPTED: readonly Errno[] = ['EINTR'];
const PASSING: readonly Errno[] = ['EINTR', 'EAGAIN'];
const LASTING: readonly Errno[] = ['EIO', 'ENOSPC', 'EDQUOT', 'EROFS'];
const READ_ERRORS: readonly Errno[] = ['EIO', 'ESTALE'];

const scheduler = new IoScheduler();
const { files } = scheduler;

const open: Step = { op: 'open', syscall: 'open', patient: INTERRUPTED };
const write: Step = { op: 'write', syscall: 'pwrite', patient: PASSING };
const truncate: Step = { op: 'truncate', syscall: 'ftruncate', patient: INTERRUPTED };
const read: Step = { op: 'read', syscall: 'pread', patient: PASSING };
const makeTemporary: Step = { op: 'create', syscall: 'openat2', patient: PASSING };
const create: Step = { op: 'create', syscall: 'open', patient: INTERRUPTED };
const rename: Step = { op: 'rename', syscall: 'renameat' };

/** The kernel reads and writes on its own, and names neither file. */
const kernelCopies = { syscall: 'copy_file_range', patient: PASSING } as const;

function syncOf(syscall: 'fdatasync' | 'fsync', left: Contents): Step {
  return { op: 'fsync', syscall, left };
}

function directorySync(left: Contents): Step {
  return { op: 'fsyncdir', syscall: 'fsync', at: DIRECTORY, left };
}

const replaced: Contents = { ...BEFORE, target: NEW };
const made: Contents = { ...BEFORE, made: NEW };

const replacing: readonly Operation[] = [
  {
    what: 'replaceFile', run: ({ at }) => files.replaceFile(at('target'), NEW), done: replaced,
    steps: [makeTemporary, write, syncOf('fsync', BEFORE), rename, directorySync(replaced)],
  },
  {
    what: 'replaceFile of a new file', run: ({ at }) => files.replaceFile(at('made'), NEW), done: made,
    steps: [...[makeTemporary, write, syncOf('fsync', BEFORE), rename].map((step) => ({ ...step, at: 'made' })), directorySync(made)],
  },
  {
    what: 'removeLeftovers', run: ({ at }) => files.removeLeftovers(at(DIRECTORY)), before: { ...BEFORE, [LEFTOVER]: 'half' }, done: BEFORE,
    steps: [
      { op: 'unlink', syscall: 'unlinkat', at: LEFTOVER },
      { ...open, at: LEFTOVER, syscall: 'openat2', patient: PASSING },
      directorySync(BEFORE),
    ],
  },
];

const inBatch = { ...BEFORE, moving: 'moves', going: 'goes' };
const [wrote, copied, moved] = [{ ...inBatch, target: NEW }, { ...inBatch, target: NEW, copy: SOURCE }, { target: NEW, source: SOURCE, copy: SOURCE, moved: 'moves', going: 'goes' }];
const batched: Contents = { target: NEW, source: SOURCE, copy: SOURCE, moved: 'moves' };
const [first, second] = [{ kind: 'write', step: 0, completed: 0 }, { kind: 'copy', step: 1, completed: 1 }] as const;
const batches: readonly Operation[] = [{
  what: 'batch', before: inBatch, done: batched,
  run: ({ at }) => files.batch().write(at('target'), NEW).copy(at('source'), at('copy')).rename(at('moving'), at('moved')).delete(at('going')).commit(),
  steps: [
    { ...makeTemporary, batch: first },
    { ...write, batch: first },
    { ...syncOf('fsync', inBatch), batch: first },
    { ...rename, batch: first },
    { ...open, syscall: 'openat2', patient: PASSING, at: 'source', left: wrote, batch: second },
    { ...makeTemporary, skip: 1, at: 'copy', left: wrote, batch: second },
    { ...read, ...kernelCopies, at: 'copy', left: wrote, batch: second },
    { ...write, ...kernelCopies, skip: 1, at: 'copy', left: wrote, batch: second },
    { ...syncOf('fsync', wrote), skip: 1, at: 'copy', batch: second },
    { ...rename, skip: 1, at: 'copy', left: wrote, batch: second },
    { ...rename, skip: 2, at: 'moving', left: copied, batch: { kind: 'rename', step: 2, completed: 2 } },
    { op: 'unlink', syscall: 'unlinkat', at: 'going', left: moved, batch: { kind: 'delete', step: 3, completed: 3 } },
    { ...directorySync(batched), batch: { kind: 'sync', step: 4, completed: 4 } },
  ],
}];

const SYNC_OF_METHOD: Readonly<Record<WriteMethod, 'fdatasync' | 'fsync' | undefined>> = { none: undefined, data: 'fdatasync', sync: 'fsync', auto: 'fdatasync', direct: 'fdatasync' };
const written: Contents = { ...BEFORE, target: `${OLD.slice(0, 5)}${NEW}` };
const partlyWritten: Contents = { ...BEFORE, target: `${OLD.slice(0, 5)}${NEW.slice(0, SHORT)}${OLD.slice(5 + SHORT)}` };
const appended: Contents = { ...BEFORE, target: `${OLD}${NEW}` };

function syncsOf(method: WriteMethod, left: Contents): Step[] {
  const syscall = SYNC_OF_METHOD[method];
  return syscall === undefined ? [] : [syncOf(syscall, left)];
}

/** What a direct write that ends inside a sector leaves before the file gets its length back. */
const padded = (text: string): string => text.padEnd(4096, '\0');

const writing: readonly Operation[] = [
  ...(['none', 'data', 'sync', 'auto', 'direct'] as const).flatMap((method): Operation[] => {
    const direct = method === 'direct';
    const cut = (text: string): Step[] => (direct ? [{ ...truncate, skip: text === NEW ? 1 : 0, left: { ...BEFORE, target: padded(text) } }] : []);
    return [
      {
        what: `writeAll, ${method}`, run: ({ at }) => files.writeAll(at('target'), NEW, { method }), done: replaced,
        steps: [open, truncate, { ...write, left: { ...BEFORE, target: '' }, begun: { ...BEFORE, target: NEW.slice(0, SHORT) }, whole: direct }, ...cut(NEW), ...syncsOf(method, replaced)],
      },
      {
        what: `writeAt, ${method}`, open: (path) => files.openWriteAt(path, { direct }), done: written,
        run: ({ handle }) => files.writeAt(handle, NEW, 5, { method }),
        steps: [{ ...write, begun: partlyWritten, whole: direct }, ...cut(`${OLD.slice(0, 5)}${NEW}`), ...syncsOf(method, written)],
      },
      ...(direct ? [] : [{
        what: `append, ${method}`, open: (path: string) => files.openAppend(path), done: appended,
        run: ({ handle }: Paths) => files.append(handle, NEW, { method }),
        steps: [{ ...write, syscall: 'pwritev2', begun: { ...BEFORE, target: `${OLD}${NEW.slice(0, SHORT)}` } }, ...syncsOf(method, appended)],
      }]),
    ];
  }),
  {
    what: 'writeAt of a handle that is durable', open: (path) => files.openWriteAt(path, { dsync: true }), run: ({ handle }) => files.writeAt(handle, NEW, 5, { method: 'none' }), done: written,
    // Its bytes are written again as well, so that the next sync covers them.
    steps: [{ ...write, begun: partlyWritten }, { ...syncOf('fdatasync', written), syscall: 'pwrite', patient: PASSING }],
  },
  {
    what: 'writeVector', open: (path) => files.openWriteAt(path), run: ({ handle }) => files.writeVector(handle, [Buffer.from(NEW.slice(0, 7)), Buffer.from(NEW.slice(7))], 5, { method: 'data' }), done: written,
    steps: [{ ...write, syscall: 'pwritev2', begun: partlyWritten }, syncOf('fdatasync', written)],
  },
  {
    what: 'writeAll of a new file', run: ({ at }) => files.writeAll(at('made'), NEW), done: made,
    steps: [{ ...create, at: 'made' }, { ...directorySync({ ...BEFORE, made: '' }) }, { ...write, at: 'made', left: { ...BEFORE, made: '' }, begun: { ...BEFORE, made: NEW.slice(0, SHORT) } }, { ...syncOf('fdatasync', made), at: 'made' }],
  },
  {
    what: 'openWriteNew', run: async ({ at }) => (await files.openWriteNew(at('made'))).close(), done: { ...BEFORE, made: '' },
    steps: [{ ...create, at: 'made' }, directorySync({ ...BEFORE, made: '' })],
  },
];

const copy: Contents = { ...BEFORE, copy: SOURCE };
const overwritten: Contents = { ...BEFORE, target: SOURCE };

const copying: readonly Operation[] = [
  {
    what: 'copyFile', run: ({ at }) => files.copyFile(at('source'), at('copy')), done: copy,
    steps: [
      { ...open, at: 'source' },
      ...[makeTemporary, { ...read, ...kernelCopies }, { ...write, ...kernelCopies }, syncOf('fsync', BEFORE), { ...rename, syscall: 'renameat2' }].map((step) => ({ ...step, at: 'copy' })),
      directorySync(copy),
    ],
  },
  {
    what: 'copyFile over a file, read and written', run: ({ at }) => files.copyFile(at('source'), at('target'), { overwrite: true, method: 'read_write' }), done: overwritten,
    steps: [{ ...open, at: 'source' }, makeTemporary, { ...read, at: 'source' }, write, syncOf('fsync', BEFORE), rename, directorySync(overwritten)],
  },
  {
    what: 'copyRange', run: ({ at }) => files.copyRange(at('source'), 0, at('target'), 5, 10, { durable: true }), done: { ...BEFORE, target: `${OLD.slice(0, 5)}${SOURCE.slice(0, 10)}${OLD.slice(15)}` },
    steps: [
      { ...open, at: 'source' }, { ...open, skip: 1 }, { ...read, ...kernelCopies }, { ...write, ...kernelCopies, begun: { ...BEFORE, target: `${OLD.slice(0, 5)}${SOURCE.slice(0, SHORT)}${OLD.slice(5 + SHORT)}` } },
      syncOf('fdatasync', { ...BEFORE, target: `${OLD.slice(0, 5)}${SOURCE.slice(0, 10)}${OLD.slice(15)}` }),
    ],
  },
];

const renamed: Contents = { target: SOURCE };
const naming: readonly Operation[] = [
  { what: 'rename', run: ({ at }) => files.rename(at('source'), at('target')), done: renamed, steps: [{ ...rename, at: 'source' }, directorySync(renamed)] },
  { what: 'unlink', run: ({ at }) => files.unlink(at('source')), done: { target: OLD }, steps: [{ op: 'unlink', syscall: 'unlinkat', at: 'source' }, directorySync({ target: OLD })] },
];

const shaping: readonly Operation[] = [
  {
    what: 'preallocate', run: ({ at }) => files.preallocate(at('target'), 30, { mode: 'extend', durable: true }), done: { ...BEFORE, target: OLD.padEnd(30, '\0') },
    steps: [open, { op: 'fallocate', syscall: 'fallocate', patient: INTERRUPTED }, syncOf('fsync', { ...BEFORE, target: OLD.padEnd(30, '\0') })],
  },
  {
    what: 'truncate', run: ({ at }) => files.truncate(at('target'), 4, { durable: true }), done: { ...BEFORE, target: OLD.slice(0, 4) },
    steps: [open, truncate, syncOf('fsync', { ...BEFORE, target: OLD.slice(0, 4) })],
  },
];

const reading: readonly Operation[] = [
  { what: 'readAll', run: async ({ at }) => assert.is((await files.readAll(at('target'))).data.toString(), OLD), steps: [open, read] },
  { what: 'readRange', open: (path) => files.openRead(path), run: async ({ handle }) => assert.is((await files.readRange(handle, 5, 3)).data.toString(), OLD.slice(5, 8)), steps: [read] },
  { what: 'readVector', run: async ({ at }) => assert.is((await files.readVector(at('target'), [3, 4], 0)).data[1]?.toString(), OLD.slice(3, 7)), steps: [open, read] },
];

const syncing: readonly Operation[] = [
  { what: 'syncData', run: ({ at }) => files.syncData(at('target')), steps: [open, syncOf('fdatasync', BEFORE)] },
  { what: 'syncData of a handle', open: (path) => files.openRead(path), run: ({ handle }) => files.syncData(handle), steps: [syncOf('fdatasync', BEFORE)] },
  { what: 'syncFull', run: ({ at }) => files.syncFull(at('target')), steps: [open, syncOf('fsync', BEFORE)] },
  { what: 'syncParentDir', run: ({ at }) => files.syncParentDir(at('target')), steps: [directorySync(BEFORE)] },
];

const table: readonly Operation[] = [...replacing, ...batches, ...writing, ...copying, ...naming, ...shaping, ...reading, ...syncing];

// ---- what has to follow --------------------------------------------------------------------------------------------

const CODES: Readonly<Partial<Record<Errno, string>>> = { ENOSPC: 'TIDEMARK_NO_SPACE', EDQUOT: 'TIDEMARK_NO_SPACE', EROFS: 'TIDEMARK_READ_ONLY' };

function contentsOf(directory: string): Contents {
  return Object.fromEntries(readdirSync(directory, { withFileTypes: true }).filter((entry) => entry.isFile()).map(({ name }) => [name, readFileSync(join(directory, name), 'utf8')]));
}

function sorted(contents: Contents): Contents {
  return Object.fromEntries(Object.entries(contents).sort(([a], [b]) => (a < b ? -1 : 1)));
}

function assertMet(error: unknown, step: Pick<Step, 'syscall' | 'batch'>, errno: Errno, path: string): void {
  if (step.batch !== undefined) {
    assert.instance(error, BatchError);
    const { kind, step: index, completed } = error as BatchError;
    assert.equal({ kind, step: index, completed }, step.batch);
    assertMet((error as BatchError).cause, { syscall: step.syscall }, errno, path);
    return;
  }
  assert.instance(error, IoError, String(error));
  const { code, errnoName, syscall, path: named } = error as IoError;
  assert.equal({ code, errnoName, syscall, path: named }, { code: CODES[errno] ?? 'TIDEMARK_IO', errnoName: errno, syscall: step.syscall, path });
}

/** A mount of faultfs, and directories in it that nobody else uses. */
class FaultyFiles {
  readonly faulty: FaultyDirectory;
  #directories = 0;

  constructor(faulty: FaultyDirectory) {
    this.faulty = faulty;
  }

  /** Answers the directory's name. */
  directory(before: Contents): string {
    const name = `case-${String(this.#directories++).padStart(4, '0')}`;
    const path = join(this.faulty.source, name);
    mkdirSync(path);
    for (const [file, content] of Object.entries(before)) writeFileSync(join(path, file), content, { mode: 0o600 });
    return name;
  }

  in(directory: string, name: string): string {
    return join(this.faulty.mount, directory, name);
  }

  left(directory: string): Contents {
    return contentsOf(join(this.faulty.source, directory));
  }

  /** Does an operation under a rule; answers what it rejected with, and what the disk saw. */
  async run({ run, open: opens, before = BEFORE }: Operation, rule: Omit<Rule, 'path'>, ...more: readonly Omit<Rule, 'path'>[]): Promise<{ error: unknown; hits: number; asked: number; left: Contents; at: (name: string) => string }> {
    const directory = this.directory(before);
    const at = (name: string): string => this.in(directory, name);
    const handle = await opens?.(at('target'));
    this.faulty.clear();
    for (const each of [rule, ...more]) this.faulty.add({ ...each, path: directory });
    const error = await rejected(run({ at, handle: handle as FileHandle }));
    const [hits = 0] = this.faulty.hits();
    const asked = this.faulty.counts()[rule.op];
    this.faulty.clear();
    await handle?.close();
    return { error, hits, asked, left: this.left(directory), at };
  }

  async fails(operation: Operation, step: Step, errno: Errno): Promise<void> {
    const { before = BEFORE } = operation;
    const { op, skip = 0, at: named = 'target', left: expected = before, patient = [] } = step;
    // The kernel reads ahead, and asks again for what that did not get.
    const once = op !== 'read';
    const { error, hits, asked, left, at } = await this.run(operation, { op, skip, errno: constants.errno[errno], ...(once && { count: 1 }) });
    assertMet(error, step, errno, at(named));
    assert.equal(left, sorted(expected));
    assert.ok(once ? hits === 1 : hits > 0);
    if (patient.length === 0) assert.is(asked, skip + 1, 'it is not repeated');
  }

  async passes(operation: Operation, { op, skip = 0, ...step }: Step, errno: Errno): Promise<void> {
    const { before = BEFORE, done = before } = operation;
    const brief = await this.run(operation, { op, skip, errno: constants.errno[errno], count: 3 });
    assert.is(brief.error, undefined);
    assert.equal({ hits: brief.hits, left: brief.left }, { hits: 3, left: sorted(done) });
    const endless = await this.run(operation, { op, skip, errno: constants.errno[errno] });
    assertMet(endless.error, step, errno, endless.at(step.at ?? 'target'));
    assert.equal(endless.left, sorted(step.left ?? before));
    if (op === 'read') assert.ok(endless.hits > RETRIES_MAX);
    else assert.is(endless.hits, RETRIES_MAX + 1);
  }

  /** `write`: of the operation. */
  async writesInPieces(operation: Operation, step: Step): Promise<void> {
    const { before = BEFORE, done = before } = operation;
    const { skip = 0, left = before, begun = left, at: named = 'target' } = step;
    const pieces = await this.run(operation, { op: 'write', short: SHORT, skip, count: 4 });
    assert.is(pieces.error, undefined);
    assert.ok(pieces.hits > 1);
    assert.equal(pieces.left, sorted(done));
    const half = await this.run(operation, { op: 'write', short: SHORT, skip, count: 1 }, { op: 'write', errno: constants.errno.ENOSPC, skip: skip + 1 });
    // Before its file is in place nobody is told how far it came, and what the kernel copied by itself it had told before.
    if (step.syscall !== 'copy_file_range' && step.begun !== undefined) assert.is((half.error as IoError).bytesDone, SHORT);
    assertMet(half.error, step, 'ENOSPC', half.at(named));
    assert.equal(half.left, sorted(begun));
  }
}

// ---- replacements that are done together -----------------------------------------------------------------------------

/** Two directories, so many files in each; enough for the syncs of their contents to go through a ring. */
const IN_EACH = 5;
const ILL = 'file-2';

interface Together {
  readonly step: Step;
  /** What the rule is about: one file, or a directory. */
  readonly path: (directory: string) => string;
  /** All in the directory fail, and not only {@link ILL}. */
  readonly all: boolean;
}

const one = (directory: string): string => `${directory}/.${ILL}.`;
const together: readonly Together[] = [
  ...[makeTemporary, write, syncOf('fsync', {}), rename].map((step) => ({ step: { ...step, at: ILL }, path: one, all: false })),
  { step: directorySync({}), path: (directory) => directory, all: true },
];

async function replaceTogether(disk: FaultyFiles, { step, path, all }: Together): Promise<void> {
  const single = new IoScheduler({ fileWorkers: 1 });
  const names = Array.from({ length: IN_EACH }, (_, i) => `file-${i}`);
  const directories = [disk.directory({ [ILL]: OLD }), disk.directory({ [ILL]: OLD })] as const;
  const { faulty } = disk;
  // Its thread starts now: what is called while it does would wait, and go together in any case.
  await single.files.syncParentDir(disk.in(directories[0], ILL));
  faulty.clear();
  faulty.add({ op: step.op, path: path(directories[0]), errno: constants.errno.EIO, count: 1 });
  const outcomes = await Promise.all(directories.flatMap((directory) => names.map(async (name) => {
    const result = single.files.replaceFile(disk.in(directory, name), NEW);
    return { directory, name, error: await rejected(result), sync: await result.then(({ contentSync }) => contentSync, () => undefined) };
  })));
  const [[hits], { fsync, fsyncdir }] = [faulty.hits(), faulty.counts()];
  faulty.clear();
  await single.close();
  const reached = step.op === 'create' || step.op === 'write' ? 2 * IN_EACH - 1 : 2 * IN_EACH;
  assert.equal({ hits, fsync, fsyncdir }, { hits: 1, fsync: reached, fsyncdir: 2 }, 'each content is synced once, each directory once');
  for (const { directory, name, error, sync } of outcomes) {
    if (directory === directories[0] && (all || name === ILL)) assertMet(error, step, 'EIO', disk.in(directory, all ? DIRECTORY : name));
    else assert.equal({ error, sync }, { error: undefined, sync: 'IORING_OP_FSYNC' });
  }
  const allNew = Object.fromEntries(names.map((name) => [name, NEW]));
  assert.equal(directories.map((directory) => disk.left(directory)), [all ? allNew : { ...allNew, [ILL]: OLD }, allNew]);
}

// ---- a disk that holds what it was given -----------------------------------------------------------------------------

const HOLD_MS = 300;
const TIMEOUT_MS = 100;
const LATENESS_MS_MAX = 250;
const BOUND_MS = 10_000;
/** Let be, with a timeout, called off. */
const ways = ['plain', 'timed', 'called'] as const;
type Way = (typeof ways)[number];

/** Descriptors of this process that lead into the mount. */
function openBelow(mount: string): string[] {
  return readdirSync('/proc/self/fd').flatMap((descriptor) => {
    try {
      return [readlinkSync(`/proc/self/fd/${descriptor}`)];
    } catch {
      // It was open for the listing itself.
      return [];
    }
  }).filter((path) => path.startsWith(mount));
}

/**
 * Three replacements have all threads that normal operations may have, three more wait: of each three one is let be, one has a
 * timeout, one is called off.
 */
async function hold(disk: FaultyFiles, op: Op): Promise<void> {
  const own = new IoScheduler({ fileWorkers: 4 });
  const elsewhere = join(temporaryDirectory(), 'elsewhere');
  // Each in a directory of its own, for the kernel makes and renames one name at a time in each.
  const directoryOf = new Map(ways.map((way) => [way, disk.directory({ target: OLD })]));
  const target = (way: Way): string => disk.in(directoryOf.get(way) ?? '', 'target');
  const unchanged = disk.in(disk.directory(BEFORE), 'source');
  const { faulty } = disk;
  // Its threads start now: that takes longer than the timeout.
  await Promise.all(ways.map(() => own.files.syncParentDir(elsewhere)));
  faulty.clear();
  faulty.add({ op, path: 'case-', hold: 1 });
  const called = new AbortController();
  const settled: string[] = [];
  const watched = async (what: string, promise: Promise<unknown>): Promise<unknown> => {
    const error = await rejected(promise);
    settled.push(what);
    return error;
  };
  const optionsOf = { plain: {}, timed: { timeoutMs: TIMEOUT_MS }, called: { signal: called.signal } } as const;
  const running: Promise<unknown>[] = [];
  for (const way of ways) {
    running.push(watched(`running, ${way}`, own.files.replaceFile(target(way), NEW, optionsOf[way])));
    // One after the other: those that wait together go to one thread.
    await until('what the disk holds', BOUND_MS, () => faulty.hits()[0] === running.length);
  }
  const waiting = ways.map((way) => watched(`waiting, ${way}`, own.files.readAll(unchanged, optionsOf[way])));

  const ticks = latestTick(HOLD_MS);
  await own.files.replaceFile(elsewhere, NEW, { lane: 'urgent' });
  assert.is(readFileSync(elsewhere, 'utf8'), NEW, 'another disk goes on');
  called.abort(new Error('no more'));
  const { latestMs, ticks: count } = await ticks;
  assert.ok(latestMs < LATENESS_MS_MAX, `a tick came ${latestMs} ms late`);
  assert.ok(count > HOLD_MS / TICK_MS / 4, `${count} ticks`);
  // What runs and is called off answers when its thread does: then nothing of it goes on.
  assert.equal(settled.sort(), ['running, timed', 'waiting, called', 'waiting, timed']);
  const closing = own.close().then(() => settled.push('closed'));
  await new Promise(setImmediate);
  assert.is(settled.includes('closed'), false);

  faulty.clear();
  await closing;
  const [ran, waited] = [await Promise.all(running), await Promise.all(waiting)];
  assert.equal([ran[0], waited[0]], [undefined, undefined]);
  assert.equal([ran[1], waited[1]].map((error) => [(error as OperationError).code, (error as OperationError).begun]), [['TIDEMARK_TIMEOUT', true], ['TIDEMARK_TIMEOUT', false]]);
  assert.is((waited[2] as Error).message, 'no more');
  // Whoever was called off before the rename has changed nothing.
  const before = ['create', 'write', 'fsync'].includes(op);
  assert.is((ran[2] as Error | undefined)?.message, before ? 'no more' : undefined);
  const content = { plain: NEW, timed: before ? OLD : NEW, called: before ? OLD : NEW };
  for (const way of ways) assert.equal(disk.left(directoryOf.get(way) ?? ''), { target: content[way] });
  assert.equal(openBelow(faulty.mount), []);
}

// ---- a device that fails under a filesystem --------------------------------------------------------------------------

interface OnDevice {
  readonly filesystem: FilesystemName;
  readonly op: 'write' | 'fsync';
  /** The first one that fails; no other does. */
  readonly skip: number;
  readonly operation: 'replaceFile' | 'writeAt';
}

/** Each filesystem syncs in its own way: which of its writes and flushes an operation depends on is found by failing one after the other. */
const onDevice: readonly OnDevice[] = (['ext4', 'xfs'] as const).flatMap((filesystem) => [
  ...[0, 1, 2].map((skip): OnDevice => ({ filesystem, op: 'fsync', skip, operation: 'replaceFile' })),
  { filesystem, op: 'write', skip: 0, operation: 'replaceFile' },
  { filesystem, op: 'write', skip: 0, operation: 'writeAt' },
]);
const DISKS_AT_A_TIME = 4;

async function failDevice({ filesystem, op, skip: skipped, operation }: OnDevice, directory: string): Promise<void> {
  const disk = await LoggedDisk.make(directory, { filesystem });
  if (filesystem === 'ext4') await run('mount', '-o', 'remount,noinit_itable', disk.mount);
  const target = join(disk.mount, 'target');
  writeFileSync(target, OLD, { mode: 0o600 });
  await run('sync', '-f', disk.mount);
  writeFileSync(disk.control, `rule op=${op} path=/disk errno=${constants.errno.EIO} skip=${skipped} count=1\n`);
  const error = await rejected(operation === 'replaceFile' ? files.replaceFile(target, NEW) : files.writeAt(target, NEW, 0)) as IoError | undefined;
  const hit = /^rule 0 1$/m.test(readFileSync(disk.control, 'utf8'));
  await disk.finish();
  assert.ok(hit || error === undefined);
  if (skipped === 0) assert.ok(error !== undefined, 'what comes first is needed');
  const inDirectory = error?.path === disk.mount;
  if (error !== undefined) assertMet(error, { syscall: operation === 'writeAt' ? 'pwritev2' : 'fsync' }, 'EIO', inDirectory ? disk.mount : target);

  const mended = join(directory, 'mended');
  mkdirSync(mended);
  await mountCopy(filesystem, join(directory, 'source', 'disk'), mended);
  try {
    // A filesystem that had to give up could remove nothing any more.
    await files.removeLeftovers(mended);
    const { target: content, ...others } = contentsOf(mended);
    assert.equal(others, {});
    if (operation === 'replaceFile') assert.ok(content === NEW ? error === undefined || inDirectory : content === OLD && error !== undefined, `'${content}' after ${String(error)}`);
  } finally {
    await unmount(mended);
  }
}

// ---- nothing stays behind --------------------------------------------------------------------------------------------

const FAILURES = 1000;
const AT_A_TIME = 8;
/** One of each kind. */
const KINDS = ['replaceFile', 'removeLeftovers', 'batch', 'writeAll, direct', 'append, data', 'copyFile', 'copyRange', 'rename', 'preallocate', 'readAll', 'syncData', 'openWriteNew'];

/** What the process has open, and its threads without those of the kernel, which come and go with what a ring is given. */
function held(): { descriptors: number; threads: number } {
  const threads = readdirSync('/proc/self/task').filter((thread) => {
    try {
      return !readFileSync(`/proc/self/task/${thread}/comm`, 'utf8').startsWith('iou-');
    } catch {
      return false;
    }
  });
  return { descriptors: readdirSync('/proc/self/fd').length, threads: threads.length };
}

/** Fails so often, at each of its steps in turn; without a file of its own for each, since nothing is looked at. */
async function failAgainAndAgain(disk: FaultyFiles, operation: Operation, count: number): Promise<void> {
  const steps = operation.steps.filter(({ skip = 0 }) => skip === 0);
  for (const { op } of steps) {
    disk.faulty.clear();
    disk.faulty.add({ op, path: 'case-', errno: constants.errno.EIO });
    let left = Math.ceil(count / steps.length);
    await Promise.all(Array.from({ length: AT_A_TIME }, async () => {
      while (left-- > 0) await failOnce(disk, operation);
    }));
  }
  disk.faulty.clear();
}

async function failOnce(disk: FaultyFiles, { run, open: opens, before = BEFORE }: Operation): Promise<void> {
  const directory = disk.directory(before);
  const at = (name: string): string => disk.in(directory, name);
  const handle = await opens?.(at('target'));
  const error = await rejected(run({ at, handle: handle as FileHandle }));
  await handle?.close();
  assert.is(((error instanceof BatchError ? error.cause : error) as IoError).errnoName, 'EIO', String(error));
  rmSync(join(disk.faulty.source, directory), { recursive: true });
}

// ---- running it ----------------------------------------------------------------------------------------------------

const test = suite('file operations on a disk that fails');
const wanted = process.env['CASE'] ?? '';

const reason = noFaultfs();
if (reason !== undefined) {
  skip('all file operations on a disk that fails', reason);
} else {
  const root = mkdtempSync(join(memoryDirectory('/var/tmp'), 'tidemark-operations-'));
  process.on('exit', () => {
    rmSync(root, { recursive: true, force: true });
  });
  const faulty = await FaultyDirectory.start(root, { removeOpen: true });
  test.after(async () => {
    await scheduler.close();
    await faulty.stop();
  });
  const disk = new FaultyFiles(faulty);
  const add = (name: string, what: () => Promise<void>): void => {
    if (name.includes(wanted)) test(name, what);
  };

  for (const operation of table) {
    for (const step of operation.steps) {
      const { op, at = 'target', patient = [] } = step;
      const name = `${operation.what}: ${op} of ${at}`;
      for (const errno of [...(op === 'read' ? READ_ERRORS : LASTING), ...PASSING.filter((passing) => !patient.includes(passing))]) {
        add(`${name} fails with ${errno}`, () => disk.fails(operation, step, errno));
      }
      if (op === 'write' && step.whole !== true) add(`${name}, in pieces`, () => disk.writesInPieces(operation, step));
      for (const errno of patient) add(`${name}, met by ${errno}, is repeated, with a bound`, () => disk.passes(operation, step, errno));
    }
  }

  for (const one_ of together) add(`replacements together: ${one_.step.op} of ${one_.all ? 'a directory' : 'one of them'} fails`, () => replaceTogether(disk, one_));

  for (const op of ['create', 'write', 'fsync', 'rename', 'fsyncdir'] as const) add(`the disk holds each ${op}`, () => hold(disk, op));

  add('a file that is opened when nobody waits for it any more is closed', async () => {
    const directory = disk.directory(BEFORE);
    faulty.clear();
    faulty.add({ op: 'open', path: directory, hold: 1 });
    const error = await rejected(files.openRead(disk.in(directory, 'target'), { timeoutMs: TIMEOUT_MS }));
    assert.is((error as OperationError).begun, true);
    faulty.clear();
    // Its thread lets go of it after that, and closes it then.
    await until('the end of the descriptor', BOUND_MS, () => openBelow(faulty.mount).length === 0);
  });

  add('a device fails once under a filesystem', async () => {
    const missing = noLoopDevices();
    if (missing !== undefined) skip('errors of a device', missing);
    const left = missing === undefined ? onDevice.filter(({ filesystem }) => noFilesystem(filesystem) === undefined) : [];
    await Promise.all(Array.from({ length: DISKS_AT_A_TIME }, async () => {
      for (let next = left.shift(); next !== undefined; next = left.shift()) {
        const name = Object.values(next).join('-');
        await failDevice(next, join(root, name)).catch((error: unknown) => {
          throw new Error(`${name}: ${String(error)}`, { cause: error });
        });
      }
    }));
  });

  for (const operation of table.filter(({ what }) => KINDS.includes(what))) {
    add(`nothing stays open: ${operation.what}`, async () => {
      await failAgainAndAgain(disk, operation, 4 * AT_A_TIME);
      const before = held();
      await failAgainAndAgain(disk, operation, FAILURES);
      assert.equal(held(), before);
      assert.equal(openBelow(faulty.mount), []);
    });
  }
}

test.run();
