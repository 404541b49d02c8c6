/** What NVMe identify data mean, byte by byte, and what is said of caches in a stack of devices. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { BlockDevice, BlockDeviceKind, Fact, NvmeIdentity } from 'tidemark';
import { nvme } from '../internals.js';

const { atomicUnits, IDENTIFY_BYTES, parseController, parseNamespace, volatileCacheOf } = nvme;

const test = suite('nvme');

interface Field {
  readonly at: number;
  readonly value: number | bigint;
}

/** Identify data: 16-bit numbers as numbers, 64-bit ones as bigints, single bytes where they are marked so. */
function data(fields: readonly Field[], bytes: readonly Field[] = []): Uint8Array {
  const view = new DataView(new ArrayBuffer(IDENTIFY_BYTES));
  for (const { at, value } of fields) {
    if (typeof value === 'bigint') view.setBigUint64(at, value, true);
    else view.setUint16(at, value, true);
  }
  for (const { at, value } of bytes) view.setUint8(at, Number(value));
  return new Uint8Array(view.buffer);
}

/** A namespace whose format 0 has blocks of 2^shift bytes. */
function namespace(shift: number, fields: readonly Field[] = [], bytes: readonly Field[] = []): ReturnType<typeof parseNamespace> {
  return parseNamespace(data(fields, [{ at: 130, value: shift }, ...bytes]));
}

const NSFEAT = 24;
const NLBAF = 25;
const FLBAS = 26;
const NAWUN = 34;
const NAWUPF = 36;
const NABSN = 40;
const NABO = 42;
const NABSPF = 44;
const NOIOB = 46;
const VWC = 525;
const AWUN = 526;
const AWUPF = 528;

test('sizes of a namespace', () => {
  const parsed = namespace(12, [{ at: 0, value: 1000n }, { at: 8, value: 900n }, { at: 16, value: 7n }, { at: 128, value: 8 }]);
  assert.is(parsed.sizeBlocks, 1000);
  assert.is(parsed.capacityBlocks, 900);
  assert.is(parsed.usedBlocks, 7);
  assert.is(parsed.blockBytes, 4096);
  assert.is(parsed.metadataBytes, 8);
  assert.is(parsed.sizeBytes, 4_096_000);
});

const FORMATS = [
  { name: 'the first format', formats: 0, format: 0x00, index: 0 },
  { name: 'the lower four bits choose', formats: 3, format: 0x03, index: 3 },
  { name: 'bit 4 is about metadata', formats: 3, format: 0x11, index: 1 },
  { name: 'bits 6:5 mean nothing with 16 formats', formats: 15, format: 0x62, index: 2 },
  { name: 'bits 6:5 are the upper part with 17 formats', formats: 16, format: 0x20, index: 16 },
  { name: 'the last of 64 formats', formats: 63, format: 0x6f, index: 63 },
] as const;

for (const { name, formats, format, index } of FORMATS) {
  test(`the format in use: ${name}`, () => {
    const blocks = Array.from({ length: 64 }, (_, i) => ({ at: 128 + i * 4 + 2, value: i === index ? 12 : 9 }));
    assert.is(parseNamespace(data([], [{ at: NLBAF, value: formats }, { at: FLBAS, value: format }, ...blocks])).blockBytes, 4096);
  });
}

for (const shift of [0, 8, 32]) {
  test(`a block of 2^${shift} bytes is no block`, () => {
    assert.throws(() => namespace(shift), /2\^/);
  });
}

const CONTROLLER = parseController(data([{ at: AWUN, value: 127 }, { at: AWUPF, value: 0 }]));

