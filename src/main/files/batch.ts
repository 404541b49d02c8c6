import type { Caller } from './caller.js';

export interface BatchOperations {}

export function batchOperations(caller: Caller): BatchOperations {
  void caller;
  return {};
}
