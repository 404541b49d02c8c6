import type { DeviceNumber } from './metadata.js';
import type { At } from './places.js';

export type SpecialKind = 'file' | 'fifo' | 'socket' | 'character' | 'block';

/** Blocking. */
export interface SpecialCalls {
  /** Makes a name that must not exist. Less bits than `mode` has where the process has an umask. `device` belongs to devices. */
  make(at: At, kind: SpecialKind, mode: number, device: DeviceNumber): { readonly primitive: 'mknodat' };
}
