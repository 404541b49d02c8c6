import type { Caller } from './caller.js';

export interface MetadataOperations {}

export function metadataOperations(caller: Caller): MetadataOperations {
  void caller;
  return {};
}
