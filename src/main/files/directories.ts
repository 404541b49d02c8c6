import type { Caller } from './caller.js';

export interface DirectoryOperations {}

export function directoryOperations(caller: Caller): DirectoryOperations {
  void caller;
  return {};
}
