/** FIFOs, sockets and devices as names in the file tree. */
import { inFile } from '../../platform/errno.js';
import type { DeviceNumber } from '../../platform/interface/metadata.js';
import type { SpecialKind } from '../../platform/interface/special.js';
import type { Place } from '../protocol/operation.js';
import type { OperationContext } from './context.js';
import { changeNames } from './parents.js';
import type { Synced } from './subject.js';

export const specialOperations = {
  makeNode({ platform }: OperationContext, place: Place, kind: SpecialKind, mode: number, device: DeviceNumber, durable: boolean): { readonly primitive: 'mknodat' } & Synced {
    const { primitive } = changeNames(platform, durable, (parents) => {
      const entry = parents.entryOf(place);
      const made = inFile(place.path, () => platform.special.make(entry.at, kind, mode, device));
      parents.changed(entry);
      return made;
    });
    return { primitive, sync: durable ? 'fsync' : 'none' };
  },
};
