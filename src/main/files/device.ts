import type { Caller } from './caller.js';

export interface DeviceOperations {}

export function deviceOperations(caller: Caller): DeviceOperations {
  void caller;
  return {};
}