const UNITS = [
  { name: 'NSFEAT bit 1 clear: the controller\'s, one more than the field', features: 0, nawun: 7, nawupf: 7, normal: [128, 'controller'], powerFail: [1, 'controller'] },
  { name: 'NSFEAT bit 1 set: the namespace\'s, one more than the field', features: 2, nawun: 255, nawupf: 7, normal: [256, 'namespace'], powerFail: [8, 'namespace'] },
  { name: 'a namespace\'s 0 means the controller\'s', features: 2, nawun: 0, nawupf: 0, normal: [128, 'controller'], powerFail: [1, 'controller'] },
  { name: 'each field for itself', features: 2, nawun: 0, nawupf: 15, normal: [128, 'controller'], powerFail: [16, 'namespace'] },
  { name: 'FFFFh is the largest command', features: 2, nawun: 0xffff, nawupf: 0xfffe, normal: [65_536, 'namespace'], powerFail: [65_535, 'namespace'] },
  { name: 'other bits of NSFEAT say nothing of it', features: 0xfd, nawun: 9, nawupf: 9, normal: [128, 'controller'], powerFail: [1, 'controller'] },
] as const;

for (const { name, features, nawun, nawupf, normal, powerFail } of UNITS) {
  for (const shift of [9, 12]) {
    test(`atomic writes, blocks of ${2 ** shift} bytes: ${name}`, () => {
      const parsed = namespace(shift, [{ at: NAWUN, value: nawun }, { at: NAWUPF, value: nawupf }], [{ at: NSFEAT, value: features }]);
      const units = atomicUnits(parsed, CONTROLLER);
      for (const [unit, [blocks, from]] of [[units.normal, normal], [units.powerFail, powerFail]] as const) {
        assert.equal(unit, { blocks, bytes: blocks * 2 ** shift, everyCommand: blocks === 65_536, from });
      }
    });
  }
}

test('a controller whose field is FFFFh keeps every command whole', () => {
  const all = parseController(data([{ at: AWUN, value: 0xffff }, { at: AWUPF, value: 0xffff }]));
  const { normal, powerFail } = atomicUnits(namespace(9), all);
  assert.equal([normal.everyCommand, powerFail.everyCommand, powerFail.bytes], [true, true, 65_536 * 512]);
});

test('boundaries: 0 is none, else one more than the field; the offset is not', () => {
  const none = namespace(9, [{ at: NABO, value: 5 }]);
  assert.equal([none.boundaryNormal, none.boundaryPowerFail], [undefined, undefined]);
  const some = namespace(9, [{ at: NABSN, value: 255 }, { at: NABO, value: 5 }, { at: NABSPF, value: 7 }]);
  assert.equal(some.boundaryNormal, { bytes: 256 * 512, offsetBytes: 5 * 512 });
  assert.equal(some.boundaryPowerFail, { bytes: 8 * 512, offsetBytes: 5 * 512 });
});

test('NOIOB: 0 is none, else as it is', () => {
  assert.is(namespace(9).optimalBoundaryBytes, undefined);
  assert.is(namespace(9, [{ at: NOIOB, value: 256 }]).optimalBoundaryBytes, 256 * 512);
});

test('NSFEAT bit 0 is thin provisioning', () => {
  assert.equal([namespace(9, [], [{ at: NSFEAT, value: 1 }]).thinProvisioned, namespace(9, [], [{ at: NSFEAT, value: 2 }]).thinProvisioned], [true, false]);
});

for (const { value, present } of [{ value: 0, present: false }, { value: 1, present: true }, { value: 6, present: false }, { value: 7, present: true }]) {
  test(`VWC ${value}: ${present ? 'a' : 'no'} volatile cache`, () => {
    assert.is(parseController(data([], [{ at: VWC, value }])).volatileCache, present);
  });
}

test('names of a controller lose their padding, not their inner spaces', () => {
  const bytes = data([]);
  Buffer.from(bytes.buffer).write('  SN 1              ', 4, 'latin1');
  Buffer.from(bytes.buffer).write('A model'.padEnd(40), 24, 'latin1');
  Buffer.from(bytes.buffer).write('1.0', 64, 'latin1');
  const { serial, model, firmware } = parseController(bytes);
  assert.equal([serial, model, firmware], ['  SN 1', 'A model', '1.0']);
});

