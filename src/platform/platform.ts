/**
 * What an operating system offers, as one interface.
 *
 * Each platform implements it in `platform/<os>/` under the same file names; `select.ts` chooses.
 * The calls in {@link Files} block, so they are for worker threads only.
 */
import type { AttributeCalls } from './interface/attributes.js';
import type { CopyCalls } from './interface/copy.js';
import type { DeviceCalls } from './interface/device.js';
import type { DirectoryCalls } from './interface/directories.js';
import type { HintCalls } from './interface/hints.js';
import type { MemoryCalls } from './interface/memory.js';
import type { MetadataCalls } from './interface/metadata.js';
import type { NameCalls } from './interface/names.js';
import type { NvmeCalls } from './interface/nvme.js';
import type { OwnershipCalls } from './interface/ownership.js';
import type { SpaceCalls } from './interface/space.js';
import type { SpecialCalls } from './interface/special.js';
import type { TransferCalls } from './interface/transfer.js';
import type { PlaceCalls } from './interface/places.js';

/** Where direct IO may start and how long it may be, or why there is none. */
export type DirectIo =
  | { readonly available: true; readonly offsetAlignment: number; readonly memoryAlignment: number }
  | { readonly available: false; readonly reason: string };

export interface FileStatus {
  readonly kind: 'file' | 'directory' | 'other';
  readonly sizeBytes: number;
  /** Identity of the file behind any path: equal for two paths exactly when they name one file. */
  readonly device: string;
  readonly inode: bigint;
  readonly mode: number;
}

export interface Filesystem {
  readonly name: string;
  /**
   * True when a write with a per-call "durable at completion" flag is known to be honoured here.
   * False means: write, then sync.
   */
  readonly dsyncWrites: boolean;
}

export type Advice = 'normal' | 'sequential' | 'random' | 'willNeed' | 'dontNeed' | 'noReuse';

export interface OpenFlags {
  readonly write: boolean;
  readonly create?: boolean;
  readonly exclusive?: boolean;
  readonly direct?: boolean;
  /** Each write is durable when it returns (`O_DSYNC`). */
  readonly dsync?: boolean;
  /** A symbolic link is refused. */
  readonly noFollow?: boolean;
  /** So are those on the way. Only where a path is opened beneath a directory. */
  readonly noLinks?: boolean;
  readonly directory?: boolean;
  readonly truncate?: boolean;
  /** Writes go to the end, wherever that is by then (`O_APPEND`). */
  readonly append?: boolean;
  /** Reading is not asked for. Together with `write`. */
  readonly writeOnly?: boolean;
  /** Neither reads nor writes: only names what lies there, for other calls (`O_PATH`). */
  readonly pathOnly?: boolean;
  /** Permission bits of a file that is created. */
  readonly mode?: number;
}

/** The calls that order writes. Linux has none for programs: there it is a full sync of the data. */
export type BarrierPrimitive = 'fdatasync' | 'F_BARRIERFSYNC';

