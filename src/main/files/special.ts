/** FIFOs, sockets and devices as names in the file tree. */
import type { DeviceNumber } from '../../platform/interface/metadata.js';
import type { SpecialKind } from '../../platform/interface/special.js';
import * as check from '../options.js';
import type { Caller, OperationOptions } from './caller.js';
import { MODE_MAX } from './metadata.js';

export type { SpecialKind };

export interface MkfifoOptions extends OperationOptions {
  /** Permission bits, 0 to 0o7777, less those of the process's umask. Default 0o600. */
  readonly mode?: number;
  /** Syncs the directory that holds the name before it resolves. Default true. */
  readonly durable?: boolean;
}

export interface MknodOptions extends MkfifoOptions {
  /** `file`: an empty regular file; `socket`: a name that no program listens at. */
  readonly kind: SpecialKind;
  /** Number of the driver, for `character` and `block` alone: 0 to 4095 on Linux. */
  readonly major?: number;
  /** Number of the device there, for `character` and `block` alone: 0 to 1048575 on Linux. */
  readonly minor?: number;
}

export interface NodeMade {
  readonly primitive: 'mknodat';
  /** Of the directory. */
  readonly sync: 'fsync' | 'none';
}

/** The name must not exist (`TIDEMARK_EXISTS`), not even as a link that leads nowhere. */
export interface SpecialOperations {
  /** Makes a FIFO, mkfifo(3). */
  mkfifo(path: string, options?: MkfifoOptions): Promise<NodeMade>;
  /** Makes a FIFO, a socket, a device or an empty file, mknodat(2). Devices are for root (CAP_MKNOD), else `TIDEMARK_PERMISSION`. */
  mknod(path: string, options: MknodOptions): Promise<NodeMade>;
}

const KINDS: readonly SpecialKind[] = ['file', 'fifo', 'socket', 'character', 'block'];
const MODE = 0o600;
const DEVICE_NUMBER_MAX = 2 ** 32 - 1;

export function specialOperations(caller: Caller): SpecialOperations {
  const make = async (path: string, kind: SpecialKind, device: DeviceNumber, options: MkfifoOptions = {}): Promise<NodeMade> => {
    const mode = check.integer('mode', options.mode, MODE, 0, MODE_MAX);
    return caller.run('makeNode', [caller.place('path', path), kind, mode, device, check.boolean('durable', options.durable, true)], options);
  };
  return {
    async mkfifo(path, options) {
      caller.options(options, ['mode', 'durable']);
      return make(path, 'fifo', { major: 0, minor: 0 }, options);
    },

    async mknod(path, options) {
      const { kind: wanted, major, minor } = caller.options(options, ['kind', 'major', 'minor', 'mode', 'durable']);
      check.required('kind', wanted, `one of ${KINDS.map((kind) => `'${kind}'`).join(', ')}`);
      const kind = check.oneOf('kind', wanted, 'file', KINDS);
      return make(path, kind, { major: deviceNumber('major', major, kind), minor: deviceNumber('minor', minor, kind) }, options);
    },
  };
}

function deviceNumber(name: 'major' | 'minor', value: unknown, kind: SpecialKind): number {
  if (kind === 'character' || kind === 'block') {
    check.required(name, value, `a number, for a ${kind} device`);
    return check.integer(name, value, 0, 0, DEVICE_NUMBER_MAX);
  }
  if (value !== undefined) check.fail(name, `left out for the kind '${kind}'`, value);
  return 0;
}
