/** Ways out of a directory, and operations that must not take them. */
import { lstatSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { DirectoryHandle, Files, ScopedFiles } from 'tidemark';

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
export function escapesFor({ wants, follows }: ConfinedOperation, { inside, outside }: Grounds): string[] {
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
  /** Of the error; undefined where it succeeded. */
  readonly code: string | undefined;
}

/** Tries all ways out with all operations, one by one, and answers those that were not refused as leading out. */
export async function tryEscapes(operations: readonly ConfinedOperation[], grounds: Grounds): Promise<{ tried: number; wrong: Escaped[] }> {
  const wrong: Escaped[] = [];
  let tried = 0;
  let state = stateOf(grounds.outside);
  for (const operation of operations) {
    for (const path of escapesFor(operation, grounds)) {
      tried++;
      const code = await operation.run(path).then(() => undefined, (error: unknown) => (error as { code?: string }).code ?? String(error));
      const before = state;
      state = stateOf(grounds.outside);
      if (code !== 'TIDEMARK_OUTSIDE_ROOT' || state !== before) wrong.push({ operation: operation.name, path, code });
    }
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

/** Methods of a scope that take no path, or only handles. */
export const WITHOUT_PATH: readonly (keyof ScopedFiles)[] = ['attachDirectory', 'close', 'fchown', 'preserveOwnershipFrom'];

/** Of a scope: at least one for each method that takes a path, by the method's name. */
export function operationsOfScope(scope: Files): ConfinedOperation[] {
  const method = (name: keyof Files, what: string, wants: Wanted, follows: boolean, run: (path: string) => Promise<unknown>): ConfinedOperation => (
    { name: what === '' ? name : `${name} ${what}`, wants, follows, run });
  return [
    method('openRead', '', 'file', true, (path) => closing(scope.openRead(path))),
    method('openDirectory', '', 'directory', true, (path) => closing(scope.openDirectory(path))),
    method('scan', '', 'directory', true, (path) => consume(scope.scan(path))),
    method('scan', 'with links followed', 'directory', true, (path) => consume(scope.scan(path, { followLinks: true }))),
    method('find', '', 'directory', true, (path) => consume(scope.find(path, '**'))),
    method('count', '', 'directory', true, (path) => scope.count(path)),
    method('scoped', '', 'directory', true, (path) => scope.scoped(path).count('.')),
    method('statx', '', 'file', true, (path) => scope.statx(path)),
    method('statx', 'of a link', 'file', false, (path) => scope.statx(path, { followLink: false })),
    method('setTimes', '', 'file', true, (path) => scope.setTimes(path, { mtime: 1 })),
    method('setTimes', 'of a link', 'file', false, (path) => scope.setTimes(path, { mtime: 1 }, { followLink: false })),
    method('setTimes', 'durably', 'file', true, (path) => scope.setTimes(path, { mtime: 1 }, { durable: true })),
    method('chmod', '', 'file', true, (path) => scope.chmod(path, 0o777)),
    method('chmod', 'durably', 'file', true, (path) => scope.chmod(path, 0o777, { durable: true })),
    method('chown', '', 'file', true, (path) => scope.chown(path, 1, 1)),
    method('lchown', '', 'file', false, (path) => scope.lchown(path, 1, 1)),
    method('getXattr', '', 'file', true, (path) => scope.getXattr(path, 'user.test')),
    method('setXattr', '', 'file', true, (path) => scope.setXattr(path, 'user.test', new Uint8Array(1))),
    method('listXattr', '', 'file', true, (path) => scope.listXattr(path)),
    method('removeXattr', '', 'file', true, (path) => scope.removeXattr(path, 'user.test')),
    method('mkfifo', '', 'new', false, (path) => scope.mkfifo(path)),
    method('mknod', '', 'new', false, (path) => scope.mknod(path, { kind: 'character', major: 1, minor: 3 })),
  ];
}
