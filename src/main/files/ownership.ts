import type { Caller } from './caller.js';

export interface OwnershipOperations {}

export function ownershipOperations(caller: Caller): OwnershipOperations {
  void caller;
  return {};
}
