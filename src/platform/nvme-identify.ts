/**
 * The identify data of NVMe: NVM Express Base Specification 2.0 (Identify Controller) and NVM Command Set Specification 1.0
 * (Identify Namespace). Pure functions over the 4096 bytes that a device answers; all numbers in there are little-endian.
 *
 * Sizes are given in logical blocks. Many of them are "0's based": the field holds one less than what it means, so that 0 means
 * one block. Where the same field has 0 for "nothing is told", that is said here.
 */
import { InternalError } from './errors.js';

export const IDENTIFY_BYTES = 4096;

/** Offsets of fields, in bytes. */
const NAMESPACE = {
  size: 0, capacity: 8, used: 16, features: 24, formatCount: 25, format: 26, atomicNormal: 34, atomicPowerFail: 36,
  boundaryNormal: 40, boundaryOffset: 42, boundaryPowerFail: 44, optimalBoundary: 46, formats: 128,
} as const;
const FORMAT = { metadata: 0, blockShift: 2, bytes: 4 } as const;
const CONTROLLER = { serial: 4, model: 24, firmware: 64, modelEnd: 64, firmwareEnd: 72, volatileCache: 525, atomicNormal: 526, atomicPowerFail: 528 } as const;

const NSFEAT_THIN_PROVISIONING = 1 << 0;
const NSFEAT_ATOMIC_FIELDS = 1 << 1;
const VWC_PRESENT = 1 << 0;
/** The largest command: its length is a 0's based field of 16 bits. */
const COMMAND_BLOCKS_MAX = 0x1_0000;
/** How many formats an index of 4 bits tells apart; beyond that two more bits count (FLBAS). */
const FORMATS_OF_SHORT_INDEX = 16;

/** How much one write command may write and be atomic, and who says so. */
export interface NvmeAtomicUnit {
  /** Logical blocks. */
  readonly blocks: number;
  readonly bytes: number;
  /** The largest size there is (the field is FFFFh): each write command is atomic. */
  readonly everyCommand: boolean;
  /** `namespace`: NAWUN or NAWUPF. `controller`: AWUN or AWUPF, as the namespace gives none of its own. */
  readonly from: 'namespace' | 'controller';
}

/** A line that a write must not cross to be atomic. Undefined in place of it: there is none. */
export interface NvmeAtomicBoundary {
  /** Distance between two of them, in bytes. */
  readonly bytes: number;
  /** Where the first one lies, in bytes from the start of the namespace. */
  readonly offsetBytes: number;
}

/** Identify Namespace (CNS 00h). */
export interface NvmeNamespace {
  /** NSZE, NCAP and NUSE, in logical blocks: size; blocks that may be allocated; blocks that are. */
  readonly sizeBlocks: number;
  readonly capacityBlocks: number;
  readonly usedBlocks: number;
  /** A logical block of the format in use, in bytes: 2^LBADS. */
  readonly blockBytes: number;
  /** Metadata beside each block (MS), in bytes. */
  readonly metadataBytes: number;
  /** `sizeBlocks * blockBytes`. */
  readonly sizeBytes: number;
  /** NSFEAT bit 0. */
  readonly thinProvisioned: boolean;
  /** NSFEAT bit 1: NAWUN and NAWUPF mean something. */
  readonly atomicFieldsValid: boolean;
  /** The fields as they are: 0's based, 0 means that the controller's counts. Only with `atomicFieldsValid`. */
  readonly nawun: number;
  readonly nawupf: number;
  /** NABSN with NABO, and NABSPF with NABO. */
  readonly boundaryNormal: NvmeAtomicBoundary | undefined;
  readonly boundaryPowerFail: NvmeAtomicBoundary | undefined;
  /** NOIOB in bytes: reads and writes that cross a multiple of it are slower. Not 0's based; 0 is told as undefined. */
  readonly optimalBoundaryBytes: number | undefined;
}

/** Identify Controller (CNS 01h). */
export interface NvmeController {
  readonly model: string;
  readonly serial: string;
  readonly firmware: string;
  /**
   * VWC bit 0: it has a volatile write cache, so that what a command wrote is safe after a flush only. Whether the cache is
   * turned on is not told here.
   */
  readonly volatileCache: boolean;
  /** The fields as they are, 0's based: in normal operation, and when the power fails. */
  readonly awun: number;
  readonly awupf: number;
}

