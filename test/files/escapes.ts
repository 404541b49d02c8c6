/** Ways out of a directory, and operations that must not take them. */
import { lstatSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Batch, DirectoryHandle, Files, ScopedFiles } from 'tidemark';

export interface Grounds {
  /** Operations are confined to it. */
  readonly inside: string;
  /** Beside it. Nothing here may be read or change. */
  readonly outside: string;
}

/** What an operation wants its path to name. */
export type Wanted = 'file' | 'directory' | 'new';

export interface ConfinedOperation {
  readonly name: string;
  readonly wants: Wanted;
  /** A link that is the last part of the path is followed. */
  readonly follows: boolean;
  readonly run: (path: string) => Promise<unknown>;
}

/** Directories outside, by paths that begin inside; each stands for `outside`. */
const WAYS_OUT = ['../outside', './../outside', 'a/../../outside', 'a/b/../../../outside', 'absolute', 'upward', 'a/b/upward', 'chain', 'a/back/../outside', 'loop/loop/../outside'] as const;

export function layGrounds(base: string): Grounds {
  const inside = join(base, 'inside');
  const outside = join(base, 'outside');
  mkdirSync(join(inside, 'a', 'b'), { recursive: true });
  mkdirSync(join(outside, 'cellar'), { recursive: true });
  writeFileSync(join(outside, 'secret'), 'secret');
  writeFileSync(join(outside, 'cellar', 'deep'), 'deep');
  symlinkSync('nothing', join(outside, 'pointer'));
  writeFileSync(join(inside, 'file'), 'inside');
  writeFileSync(join(inside, 'a', 'file'), 'below');
  const links = {
    absolute: outside, upward: '../outside', 'a/b/upward': '../../../outside', chain: 'a/chain', 'a/chain': '../absolute', 'a/back': '..', loop: '.',
    'secret-absolute': join(outside, 'secret'), 'secret-upward': '../outside/secret', 'secret-chain': 'secret-upward',
    'new-absolute': join(outside, 'new'), 'new-upward': '../outside/new', 'itself': inside, 'root-magic': '/proc/self/root',
  };
  for (const [name, target] of Object.entries(links)) symlinkSync(target, join(inside, name));
  return { inside, outside };
}

/** Paths that an operation has to refuse. */
export function escapesFor({ wants, follows }: Pick<ConfinedOperation, 'wants' | 'follows'>, { inside, outside }: Grounds): string[] {
  const directories = [...WAYS_OUT, outside];
  const name = { file: 'secret', directory: 'cellar', new: 'new' }[wants];
  const paths = [...directories.map((directory) => `${directory}/${name}`), `root-magic${outside}/${name}`, `itself/${{ file: 'file', directory: 'a', new: 'new' }[wants]}`, join(inside, 'file')];
  if (!follows) return paths;
  if (wants === 'file') return [...paths, 'secret-absolute', 'secret-upward', 'secret-chain'];
  if (wants === 'directory') return [...paths, ...directories, '..', '/', 'a/../..', 'itself', 'root-magic'];
  return [...paths, 'new-absolute', 'new-upward'];
}

/** Everything that could be seen to change, but for the times of access. */
export function stateOf(directory: string): string {
  const lines: string[] = [];
  const look = (path: string): void => {
    const { ino, mode, nlink, size, uid, gid, mtimeNs, ctimeNs } = lstatSync(path, { bigint: true });
    lines.push([path.slice(directory.length), ino, mode, nlink, size, uid, gid, mtimeNs, ctimeNs].join(' '));
    if ((Number(mode) & 0o170000) === 0o040000) for (const name of readdirSync(path).sort()) look(join(path, name));
    if ((Number(mode) & 0o170000) === 0o100000) lines.push(readFileSync(path, 'hex'));
  };
  look(directory);
  return lines.join('\n');
}

export interface Escaped {
  readonly operation: string;
  readonly path: string;
  /** Of the error; undefined where it succeeded; `changed`: what is outside is another than before. */
  readonly code: string | undefined;
}

