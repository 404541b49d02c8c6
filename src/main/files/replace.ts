import type { Caller } from './caller.js';

export interface ReplaceOperations {}

export function replaceOperations(caller: Caller): ReplaceOperations {
  void caller;
  return {};
}
