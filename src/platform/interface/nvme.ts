/** Commands to an NVMe device, past filesystem and block layer. */
import type { BlockDevice } from './device.js';

export interface NvmeCalls {
  /**
   * Opens the namespace that a disk is, for reading, and answers a descriptor and its number. Throws
   * {@link NotSupportedError} where the device is another one by now, or no NVMe.
   */
  open(device: BlockDevice): { readonly descriptor: number; readonly namespaceId: number };
  /** Flush (opcode 00h) to one namespace: what its volatile cache holds is durable when this returns. */
  flush(descriptor: number, namespaceId: number, path: string): void;
  /** Identify (opcode 06h): 4096 bytes about the namespace (CNS 00h), or about its controller (CNS 01h). */
  identify(descriptor: number, what: 'namespace' | 'controller', namespaceId: number, path: string): Uint8Array;
}
