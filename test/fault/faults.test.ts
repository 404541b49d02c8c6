/**
 * A disk that fails in every way, under both backends and both layouts: who has to be told is told, everything settles,
 * nothing stays behind, and the journal that is opened again has every record that was acknowledged.
 *
 * The table says what fails when, and what has to follow. `CASE` runs only those whose name contains it.
 */
import { appendFileSync, closeSync, cpSync, mkdtempSync, openSync, readdirSync, rmSync, statSync, writeSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Journal, type Backend, type JournalOptions } from 'tidemark';
import { memoryDirectory } from '../crash/power-loss/disk.js';
import { noFaultfs, type Operation, type Rule } from '../faultfs/faultfs.js';
import type { FaultTask } from '../programs/faulty-lives.js';
import { recordOf } from '../programs/records.js';
import type { Failure } from '../programs/report.js';
import { schedulerOf } from '../support.js';
import { assertKept, Lanes, type History, type Lived } from './faulty-disk.js';
import { inMountNamespace, skip, usableBackends } from './tools.js';

await inMountNamespace(import.meta.url);

type Errno = 'EIO' | 'ENOSPC' | 'EDQUOT' | 'EROFS' | 'EFBIG' | 'ESTALE' | 'EINTR' | 'EAGAIN' | 'EOPNOTSUPP';
type Layout = 'file' | 'segments';
type Kind = Backend['kind'];
/** A journal to open: closed; with a spare; left open; left open with a write that was cut off. */
type HistoryName = 'closed' | 'spare' | 'crashed' | 'torn';

/** An error and the call that meets it. */
interface Met {
  readonly errno: Errno;
  /** Default: the call that writes. */
  readonly syscall?: string;
}

/** What has to follow. What is not named must not happen. */
interface Expected {
  /** For good. */
  readonly poisoned?: Met;
  /** Until there is room: an append is refused, and the same one succeeds later. */
  readonly full?: Errno;
  readonly refused?: Met;
  readonly close?: Met;
  /** Trimming fails; when it is tried again, only if the journal is poisoned. */
  readonly trim?: Met;
  /** A file worker fails at something that no call waits for. */
  readonly warned?: Errno;
  readonly read?: Met;
}

const KEPT: Expected = {};

interface Case extends Partial<Pick<FaultTask, 'hit' | 'reads' | 'appenders' | 'records'>> {
  readonly what: string;
  readonly stage: FaultTask['stage'];
  readonly rules: readonly Rule[];
  readonly expected: Expected;
  /** Default: both. */
  readonly layout?: Layout;
  readonly history?: HistoryName;
  readonly options?: JournalOptions;
}

const LANES = 3;
const APPENDERS = 4;
const RECORDS = 20;
const SEGMENT_BYTES = 64 * 1024;
/** So many records fill more than two segments. */
const FILLING = { appenders: 16, records: 55 } as const;
/** Without a `path`, for one journal at a time lives on a disk. */
const SPARE = '.spare';
const TORN = '.torn-';
const FIRST_SEGMENT = '0000000000000000.segment';
const SECOND_SEGMENT = '0000000000010000.segment';

const WRITE_ERRORS: readonly Errno[] = ['EIO', 'ENOSPC', 'EDQUOT', 'EROFS', 'EFBIG', 'ESTALE'];
/** A sync is not tried again, whatever it says. */
const SYNC_ERRORS: readonly Errno[] = ['EIO', 'ENOSPC', 'EDQUOT', 'EINTR', 'EAGAIN'];
const PASSING_ERRORS: readonly Errno[] = ['EINTR', 'EAGAIN'];
const NO_ROOM: readonly Errno[] = ['ENOSPC', 'EDQUOT', 'EFBIG'];

function fails(op: Operation, errno: Errno, more: Partial<Rule> = {}): Rule {
  return { op, errno: constants.errno[errno], ...more };
}

function poisonedBySegment(errno: Errno): Expected {
  return { poisoned: { errno, syscall: 'segment' }, warned: errno };
}

/** Harms nothing, and counts what comes after the first `skip` of them. */
function counts(op: Operation, skip: number): Rule {
  return { op, skip };
}

