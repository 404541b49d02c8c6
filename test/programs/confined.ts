/**
 * Works inside a directory while it can be watched from outside: under a tracer that takes openat2 away, or against somebody who
 * swaps directories for links. `escape` tries all known ways out, `strive` goes through a door that is swapped all the time.
 */
import { fstatSync } from 'node:fs';
import { IoScheduler, type DirectoryHandle, type ScopedFiles } from 'tidemark';
import { committed, operationsOfHandle, operationsOfScope, tryEscapes, type Grounds } from '../files/escapes.js';
import { failureOf, report, taskOf } from './report.js';

interface Task {
  readonly what: 'escape' | 'strive';
  readonly grounds: Grounds;
  /** `strive`: inodes that lie outside. */
  readonly forbidden: readonly string[];
  /** `strive`: goes on until this many operations have succeeded and as many were refused, at most for `boundMs`. */
  readonly enough: number;
  readonly boundMs: number;
}

/** How often operations ended in each way, `ok` or the code of the error; and what was seen of the outside. */
export interface Striven {
  readonly ends: Record<string, number>;
  readonly leaks: string[];
}

const task = taskOf() as Task;
const scheduler = new IoScheduler();

async function strive(handle: DirectoryHandle, scope: ScopedFiles): Promise<Striven> {
  const ends: Record<string, number> = {};
  const leaks: string[] = [];
  const check = (inode: bigint, what: string): void => {
    if (task.forbidden.includes(String(inode))) leaks.push(what);
  };
  const opened = async (opening: ReturnType<ScopedFiles['openRead']>, what: string): Promise<void> => {
    const file = await opening;
    check(fstatSync(file.file.descriptor, { bigint: true }).ino, what);
    await file.close();
  };
  const listed = async (opening: Promise<DirectoryHandle>, what: string): Promise<void> => {
    const directory = await opening;
    check(fstatSync(directory.file.descriptor, { bigint: true }).ino, what);
    for (const { inode } of (await directory.list()).entries) check(inode, what);
    await directory.close();
  };
  const scanned = async (followLinks: boolean): Promise<void> => {
    for await (const { inode } of scope.scan('.', { followLinks, onError: () => undefined })) check(inode, 'scan');
  };
  const round = (n: number): Promise<unknown>[] => [
    handle.mkdirAt(`door/directory-${n}`), handle.symlinkAt('x', `door/link-${n}`),
    opened(handle.openAt(`door/file-${n}`, { write: true, create: true }), 'openAt'), opened(handle.openAt('door/secret'), 'openAt'),
    handle.unlinkAt('door/secret'), handle.rmdirAt('door/cellar'), handle.renameAt('door/secret', 'stolen'), handle.linkAt('door/secret', 'stolen'),
    handle.linkAt('file', `door/name-${n}`), handle.renameAt(`mine-${n}`, `door/mine-${n}`),
    handle.statAt('door/secret').then(({ inode }) => { check(inode, 'statAt'); }), handle.statAt('door').then(({ inode }) => { check(inode, 'statAt'); }),
    listed(handle.openDirectoryAt('door'), 'openDirectoryAt'), listed(scope.openDirectory('door'), 'openDirectory'),
    opened(scope.openRead('door/secret'), 'openRead'), opened(scope.openRead('door/plain'), 'openRead'),
    scope.statx('door/secret').then(({ inode }) => { check(inode, 'statx'); }), scope.chmod('door/secret', 0o777), scope.mkfifo(`door/fifo-${n}`),
    scope.rename('door/secret', 'stolen'), scope.hardlink('door/secret', 'stolen'), scope.unlink('door/secret'), scope.symlink('x', `door/symlink-${n}`),
    scope.makeDirectory(`door/path-${n}`), scope.writeAt('door/secret', 'stolen', 0), scope.truncate('door/secret', 1),
    scope.writeAll(`door/written-${n}`, 'x'), scope.replaceFile(`door/replaced-${n}`, 'x'), scope.replaceFile('door/plain', 'plain'),
    scope.copyFile('door/secret', 'stolen'), scope.copyFile('file', `door/copy-${n}`), scope.removeLeftovers('door'), scope.setTimes('door/secret', { mtime: 1 }, { durable: true }),
    committed(scope.batch().write(`door/batch-${n}`, 'x').rename(`door/batch-${n}`, `door/batched-${n}`)),
    scanned(false), scanned(true),
  ];
  const end = performance.now() + task.boundMs;
  const enough = (): boolean => (ends['ok'] ?? 0) >= task.enough && (ends['TIDEMARK_OUTSIDE_ROOT'] ?? 0) >= task.enough;
  for (let n = 0; !enough() && performance.now() < end; n++) {
    await handle.openAt(`mine-${n}`, { write: true, create: true }).then((file) => file.close());
    for (const result of await Promise.allSettled(round(n))) {
      const way = result.status === 'fulfilled' ? 'ok' : failureOf(result.reason).code;
      ends[way] = (ends[way] ?? 0) + 1;
    }
  }
  return { ends, leaks };
}

const { inside } = task.grounds;
const scope = scheduler.files.scoped(inside);
const handle = await scheduler.files.openDirectory(inside);
if (task.what === 'escape') report(await tryEscapes([...operationsOfHandle(handle), ...operationsOfScope(scope)], task.grounds));
else report(await strive(handle, scope));
await scheduler.close();