export function parseNamespace(bytes: Uint8Array): NvmeNamespace {
  const view = viewOf(bytes);
  const count = (offset: number): number => Number(view.getBigUint64(offset, true));
  const short = (offset: number): number => view.getUint16(offset, true);
  const features = view.getUint8(NAMESPACE.features);
  const format = NAMESPACE.formats + formatIndex(view) * FORMAT.bytes;
  const blockShift = view.getUint8(format + FORMAT.blockShift);
  // Below 9 the format is not available; beyond 31 no system takes it.
  if (blockShift < 9 || blockShift > 31) throw new InternalError(`an NVMe namespace tells logical blocks of 2^${blockShift} bytes`);
  const blockBytes = 2 ** blockShift;
  const boundary = (field: number): NvmeAtomicBoundary | undefined =>
    short(field) === 0 ? undefined : { bytes: (short(field) + 1) * blockBytes, offsetBytes: short(NAMESPACE.boundaryOffset) * blockBytes };
  return {
    sizeBlocks: count(NAMESPACE.size),
    capacityBlocks: count(NAMESPACE.capacity),
    usedBlocks: count(NAMESPACE.used),
    blockBytes,
    metadataBytes: short(format + FORMAT.metadata),
    sizeBytes: count(NAMESPACE.size) * blockBytes,
    thinProvisioned: (features & NSFEAT_THIN_PROVISIONING) !== 0,
    atomicFieldsValid: (features & NSFEAT_ATOMIC_FIELDS) !== 0,
    nawun: short(NAMESPACE.atomicNormal),
    nawupf: short(NAMESPACE.atomicPowerFail),
    boundaryNormal: boundary(NAMESPACE.boundaryNormal),
    boundaryPowerFail: boundary(NAMESPACE.boundaryPowerFail),
    optimalBoundaryBytes: short(NAMESPACE.optimalBoundary) === 0 ? undefined : short(NAMESPACE.optimalBoundary) * blockBytes,
  };
}

/** FLBAS: bits 3:0; with more than 16 formats (NLBAF is 0's based) bits 6:5 are the upper part. */
function formatIndex(view: DataView): number {
  const format = view.getUint8(NAMESPACE.format);
  const formats = view.getUint8(NAMESPACE.formatCount) + 1;
  return (format & 0xf) | (formats > FORMATS_OF_SHORT_INDEX ? ((format >> 5) & 0x3) << 4 : 0);
}

export function parseController(bytes: Uint8Array): NvmeController {
  const view = viewOf(bytes);
  const text = (from: number, to: number): string => Buffer.from(bytes.subarray(from, to)).toString('latin1').replace(/[\0 ]+$/, '');
  return {
    model: text(CONTROLLER.model, CONTROLLER.modelEnd),
    serial: text(CONTROLLER.serial, CONTROLLER.model),
    firmware: text(CONTROLLER.firmware, CONTROLLER.firmwareEnd),
    volatileCache: (view.getUint8(CONTROLLER.volatileCache) & VWC_PRESENT) !== 0,
    awun: view.getUint16(CONTROLLER.atomicNormal, true),
    awupf: view.getUint16(CONTROLLER.atomicPowerFail, true),
  };
}

/** What of a write stays together against other commands (`normal`), and when the power fails (`powerFail`). */
export function atomicUnits(namespace: NvmeNamespace, controller: NvmeController): { readonly normal: NvmeAtomicUnit; readonly powerFail: NvmeAtomicUnit } {
  const unit = (own: number, general: number): NvmeAtomicUnit => {
    // 0 in a namespace's field is no size: it refers to the controller's.
    const from = namespace.atomicFieldsValid && own !== 0 ? 'namespace' : 'controller';
    const blocks = (from === 'namespace' ? own : general) + 1;
    return { blocks, bytes: blocks * namespace.blockBytes, everyCommand: blocks === COMMAND_BLOCKS_MAX, from };
  };
  return { normal: unit(namespace.nawun, controller.awun), powerFail: unit(namespace.nawupf, controller.awupf) };
}

function viewOf(bytes: Uint8Array): DataView {
  if (bytes.length !== IDENTIFY_BYTES) throw new InternalError(`identify data have ${IDENTIFY_BYTES} bytes, got ${bytes.length}`);
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