// ---- the table -----------------------------------------------------------------------------------------------------

const whileAppending: readonly Case[] = [
  ...WRITE_ERRORS.map((errno): Case => ({ what: `a write fails once with ${errno}`, stage: 'append', rules: [fails('write', errno, { skip: 3, count: 1 })], expected: { poisoned: { errno } } })),
  { what: 'the first write fails', stage: 'append', rules: [fails('write', 'EIO', { count: 1 })], expected: { poisoned: { errno: 'EIO' } } },
  { what: 'every write fails', stage: 'append', rules: [fails('write', 'EIO', { skip: 3 })], expected: { poisoned: { errno: 'EIO' } } },
  ...PASSING_ERRORS.flatMap((errno): Case[] => [
    { what: `writes fail three times with ${errno}`, stage: 'append', rules: [fails('write', errno, { skip: 2, count: 3 })], expected: KEPT },
    { what: `writes fail for ever with ${errno}`, stage: 'append', rules: [fails('write', errno, { skip: 3 })], expected: { poisoned: { errno } } },
  ]),
  ...[1, 512, 777].map((short): Case => ({ what: `writes stop after ${short} bytes`, stage: 'append', rules: [{ op: 'write', short, skip: 2, count: 40 }], expected: KEPT })),
  { what: 'a write stops after 100 bytes, what is left of it fails', stage: 'append', rules: [{ op: 'write', short: 100, skip: 3, count: 1 }, fails('write', 'EIO', { skip: 4, count: 1 })], expected: { poisoned: { errno: 'EIO' } } },
  { what: 'a write fails after 100 bytes', stage: 'append', rules: [fails('write', 'EIO', { short: 100, skip: 3, count: 1 })], expected: { poisoned: { errno: 'EIO' } } },
  ...SYNC_ERRORS.map((errno): Case => ({
    what: `a sync fails once with ${errno}`, stage: 'append',
    rules: [fails('fsync', errno, { skip: 3, count: 1 }), counts('fsync', 4), counts('truncate', 0)], expected: { poisoned: { errno, syscall: 'fdatasync' } },
  })),
  { what: 'the first sync fails', stage: 'append', rules: [fails('fsync', 'EIO', { count: 1 }), counts('fsync', 1)], expected: { poisoned: { errno: 'EIO', syscall: 'fdatasync' } } },
  ...(['EIO', 'ENOSPC'] as const).flatMap((errno): Case[] => [
    { what: `a direct write fails with ${errno}`, stage: 'append', options: { direct: true }, rules: [fails('write', errno, { skip: 3, count: 1 })], expected: { poisoned: { errno } } },
    { what: `the sync of direct writes fails with ${errno}`, stage: 'append', options: { direct: true }, rules: [fails('fsync', errno, { skip: 3, count: 1 }), counts('fsync', 4)], expected: { poisoned: { errno, syscall: 'fdatasync' } } },
  ]),
  { what: 'direct writes fail three times with EINTR', stage: 'append', options: { direct: true }, rules: [fails('write', 'EINTR', { skip: 2, count: 3 })], expected: KEPT },
  // Behind the only record comes the mark that proves it, some time later.
  { what: 'the mark of an idle log cannot be written', layout: 'segments', stage: 'append', appenders: 1, records: 1, hit: 'after', rules: [fails('write', 'EIO', { skip: 1, count: 1 })], expected: { poisoned: { errno: 'EIO' } } },
  { what: 'the disk is slow', stage: 'append', rules: [{ op: 'fsync', delay: 10, jitter: 20, count: 20 }, { op: 'write', delay: 5, count: 20 }], expected: KEPT },
];

const whilePreparingSpace: readonly Case[] = ([['fallocate', 'ENOSPC'], ['fallocate', 'EIO'], ['fallocate', 'EINTR'], ['fallocate', 'EOPNOTSUPP'], ['write', 'ENOSPC'], ['write', 'EIO']] as const).map(([op, errno]): Case => ({
  what: `${op} fails with ${errno} while space is prepared`, layout: 'file', stage: 'open', hit: 'before', options: { preallocate: 4 * 1024 * 1024 },
  rules: [fails(op, errno, { count: 1 })], expected: KEPT,
}));

