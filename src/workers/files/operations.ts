/** Every file operation by its name. Each is a function of the context and of plain arguments that answers plain data. */
import { mergeTables } from '../operation-tables.js';
import { attributeOperations } from './attributes.js';
import { batchOperations } from './batch.js';
import { copyOperations } from './copy.js';
import { deviceOperations } from './device.js';
import { directoryOperations } from './directories.js';
import { durabilityOperations } from './durability.js';
import { hintOperations } from './hints.js';
import { metadataOperations } from './metadata.js';
import { nameOperations } from './names.js';
import { openOperations } from './open.js';
import { ownershipOperations } from './ownership.js';
import { replaceOperations, replaceTogether } from './replace.js';
import { scanOperations } from './scan.js';
import { spaceOperations } from './space.js';
import { specialOperations } from './special.js';
import { readTogether, transferOperations } from './transfer.js';
import type { OperationContext } from './context.js';

export const fileOperations = mergeTables(
  openOperations,
  transferOperations,
  durabilityOperations,
  replaceOperations,
  batchOperations,
  copyOperations,
  spaceOperations,
  hintOperations,
  attributeOperations,
  nameOperations,
  directoryOperations,
  scanOperations,
  metadataOperations,
  ownershipOperations,
  specialOperations,
  deviceOperations,
);

/** Operations that cost less when several calls of them are done together: one sync serves many. */
export const groupedOperations = { readRange: readTogether, replaceFile: replaceTogether };

export type FileOperations = typeof fileOperations;
export type OperationName = keyof FileOperations;

type Rest<F> = F extends (context: OperationContext, ...args: infer Args) => unknown ? Args : never;

export type ArgumentsOf<Name extends OperationName> = Rest<FileOperations[Name]>;
export type ResultOf<Name extends OperationName> = Awaited<ReturnType<FileOperations[Name]>>;
