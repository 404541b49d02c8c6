/**
 * Files that are replaced as a whole: a new one is written beside the old one, synced, renamed over it, and the directory synced.
 *
 * Replacements that wait together are done together: all files are written, then each synced, then each renamed in order, then
 * each directory synced once. Nothing is renamed before its own content is durable, and nothing is acknowledged before its
 * directory is.
 */
import { readdirSync } from 'node:fs';
import { isAbsolute } from 'node:path';
import { EISDIR, ELOOP, ENOENT, EPERM, fromNodeError, inFile, ioError, notAFile } from '../../platform/errno.js';
import { IoError, toWire } from '../../platform/errors.js';
import type { Metadata, Subject } from '../../platform/interface/metadata.js';
import type { Platform } from '../../platform/platform.js';
import { valueOf, type Outcome } from '../protocol/messages.js';
import type { Place } from '../protocol/operation.js';
import type { OperationContext } from './context.js';
import { changeNames, parentOf, Parents, type Entry } from './parents.js';
import { requireFile } from './pieces.js';
import { openPlace } from './places.js';
import { copyMetadata, type CopiedParts } from './preserve.js';
import { syncTogether, type FileSync } from './sync-together.js';
import { clear, discard, isTemporaryName, statOf, takeTemporary, type Temporary } from './temporary.js';

/** How a new content gets its metadata. */
export interface ReplaceSettings {
  /** Of the file that is replaced, where there is one. */
  readonly preserve: CopiedParts;
  /** Permission bits where none are preserved. */
  readonly mode: number;
}

export interface Replaced {
  readonly primitive: 'renameat';
  /** How the new file became durable before the rename. */
  readonly contentSync: FileSync;
  /** How the rename became durable: a sync of the directory. */
  readonly sync: 'fsync';
  /** Written. */
  readonly bytes: number;
  /** There was no file when it began. */
  readonly created: boolean;
}

export interface LeftoversRemoved {
  readonly primitive: 'unlinkat';
  readonly sync: 'fsync' | 'none';
  /** Names that were removed. */
  readonly removed: readonly string[];
  /** Temporary files that somebody is using, or that this user may not remove, and what has the name of one and is none. */
  readonly kept: readonly string[];
}

/** As the kernel counts them (path_resolution(7)). */
const LINKS_MAX = 40;
/** Written by one call: it must not hold its thread for long. */
const PIECE_BYTES = 4 * 1024 * 1024;
/** Synced in between, for the same reason: a sync takes as long as there is to write. */
const SYNC_BYTES = 64 * 1024 * 1024;
const WAIT_MS = 1;

export const replaceOperations = {
  replaceFile(context: OperationContext, place: Place, data: Uint8Array | string, settings: ReplaceCall): Replaced | undefined {
    const [outcome] = replaceTogether([{ context, args: [place, data, settings] }]);
    return valueOf(outcome as Outcome<Replaced | undefined>);
  },

  removeLeftovers({ platform }: OperationContext, directory: Place): LeftoversRemoved {
    const removed: string[] = [];
    const kept: string[] = [];
    changeNames(platform, true, (parents) => {
      const inside = (name: string): Place => ({ ...directory, path: `${directory.path}/${name}` });
      const { parent } = parents.entryOf(inside('.tidemark'));
      for (const name of namesIn(platform, parent).filter(isTemporaryName)) {
        const entry = parents.entryOf(inside(name));
        const state = inFile(entry.path, () => clear(platform, entry.at));
        if (state === 'held' || state === 'foreign') kept.push(name);
        if (state !== 'removed') continue;
        removed.push(name);
        parents.changed(entry);
      }
    });
    return { primitive: 'unlinkat', sync: removed.length > 0 ? 'fsync' : 'none', removed, kept };
  },
};

/** How a replacement is called. */
export interface ReplaceCall extends ReplaceSettings {
  /** It waits while all temporary names of its file are in use. */
  readonly waits: boolean;
}

interface Call {
  readonly context: OperationContext;
  readonly args: readonly [Place, Uint8Array | string, ReplaceCall];
}

/**
 * Several replacements: one that fails leaves the others alone, but for a directory whose sync fails. One whose temporary names
 * are all in use is left undone, with `undefined` for an answer, unless it is to wait: it would hold up the others.
 */
export function replaceTogether(calls: readonly Call[]): Outcome<Replaced | undefined>[] {
  const [first] = calls;
  if (first === undefined) return [];
  const { platform } = first.context;
  const parents = new Parents(platform, true);
  try {
    const done = new Map<Call, Outcome<Renamed | undefined>>();
    for (let left = calls; left.length > 0; left = left.filter((call) => !done.has(call))) {
      const round = replaceRound(platform, left, parents);
      if (round.size === 0) pause();
      for (const [call, outcome] of round) done.set(call, outcome);
    }
    const failures = parents.sync();
    return calls.map((call) => next(done.get(call) as Outcome<Renamed | undefined>, (renamed) => {
      const failure = renamed === undefined ? undefined : failures.get(renamed.entry.parent.identity);
      if (failure !== undefined) throw failure;
      return renamed?.result;
    }));
  } finally {
    parents.close();
  }
}