/** What is done to a segment that is made is done to a `*.spare` file. */
const inSpare = { path: SPARE, count: 1 };
const makingSegments = { layout: 'segments', stage: 'append', ...FILLING, options: { segmentBytes: SEGMENT_BYTES, newSegments: 'zeroed' } } as const;
const whileMakingSegments: readonly Case[] = [
  ...(['create', 'fallocate', 'write', 'fsync', 'open', 'rename'] as const).flatMap((op): Case[] => [
    { ...makingSegments, what: `${op} of a segment fails with EIO`, rules: [fails(op, 'EIO', inSpare)], expected: poisonedBySegment('EIO') },
    ...NO_ROOM.slice(0, op === 'fallocate' ? 3 : 2).map((errno): Case => ({ ...makingSegments, what: `${op} of segments fails with ${errno}`, rules: [fails(op, errno, { path: SPARE })], expected: { full: errno } })),
  ]),
  ...(['create', 'fallocate', 'write', 'open'] as const).map((op): Case => ({ ...makingSegments, what: `${op} of a segment fails twice with EINTR`, rules: [fails(op, 'EINTR', { path: SPARE, count: 2 })], expected: KEPT })),
  { ...makingSegments, what: 'sync of a segment fails with EINTR', rules: [fails('fsync', 'EINTR', inSpare)], expected: poisonedBySegment('EINTR') },
  ...(['EIO', 'ENOSPC', 'EINTR'] as const).map((errno): Case => ({
    ...makingSegments, what: `sync of a new segment's name fails with ${errno}`, rules: [fails('fsyncdir', errno, { count: 1 }), counts('fsyncdir', 1)], expected: poisonedBySegment(errno),
  })),
  { ...makingSegments, what: 'no space can be reserved', stage: 'open', rules: [fails('fallocate', 'EOPNOTSUPP')], expected: KEPT },
  { ...makingSegments, what: 'reserving space is not known, cutting is interrupted', stage: 'open', rules: [fails('fallocate', 'EOPNOTSUPP'), fails('truncate', 'EINTR', { count: 2 })], expected: KEPT },
  { ...makingSegments, what: 'a segment is written in pieces', rules: [{ op: 'write', path: SPARE, short: 5000, count: 30 }], expected: KEPT },
  { ...makingSegments, what: 'there is no room, and no failed file can be removed', rules: [fails('fallocate', 'ENOSPC', { path: SPARE }), fails('unlink', 'EIO', inSpare)], expected: { full: 'ENOSPC' } },
];

/** A spare that lies there is used at once. */
const recycling = { ...makingSegments, history: 'spare', stage: 'open' } as const;
const whileRecycling: readonly Case[] = (['open', 'write', 'fsync', 'rename'] as const).flatMap((op): Case[] => [
  { ...recycling, what: `${op} of a spare fails with EIO`, rules: [fails(op, 'EIO', inSpare)], expected: poisonedBySegment('EIO') },
  { ...recycling, what: `${op} of a spare fails with ENOSPC`, rules: [fails(op, 'ENOSPC', { path: SPARE })], expected: { full: 'ENOSPC' } },
]);

const trimming = { layout: 'segments', stage: 'trim', ...FILLING, options: { segmentBytes: SEGMENT_BYTES, newSegments: 'plain' } } as const;
const deleting = { ...trimming, options: { ...trimming.options, spareSegments: 0 } };
const whileTrimming: readonly Case[] = [
  { ...trimming, what: 'a trimmed segment cannot be renamed', rules: [fails('rename', 'EIO', { path: FIRST_SEGMENT, count: 1 })], expected: { trim: { errno: 'EIO', syscall: 'renameat' } } },
  { ...deleting, what: 'a trimmed segment cannot be deleted', rules: [fails('unlink', 'EIO', { path: FIRST_SEGMENT, count: 1 })], expected: { trim: { errno: 'EIO', syscall: 'unlinkat' } } },
  ...[trimming, deleting].map((how): Case => ({
    ...how, what: `sync of a ${how === deleting ? 'deleted' : 'renamed'} segment's directory fails`,
    rules: [fails('fsyncdir', 'EIO', { count: 1 })], expected: { ...poisonedBySegment('EIO'), trim: { errno: 'EIO', syscall: 'fsync' } },
  })),
];

