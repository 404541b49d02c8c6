/** Repair of damaged journals: asked for by name, never done on the way. */
import { ENOENT, ioError } from '../platform/errno.js';
import type { RepairReport, RepairTask } from '../workers/protocol/messages.js';
import * as check from './options.js';
import { plainPath } from './paths.js';
import { defaultScheduler, IoScheduler } from './scheduler.js';
import { layoutOf } from './storage.js';

export interface RepairOptions {
  /** Tells what would be done, and changes nothing. Default false. */
  readonly dryRun?: boolean;
  /** The threads that serve it. Default: the shared `defaultScheduler()`. */
  readonly scheduler?: IoScheduler;
}

export async function repairJournal(path: string, options: RepairOptions): Promise<RepairReport> {
  check.path('path', path);
  check.checkKeys('options', options, ['dryRun', 'scheduler']);
  const dryRun = check.boolean('options.dryRun', options.dryRun, false);
  if (options.scheduler !== undefined && !(options.scheduler instanceof IoScheduler)) check.fail('scheduler', 'an IoScheduler', options.scheduler);
  const absolute = await plainPath(path);
  const layout = await layoutOf(absolute);
  if (layout === undefined) throw ioError(ENOENT, 'open', absolute);
  const scheduler = options.scheduler ?? defaultScheduler();
  return scheduler.runFileTask<RepairReport>({ role: 'repair', layout, path: absolute, dryRun } satisfies RepairTask);
}