/** Does as many of the calls as can be done at once, each file once. */
function replaceRound(platform: Platform, calls: readonly Call[], parents: Parents): Map<Call, Outcome<Renamed | undefined>> {
  const files = new Set<string>();
  const results = new Map<Call, Outcome<Renamed | undefined>>();
  const prepared = new Map<Call, Prepared>();
  for (const call of calls) {
    const { context, args: [place, , { waits }] } = call;
    const outcome = settle(() => {
      const target = locate(platform, parents, place);
      const file = `${target.entry.parent.identity}/${target.entry.name}`;
      if (files.has(file)) return 'later';
      files.add(file);
      return prepare(context, target, ...bytesAnd(call.args)) ?? (waits ? 'later' : 'never');
    });
    if (!outcome.ok) results.set(call, outcome);
    else if (outcome.value === 'never') results.set(call, { ok: true, value: undefined });
    else if (outcome.value !== 'later') prepared.set(call, outcome.value);
  }
  const synced = syncRound(platform, [...prepared.values()]);
  for (const [index, call] of [...prepared.keys()].entries()) {
    results.set(call, next(synced[index] as Outcome<Synced>, (file) => {
      putInPlace(call.context, parents, file);
      const { target: { entry, existing }, contentSync, bytes } = file;
      return { entry, result: { primitive: 'renameat', contentSync, sync: 'fsync', bytes, created: existing === undefined } };
    }));
  }
  return results;
}

/** Syncs the new files at the same time. */
function syncRound(platform: Platform, prepared: readonly Prepared[]): Outcome<Synced>[] {
  const descriptors = prepared.map(({ temporary }) => temporary.descriptor);
  // All of them: a filesystem with a journal then commits what they have in common once.
  if (descriptors.length > 1) for (const descriptor of descriptors) platform.files.startWriteback(descriptor);
  const results = syncTogether(platform, descriptors);
  return prepared.map((file, index) => settle(() => finishSync(platform, file, results[index] as Error | FileSync)));
}

function bytesAnd([, data, settings]: Call['args']): [Uint8Array, ReplaceSettings] {
  return [typeof data === 'string' ? new TextEncoder().encode(data) : data, settings];
}

/** Somebody else has all slots of the file. */
export function pause(): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, WAIT_MS);
}

function settle<T>(work: () => T): Outcome<T> {
  try {
    return { ok: true, value: work() };
  } catch (error) {
    return { ok: false, error: toWire(error) };
  }
}

/** The next step of what has gone well so far. */
function next<T, Result>(outcome: Outcome<T>, step: (value: T) => Result): Outcome<Result> {
  return outcome.ok ? settle(() => step(outcome.value)) : outcome;
}

// ---- the steps of one replacement --------------------------------------------------------------------------------------

/** What is to be replaced. */
export interface ReplaceTarget {
  readonly entry: Entry;
  readonly existing: Metadata | undefined;
}

/** A new content beside its target. */
export interface Prepared {
  readonly target: ReplaceTarget;
  readonly temporary: Temporary;
  readonly bytes: number;
}

/** A new file that is durable, beside its target. */
export interface Synced extends Prepared {
  readonly contentSync: FileSync;
}

interface Renamed {
  readonly entry: Entry;
  readonly result: Replaced;
}

/** Finds the file that a name leads to, or would: links are followed, so that they stay and their file is replaced. */
export function locate(platform: Platform, parents: Parents, place: Place): ReplaceTarget {
  return inFile(place.path, () => find(platform, parents, place));
}

function find(platform: Platform, parents: Parents, place: Place): ReplaceTarget {
  for (let links = 0, at = place; links <= LINKS_MAX; links++) {
    const entry = parents.entryOf(at);
    const existing = statOf(platform, entry.at);
    if (existing?.kind === 'directory') throw ioError(EISDIR, 'open', place.path);
    if (existing?.kind === 'symlink') {
      const target = inFile(at.path, () => platform.names.readlink(entry.at));
      at = { root: place.root, path: isAbsolute(target) ? target : `${parentOf(at).path}/${target}` };
      continue;
    }
    if (existing !== undefined && existing.kind !== 'file') throw notAFile(place.path);
    if (links > 0) mayFollow(platform, place);
    return { entry, existing };
  }
  throw ioError(ELOOP, 'open', place.path);
}

/** The system may forbid to follow a link that reading it does not tell of, such as another user's in /tmp (proc_sys_fs(5), protected_symlinks). */
function mayFollow(platform: Platform, place: Place): void {
  try {
    platform.files.close(openPlace(platform, place, { write: false, pathOnly: true }));
  } catch (error) {
    if (!(error instanceof IoError && error.errno === ENOENT)) throw error;
  }
}

