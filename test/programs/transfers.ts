/** Writes and syncs files as its task says, and tells by a line on descriptor 3 when each operation has resolved. */
import { writeSync } from 'node:fs';
import { IoScheduler, type FileHandle } from 'tidemark';
import { report, taskOf } from './report.js';

export interface TransferStep {
  readonly operation: 'append' | 'openWriteAt' | 'syncBarrier' | 'syncData' | 'syncFull' | 'syncParentDir' | 'writeAll' | 'writeAt' | 'writeVector';
  readonly path: string;
  /** Bytes to write. */
  readonly bytes?: number;
  readonly offset?: number;
  /** Through the handle that `openWriteAt` opened. */
  readonly onHandle?: boolean;
  readonly options?: Record<string, unknown>;
}

const scheduler = new IoScheduler({ fileWorkers: 1 });
const { files } = scheduler;
let handle: FileHandle | undefined;

async function run({ operation, path, bytes = 0, offset = 0, onHandle, options = {} }: TransferStep): Promise<object> {
  const target = onHandle === true && handle !== undefined ? handle : path;
  const data = Buffer.alloc(bytes, 'x');
  switch (operation) {
    case 'append': return files.append(target, data, options);
    case 'openWriteAt': {
      handle = await files.openWriteAt(path, options);
      return { direct: handle.direct.active };
    }
    case 'syncBarrier': return files.syncBarrier(target, options);
    case 'syncData': return files.syncData(target, options);
    case 'syncFull': return files.syncFull(target, options);
    case 'syncParentDir': return files.syncParentDir(path, options);
    case 'writeAll': return files.writeAll(path, data, options);
    case 'writeAt': return files.writeAt(target, data, offset, options);
    case 'writeVector': return files.writeVector(target, [data.subarray(0, bytes / 2), data.subarray(bytes / 2)], offset, options);
  }
}

const answers: object[] = [];
for (const [index, step] of (taskOf() as TransferStep[]).entries()) {
  writeSync(3, `append ${index}\n`);
  answers.push(await run(step).catch((error: unknown) => ({ code: (error as { code: string }).code, bytesDone: (error as { bytesDone?: number }).bytesDone })));
  writeSync(3, `ack ${index}\n`);
}
await scheduler.close();
report(answers);
