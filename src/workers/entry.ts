/**
 * What every worker thread of this library runs. Piscina calls the default export once per task:
 * a writer's task starts its loop and returns, a task of operations does them and returns what they answered.
 */
import { expose } from 'comlink';
import { selectPlatform } from '../platform/select.js';
import { announceLoaded } from '../platform/thread-start.js';
import type { Platform } from '../platform/platform.js';
import { BlockingWriter } from './blocking-writer.js';
import { runOperations } from './operations.js';
import { endpointOf } from './protocol/endpoint.js';
import { outcomeOf, type Outcome, type StartWriterTask, type WorkerTask, type WriterControl, type WriterStarted } from './protocol/messages.js';
import { RingOwner } from './ring-owner.js';

// In a turn of its own: what loads this module has work to finish when it is evaluated.
setImmediate(announceLoaded);

export default function run(task: WorkerTask): Promise<Outcome<unknown> | Outcome<unknown>[]> {
  return task.role === 'operations' ? runOperations(task) : outcomeOf(() => startWriter(selectPlatform(), task));
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