/** Tries all ways out with each operation, and answers those that were not refused as leading out, or changed what is there. */
export async function tryEscapes(operations: readonly ConfinedOperation[], grounds: Grounds): Promise<{ tried: number; wrong: Escaped[] }> {
  const wrong: Escaped[] = [];
  let tried = 0;
  let state = stateOf(grounds.outside);
  for (const { name: operation, run, ...kind } of operations) {
    const paths = escapesFor(kind, grounds);
    const codes = await Promise.all(paths.map((path) => run(path).then(() => undefined, (error: unknown) => (error as { code?: string }).code ?? String(error))));
    const before = state;
    state = stateOf(grounds.outside);
    if (state !== before) wrong.push({ operation, path: grounds.outside, code: 'changed' });
    for (const [index, code] of codes.entries()) if (code !== 'TIDEMARK_OUTSIDE_ROOT') wrong.push({ operation, path: paths[index] ?? '', code });
    tried += paths.length;
  }
  return { tried, wrong };
}

async function closing(opened: Promise<{ close(): Promise<void> }>): Promise<void> {
  await (await opened).close();
}

async function consume(entries: AsyncIterable<unknown>): Promise<void> {
  const iterator = entries[Symbol.asyncIterator]();
  while ((await iterator.next()).done !== true);
}

/** Of the handle of the inside. */
export function operationsOfHandle(handle: DirectoryHandle): ConfinedOperation[] {
  return [
    { name: 'mkdirAt', wants: 'new', follows: false, run: (path) => handle.mkdirAt(path) },
    { name: 'openAt', wants: 'file', follows: true, run: (path) => closing(handle.openAt(path)) },
    { name: 'openAt for writing', wants: 'file', follows: true, run: (path) => closing(handle.openAt(path, { write: true, append: true })) },
    { name: 'openAt that creates', wants: 'new', follows: true, run: (path) => closing(handle.openAt(path, { write: true, create: true })) },
    { name: 'openAt that creates a new file', wants: 'new', follows: false, run: (path) => closing(handle.openAt(path, { write: true, create: true, exclusive: true })) },
    { name: 'openDirectoryAt', wants: 'directory', follows: true, run: (path) => closing(handle.openDirectoryAt(path)) },
    { name: 'unlinkAt', wants: 'file', follows: false, run: (path) => handle.unlinkAt(path) },
    { name: 'rmdirAt', wants: 'directory', follows: false, run: (path) => handle.rmdirAt(path) },
    { name: 'renameAt from', wants: 'file', follows: false, run: (path) => handle.renameAt(path, 'stolen') },
    { name: 'renameAt to', wants: 'new', follows: false, run: (path) => handle.renameAt('file', path) },
    { name: 'renameAt over', wants: 'file', follows: false, run: (path) => handle.renameAt('file', path) },
    { name: 'renameAt in exchange', wants: 'file', follows: false, run: (path) => handle.renameAt('file', path, { mode: 'exchange' }) },
    { name: 'linkAt from', wants: 'file', follows: false, run: (path) => handle.linkAt(path, 'stolen') },
    { name: 'linkAt to', wants: 'new', follows: false, run: (path) => handle.linkAt('file', path) },
    { name: 'symlinkAt', wants: 'new', follows: false, run: (path) => handle.symlinkAt('anything', path) },
    { name: 'readlinkAt', wants: 'file', follows: false, run: (path) => handle.readlinkAt(path) },
    { name: 'statAt', wants: 'file', follows: true, run: (path) => handle.statAt(path) },
    { name: 'statAt of a link', wants: 'file', follows: false, run: (path) => handle.statAt(path, { followLink: false }) },
  ];
}

/** Of a scope what takes no path, or only handles. */
export const WITHOUT_PATH: readonly (keyof ScopedFiles)[] = ['supports', 'attachDirectory', 'close', 'fchown', 'setWriteLifetimeHint', 'getWriteLifetimeHint'];

type Run = (path: string) => Promise<unknown>;

function method(name: keyof Files, what: string, wants: Wanted, follows: boolean, run: Run): ConfinedOperation {
  return { name: what === '' ? name : `${name} ${what}`, wants, follows, run };
}

/** Of a file that has to be there, through links too. */
function onFile(name: keyof Files, run: Run, what = ''): ConfinedOperation {
  return method(name, what, 'file', true, run);
}

/** Of a name itself. */
function onName(name: keyof Files, wants: Wanted, run: Run, what = ''): ConfinedOperation {
  return method(name, what, wants, false, run);
}

/** Of a file that is made where there is none. */
function making(name: keyof Files, run: Run, what = ''): ConfinedOperation[] {
  return [onFile(name, run, what), method(name, `${what} a new file`.trim(), 'new', true, run)];
}

/** Of a batch with one step: what it failed with. */
export async function committed(batch: Batch): Promise<void> {
  await batch.commit().catch((error: unknown) => {
    throw (error as Error).cause as Error;
  });
}

