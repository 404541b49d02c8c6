/** What file workers do for journals, by the role of the task. */
import { inFile } from '../platform/errno.js';
import type { Files } from '../platform/platform.js';
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
function journalOperation<Task extends FileTask, Result>(work: (files: Files, task: Task) => Result): (context: OperationContext, task: Task) => Result {
  return (context, task) => {
    const { files } = context.platform;
    return 'path' in task ? inFile(task.path, () => work(files, task)) : work(files, task);
  };
}

export const journalOperations = {
  'open-file': journalOperation((files, task: OpenFileTask) => openFileJournal(files, task)),
  'close-file': journalOperation((files, task: CloseFileTask) => {
    closeFileJournal(files, task);
  }),
  'open-segments': journalOperation((files, task: OpenSegmentsTask) => openSegmentsJournal(files, task)),
  'prepare-segment': journalOperation((files, task: PrepareSegmentTask) => prepareSegment(files, task)),
  'trim-segments': journalOperation((files, task: TrimSegmentsTask) => trimSegments(files, task)),
  'close-segments': journalOperation((files, task: CloseSegmentsTask) => {
    closeSegments(files, task);
  }),
  'close-descriptor': journalOperation((files, task: CloseDescriptorTask) => {
    closeUnlocked(files, task.descriptor);
  }),
  repair: journalOperation((files, task: RepairTask) => (task.layout === 'file' ? repairFileJournal(files, task) : repairSegmentsJournal(files, task))),
  advise: journalOperation((files, task: AdviseTask) => {
    files.advise(task.descriptor, task.offset, task.bytes, task.advice);
  }),
} satisfies Record<FileTask['role'], unknown>;