/** Writes a new content beside its target, and gives it its metadata. Undefined when it has to wait for a slot. */
export function prepare(context: OperationContext, target: ReplaceTarget, data: Uint8Array, settings: ReplaceSettings): Prepared | undefined {
  return prepareWith(context, target, (temporary) => {
    writeContent(context, temporary.descriptor, data);
    setMetadata(context.platform, target, temporary, settings);
    return data.length;
  });
}

/** The same with a content and metadata that `fill` gives to the new file; it answers how many bytes there are. */
export function prepareWith(context: OperationContext, target: ReplaceTarget, fill: (temporary: Temporary) => number): Prepared | undefined {
  const { platform } = context;
  const { entry } = target;
  context.checkAborted();
  return inFile(entry.path, () => {
    const temporary = takeTemporary(platform, entry);
    if (temporary === undefined) return undefined;
    return orDiscard(platform, temporary, () => ({ target, temporary, bytes: fill(temporary) }));
  });
}

function finishSync(platform: Platform, file: Prepared, done: Error | FileSync): Synced {
  return inFile(file.target.entry.path, () => orDiscard(platform, file.temporary, () => {
    if (done instanceof Error) throw done;
    return { ...file, contentSync: done };
  }));
}

/** One new file by itself. */
export function syncOne(platform: Platform, file: Prepared): Synced {
  const [done] = syncTogether(platform, [file.temporary.descriptor]);
  return finishSync(platform, file, done as Error | FileSync);
}

/** From here on the new content is there for everybody. */
export function putInPlace(context: OperationContext, parents: Parents, { target: { entry }, temporary }: Prepared): void {
  const { platform } = context;
  inFile(entry.path, () => orDiscard(platform, temporary, () => {
    context.checkAborted();
    platform.names.rename(temporary.at, entry.at, 'replace');
  }));
  parents.changed(entry);
  platform.files.closeOwn(temporary.descriptor);
}

function orDiscard<T>(platform: Platform, temporary: Temporary, work: () => T): T {
  try {
    return work();
  } catch (error) {
    discard(platform, temporary);
    throw error;
  }
}

/** Writes all of it, in pieces. */
export function writeContent(context: OperationContext, descriptor: number, data: Uint8Array): void {
  const { files } = context.platform;
  for (let offset = 0; offset < data.length; offset += PIECE_BYTES) {
    context.checkAborted();
    if (offset > 0 && offset % SYNC_BYTES === 0) files.syncData(descriptor);
    const piece = data.subarray(offset, offset + PIECE_BYTES);
    files.writeFully(descriptor, piece, offset);
    context.progress(offset + piece.length);
  }
}

function setMetadata(platform: Platform, { entry, existing }: ReplaceTarget, { descriptor, metadata: made }: Temporary, { preserve, mode }: ReplaceSettings): void {
  const inherits = preserve.mode || preserve.owner || preserve.times || preserve.xattrs;
  const from = existing !== undefined && inherits ? openExisting(platform, entry) : undefined;
  if (from === undefined) {
    if (mode !== made.mode) platform.metadata.chmod(descriptor, mode);
    return;
  }
  try {
    const missing = copyMetadata(platform, from.subject, descriptor, preserve);
    if (missing.length > 0) throw notPermitted(entry, missing);
  } finally {
    platform.files.close(from.descriptor);
  }
  if (!preserve.mode) platform.metadata.chmod(descriptor, mode);
}

/**
 * One and the same file for all that is asked of it, whoever replaces it meanwhile. It need not be readable, where what is open
 * has a path. Undefined when it has gone since it was found: then the new one is a new one.
 */
function openExisting(platform: Platform, { parent, name, path }: Entry): { readonly descriptor: number; readonly subject: Subject } | undefined {
  const { places, files } = platform;
  const byPath = places.namesDescriptors();
  let descriptor: number;
  try {
    descriptor = places.openBeneath(parent.descriptor, name, { write: false, noFollow: true, pathOnly: byPath });
  } catch (error) {
    if (error instanceof IoError && error.errno === ENOENT) return undefined;
    throw error;
  }
  try {
    // A link that has just taken its place can be opened like that too.
    requireFile(platform, descriptor, path);
  } catch (error) {
    files.close(descriptor);
    throw error;
  }
  return { descriptor, subject: byPath ? { directory: undefined, path: places.pathOfDescriptor(descriptor), followLink: true } : descriptor };
}

function notPermitted({ path }: Entry, missing: readonly string[]): IoError {
  return ioError(EPERM, 'replaceFile', path, { explanation: `not permitted to give the new content what the old one has: ${missing.join(', ')}` });
}

function namesIn({ places }: Platform, directory: { readonly descriptor: number; readonly path: string }): string[] {
  try {
    return readdirSync(places.pathOfDescriptor(directory.descriptor));
  } catch (error) {
    throw fromNodeError(error, directory.path);
  }
}