/** Blocking file calls. */
export interface Files {
  open(path: string, flags: OpenFlags): number;
  close(descriptor: number): void;
  /**
   * What `open` opens belongs to the calling thread: it is closed when the thread ends, however that happens, and its lock with
   * it. Everything else belongs to the process. Answers the descriptor that stands for it from now on, for {@link closeOwn}.
   */
  openOwn(open: () => number): number;
  closeOwn(descriptor: number): void;
  status(descriptor: number, path?: string): FileStatus;
  /** Reads into `target` at `offset`; fewer bytes than asked for only at the end of the file. */
  readFully(descriptor: number, target: Uint8Array, offset: number): number;
  /** Writes all of `source` at `offset`; continues short writes, retries EINTR and EAGAIN with a bound. */
  writeFully(descriptor: number, source: Uint8Array, offset: number): void;
  /** The same from memory that somebody else keeps alive for the call, such as a journal's log buffer. */
  writePiece(descriptor: number, piece: MemoryPiece, offset: number): void;
  /** Has the kernel begin to write what a file has in memory, so that a sync of it waits less. Promises nothing. */
  startWriteback(descriptor: number): void;
  /** Makes the data of a file, and the metadata needed to read it back, durable. */
  syncData(descriptor: number): void;
  /** Makes data and all metadata durable. */
  syncFull(descriptor: number): void;
  /**
   * What was written before comes to the device before what is written after, if it is not durable at once. Answers the call
   * that did it.
   */
  syncBarrier(descriptor: number): BarrierPrimitive;
  /** Makes the entries of a directory durable. */
  syncDirectory(path: string): void;
  truncate(descriptor: number, bytes: number): void;
  /** Reserves blocks and extends the file's size; throws {@link NotSupportedError} where the filesystem cannot. */
  allocate(descriptor: number, offset: number, bytes: number): void;
  advise(descriptor: number, offset: number, bytes: number, advice: Advice): void;
  /** Tells what direct IO this file allows. */
  probeDirect(descriptor: number): DirectIo;
  /** Turns direct IO on for an open file, or off: while it is on, transfers must be aligned as {@link probeDirect} tells. */
  setDirect(descriptor: number, on?: boolean): void;
  filesystem(descriptor: number): Filesystem;
  /** Takes the exclusive lock of an open file without waiting; false where another open file has it. */
  tryLock(descriptor: number): boolean;
  /** The same for those who want to tell whom they wait for: undefined when taken, else what is known of the holder. */
  tryLockExclusive(descriptor: number): LockHolder | undefined;
  /**
   * Gives the lock back. Closing alone does that only once the kernel has let go of the file too, which it may do late
   * for what a ring has written, though it told long ago that it was through.
   */
  unlock(descriptor: number): void;
}

export interface LockHolder {
  readonly pid: number | undefined;
  /** The holder in words, such as "process 4711 (node)". */
  readonly description: string;
  /** False when the system knows of no process that holds it: then the lock is probably about to go. */
  readonly alive: boolean;
}

export interface RingOptions {
  /** Submission entries, a power of two; also the most operations in flight. Default 128. */
  readonly entries?: number;
  /** A kernel thread polls for submissions: saves system calls, burns a core. Default false. */
  readonly sqpoll?: boolean;
  /** `wait`: the owner calls {@link Ring.wait}. `eventLoop`: completions come by themselves. Default `wait`. */
  readonly reaping?: 'wait' | 'eventLoop';
}

/** Native memory that its owner keeps alive. */
export interface MemoryPiece {
  readonly address: number;
  readonly bytes: number;
}

/** A file as a ring addresses it: by its slot in the registered table, or by descriptor where `slot` is -1. */
export interface RingFile {
  readonly descriptor: number;
  readonly slot: number;
}

/**
 * When the next queued operation starts: `none`, independently; `success`, when this one is complete in full, else it is
 * cancelled; `always`, when this one is over.
 */
export type Link = 'none' | 'success' | 'always';

/** Called once per operation: bytes transferred or 0, or a negative error number. */
export type Completion = (result: number) => void;

/** What of a ring outlives its thread, as plain data for whoever has to give it back. */
export interface RingRemains {
  readonly descriptor: number;
  readonly mappings: readonly { readonly address: number; readonly bytes: number }[];
}

/**
 * A completion ring owned by one thread. Operations are queued, then submitted together.
 * `address` is native memory that the caller keeps alive until the completion.
 */
