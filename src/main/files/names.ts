import type { Caller } from './caller.js';

export interface NameOperations {}

export function nameOperations(caller: Caller): NameOperations {
  void caller;
  return {};
}
