import type { Caller } from './caller.js';

export interface SpecialOperations {}

export function specialOperations(caller: Caller): SpecialOperations {
  void caller;
  return {};
}
