import type { Caller } from './caller.js';

export interface CopyOperations {}

export function copyOperations(caller: Caller): CopyOperations {
  void caller;
  return {};
}