const retaining = { ...makingSegments, options: { ...makingSegments.options, retainSegments: 0 } } as const;
const whileRetaining: readonly Case[] = [
  { ...retaining, what: 'trimming in the background fails once', rules: [fails('rename', 'EIO', { path: FIRST_SEGMENT, count: 1 })], expected: { warned: 'EIO' } },
  { ...retaining, what: 'trimming in the background always fails', rules: [fails('rename', 'EIO', { path: FIRST_SEGMENT })], expected: { warned: 'EIO' } },
];

const closing: readonly Case[] = [
  { what: 'prepared space cannot be cut off', layout: 'file', stage: 'close', options: { preallocate: 1024 * 1024 }, rules: [fails('truncate', 'EIO', { count: 1 })], expected: { close: { errno: 'EIO', syscall: 'ftruncate' } } },
  { what: 'the last sync fails', layout: 'file', stage: 'close', options: { preallocate: 1024 * 1024 }, rules: [fails('fsync', 'EIO', { count: 1 }), counts('fsync', 1)], expected: { close: { errno: 'EIO', syscall: 'fsync' } } },
  ...(['EIO', 'ENOSPC'] as const).map((errno): Case => ({ what: `the closing mark cannot be written: ${errno}`, layout: 'segments', stage: 'close', rules: [fails('write', errno, { count: 1 })], expected: { close: { errno, syscall: 'pwrite' } } })),
  { what: 'the closing mark cannot be synced', layout: 'segments', stage: 'close', rules: [fails('fsync', 'EIO', { count: 1 }), counts('fsync', 1)], expected: { close: { errno: 'EIO', syscall: 'fsync' } } },
  { what: 'the closing mark is written in pieces', layout: 'segments', stage: 'close', rules: [{ op: 'write', short: 100, count: 2 }, fails('write', 'EINTR', { count: 1, skip: 2 })], expected: KEPT },
];

