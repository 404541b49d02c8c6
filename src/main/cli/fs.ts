/** `tidemark fs`: file operations that people do by hand. */
import { addAbortSignal } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { Option, type Command } from 'commander';
import type { Fact } from '../../platform/fact.js';
import type { BlockDevice } from '../../platform/interface/device.js';
import type { StorageProbe } from '../../workers/files/device.js';
import type { Files } from '../files/files.js';
import { humanBytes, startProgress } from './progress.js';
import { fileStatus, note, onInterruption, parseSize, print, printJson, schedulerFor, tableOf } from './support.js';

const COPY_METHODS = ['auto', 'reflink', 'copy_file_range', 'read_write'] as const;

interface Printing {
  readonly json?: true;
}

interface CopyCommandOptions extends Printing {
  readonly method: (typeof COPY_METHODS)[number];
  readonly overwrite?: true;
}

interface RangeOptions extends Printing {
  readonly offset: number;
  readonly length: number;
}

interface PreallocateOptions extends Printing {
  readonly offset: number;
  readonly keepSize?: true;
}

export function addFs(program: Command): void {
  const fs = program.command('fs').description('file operations: copy, punch, preallocate, probe, replace');
  fs.command('copy')
    .description('copy a file, by reflink where the filesystem can; durable when the command ends, and never half a file')
    .argument('<from>', 'file to copy')
    .argument('<to>', 'path of the copy')
    .addOption(new Option('--method <method>', 'how it is copied; without one, the first of these that works').choices(COPY_METHODS).default('auto'))
    .option('--overwrite', 'replace a file that is there')
    .option('--json', 'print JSON')
    .action(copy);
  fs.command('punch')
    .description('give the space of a range back; it reads as zeros afterwards, and the file keeps its size')
    .argument('<file>')
    .requiredOption('--offset <bytes>', 'where the hole begins', parseSize)
    .requiredOption('--length <bytes>', 'how long it is', parseSize)
    .option('--json', 'print JSON')
    .action(punch);
  fs.command('preallocate')
    .description('reserve space for a file, so that writes there cannot run out of it')
    .argument('<file>')
    .argument('<length>', 'bytes to reserve', parseSize)
    .option('--offset <bytes>', 'where they begin', parseSize, 0)
    .option('--keep-size', 'the file does not become longer')
    .option('--json', 'print JSON')
    .action(preallocate);
  fs.command('replace')
    .description('replace a file by what comes on stdin: whatever happens, it is the old one or the new one')
    .argument('<file>')
    .option('--json', 'print JSON')
    .action(replace);
  fs.command('probe')
    .description('tell what lies under a path: filesystem, sectors, direct IO, caches, NVMe, io_uring')
    .argument('[path]', 'a file or directory', '.')
    .option('--json', 'print JSON')
    .action(probe);
}

/** Gives `use` file operations, ends them at a signal, and prints what they answered. */
async function withFiles(options: Printing, use: (files: Files, signal: AbortSignal) => Promise<{ readonly text: string; readonly result: object }>): Promise<void> {
  const scheduler = schedulerFor(undefined);
  const { signal, dispose } = onInterruption();
  try {
    const { text, result } = await use(scheduler.files, signal);
    if (options.json === true) await printJson(result);
    else await print(text);
  } finally {
    dispose();
    await scheduler.close();
  }
}

async function copy(from: string, to: string, options: CopyCommandOptions): Promise<void> {
  await withFiles(options, async (files, signal) => {
    const { size } = await fileStatus(from);
    const progress = startProgress('copied', size, 'bytes');
    try {
      const result = await files.copyFile(from, to, { method: options.method, overwrite: options.overwrite === true, signal, onProgress: progress.update });
      return { result, text: `${from} -> ${to}: ${humanBytes(result.bytes)} by ${result.primitive}, durable\n` };
    } finally {
      progress.stop();
    }
  });
}