/** Of a scope: one at least for each path that a method takes, by the method's name. */
export function operationsOfScope(scope: Files): ConfinedOperation[] {
  return [...contentsOf(scope), ...spaceOf(scope), ...namesOf(scope), ...directoriesOf(scope), ...metadataOf(scope), ...storageOf(scope)];
}

function contentsOf(scope: Files): ConfinedOperation[] {
  const piece = new Uint8Array(new SharedArrayBuffer(2));
  return [
    onFile('openRead', (path) => closing(scope.openRead(path))),
    onName('openWriteNew', 'new', (path) => closing(scope.openWriteNew(path))),
    onFile('openWriteAt', (path) => closing(scope.openWriteAt(path))),
    ...making('openWriteAt', (path) => closing(scope.openWriteAt(path, { create: true })), 'that creates'),
    ...making('openAppend', (path) => closing(scope.openAppend(path))),
    onFile('readAll', (path) => scope.readAll(path)),
    onFile('readRange', (path) => scope.readRange(path, 0, 2)),
    onFile('readVector', (path) => scope.readVector(path, [1, 1], 0)),
    onFile('readVector', (path) => scope.readVector(path, [piece], 0), 'into memory'),
    ...making('writeAll', (path) => scope.writeAll(path, 'stolen')),
    onName('writeAll', 'new', (path) => scope.writeAll(path, 'stolen', { exclusive: true }), 'exclusively'),
    ...making('writeAt', (path) => scope.writeAt(path, 'stolen', 1, { create: true })),
    onFile('writeVector', (path) => scope.writeVector(path, ['stolen'], 1)),
    ...making('append', (path) => scope.append(path, 'stolen')),
    ...making('replaceFile', (path) => scope.replaceFile(path, 'stolen')),
    onFile('replaceFile', (path) => scope.replaceFile(path, 'stolen', { preserve: true }), 'with all metadata'),
    onFile('copyFile', (path) => scope.copyFile(path, 'stolen'), 'from'),
    ...making('copyFile', (path) => scope.copyFile('file', path), 'to'),
    ...making('copyFile', (path) => scope.copyFile('file', path, { overwrite: true }), 'over'),
    onFile('copyRange', (path) => scope.copyRange(path, 0, 'a/file', 0, 2), 'from'),
    onFile('copyRange', (path) => scope.copyRange('file', 0, path, 0, 2), 'to'),
    ...making('batch', (path) => committed(scope.batch().write(path, 'stolen')), 'that writes'),
    onFile('batch', (path) => committed(scope.batch().copy(path, 'stolen')), 'that copies from'),
    ...making('batch', (path) => committed(scope.batch().copy('file', path)), 'that copies to'),
  ];
}

function spaceOf(scope: Files): ConfinedOperation[] {
  return [
    onFile('preallocate', (path) => scope.preallocate(path, 65_536)),
    onFile('punchHole', (path) => scope.punchHole(path, 0, 4)),
    onFile('zeroRange', (path) => scope.zeroRange(path, 0, 4)),
    onFile('collapseRange', (path) => scope.collapseRange(path, 0, 4096)),
    onFile('insertRange', (path) => scope.insertRange(path, 0, 4096)),
    onFile('writeZeroes', (path) => scope.writeZeroes(path, 0, 4)),
    onFile('truncate', (path) => scope.truncate(path, 1)),
    onFile('advise', (path) => scope.advise(path, 'willNeed')),
  ];
}

