import type { Caller } from './caller.js';

export interface AttributeOperations {}

export function attributeOperations(caller: Caller): AttributeOperations {
  void caller;
  return {};
}
