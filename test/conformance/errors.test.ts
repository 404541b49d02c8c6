import { execFileSync } from 'node:child_process';
import { chmodSync, closeSync, existsSync, mkdirSync, openSync, readFileSync, statSync, symlinkSync, writeFileSync, writeSync } from 'node:fs';
import { join, relative } from 'node:path';
import { inspect } from 'node:util';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import {
  InvalidArgumentError, IoError, IoScheduler, Journal, JournalError, JournalReader,
  type JournalOptions, type TidemarkError,
} from 'tidemark';
import { readBack, segmentsIn } from '../segments.js';
import { ended, runModule, schedulerOf, temporaryDirectory, withJournal } from '../support.js';
import { frame, journalOf, pattern } from './format.js';
import { availableBackends, failureOf, readJournal, sameBytes, sameRecords, snapshot, within } from './helpers.js';

const test = suite('errors');
const directory = temporaryDirectory();
const backends = await availableBackends();
const firstBackend = backends[0];
assert.ok(firstBackend !== undefined, 'one backend works everywhere');

let paths = 0;
/** A directory of its own for each test, so that what changes in it is the test's doing. */
function newDirectory(): string {
  const path = join(directory, `directory-${paths++}`);
  mkdirSync(path);
  return path;
}

/** As a user without types would pass it. */
const any = (value: unknown): never => value as never;

// ---- arguments -----------------------------------------------------------------------------------------------------

const NO_BOOLEAN = [0, 1, 'true', null, {}];
const NO_INTEGER = ['1', 1.5, NaN, Infinity, -1, null, 1n, true, {}, []];
const BAD_OPTIONS: Readonly<Record<keyof JournalOptions, readonly unknown[]>> = {
  layout: ['files', '', 1, null],
  segmentBytes: [...NO_INTEGER, 0, 32 * 1024, 64 * 1024 + 1, 3 * 64 * 1024, 2 ** 31],
  queueDepth: [...NO_INTEGER, 0, 33],
  newSegments: ['zeros', '', 1, null],
  spareSegments: [...NO_INTEGER, 65],
  retainBytes: NO_INTEGER,
  retainSegments: NO_INTEGER,
  retainMs: NO_INTEGER,
  create: NO_BOOLEAN,
  mode: [...NO_INTEGER, 0o1000],
  direct: NO_BOOLEAN,
  preallocate: [...NO_INTEGER, 2 ** 40 + 1],
  logBufferBytes: [...NO_INTEGER, 0, 32 * 1024, 65 * 1024, 64 * 1024 + 1, 2 ** 31],
  groupCommitWindow: [...NO_INTEGER, 1_000_001],
  ack: ['sync', '', true, null, 1],
  queueBytesMax: [...NO_INTEGER, 2 ** 40 + 1],
  whenQueueFull: ['drop', '', null, 1],
  exitDrainMs: [...NO_INTEGER, 60_001],
  scheduler: [{}, null, 'default', 1],
};
const BAD_SCHEDULER_OPTIONS = {
  backend: ['uring', '', null, 1],
  sqpoll: NO_BOOLEAN,
  ringEntries: [...NO_INTEGER, 0, 8, 100, 8192],
  writers: [...NO_INTEGER, 0, 65],
  fileWorkers: [...NO_INTEGER, 0, 65],
  workerUrl: ['no url', '', 1, null],
};
const NO_PATH = ['', 'a\0b', 'a\ud800b', 1, null, undefined, {}, Buffer.from('path')];
const NO_OPTIONS = [null, 1, 'options', []];
const NO_LSN = ['1', 1.5, NaN, Infinity, -1, null, 1n, 2 ** 53];
const NO_RECORD = [1, null, undefined, {}, [1, 2], new ArrayBuffer(3), new Float64Array(1)];
const NULL_PROTOTYPE: unknown = Object.create(null);

interface Argument {
  readonly where: string;
  /** What the message calls the argument. */
  readonly name: string;
  readonly value: unknown;
  readonly call: () => unknown;
}