const opening: readonly Case[] = [
  // A new journal.
  ...(['EIO', 'ENOSPC', 'EROFS'] as const).map((errno): Case => ({ what: `a new journal cannot be created: ${errno}`, stage: 'open', rules: [fails('create', errno, { count: 1 })], expected: { refused: { errno, syscall: 'open' } } })),
  { what: 'a new journal cannot be synced', layout: 'file', stage: 'open', rules: [fails('fsync', 'EIO', { count: 1 })], expected: { refused: { errno: 'EIO', syscall: 'fsync' } } },
  { what: "a new journal's name cannot be synced", stage: 'open', rules: [fails('fsyncdir', 'EIO', { count: 1 })], expected: { refused: { errno: 'EIO', syscall: 'fsync' } } },
  { what: "sync of a new journal's name is interrupted", stage: 'open', rules: [fails('fsyncdir', 'EINTR', { count: 1 })], expected: { refused: { errno: 'EINTR', syscall: 'fsync' } } },
  ...([['fallocate', 'fallocate'], ['write', 'pwrite'], ['fsync', 'fsync'], ['rename', 'renameat']] as const).map(([op, syscall]): Case => ({
    what: `a first segment fails at ${op}`, layout: 'segments', stage: 'open', rules: [fails(op, 'ENOSPC', { count: 1 })], expected: { refused: { errno: 'ENOSPC', syscall } },
  })),
  // One that exists.
  ...(['EIO', 'ESTALE', 'EINTR'] as const).map((errno): Case => ({ what: `recovery cannot read: ${errno}`, history: 'closed', stage: 'open', rules: [fails('read', errno)], expected: { refused: { errno, syscall: 'pread' } } })),
  ...PASSING_ERRORS.map((errno): Case => ({ what: `recovery reads after ${errno}`, history: 'closed', stage: 'open', rules: [fails('read', errno, { count: 3 })], expected: KEPT })),
  { what: 'recovery cannot open', history: 'closed', stage: 'open', rules: [fails('open', 'EIO', { count: 1 })], expected: { refused: { errno: 'EIO', syscall: 'open' } } },
  { what: 'opening is interrupted twice', history: 'crashed', stage: 'open', rules: [fails('open', 'EINTR', { count: 2 })], expected: KEPT },
  ...(['crashed', 'torn'] as const).flatMap((history): Case[] => [
    { what: `what was recovered of a ${history} journal cannot be synced`, history, stage: 'open', rules: [fails('fsync', 'EIO', { count: 1 })], expected: { refused: { errno: 'EIO', syscall: 'fsync' } } },
    { what: `the directory of a ${history} journal cannot be synced`, history, stage: 'open', rules: [fails('fsyncdir', 'EIO', { skip: 1, count: 1 })], layout: 'segments', expected: { refused: { errno: 'EIO', syscall: 'fsync' } } },
  ]),
  ...(['EIO', 'ENOSPC', 'EROFS'] as const).map((errno): Case => ({ what: `the window cannot be cleared: ${errno}`, layout: 'segments', history: 'crashed', stage: 'open', rules: [fails('write', errno, { count: 1 })], expected: { refused: { errno, syscall: 'pwrite' } } })),
  { what: 'the cleared window cannot be synced', layout: 'segments', history: 'crashed', stage: 'open', rules: [fails('fsync', 'EIO', { skip: 1, count: 1 })], expected: { refused: { errno: 'EIO', syscall: 'fsync' } } },
  { what: 'the first mark cannot be written', layout: 'segments', history: 'closed', stage: 'open', rules: [fails('write', 'EIO', { count: 1 })], expected: { refused: { errno: 'EIO', syscall: 'pwrite' } } },
  { what: 'the first mark is written in pieces', layout: 'segments', history: 'closed', stage: 'open', rules: [{ op: 'write', short: 100, count: 2 }, fails('write', 'EAGAIN', { skip: 2, count: 1 })], expected: KEPT },
  ...([['create', 'open'], ['write', 'pwrite'], ['fsync', 'fsync']] as const).flatMap(([op, syscall]) => (['EIO', 'ENOSPC'] as const).map((errno): Case => ({
    what: `${op} of the copy of a torn tail fails with ${errno}`, history: 'torn', stage: 'open', rules: [fails(op, errno, { path: TORN, count: 1 })], expected: { refused: { errno, syscall } },
  }))),
  { what: 'the copy of a torn tail is written in pieces', history: 'torn', stage: 'open', rules: [{ op: 'write', path: TORN, short: 3, count: 5 }], expected: KEPT },
  { what: 'a torn tail cannot be cut off', layout: 'file', history: 'torn', stage: 'open', rules: [fails('truncate', 'EIO', { count: 1 })], expected: { refused: { errno: 'EIO', syscall: 'ftruncate' } } },
  { what: 'cutting a torn tail off is interrupted', layout: 'file', history: 'torn', stage: 'open', rules: [fails('truncate', 'EINTR', { count: 2 })], expected: KEPT },
];

const reading: readonly Case[] = (['follow', 'reader'] as const).flatMap((reads): Case[] => [
  ...(['EIO', 'ESTALE'] as const).map((errno): Case => ({ what: `a ${reads === 'follow' ? 'follower' : 'reader'} cannot read: ${errno}`, reads, stage: 'append', rules: [fails('read', errno)], expected: { read: { errno, syscall: 'read' } } })),
  { what: `a ${reads === 'follow' ? 'follower' : 'reader'} cannot open`, reads, stage: 'append', rules: [fails('open', 'EIO')], expected: { read: { errno: 'EIO', syscall: 'open' } } },
]);

const table: readonly Case[] = [...whileAppending, ...whilePreparingSpace, ...whileMakingSegments, ...whileRecycling, ...whileTrimming, ...whileRetaining, ...closing, ...opening, ...reading];

// ---- what has to follow --------------------------------------------------------------------------------------------

const CODES: Readonly<Partial<Record<Errno, string>>> = { ENOSPC: 'TIDEMARK_NO_SPACE', EDQUOT: 'TIDEMARK_NO_SPACE', EFBIG: 'TIDEMARK_NO_SPACE', EROFS: 'TIDEMARK_READ_ONLY' };

