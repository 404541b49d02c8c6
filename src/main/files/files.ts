/**
 * File operations with explicit durability, on the threads of a scheduler: `scheduler.files`.
 *
 * One room per kind of operation: its methods and their checks here in `main/files/`, what a worker does in `workers/files/`,
 * system calls in `platform/<os>/`, all under the same file name.
 */
import { attributeOperations, type AttributeOperations } from './attributes.js';
import { batchOperations, type BatchOperations } from './batch.js';
import type { Caller } from './caller.js';
import { copyOperations, type CopyOperations } from './copy.js';
import { deviceOperations, type DeviceOperations } from './device.js';
import { directoryOperations, type DirectoryOperations } from './directories.js';
import { durabilityOperations, type DurabilityOperations } from './durability.js';
import { hintOperations, type HintOperations } from './hints.js';
import { metadataOperations, type MetadataOperations } from './metadata.js';
import { nameOperations, type NameOperations } from './names.js';
import { openOperations, type OpenOperations } from './open.js';
import { ownershipOperations, type OwnershipOperations } from './ownership.js';
import { replaceOperations, type ReplaceOperations } from './replace.js';
import { scanOperations, type ScanOperations } from './scan.js';
import { scopeOperations, type ScopeOperations } from './scoped.js';
import { spaceOperations, type SpaceOperations } from './space.js';
import { specialOperations, type SpecialOperations } from './special.js';
import { supported, type SupportedOperations } from './supports.js';
import { transferOperations, type TransferOperations } from './transfer.js';

/** Every operation answers an object that names the `primitive` it used, or rejects and says why. */
export interface Files
  extends OpenOperations, TransferOperations, DurabilityOperations, ReplaceOperations, BatchOperations, CopyOperations, SpaceOperations,
  HintOperations, AttributeOperations, NameOperations, DirectoryOperations, ScanOperations, ScopeOperations, MetadataOperations,
  OwnershipOperations, SpecialOperations, DeviceOperations {
  /**
   * For each operation, by the name of its method, true or the reason why this platform lacks it: it then rejects with
   * `NotSupportedError`. What a filesystem lacks shows when it is tried.
   */
  readonly supports: SupportedOperations;
}

export function filesOf(caller: Caller): Files {
  return supported({
    ...openOperations(caller),
    ...transferOperations(caller),
    ...durabilityOperations(caller),
    ...replaceOperations(caller),
    ...batchOperations(caller),
    ...copyOperations(caller),
    ...spaceOperations(caller),
    ...hintOperations(caller),
    ...attributeOperations(caller),
    ...nameOperations(caller),
    ...directoryOperations(caller),
    ...scanOperations(caller),
    ...scopeOperations(caller, filesOf),
    ...metadataOperations(caller),
    ...ownershipOperations(caller),
    ...specialOperations(caller),
    ...deviceOperations(caller),
  });
}