const scheduler = schedulerOf(firstBackend);
const shelf = newDirectory();
const shelfPath = join(shelf, 'journal');
const journal = await Journal.open(shelfPath, { layout: 'file', scheduler, preallocate: 0 });
await journal.append('hello');
const reader = await JournalReader.open(shelfPath);

function args(where: string, name: string, values: readonly unknown[], call: (value: unknown) => unknown): Argument[] {
  return values.map((value) => ({ where, name, value, call: () => call(value) }));
}

const newPath = join(shelf, 'never');
const ARGUMENTS: readonly Argument[] = [
  ...Object.entries(BAD_OPTIONS).flatMap(([name, values]) =>
    args('Journal.open', name, [...values, NULL_PROTOTYPE], (value) => Journal.open(newPath, { scheduler, ...(any({ [name]: value }) as JournalOptions) }))),
  ...args('Journal.open', 'path', NO_PATH, (value) => Journal.open(any(value), { scheduler })),
  ...args('Journal.open', 'options', NO_OPTIONS, (value) => Journal.open(newPath, any(value))),
  ...args('Journal.open', 'unknown', [1, undefined], (value) => Journal.open(newPath, any({ unknown: value, scheduler }))),
  ...args('Journal.attach', 'handle', [undefined, null, 1, {}, { kind: 'tidemark-journal' }, { ...journal.share(), version: 2 }], (value) => Journal.attach(any(value))),
  ...Object.entries(BAD_SCHEDULER_OPTIONS).flatMap(([name, values]) => args('IoScheduler', name, values, (value) => new IoScheduler(any({ [name]: value })))),
  ...args('IoScheduler', 'options', NO_OPTIONS, (value) => new IoScheduler(any(value))),
  ...args('IoScheduler', 'unknown', [1], (value) => new IoScheduler(any({ unknown: value }))),
  ...args('JournalReader.open', 'path', NO_PATH, (value) => JournalReader.open(any(value))),
  ...args('JournalReader.open', 'from', NO_LSN, (value) => JournalReader.open(shelfPath, any({ from: value }))),
  ...args('JournalReader.open', 'to', NO_LSN, (value) => JournalReader.open(shelfPath, any({ to: value }))),
  ...args('JournalReader.open', 'durable', [1, 'yes', null, {}], (value) => JournalReader.open(shelfPath, any({ durable: value }))),
  ...args('JournalReader.open', 'options', NO_OPTIONS, (value) => JournalReader.open(shelfPath, any(value))),
  ...args('JournalReader.open', 'unknown', [1], (value) => JournalReader.open(shelfPath, any({ unknown: value }))),
  ...args('seek', 'lsn', [...NO_LSN, undefined], (value) => {
    reader.seek(any(value));
  }),
  ...args('reader.follow', 'from', [...NO_LSN, 'start'], (value) => reader.follow(any({ from: value }))),
  ...args('reader.follow', 'signal', [null, 1, {}], (value) => reader.follow(any({ signal: value }))),
  ...args('reader.follow', 'pollMs', [...NO_INTEGER, 0, 60_001], (value) => reader.follow(any({ pollMs: value }))),
  ...args('reader.follow', 'options', NO_OPTIONS, (value) => reader.follow(any(value))),
  ...args('reader.follow', 'unknown', [1], (value) => reader.follow(any({ unknown: value }))),
  ...args('readAt', 'start', [...NO_LSN, undefined], (value) => reader.readAt(any(value))),
  ...args('append', 'record', NO_RECORD, (value) => journal.append(any(value))),
  ...args('tryAppend', 'record', NO_RECORD, (value) => journal.tryAppend(any(value))),
  ...args('submit', 'record', NO_RECORD, (value) => journal.submit(any(value))),
  ...args('appendBatch', 'record', NO_RECORD, (value) => journal.appendBatch(['fine', any(value)])),
  ...args('appendBatch', 'records', ['text', Buffer.from('x'), null, undefined, 1, {}], (value) => journal.appendBatch(any(value))),
  ...args('syncThrough', 'lsn', [...NO_LSN, undefined], (value) => journal.syncThrough(any(value))),
  ...args('preallocate', 'bytes', [...NO_INTEGER, 0, undefined], (value) => journal.preallocate(any(value))),
  ...args('advise', 'advice', ['sometimes', '', null, 1, undefined], (value) => journal.advise(any(value))),
  ...args('advise', 'range', NO_OPTIONS, (value) => journal.advise('normal', any(value))),
  ...args('advise', 'range.offset', NO_INTEGER, (value) => journal.advise('normal', any({ offset: value }))),
  ...args('advise', 'range.bytes', NO_INTEGER, (value) => journal.advise('normal', any({ bytes: value }))),
  ...args('advise', 'unknown', [1], (value) => journal.advise('normal', any({ unknown: value }))),
  ...args('follow', 'from', NO_LSN, (value) => journal.follow(any({ from: value }))),
  ...args('follow', 'signal', [null, 1, {}, new AbortController()], (value) => journal.follow(any({ signal: value }))),
  ...args('follow', 'options', NO_OPTIONS, (value) => journal.follow(any(value))),
  ...args('follow', 'unknown', [1], (value) => journal.follow(any({ unknown: value }))),
];

