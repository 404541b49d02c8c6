import type { Caller } from './caller.js';

export interface SpaceOperations {}

export function spaceOperations(caller: Caller): SpaceOperations {
  void caller;
  return {};
}
