import type { Caller } from './caller.js';

export interface HintOperations {}

export function hintOperations(caller: Caller): HintOperations {
  void caller;
  return {};
}