function show(value: unknown): string {
  if (typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === null) return 'an object without a prototype';
  return typeof value === 'object' ? JSON.stringify(value) : inspect(value);
}

for (const where of new Set(ARGUMENTS.map((argument) => argument.where))) {
  test(`${where} names the argument it refuses`, async () => {
    const before = snapshot(shelf);
    for (const { name, value, call } of ARGUMENTS.filter((argument) => argument.where === where)) {
      const what = `${where}, ${name} = ${show(value)}`;
      let error: TidemarkError;
      try {
        error = await failureOf(call);
      } catch (unexpected) {
        throw new Error(`${what}: ${String(unexpected)}`, { cause: unexpected });
      }
      assert.is(error.code, 'TIDEMARK_INVALID_ARGUMENT', `${what}: ${error.message}`);
      assert.instance(error, InvalidArgumentError);
      assert.is(error.name, 'InvalidArgumentError');
      assert.match(error.message, `\`${name}\``, what);
      assert.match(error.message, /^(Expected `[\w.]+` to be .+, got .+|Unknown option `unknown` in `\w+`, expected one of .+)$/);
    }
    assert.equal(snapshot(shelf), before, 'nothing changed on disk');
    assert.equal([journal.reservedLsn, journal.durableLsn], [17, 17], 'nothing was appended');
  });
}

test('the message tells what came', async () => {
  const GOT: readonly (readonly [unknown, string])[] = [
    [1, 'got 1 (number)'], ['yes', 'got \'yes\' (string)'], [null, 'got null'], [{}, 'got an instance of Object'], [2n, 'got 2 (bigint)'], [() => 1, 'got function'],
    ['x'.repeat(1000), `got '${'x'.repeat(60)}…' (string)`],
  ];
  for (const [value, got] of GOT) {
    assert.is((await failureOf(() => Journal.open(newPath, any({ direct: value })))).message, `Expected \`direct\` to be a boolean, ${got}`);
  }
});

test('a backend in the environment that does not exist', async () => {
  const before = process.env['TIDEMARK_BACKEND'];
  process.env['TIDEMARK_BACKEND'] = 'floppy';
  try {
    const error = await failureOf(() => new IoScheduler());
    assert.is(error.code, 'TIDEMARK_INVALID_ARGUMENT');
    assert.match(error.message, /`TIDEMARK_BACKEND`.+'io_uring'.+'floppy'/);
    assert.instance(new IoScheduler({ backend: 'blocking' }), IoScheduler, 'the option goes before');
  } finally {
    if (before === undefined) delete process.env['TIDEMARK_BACKEND'];
    else process.env['TIDEMARK_BACKEND'] = before;
  }
});

// ---- what the journal's state forbids ------------------------------------------------------------------------------

