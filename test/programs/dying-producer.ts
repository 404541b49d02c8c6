/** A thread that attaches to a journal and ends: idle, or between the first and the last step of an append. */
import { parentPort, workerData } from 'node:worker_threads';
import { Journal, type SharedJournalHandle } from 'tidemark';
import { ControlBlock } from '../internals.js';

interface DyingProducer {
  readonly handle: SharedJournalHandle;
  readonly deed: 'append' | 'reserve' | 'enter';
}

const { handle, deed } = workerData as DyingProducer;
const journal = Journal.attach(handle);
const end = await journal.append('from a thread that will end');
const control = new ControlBlock(handle.control);

/** The slot that attaching claimed: the highest one with an owner. */
function ownSlot(): number {
  const free = control.claimSlot(-1, () => true);
  control.freeSlotIfIdle(free);
  return free - 1;
}

if (deed === 'append') parentPort?.postMessage(end);
else {
  control.enter(ownSlot(), end);
  // The writer may have closed the sector behind the record, or prove it at this moment.
  for (let at = end; deed === 'reserve';) {
    const found = control.reserve(at, 100);
    if (found === at) break;
    at = found;
  }
}
