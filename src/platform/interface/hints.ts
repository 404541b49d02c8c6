import type { Advice } from '../platform.js';

/** How long what is written will live, so that a device can keep short-lived data together. `notSet`: nobody said. */
export type WriteLifetime = 'notSet' | 'none' | 'short' | 'medium' | 'long' | 'extreme';

export interface HintCalls {
  /** `bytes` 0: to the end. */
  advise(descriptor: number, offset: number, bytes: number, advice: Advice): void;
  /** Why advice does nothing to this file although the system takes it; undefined where it works. */
  adviceIgnored(descriptor: number): string | undefined;
  /** The hint belongs to the file, not to the descriptor, and lasts as long as the system keeps the file in mind. */
  setWriteLifetime(descriptor: number, lifetime: WriteLifetime): void;
  writeLifetime(descriptor: number): WriteLifetime;
}