for (const backend of backends) {
  const options: JournalOptions = { layout: 'file', scheduler: schedulerOf(backend), preallocate: 0 };

  test(`an LSN that was never reserved cannot be synced (${backend})`, async () => {
    const path = join(newDirectory(), 'journal');
    await withJournal(path, options, async (open) => {
      await open.append('hello');
      for (const lsn of [18, 2 ** 40, Number.MAX_SAFE_INTEGER]) {
        const error = await failureOf(() => open.syncThrough(lsn));
        assert.equal([error.code, error['lsn'], error['path']], ['TIDEMARK_LSN_OUT_OF_RANGE', lsn, path]);
        assert.match(error.message, `${lsn} was never reserved, the log ends at 17`);
      }
      await open.syncThrough(17);
    });
  });

  test(`a record that is too large is refused before anything is reserved (${backend})`, async () => {
    const path = join(newDirectory(), 'journal');
    // Zeros that no page is behind until they are touched.
    const record = new Uint8Array(2 ** 28);
    await withJournal(path, options, async (open) => {
      for (const attempt of [() => open.append(record), () => open.submit(record), () => open.appendBatch(['fine', record]), () => open.tryAppend(record)]) {
        const error = await failureOf(attempt);
        assert.instance(error, JournalError);
        assert.equal([error.code, error['path']], ['TIDEMARK_RECORD_TOO_LARGE', path]);
        assert.match(error.message, /268435455.*268435456/);
      }
      const error = await failureOf(() => open.tryAppend(record.subarray(1)));
      assert.is(error.code, 'TIDEMARK_RECORD_TOO_LARGE', 'it fits the format, but not the log buffer');
      assert.is(open.reservedLsn, 0);
      assert.is(await open.append('fine'), 16);
    });
    assert.is(statSync(path).size, 16);
  });

  test(`a closed journal refuses everything (${backend})`, async () => {
    const path = join(newDirectory(), 'journal');
    const closed = await Journal.open(path, options);
    await closed.append('hello');
    const attached = Journal.attach(closed.share());
    const handle = closed.share();
    const closing = closed.close();
    const CALLS: Readonly<Record<string, () => unknown>> = {
      append: () => closed.append('x'),
      appendBatch: () => closed.appendBatch(['x']),
      'appendBatch of none': () => closed.appendBatch([]),
      tryAppend: () => closed.tryAppend('x'),
      submit: () => closed.submit('x'),
      'syncThrough beyond the end': () => closed.syncThrough(18),
      preallocate: () => closed.preallocate(1),
      advise: () => closed.advise('normal'),
      share: () => closed.share(),
      follow: () => closed.follow(),
      'append in an attached thread': () => attached.append('x'),
      'tryAppend in an attached thread': () => attached.tryAppend('x'),
      'appendBatch in an attached thread': () => attached.appendBatch(['x']),
      'submit in an attached thread': () => attached.submit('x'),
      'append in a thread that attaches later': () => Journal.attach(handle).append('x'),
    };
    await closing;
    for (const [name, call] of Object.entries(CALLS)) {
      const error = await failureOf(call);
      assert.equal([error.code, error['path']], ['TIDEMARK_CLOSED', path], name);
    }
    await closed.syncThrough(17);
    assert.equal([closed.durableLsn, closed.reservedLsn, closed.stats().durableLsn], [17, 17, 17], 'what it knew it still knows');
    sameBytes(readFileSync(path), frame('hello'), 'the journal');
  });

  for (const layout of ['file', 'segments'] as const) {
    const own: JournalOptions = { ...options, layout, segmentBytes: 64 * 1024 };
    // An idle journal with segments proves its last record with a mark.
    const idle = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, layout === 'segments' ? 200 : 0));

    test(`one writer at a time in a process, by whichever path (${layout}, ${backend})`, async () => {
      const home = newDirectory();
      const path = join(home, 'journal');
      const link = join(home, 'link');
      symlinkSync('journal', link);
      await withJournal(path, own, async (open) => {
        await open.append('hello');
        await idle();
        const before = snapshot(home);
        for (const other of [path, link, relative(process.cwd(), path)]) {
          const error = await failureOf(() => Journal.open(other, own));
          assert.instance(error, JournalError);
          assert.equal([error.code, error['holderPid']], ['TIDEMARK_LOCKED', process.pid], other);
          assert.match(error.message, `this process (${process.pid})`);
        }
        assert.equal(snapshot(home), before);
        await open.append('goes on');
      });
      await withJournal(link, own, (open) => open.append('after it is closed'));
      sameRecords((await readBack(path)).map(({ payload }) => payload), ['hello', 'goes on', 'after it is closed']);
    });

    test(`one writer at a time among processes; the error names the holder (${layout}, ${backend})`, async () => {
      const home = newDirectory();
      const path = join(home, 'journal');
      const link = join(home, 'link');
      symlinkSync(path, link);
      const child = runModule(`
        import { Journal } from 'tidemark';
        const journal = await Journal.open(process.argv[1], JSON.parse(process.argv[2]));
        await journal.append('theirs');
        console.log('open');
        setInterval(() => undefined, 1000);
      `, [path, JSON.stringify(own, ['layout', 'preallocate', 'segmentBytes'])], { TIDEMARK_BACKEND: backend });
      const end = ended(child);
      try {
        await within(new Promise((resolve) => child.stdout?.once('data', resolve)), 'the other process');
        await idle();
        const before = snapshot(home);
        for (const other of [path, link, relative(process.cwd(), path)]) {
          const error = await failureOf(() => Journal.open(other, own));
          assert.equal([error.code, error['holderPid']], ['TIDEMARK_LOCKED', child.pid]);
          assert.match(error.message, new RegExp(`\\b${child.pid}\\b`));
        }
        assert.equal(snapshot(home), before);
        sameRecords((await readBack(path)).map(({ payload }) => payload), ['theirs'], 'records that a reader sees, which needs no lock');
      } finally {
        child.kill('SIGKILL');
        await end;
      }
      // The lock ends with its process, however that ended.
      await withJournal(path, own, (open) => open.append('mine'));
      sameRecords((await readBack(path)).map(({ payload }) => payload), ['theirs', 'mine']);
    });
  }
}