async function punch(file: string, options: RangeOptions): Promise<void> {
  await withFiles(options, async (files, signal) => {
    const result = await files.punchHole(file, options.offset, options.length, { durable: true, signal });
    return { result, text: `${file}: ${humanBytes(options.length)} at ${options.offset} given back by ${result.primitive}\n` };
  });
}

async function preallocate(file: string, length: number, options: PreallocateOptions): Promise<void> {
  await withFiles(options, async (files, signal) => {
    const mode = options.keepSize === true ? 'keepSize' : 'extend';
    const result = await files.preallocate(file, { offset: options.offset, length }, { mode, durable: true, signal });
    return { result, text: `${file}: ${humanBytes(length)} at ${options.offset} reserved by ${result.primitive}\n` };
  });
}

async function replace(file: string, options: Printing): Promise<void> {
  await withFiles(options, async (files, signal) => {
    if (process.stdin.isTTY) note('reading from the terminal; end with Ctrl-D');
    const content = await buffer(addAbortSignal(signal, process.stdin)).catch((error: unknown) => {
      signal.throwIfAborted();
      throw error;
    });
    const result = await files.replaceFile(file, content, { signal });
    return { result, text: `${file}: replaced by ${humanBytes(content.length)}, durable\n` };
  });
}

async function probe(path: string, options: Printing): Promise<void> {
  await withFiles(options, async (files, signal) => {
    const result = await files.probe(path, { signal });
    return { result, text: tableOf(rowsOf(result)) };
  });
}

type Row = readonly [name: string, value: string];

function rowsOf(found: StorageProbe): Row[] {
  const { directIo, atomicWrite, mount, devices, nvme, ioUring } = found;
  return [
    ['filesystem', found.filesystem],
    ['mount', inWords(mount, ({ point, source }) => `${source} on ${point}`)],
    ['direct IO', inWords(directIo, (direct) => (direct.available ? `yes, offsets of ${direct.offsetAlignment} bytes, memory of ${direct.memoryAlignment}` : `no: ${direct.reason}`))],
    ['atomic writes', inWords(atomicWrite, ({ unitMinBytes, unitMaxBytes }) => (unitMaxBytes === 0 ? 'no' : `${humanBytes(unitMinBytes)} to ${humanBytes(unitMaxBytes)}`))],
    ...(devices.known ? devices.value.list.flatMap(rowsOfDevice) : [['device', `unknown: ${devices.reason}`] as const]),
    ['volatile cache', inWords(found.volatileCache, yesOrNo)],
    ['power-loss protection', protectionInWords(found)],
    ['NVMe', inWords(nvme, ({ device, namespaceId }) => `namespace ${namespaceId} of ${device}`)],
    ['io_uring', ioUring.available ? `${ioUring.features.length} features, ${ioUring.operations.length} operations` : `no: ${ioUring.reason}`],
  ];
}

function protectionInWords({ powerLossProtection: { known, protected: isProtected, evidence } }: StorageProbe): string {
  return `${known ? yesOrNo(isProtected === true) : 'unknown'}: ${evidence}`;
}

function rowsOfDevice(device: BlockDevice): Row[] {
  const row = (name: string, value: string): Row => [`${device.name} ${name}`, value];
  return [
    row('kind', `${device.kind}, ${humanBytes(device.sizeBytes)}${device.nvme ? ', NVMe' : ''}`),
    row('sectors', `${inWords(device.logicalSectorBytes, String)} logical, ${inWords(device.physicalSectorBytes, String)} physical`),
    row('rotational', inWords(device.rotational, yesOrNo)),
    row('volatile cache', inWords(device.volatileCache, yesOrNo)),
    row('FUA', inWords(device.forceUnitAccess, yesOrNo)),
    row('transport', inWords(device.transport, String)),
  ];
}

const yesOrNo = (value: boolean): string => (value ? 'yes' : 'no');

function inWords<T>(fact: Fact<T>, words: (value: T) => string): string {
  return fact.known ? words(fact.value) : `unknown: ${fact.reason}`;
}