for (const length of [0, 4095, 4097]) {
  test(`${length} bytes are no identify data`, () => {
    assert.throws(() => parseNamespace(new Uint8Array(length)), /4096/);
    assert.throws(() => parseController(new Uint8Array(length)), /4096/);
  });
}

// ---- volatile caches ------------------------------------------------------------------------------------------------

const unknown = { known: false, value: undefined, reason: 'not told' } as const;

function device(name: string, kind: BlockDeviceKind, cache: boolean | undefined, below: readonly string[] = []): BlockDevice {
  return {
    name, kind, below, path: `/dev/${name}`, number: '1:1', detail: undefined, sizeBytes: 0, nvme: false,
    logicalSectorBytes: unknown, physicalSectorBytes: unknown, rotational: unknown, forceUnitAccess: unknown, atomicWrite: unknown, transport: unknown,
    volatileCache: cache === undefined ? unknown : { known: true, value: cache, source: name },
  };
}

function identity(volatileCache: boolean): Fact<NvmeIdentity> {
  const parsed = namespace(9);
  const controller = { ...CONTROLLER, volatileCache };
  return { known: true, value: { device: '/dev/nvme0n1', namespaceId: 1, namespace: parsed, controller, atomic: atomicUnits(parsed, controller) }, source: 'identify' };
}

const CACHES: readonly { readonly name: string; readonly list: readonly BlockDevice[]; readonly nvme?: Fact<NvmeIdentity>; readonly expected: boolean | undefined }[] = [
  { name: 'a disk with one', list: [device('a', 'disk', true)], expected: true },
  { name: 'a disk without', list: [device('a', 'disk', false)], expected: false },
  { name: 'a disk that does not tell', list: [device('a', 'disk', undefined)], expected: undefined },
  { name: 'a partition is as its disk', list: [device('a1', 'partition', true, ['a']), device('a', 'disk', false)], expected: false },
  { name: 'a stack, all without', list: [device('dm-0', 'device mapper', true, ['a', 'b']), device('a', 'disk', false), device('b', 'disk', false)], expected: false },
  { name: 'a stack, one with', list: [device('md0', 'md', false, ['a', 'b']), device('a', 'disk', false), device('b', 'disk', true)], expected: true },
  { name: 'a stack, one does not tell', list: [device('md0', 'md', false, ['a', 'b']), device('a', 'disk', false), device('b', 'disk', undefined)], expected: undefined },
  { name: 'a loop device with one', list: [device('loop0', 'loop', true)], expected: true },
  { name: 'a loop device without: its file decides', list: [device('loop0', 'loop', false)], expected: undefined },
  { name: 'a RAM disk is no place where bytes stay', list: [device('ram0', 'virtual', false)], expected: undefined },
  { name: 'a mapping over nothing, such as zero', list: [device('dm-0', 'device mapper', false)], expected: undefined },
  { name: 'NVMe that denies it', list: [device('nvme0n1', 'disk', true)], nvme: identity(false), expected: false },
  { name: 'NVMe that has one', list: [device('nvme0n1', 'disk', true)], nvme: identity(true), expected: true },
  { name: 'NVMe that has one, though the kernel was told otherwise', list: [device('nvme0n1', 'disk', false)], nvme: identity(true), expected: undefined },
  { name: 'no devices', list: [], expected: undefined },
];

for (const { name, list, nvme: told, expected } of CACHES) {
  test(`volatile cache: ${name}`, () => {
    assert.is(volatileCacheOf({ known: true, value: { top: 1, list }, source: 'test' }, told ?? unknown).value, expected);
  });
}

test('volatile cache: devices that are not known', () => {
  assert.equal(volatileCacheOf({ known: false, value: undefined, reason: 'tmpfs' }, unknown), { known: false, value: undefined, reason: 'tmpfs' });
});

test.run();