// ---- what cannot be opened -----------------------------------------------------------------------------------------

interface Refusal {
  readonly name: string;
  /** Makes what is to be opened in an empty directory; answers its path. */
  readonly make: (home: string) => string;
  readonly code: string;
  readonly options?: JournalOptions;
  /** What the reader says; undefined when it can read. */
  readonly reader: string | undefined;
}

const file = (content: string | Buffer, mode = 0o644) => (home: string): string => {
  writeFileSync(join(home, 'file'), content, { mode });
  return join(home, 'file');
};
const named = (name: string) => (home: string): string => join(home, name);

const REFUSALS: readonly Refusal[] = [
  { name: 'a text', make: file('some text\nthat nobody wants cut\n'), code: 'TIDEMARK_NOT_A_JOURNAL', reader: undefined },
  { name: 'a single byte', make: file('x'), code: 'TIDEMARK_NOT_A_JOURNAL', reader: undefined },
  { name: 'megabytes of something else', make: file(pattern(1, 6_000_000)), code: 'TIDEMARK_NOT_A_JOURNAL', reader: undefined },
  { name: 'zeros, then something else', make: file(Buffer.concat([Buffer.alloc(5000), Buffer.from('text')])), code: 'TIDEMARK_NOT_A_JOURNAL', reader: undefined },
  { name: 'another kind of frame', make: file(Buffer.from('465359020500000068656c6c6f00000000', 'hex')), code: 'TIDEMARK_NOT_A_JOURNAL', reader: undefined },
  {
    name: 'a FIFO', code: 'TIDEMARK_NOT_A_FILE', reader: 'TIDEMARK_NOT_A_FILE', make: (home) => {
      execFileSync('mkfifo', [join(home, 'fifo')]);
      return join(home, 'fifo');
    },
  },
  { name: 'a device', make: () => '/dev/null', code: 'TIDEMARK_NOT_A_FILE', reader: 'TIDEMARK_NOT_A_FILE' },
  { name: 'a missing file that is not to be created', make: named('missing'), options: { create: false }, code: 'TIDEMARK_NOT_FOUND', reader: 'TIDEMARK_NOT_FOUND' },
  { name: 'a missing parent', make: named('missing/journal'), code: 'TIDEMARK_NOT_FOUND', reader: 'TIDEMARK_NOT_FOUND' },
  { name: 'a parent that is a file', make: (home) => join(file('hello')(home), 'journal'), code: 'TIDEMARK_NOT_FOUND', reader: 'TIDEMARK_NOT_FOUND' },
  { name: 'a name that is too long', make: named('x'.repeat(300)), code: 'TIDEMARK_INVALID_PATH', reader: 'TIDEMARK_INVALID_PATH' },
  {
    name: 'a link to itself', code: 'TIDEMARK_INVALID_PATH', reader: 'TIDEMARK_INVALID_PATH', make: (home) => {
      symlinkSync('loop', join(home, 'loop'));
      return join(home, 'loop');
    },
  },
];