function assertMet(failure: Failure | undefined, { errno, syscall }: Met, backend: Kind, path: string): void {
  assert.is(failure?.name, 'IoError', JSON.stringify(failure));
  assert.is(failure?.errnoName, errno);
  assert.is(failure?.code, CODES[errno] ?? 'TIDEMARK_IO');
  assert.is(failure?.syscall, syscall ?? (backend === 'io_uring' ? 'write' : 'pwrite'));
  assert.ok(failure?.path?.startsWith(path) === true || path.startsWith(failure?.path ?? '?'), `the path is '${failure?.path ?? ''}'`);
}

function assertPoisoned({ path, report }: Lived, met: Met, backend: Kind): void {
  const { failures, trimFailures, later, durableAtFailure, durableAtEnd, events } = report;
  for (const failure of [...failures, ...trimFailures.slice(1), later]) {
    assert.is(failure?.code, 'TIDEMARK_POISONED', JSON.stringify(failure));
    assert.is(failure?.path, path);
    assertMet(failure?.cause, met, backend, path);
  }
  if (durableAtFailure !== undefined) assert.is(durableAtEnd, durableAtFailure, 'the durable watermark stands still');
  assert.ok(events.includes('poisoned') && events.at(-1) === 'close', events.join(' '));
}

function assertFull({ report }: Lived, errno: Errno): void {
  assert.ok(report.failures.length > 0, 'an append failed');
  for (const failure of report.failures) {
    assert.is(failure.code, 'TIDEMARK_NO_SPACE', JSON.stringify(failure));
    assert.is(failure.name, 'IoError');
  }
  assert.ok(['ENOSPC', errno].includes(report.failures[0]?.errnoName ?? ''));
  assert.is(report.events.filter((event) => event === 'space').length, 1, 'it is told once');
  assert.is(report.events.includes('poisoned'), false);
}

/** That everybody who has to be is told, and nobody else. */
function assertTold(lived: Lived, { expected, appenders = APPENDERS, records = RECORDS }: Case, backend: Kind): void {
  const { report, path, claims } = lived;
  const { poisoned, full, refused, close, trim, warned, read } = expected;
  for (const [failure, met] of [[report.refused, refused], [report.closeFailure, close], [report.readFailure, read], [report.trimFailures[0], trim]] as const) {
    if (met === undefined) assert.is(failure, undefined, JSON.stringify(failure));
    else assertMet(failure, met, backend, path);
  }
  assert.is(report.followFailure?.code, poisoned === undefined ? undefined : 'TIDEMARK_POISONED');
  if (poisoned !== undefined) assertPoisoned(lived, poisoned, backend);
  else if (full !== undefined) assertFull(lived, full);
  else assert.equal([...report.failures, ...report.trimFailures.slice(1), ...(report.later === undefined ? [] : [report.later])], []);
  assert.ok(warned === undefined ? report.warnings.length === 0 : report.warnings.length === 1 && report.warnings[0]?.includes(warned), `warnings: ${report.warnings.join('; ')}`);
  if (poisoned === undefined && refused === undefined) assert.ok(claims.acknowledged >= appenders * records, `${claims.acknowledged} acknowledged`);
}

async function verify(lived: Lived, one: Case, backend: Kind, layout: Layout): Promise<void> {
  const { report, path, claims } = lived;
  one.rules.forEach((rule, i) => {
    const harms = Object.keys(rule).some((key) => !['op', 'skip', 'path'].includes(key));
    assert.ok(harms === ((report.hits[i] ?? 0) > 0), `rule ${i} was hit ${report.hits[i]} times; refused: ${JSON.stringify(report.refused)}`);
  });
  assertTold(lived, one, backend);
  assert.equal(report.unhandled, []);
  assert.equal(report.descriptors, []);
  if (one.options?.retainSegments !== undefined) claims.hear(`trim ${report.durableAtEnd}`);
  await assertKept(lived, backend, layout);
  if (one.history === 'torn') assertCopies(path, layout, one.expected.refused?.syscall === 'ftruncate' ? 2 : 1);
}

