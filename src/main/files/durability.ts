import type { Caller } from './caller.js';

export interface DurabilityOperations {}

export function durabilityOperations(caller: Caller): DurabilityOperations {
  void caller;
  return {};
}