for (const { name, make, code, options, reader: readerCode } of REFUSALS) {
  test(`${name} is not opened, and nothing changes`, async () => {
    const home = newDirectory();
    const path = make(home);
    // A link to nothing has no status to compare.
    const before = name.startsWith('a link') ? [] : snapshot(home);
    // The layout that a new journal has, and the other one.
    for (const [backend, layout] of backends.flatMap((each) => [[each, undefined], [each, 'file']] as const)) {
      const error = await failureOf(() => Journal.open(path, { scheduler: schedulerOf(backend), ...(layout && { layout }), ...options }));
      assert.equal([error.code, error['path']], [code, path], error.message);
      assert.match(error.message, `'${path}'`);
      if (code === 'TIDEMARK_NOT_A_JOURNAL') assert.instance(error, JournalError);
      else {
        assert.instance(error, IoError);
        assert.match(String(error['errnoName']), /^E[A-Z]+$/);
        assert.ok(Number(error['errno']) > 0 && typeof error['syscall'] === 'string');
      }
    }
    if (readerCode === undefined) {
      const { records, tail } = await readJournal(path);
      assert.is(records.length, 0);
      assert.is.not(tail.state, 'clean-end');
    } else {
      const error = await failureOf(() => JournalReader.open(path));
      assert.equal([error.code, error['path']], [readerCode, path]);
    }
    if (before.length > 0) assert.equal(snapshot(home), before);
  });
}

test('a reader that is closed, and places where no record starts', async () => {
  const path = file(journalOf(['hello', 'again']))(newDirectory());
  const open = await JournalReader.open(path);
  for (const [start, state] of [[1, 'bad-magic'], [34, 'clean-end'], [33, 'truncated-header']] as const) {
    const error = await failureOf(() => open.readAt(start));
    assert.equal([error.code, error['lsn'], error['path']], ['TIDEMARK_NO_RECORD', start, path]);
    assert.match(error.message, state);
  }
  assert.is((await open.readAt(17)).end, 34);
  await open.close();
  await open.close();
  assert.is((await failureOf(() => open.readAt(0))).code, 'TIDEMARK_CLOSED');
  assert.is((await failureOf(async () => {
    for await (const record of open) assert.unreachable(`a record from a closed reader at ${record.start}`);
  })).code, 'TIDEMARK_CLOSED');
});

// ---- permissions ---------------------------------------------------------------------------------------------------

const FORBIDDEN: readonly (readonly [name: string, make: (home: string) => string, reader: string])[] = [
  ['a file of somebody else', file(frame('hello'), 0o600), 'TIDEMARK_PERMISSION'],
  ['a file that may only be read', file(frame('hello'), 0o444), 'none'],
  ['a directory where nothing may be created', (home) => {
    chmodSync(home, 0o555);
    return join(home, 'journal');
  }, 'TIDEMARK_NOT_FOUND'],
  ['a directory that may not be searched', (home) => {
    const path = file(frame('hello'))(home);
    chmodSync(home, 0o600);
    return path;
  }, 'TIDEMARK_PERMISSION'],
];