/** The torn tail was kept as a whole, and no half of it: again only where what follows the copy had failed. */
function assertCopies(path: string, layout: Layout, expected: number): void {
  const directory = layout === 'file' ? join(path, '..') : path;
  const name = path.slice(path.lastIndexOf('/') + 1);
  const copies = readdirSync(directory).filter((file) => file.includes(TORN) && (layout === 'segments' || file.startsWith(`${name}.`)));
  assert.is(copies.length, expected, copies.join(' '));
  for (const copy of copies) assert.ok(statSync(join(directory, copy)).size >= TORN_BYTES.length, copy);
}

// ---- journals to begin with ----------------------------------------------------------------------------------------

const HISTORY_RECORDS = 20;
/** The beginning of a frame. */
const TORN_BYTES = Buffer.from('FSY\x01\xff\x00\x00\x00not all of it', 'latin1');

async function makeHistories(directory: string, layout: Layout): Promise<Record<HistoryName, History>> {
  const path = join(directory, `history-${layout}`);
  const said = ['life 7', `! 0 ${HISTORY_RECORDS - 1}`];
  const journal = await Journal.open(path, { scheduler: schedulerOf('blocking'), layout, direct: false, preallocate: 0, segmentBytes: SEGMENT_BYTES, newSegments: 'plain' });
  for (let sequence = 0; sequence < HISTORY_RECORDS; sequence++) said.push(`+ 0 ${sequence} ${await journal.append(recordOf({ life: 7, thread: 0, sequence }))}`);
  const end = journal.durableLsn;
  const copyAs = (name: HistoryName): History => {
    cpSync(path, `${path}-${name}`, { recursive: true });
    return { path: `${path}-${name}`, said };
  };
  const crashed = copyAs('crashed');
  const torn = copyAs('torn');
  if (layout === 'file') {
    appendFileSync(torn.path, TORN_BYTES);
  } else {
    const segment = openSync(join(torn.path, FIRST_SEGMENT), 'r+');
    writeSync(segment, TORN_BYTES, 0, TORN_BYTES.length, end);
    closeSync(segment);
  }
  await journal.close();
  const spare = copyAs('spare');
  if (layout === 'segments') cpSync(join(path, FIRST_SEGMENT), join(spare.path, `${SECOND_SEGMENT}.spare`));
  return { crashed, torn, spare, closed: copyAs('closed') };
}

// ---- running it ----------------------------------------------------------------------------------------------------

const test = suite('a disk that fails');

const reason = noFaultfs();
if (reason !== undefined) {
  skip('all faults of a disk', reason);
} else {
  const directory = mkdtempSync(join(memoryDirectory('/var/tmp'), 'tidemark-faults-'));
  process.on('exit', () => {
    rmSync(directory, { recursive: true, force: true });
  });
  const histories = { file: await makeHistories(directory, 'file'), segments: await makeHistories(directory, 'segments') };
  const lanes = new Lanes(directory, LANES);
  const wanted = process.env['CASE'] ?? '';
  const lives: { readonly name: string; readonly outcome: Promise<unknown> }[] = [];
  for (const backend of await usableBackends()) {
    for (const one of table) {
      for (const layout of one.layout === undefined ? ['file', 'segments'] as const : [one.layout]) {
        const name = `${one.what}: ${layout}, ${backend}`;
        if (!name.includes(wanted)) continue;
        const { stage, rules, options, history, appenders = APPENDERS, records = RECORDS, hit, reads } = one;
        const life = {
          backend, stage, rules, appenders, records,
          options: { layout, direct: false, preallocate: 0, newSegments: 'plain', segmentBytes: 1024 * 1024, ...options },
          ...(history && { history: histories[layout][history] }), ...(hit && { hit }), ...(reads && { reads }),
        } as const;
        const outcome = lanes.add(life, (lived) => verify(lived, one, backend, layout)).then(() => undefined, (error: unknown) => error);
        lives.push({ name, outcome });
      }
    }
  }
  const ends = lanes.run();
  for (const { name, outcome } of lives) {
    test(name, async () => {
      const error = await outcome;
      if (error !== undefined) throw error as Error;
    });
  }
  test('the processes ended by themselves and had nothing else to say', async () => {
    for (const { code, signal, stderr } of await ends) assert.equal({ code, signal, stderr }, { code: 0, signal: null, stderr: '' });
  });
}

test.run();