function namesOf(scope: Files): ConfinedOperation[] {
  return [
    onName('rename', 'file', (path) => scope.rename(path, 'stolen'), 'from'),
    onName('rename', 'new', (path) => scope.rename('file', path), 'to'),
    onName('rename', 'file', (path) => scope.rename('file', path), 'over'),
    onName('renameNoReplace', 'file', (path) => scope.renameNoReplace(path, 'stolen'), 'from'),
    onName('renameNoReplace', 'new', (path) => scope.renameNoReplace('file', path), 'to'),
    onName('exchange', 'file', (path) => scope.exchange(path, 'file'), 'of the first'),
    onName('exchange', 'file', (path) => scope.exchange('file', path), 'of the second'),
    onName('symlink', 'new', (path) => scope.symlink('anything', path)),
    onName('readlink', 'file', (path) => scope.readlink(path)),
    onName('hardlink', 'file', (path) => scope.hardlink(path, 'stolen'), 'from'),
    onName('hardlink', 'new', (path) => scope.hardlink('file', path), 'to'),
    onName('unlink', 'file', (path) => scope.unlink(path)),
    onName('unlink', 'file', (path) => scope.unlink(path, { durable: false }), 'without a sync'),
    onName('makeDirectory', 'new', (path) => scope.makeDirectory(path)),
    onName('makeDirectory', 'new', (path) => scope.makeDirectory(`${path}/below`, { recursive: true }), 'with those on the way'),
    method('makeDirectory', 'that is there', 'directory', true, (path) => scope.makeDirectory(path, { recursive: true })),
    onName('removeDirectory', 'directory', (path) => scope.removeDirectory(path)),
    onName('batch', 'file', (path) => committed(scope.batch().delete(path)), 'that deletes'),
    onName('batch', 'file', (path) => committed(scope.batch().rename(path, 'stolen')), 'that renames from'),
    onName('batch', 'new', (path) => committed(scope.batch().rename('file', path)), 'that renames to'),
    onName('mkfifo', 'new', (path) => scope.mkfifo(path)),
    onName('mknod', 'new', (path) => scope.mknod(path, { kind: 'character', major: 1, minor: 3 })),
  ];
}

function directoriesOf(scope: Files): ConfinedOperation[] {
  const inDirectory = (name: keyof Files, run: Run, what = ''): ConfinedOperation => method(name, what, 'directory', true, run);
  return [
    inDirectory('openDirectory', (path) => closing(scope.openDirectory(path))),
    inDirectory('scan', (path) => consume(scope.scan(path))),
    inDirectory('scan', (path) => consume(scope.scan(path, { followLinks: true })), 'with links followed'),
    inDirectory('find', (path) => consume(scope.find(path, '**'))),
    inDirectory('count', (path) => scope.count(path)),
    inDirectory('scoped', (path) => scope.scoped(path).count('.')),
    inDirectory('removeLeftovers', (path) => scope.removeLeftovers(path)),
  ];
}

function metadataOf(scope: Files): ConfinedOperation[] {
  return [
    onFile('statx', (path) => scope.statx(path)),
    onName('statx', 'file', (path) => scope.statx(path, { followLink: false }), 'of a link'),
    onFile('setTimes', (path) => scope.setTimes(path, { mtime: 1 })),
    onName('setTimes', 'file', (path) => scope.setTimes(path, { mtime: 1 }, { followLink: false }), 'of a link'),
    onFile('setTimes', (path) => scope.setTimes(path, { mtime: 1 }, { durable: true }), 'durably'),
    onFile('chmod', (path) => scope.chmod(path, 0o777)),
    onFile('chmod', (path) => scope.chmod(path, 0o777, { durable: true }), 'durably'),
    onFile('chown', (path) => scope.chown(path, 1, 1)),
    onName('lchown', 'file', (path) => scope.lchown(path, 1, 1)),
    onFile('preserveOwnershipFrom', (path) => scope.preserveOwnershipFrom(path, 'file'), 'a source'),
    onFile('preserveOwnershipFrom', (path) => scope.preserveOwnershipFrom('file', path), 'to a target'),
    onFile('getXattr', (path) => scope.getXattr(path, 'user.test')),
    onName('getXattr', 'file', (path) => scope.getXattr(path, 'user.test', { followLink: false }), 'of a link'),
    onFile('setXattr', (path) => scope.setXattr(path, 'user.test', new Uint8Array(1))),
    onName('setXattr', 'file', (path) => scope.setXattr(path, 'trusted.test', new Uint8Array(1), { followLink: false }), 'of a link'),
    onFile('listXattr', (path) => scope.listXattr(path)),
    onName('listXattr', 'file', (path) => scope.listXattr(path, { followLink: false }), 'of a link'),
    onFile('removeXattr', (path) => scope.removeXattr(path, 'user.test')),
    onName('removeXattr', 'file', (path) => scope.removeXattr(path, 'user.test', { followLink: false }), 'of a link'),
  ];
}

function storageOf(scope: Files): ConfinedOperation[] {
  return [
    onFile('syncData', (path) => scope.syncData(path)),
    onFile('syncFull', (path) => scope.syncFull(path)),
    onFile('syncBarrier', (path) => scope.syncBarrier(path)),
    onName('syncParentDir', 'file', (path) => scope.syncParentDir(path)),
    onFile('probe', (path) => scope.probe(path)),
    onFile('nvmeFlush', (path) => scope.nvmeFlush(path)),
    onFile('nvmeIdentifyNamespace', (path) => scope.nvmeIdentifyNamespace(path)),
  ];
}
