import type { Caller } from './caller.js';

export interface ScanOperations {}

export function scanOperations(caller: Caller): ScanOperations {
  void caller;
  return {};
}
