/** Names for the words of a control block, learned from the operations that its methods make: its layout stays its own. */
import type * as ControlBlockModule from '../../dist/workers/protocol/control-block.js';
import { APPENDERS } from './stage.js';

/** Byte offsets of the words that the protocol is about, with a name for each. */
export type Words = ReadonlyMap<number, string>;

interface Touch {
  readonly operation: string;
  readonly offset: number;
}

/** The operations of `Atomics` that `use` makes. */
function touchesOf(use: () => unknown): Touch[] {
  const touches: Touch[] = [];
  const real = Atomics;
  globalThis.Atomics = new Proxy(real, {
    get: (target, operation) => {
      const perform = Reflect.get(target, operation) as (...args: unknown[]) => unknown;
      return (array: ArrayBufferView & { BYTES_PER_ELEMENT: number }, index: number, ...rest: unknown[]): unknown => {
        touches.push({ operation: String(operation), offset: index * array.BYTES_PER_ELEMENT });
        return perform(array, index, ...rest);
      };
    },
  });
  try {
    use();
  } finally {
    globalThis.Atomics = real;
  }
  return touches;
}

export function learnWords({ ControlBlock }: typeof ControlBlockModule): Words {
  const control = ControlBlock.create();
  const words = new Map<number, string>();
  const learn = (name: string, use: () => unknown, operation?: string): void => {
    const touch = touchesOf(use).find((one) => operation === undefined || one.operation === operation);
    if (touch === undefined || words.has(touch.offset)) throw new Error(`the word '${name}' was not found`);
    words.set(touch.offset, name);
  };
  learn('reserved', () => {
    control.reserve(0, 0);
  });
  for (const name of ['writtenLsn', 'durableLsn', 'releasedLsn', 'spaceEnd', 'closed', 'diskFull', 'segmentWanted', 'poisonKind'] as const) {
    learn(name.replace(/(Lsn|Kind)$/, ''), () => control[name]);
  }
  learn('doorbell', () => {
    control.armDoorbell();
  });
  learn('wake', () => control.sleep(() => true));
  learn('sleepers', () => {
    control.wakeWaiters();
  });
  for (let slot = 0; slot < APPENDERS; slot++) {
    learn(`owner ${slot}`, () => control.claimSlot(slot + 1, () => true), 'compareExchange');
    learn(`slot ${slot}`, () => {
      control.publish(slot);
    });
  }
  return words;
}
