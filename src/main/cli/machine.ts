/** What `doctor` and `bench` learn about the machine, and the file they try things on. */
import { randomUUID } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { cpus, machine, release, type as osName } from 'node:os';
import { join } from 'node:path';
import { InvalidArgumentError } from '../../platform/errors.js';
import { selectPlatform } from '../../platform/select.js';
import { fileStatus, onInterruption } from './support.js';

export interface Machine {
  readonly platform: string;
  readonly kernel: string;
  readonly node: string;
  readonly processors: string;
}

export function describeMachine(): Machine {
  const processors = cpus();
  return {
    platform: `${process.platform} ${machine()}`,
    kernel: `${osName()} ${release()}`,
    node: process.version,
    processors: `${processors.length} x ${processors[0]?.model.trim() ?? 'unknown'}`,
  };
}

/**
 * Gives `use` a path in `directory` that nobody else has, and removes what lies there afterwards, also when interrupted:
 * `use` ends early when its signal fires, or in time all the same.
 */
export async function withTemporaryFile<T>(
  directory: string,
  purpose: string,
  use: (path: string, signal: AbortSignal) => Promise<T>,
): Promise<T> {
  await checkDirectory(directory);
  const path = join(directory, `.tidemark-${purpose}-${process.pid}-${randomUUID()}`);
  const { signal, dispose } = onInterruption();
  try {
    const result = await use(path, signal);
    signal.throwIfAborted();
    return result;
  } finally {
    await rm(path, { force: true, recursive: true });
    dispose();
  }
}

async function checkDirectory(path: string): Promise<void> {
  const status = await fileStatus(path);
  if (!status.isDirectory()) throw new InvalidArgumentError(`Expected \`directory\` to be a directory, got '${path}'`);
}

export interface FileAbilities {
  readonly filesystem: string;
  /** Undefined: there is no direct IO, and `directRefused` says why. */
  readonly directOffsetAlignment: number | undefined;
  readonly directMemoryAlignment: number | undefined;
  readonly directRefused: string | undefined;
  /** A write that is durable at completion is known to be honoured here. */
  readonly dsyncWrites: boolean;
}

/** Asks the system what an existing file allows. Blocks, for the length of three system calls. */
export function probeFile(path: string): FileAbilities {
  const { files } = selectPlatform();
  const descriptor = files.open(path, { write: false });
  try {
    const { name, dsyncWrites } = files.filesystem(descriptor);
    const direct = files.probeDirect(descriptor);
    return {
      filesystem: name,
      directOffsetAlignment: direct.available ? direct.offsetAlignment : undefined,
      directMemoryAlignment: direct.available ? direct.memoryAlignment : undefined,
      directRefused: direct.available ? undefined : direct.reason,
      dsyncWrites,
    };
  } finally {
    files.close(descriptor);
  }
}
