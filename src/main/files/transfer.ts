import type { Caller } from './caller.js';

export interface TransferOperations {}

export function transferOperations(caller: Caller): TransferOperations {
  void caller;
  return {};
}
