/** Scans as another user, or under a tracer; or makes names in a directory and syncs them. */
import { IoScheduler } from 'tidemark';
import { failureOf, report, taskOf } from './report.js';

interface Task {
  readonly what: 'scan' | 'find' | 'names';
  readonly path: string;
  readonly globs: readonly string[];
  /** Passes over what cannot be read. */
  readonly tolerant: boolean;
}

export interface Walked {
  readonly paths: string[];
  /** What was told of directories that could not be read: path and code. */
  readonly told: string[];
  /** Code of the error that ended it. */
  readonly rejected: string | undefined;
}

const task = taskOf() as Task;
const scheduler = new IoScheduler();
const { files } = scheduler;

async function walk(): Promise<Walked> {
  const paths: string[] = [];
  const told: string[] = [];
  const options = task.tolerant ? { onError: (error: Error, path: string) => told.push(`${path} ${failureOf(error).code}`) } : {};
  try {
    for await (const { path } of task.what === 'scan' ? files.scan(task.path, options) : files.find(task.path, task.globs, options)) paths.push(path);
  } catch (error) {
    return { paths: paths.sort(), told, rejected: failureOf(error).code };
  }
  return { paths: paths.sort(), told, rejected: undefined };
}

async function names(): Promise<object> {
  const directory = await files.openDirectory(task.path);
  await directory.mkdirAt('directory');
  await (await directory.openAt('file', { write: true, create: true })).close();
  await directory.renameAt('file', 'renamed');
  await directory.unlinkAt('renamed');
  // The last name before the sync, to be found in a trace.
  await directory.rmdirAt('missing').catch(() => undefined);
  const { primitive } = await directory.sync();
  await directory.close();
  return { primitive };
}

report(await (task.what === 'names' ? names() : walk()));
await scheduler.close();
