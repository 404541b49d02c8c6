/** What file workers do for journals, by the role of the task. */
import { inFile } from '../platform/errno.js';
import type { Platform } from '../platform/platform.js';
import { closeFileJournal, openFileJournal } from './file-layout/open.js';
import { repairFileJournal } from './file-layout/repair.js';
import type { OperationContext } from './files/context.js';
import type {
  AdviseTask, CloseDescriptorTask, CloseFileTask, CloseSegmentsTask, FileTask, OpenFileTask, OpenSegmentsTask, PrepareSegmentTask, RepairTask, TrimSegmentsTask,
} from './protocol/messages.js';
import { closeSegments, closeUnlocked, trimSegments } from './segment-layout/directory.js';
import { openSegmentsJournal } from './segment-layout/open.js';
import { prepareSegment } from './segment-layout/prepare.js';
import { repairSegmentsJournal } from './segment-layout/repair.js';

/** An operation whose only argument is its task; errors name the task's path where they have none. */
function journalOperation<Task extends FileTask, Result>(work: (platform: Platform, task: Task) => Result): (context: OperationContext, task: Task) => Result {
  return (context, task) => {
    const { platform } = context;
    return 'path' in task ? inFile(task.path, () => work(platform, task)) : work(platform, task);
  };
}

export const journalOperations = {
  'open-file': journalOperation((platform, task: OpenFileTask) => openFileJournal(platform, task)),
  'close-file': journalOperation((platform, task: CloseFileTask) => {
    closeFileJournal(platform, task);
  }),
  'open-segments': journalOperation((platform, task: OpenSegmentsTask) => openSegmentsJournal(platform, task)),
  'prepare-segment': journalOperation((platform, task: PrepareSegmentTask) => prepareSegment(platform, task)),
  'trim-segments': journalOperation((platform, task: TrimSegmentsTask) => trimSegments(platform, task)),
  'close-segments': journalOperation((platform, task: CloseSegmentsTask) => {
    closeSegments(platform, task);
  }),
  'close-descriptor': journalOperation((platform, task: CloseDescriptorTask) => {
    closeUnlocked(platform, task.descriptor);
  }),
  repair: journalOperation((platform, task: RepairTask) => (task.layout === 'file' ? repairFileJournal(platform, task) : repairSegmentsJournal(platform, task))),
  advise: journalOperation((platform, task: AdviseTask) => {
    platform.files.advise(task.descriptor, task.offset, task.bytes, task.advice);
  }),
} satisfies Record<FileTask['role'], unknown>;
