/**
 * What every worker thread of this library runs. Piscina calls the default export once per task:
 * a writer's task starts its loop and returns, a file task does its operation and returns.
 */
import { expose } from 'comlink';
import { inFile } from '../platform/errno.js';
import { selectPlatform } from '../platform/select.js';
import { announceLoaded } from '../platform/thread-start.js';
import type { Platform } from '../platform/platform.js';
import { BlockingWriter } from './blocking-writer.js';
import { closeFileJournal, openFileJournal } from './file-layout/open.js';
import { repairFileJournal } from './file-layout/repair.js';
import { endpointOf } from './protocol/endpoint.js';
import { outcomeOf, type Outcome, type StartWriterTask, type WorkerTask, type WriterControl, type WriterStarted } from './protocol/messages.js';
import { closeSegments, closeUnlocked, trimSegments } from './segment-layout/directory.js';
import { openSegmentsJournal } from './segment-layout/open.js';
import { prepareSegment } from './segment-layout/prepare.js';
import { repairSegmentsJournal } from './segment-layout/repair.js';
import { RingOwner } from './ring-owner.js';

// In a turn of its own: what loads this module has work to finish when it is evaluated.
setImmediate(announceLoaded);

export default function run(task: WorkerTask): Promise<Outcome<unknown>> {
  return outcomeOf(() => {
    const platform = selectPlatform();
    return 'path' in task ? inFile(task.path, () => perform(platform, task)) : perform(platform, task);
  });
}

function perform(platform: Platform, task: WorkerTask): unknown {
  switch (task.role) {
    case 'ring-owner':
    case 'blocking-writer':
      return startWriter(platform, task);
    case 'open-file':
      return openFileJournal(platform.files, task);
    case 'close-file':
      closeFileJournal(platform.files, task);
      return undefined;
    case 'open-segments':
      return openSegmentsJournal(platform.files, task);
    case 'prepare-segment':
      return prepareSegment(platform.files, task);
    case 'trim-segments':
      return trimSegments(platform.files, task);
    case 'close-segments':
      closeSegments(platform.files, task);
      return undefined;
    case 'close-descriptor':
      closeUnlocked(platform.files, task.descriptor);
      return undefined;
    case 'repair':
      return task.layout === 'file' ? repairFileJournal(platform.files, task) : repairSegmentsJournal(platform.files, task);
    case 'advise':
      platform.files.advise(task.descriptor, task.offset, task.bytes, task.advice);
      return undefined;
  }
}

function startWriter(platform: Platform, task: StartWriterTask): WriterStarted {
  const writer = task.role === 'ring-owner' ? new RingOwner(platform, task) : new BlockingWriter(platform, task.team);
  expose(controlOf(writer), endpointOf(task.port));
  return writer.started;
}

/** The control plane with errors as data: comlink itself would drop their class and code. */
export type RemoteWriter = {
  [Name in keyof WriterControl]: (...parameters: Parameters<WriterControl[Name]>) => Promise<Outcome<Awaited<ReturnType<WriterControl[Name]>>>>;
};

function controlOf(writer: WriterControl): RemoteWriter {
  return {
    attach: (request) => outcomeOf(() => writer.attach(request)),
    detach: (id) => outcomeOf(() => writer.detach(id)),
    prepare: (id, bytes) => outcomeOf(() => writer.prepare(id, bytes)),
    addSegment: (id, segment) => outcomeOf(() => {
      writer.addSegment(id, segment);
    }),
    close: () => outcomeOf(() => {
      writer.close();
    }),
  };
}