/** Opens a first journal, so that all threads have loaded what they run, and gives up root's rights. */
const UNPRIVILEGED = `
  import { IoScheduler, Journal, JournalReader } from 'tidemark';
  const [first, ...paths] = process.argv.slice(1);
  const scheduler = new IoScheduler({ fileWorkers: 1 });
  await (await Journal.open(first, { scheduler })).close();
  if (process.getuid() === 0) {
    process.setgroups([]);
    process.setgid(65534);
    process.setuid(65534);
  }
  const codeOf = (promise) => promise.then(() => 'none', (error) => [error.constructor.name, error.code, error.path].join(' '));
  const answers = [];
  for (const path of paths) answers.push([await codeOf(Journal.open(path, { scheduler })), await codeOf(JournalReader.open(path).then((reader) => reader.close()))]);
  console.log(JSON.stringify(answers));
`;

for (const backend of backends) {
  test(`without permission (${backend})`, async () => {
    chmodSync(directory, 0o755);
    const homes = FORBIDDEN.map(() => newDirectory());
    const made = FORBIDDEN.map(([, make], i) => make(homes[i] ?? ''));
    const before = homes.map(snapshot);
    const child = runModule(UNPRIVILEGED, [join(newDirectory(), 'first'), ...made], { TIDEMARK_BACKEND: backend });
    const { code, stdout, stderr } = await within(ended(child), 'the process');
    assert.equal([code, stderr], [0, '']);
    const answers = JSON.parse(stdout) as string[][];
    FORBIDDEN.forEach(([name, , reading], i) => {
      const path = made[i] ?? '';
      assert.equal(answers[i], [`IoError TIDEMARK_PERMISSION ${path}`, reading === 'none' ? 'none' : `IoError ${reading} ${path}`], name);
    });
    assert.equal(homes.map(snapshot), before);
    assert.not.ok(existsSync(made[2] ?? ''));
    homes.forEach((home) => {
      chmodSync(home, 0o755);
    });
  });
}

test('a journal is created with the mode that was asked for', async () => {
  // No usual umask takes the owner's bits away.
  for (const [mode, expected] of [[undefined, 0o600], [0o400, 0o400], [0o700, 0o700]] as const) {
    const path = join(newDirectory(), 'journal');
    await withJournal(path, { layout: 'file', scheduler, ...(mode === undefined ? {} : { mode }) }, (open) => {
      assert.is(open.openReport?.created, true);
      return Promise.resolve();
    });
    assert.is(statSync(path).mode & 0o777, expected);
  }
});

test('whoever may read the segments of a journal may enter its directory', async () => {
  for (const [mode, directoryMode, fileMode] of [[undefined, 0o700, 0o600], [0o640, 0o750, 0o640], [0o644, 0o755, 0o644]] as const) {
    const path = join(newDirectory(), 'journal');
    const umask = process.umask(0);
    try {
      await withJournal(path, { layout: 'segments', segmentBytes: 64 * 1024, scheduler, ...(mode === undefined ? {} : { mode }) }, async (open) => {
        await open.preallocate(128 * 1024);
      });
    } finally {
      process.umask(umask);
    }
    assert.is(statSync(path).mode & 0o777, directoryMode);
    for (const name of segmentsIn(path)) assert.is(statSync(join(path, name)).mode & 0o777, fileMode, name);
  }
});

test('a follower that meets damage says where', async () => {
  const path = join(newDirectory(), 'journal');
  await withJournal(path, { layout: 'file', scheduler, direct: false, preallocate: 0 }, async (open) => {
    await open.appendBatch(['hello', 'again']);
    const descriptor = openSync(path, 'r+');
    writeSync(descriptor, 'X', 17 + 8);
    closeSync(descriptor);
    const error = await failureOf(async () => {
      for await (const { end } of open.follow()) assert.is(end, 17);
    });
    assert.equal([error.code, error['lsn'], error['path']], ['TIDEMARK_CORRUPT', 17, path]);
  });
});

test.after(async () => {
  await reader.close();
  await journal.close();
});

test.run();
