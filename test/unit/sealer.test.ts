/** The two sealers against each other and against a checksum computed here. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type * as SealerModule from '../../dist/workers/sealer.js';
import type * as NativeSealModule from '../../dist/platform/native-seal.js';
import type * as LogBufferModule from '../../dist/workers/protocol/log-buffer.js';
import type * as FfiModule from '../../dist/platform/ffi.js';

const dist = new URL('../../../dist/', import.meta.url);
const { NativeSealer, ScriptSealer } = (await import(new URL('workers/sealer.js', dist).href)) as typeof SealerModule;
const { nativeSeal } = (await import(new URL('platform/native-seal.js', dist).href)) as typeof NativeSealModule;
const { LogBuffer } = (await import(new URL('workers/protocol/log-buffer.js', dist).href)) as typeof LogBufferModule;
const { alignmentSkip } = (await import(new URL('platform/ffi.js', dist).href)) as typeof FfiModule;

const test = suite('sealers');
const CAPACITY = 4096;

/** CRC-32C bit by bit: slow, and independent of what is tested. */
function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  }
  return ~crc >>> 0;
}

function newLog(): LogBufferModule.LogBuffer {
  const buffer = new SharedArrayBuffer(CAPACITY + 4096);
  return new LogBuffer({ buffer, skipBytes: alignmentSkip(buffer, 4096), capacity: CAPACITY });
}

type Kind = (log: LogBufferModule.LogBuffer, lsn: number) => SealerModule.Sealer;
const kinds: [string, Kind][] = [['script', (log, lsn) => new ScriptSealer(log, lsn)]];
const native = nativeSeal();
if (native === undefined) console.log('SKIPPED the native sealer: it was not built (no C compiler)');
else kinds.push(['native', (log, lsn) => new NativeSealer(native, log, lsn)]);

/** Puts frames of these lengths at `start`; answers where each begins and the bytes each must have. */
function putFrames(log: LogBufferModule.LogBuffer, start: number, lengths: readonly number[]): { at: number; end: number; bytes: Buffer }[] {
  let at = start;
  return lengths.map((length, i) => {
    const payload = Buffer.from(Uint8Array.from({ length }, (_, j) => (i * 31 + j * 7) & 255));
    const header = Buffer.from('FSY\x01\0\0\0\0', 'latin1');
    header.writeUInt32LE(length, 4);
    const body = Buffer.concat([header, payload]);
    const checksum = Buffer.alloc(4);
    checksum.writeUInt32LE(crc32c(body));
    log.putHeader(at, length);
    log.put(at + 8, payload);
    const frame = { at, end: at + length + 12, bytes: Buffer.concat([body, checksum]) };
    at = frame.end;
    return frame;
  });
}

for (const [name, create] of kinds) {
  // Every offset near the end of the window, so that header, payload and checksum each wrap around once.
  test(`${name}: frames at every place around the end of the window`, () => {
    for (let start = 3 * CAPACITY - 80; start < 3 * CAPACITY + 8; start++) {
      const log = newLog();
      const frames = putFrames(log, start, [0, 1, 13, 40]);
      const end = frames.at(-1)?.end ?? 0;
      const sealer = create(log, start);
      assert.is(sealer.seal(end), end);
      assert.is(sealer.frameEnd, end);
      for (const frame of frames) assert.equal(Buffer.concat(log.pieces(frame.at, frame.end)), frame.bytes);
    }
  });

  test(`${name}: the same bytes whatever the limits a range is sealed by`, () => {
    const start = CAPACITY - 100;
    for (let step = 1; step < 60; step++) {
      const log = newLog();
      const frames = putFrames(log, start, [25, 0, 300, 7]);
      const end = frames.at(-1)?.end ?? 0;
      const sealer = create(log, start);
      for (let limit = start; limit < end; limit += step) {
        const sealed = sealer.seal(limit);
        assert.ok(sealed <= limit);
        const whole = frames.filter((frame) => frame.end <= sealed).at(-1)?.end ?? start;
        assert.is(sealer.frameEnd, whole, `step ${step}, limit ${limit}`);
      }
      assert.is(sealer.seal(end), end);
      for (const frame of frames) assert.equal(Buffer.concat(log.pieces(frame.at, frame.end)), frame.bytes);
    }
  });

  test(`${name}: refuses what is no frame`, () => {
    for (const damage of [0, 1, 2, 3, 7]) {
      const log = newLog();
      putFrames(log, 0, [10]);
      log.bytes[damage] = 0xff;
      assert.throws(() => create(log, 0).seal(22), /no frame was published/);
    }
  });
}

test.run();
