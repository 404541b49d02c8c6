/** FIFOs, sockets and devices as names in the file tree. */
import { dirname, basename } from 'node:path';
import { inFile } from '../../platform/errno.js';
import type { DeviceNumber } from '../../platform/interface/metadata.js';
import type { SpecialKind } from '../../platform/interface/special.js';
import type { Place } from '../protocol/operation.js';
import type { OperationContext } from './context.js';
import { atEntry, split, withOpen } from './places.js';
import type { Synced } from './subject.js';

export const specialOperations = {
  makeNode({ platform }: OperationContext, place: Place, kind: SpecialKind, mode: number, device: DeviceNumber, durable: boolean): { readonly primitive: 'mknodat' } & Synced {
    const { files, special } = platform;
    if (!durable) return { ...atEntry(platform, place, (at) => special.make(at, kind, mode, device)), sync: 'none' };
    const { parent, name } = place.root === undefined ? { parent: dirname(place.path), name: basename(place.path) } : split(place.path);
    // What is synced is what has got the name, whatever is renamed meanwhile.
    return withOpen(platform, { path: parent, root: place.root }, { write: false, directory: true }, (directory) => {
      const made = inFile(place.path, () => special.make({ directory, path: name }, kind, mode, device));
      files.syncFull(directory);
      return { ...made, sync: 'fsync' };
    });
  },
};