export interface Ring {
  readonly remains: RingRemains;
  /** The most operations in flight. Queuing one more is an error of the caller. */
  readonly capacity: number;
  readonly inFlight: number;
  readonly setupFlags: readonly string[];
  readonly fileSlots: number;
  /** Registered buffers it can hold; 0 where the kernel has no sparse table. */
  readonly bufferSlots: number;
  /** `bufferSlot` -1: the memory is not registered. */
  write(file: RingFile, address: number, bytes: number, offset: number, bufferSlot: number, dsync: boolean, link: Link, done: Completion): void;
  /** Writes up to four pieces of memory, one behind the other. */
  writeVector(file: RingFile, pieces: readonly MemoryPiece[], offset: number, dsync: boolean, link: Link, done: Completion): void;
  read(file: RingFile, address: number, bytes: number, offset: number, bufferSlot: number, link: Link, done: Completion): void;
  syncData(file: RingFile, link: Link, done: Completion): void;
  syncFull(file: RingFile, link: Link, done: Completion): void;
  allocate(file: RingFile, offset: number, bytes: number, done: Completion): void;
  submit(): void;
  /** Runs the completions that are there; answers how many. */
  reap(): number;
  /** Sleeps inside the kernel until a completion is there, at most `timeoutUs` microseconds. Only for worker threads. */
  wait(timeoutUs: number): void;
  /** Puts a descriptor into a slot of the registered file table; -1 empties it. */
  setFile(slot: number, descriptor: number): void;
  /** Registers memory in a slot; address 0 and 0 bytes empty it. */
  setBuffer(slot: number, address: number, bytes: number): void;
  close(): void;
}

/** What the kernel's io_uring can do, by the names of its header without their prefixes; or why there is none. */
export type RingAbilities =
  | {
    readonly available: true;
    /** Such as `NODROP` for IORING_FEAT_NODROP. */
    readonly features: readonly string[];
    /** Such as `WRITE_FIXED` for IORING_OP_WRITE_FIXED; a number for one that has no name here. */
    readonly operations: readonly string[];
    /** Flags that a ring which is waited for is set up with. */
    readonly setupFlags: readonly string[];
  }
  | { readonly available: false; readonly reason: string };

/** A pipe whose reading end wakes an event loop. Both ends are non-blocking. */
export interface Pipe {
  readonly readEnd: number;
  readonly writeEnd: number;
}

export interface Threads {
  /** A number that names the calling thread as long as it runs. */
  currentId(): number;
  isAlive(id: number): boolean;
  /** Lets other threads that wait for this processor run first. Returns at once when there are none. */
  yield(): void;
}

/** What this platform can do. Code and tests branch on this, never on `process.platform`. */
export interface Supports {
  readonly ioUring: boolean;
  readonly directIo: boolean;
  readonly dsyncWrites: boolean;
  readonly directorySync: boolean;
  readonly exclusiveLock: boolean;
  readonly advise: readonly Advice[];
  /**
   * Why a file operation does not exist on this platform, by the name of the method that users call: of `files` or of a
   * `DirectoryHandle`. It is refused before anything is done. What a filesystem lacks shows when it is tried.
   */
  readonly missingOperations: Readonly<Record<string, string>>;
}

export interface Platform {
  readonly name: string;
  readonly supports: Supports;
  readonly files: Files;
  readonly places: PlaceCalls;
  readonly attributes: AttributeCalls;
  readonly copy: CopyCalls;
  readonly device: DeviceCalls;
  readonly directories: DirectoryCalls;
  readonly hints: HintCalls;
  readonly memory: MemoryCalls;
  readonly metadata: MetadataCalls;
  readonly names: NameCalls;
  readonly nvme: NvmeCalls;
  readonly ownership: OwnershipCalls;
  readonly space: SpaceCalls;
  readonly special: SpecialCalls;
  readonly transfer: TransferCalls;
  readonly threads: Threads;
  /** Sets up an io_uring; throws {@link NotSupportedError} or an `IoError` that says why there is none. */
  createRing(options: RingOptions): Ring;
  /** Asks the kernel what rings can do, with one that is given back at once. */
  probeRing(): RingAbilities;
  /** Gives back a ring whose thread has ended without closing it. */
  releaseRing(remains: RingRemains): void;
  createPipe(): Pipe;
}
