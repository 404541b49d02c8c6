/** Opens a journal where io_uring may be refused, appends, and tells which backend served. */
import koffi from 'koffi';
import { IoScheduler, Journal, type JournalBackend, type IoSchedulerOptions } from 'tidemark';
import { failureOf, report, taskOf, type Failure } from './report.js';
import { recordOf } from './records.js';

export interface BackendTask {
  readonly path: string;
  /** Undefined: the default scheduler, which obeys the environment. */
  readonly backend?: IoSchedulerOptions['backend'];
  /** Installs a filter first that answers io_uring_setup with this error number. */
  readonly filterErrno?: number;
  readonly count: number;
  readonly recordBytes: number;
}

export interface BackendReport {
  readonly refused?: Failure;
  readonly backend?: JournalBackend;
  readonly directActive?: boolean;
  readonly directReason?: string;
  readonly durableLsn?: number;
}

/** The same number on every processor (unistd.h). */
const SYS_IO_URING_SETUP = 425;
const PR_SET_SECCOMP = 22;
const PR_SET_NO_NEW_PRIVS = 38;
const SECCOMP_MODE_FILTER = 2;
const SECCOMP_RET_ERRNO = 0x00050000;
const SECCOMP_RET_ALLOW = 0x7fff0000;
const BPF_LOAD_WORD = 0x20;
const BPF_JUMP_IF_EQUAL = 0x15;
const BPF_RETURN = 0x06;

/** seccomp(2), for this thread and all that it starts from now on. */
function refuseIoUring(errno: number): void {
  const program: readonly (readonly [code: number, ifTrue: number, ifFalse: number, value: number])[] = [
    // struct seccomp_data begins with the number of the call.
    [BPF_LOAD_WORD, 0, 0, 0],
    [BPF_JUMP_IF_EQUAL, 0, 1, SYS_IO_URING_SETUP],
    [BPF_RETURN, 0, 0, SECCOMP_RET_ERRNO | errno],
    [BPF_RETURN, 0, 0, SECCOMP_RET_ALLOW],
  ];
  const instructions = new DataView(new SharedArrayBuffer(128));
  program.forEach(([code, ifTrue, ifFalse, value], i) => {
    instructions.setUint16(i * 8, code, true);
    instructions.setUint8(i * 8 + 2, ifTrue);
    instructions.setUint8(i * 8 + 3, ifFalse);
    instructions.setUint32(i * 8 + 4, value, true);
  });
  const filter = new DataView(new SharedArrayBuffer(128));
  filter.setUint16(0, program.length, true);
  filter.setBigUint64(8, koffi.address(new Uint8Array(instructions.buffer)), true);
  const prctl = koffi.load(null).func('prctl', 'int', ['int', 'unsigned long', 'void *', 'unsigned long', 'unsigned long']);
  const call = (option: number, second: number, third: Uint8Array | null): void => {
    if (prctl(option, second, third, 0, 0) !== 0) throw new Error(`prctl ${option} failed with errno ${koffi.errno()}`);
  };
  call(PR_SET_NO_NEW_PRIVS, 1, null);
  call(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, new Uint8Array(filter.buffer));
}

async function work(task: BackendTask): Promise<BackendReport> {
  if (task.filterErrno !== undefined) refuseIoUring(task.filterErrno);
  const scheduler = task.backend === undefined ? undefined : new IoScheduler({ backend: task.backend });
  const journal = await Journal.open(task.path, scheduler === undefined ? {} : { scheduler });
  const { backend, directActive, directReason } = journal;
  await Promise.all(Array.from({ length: task.count }, (_, sequence) => journal.append(recordOf({ life: 0, thread: 0, sequence }, task.recordBytes))));
  const { durableLsn } = journal;
  await journal.close();
  await scheduler?.close();
  return { backend, directActive, directReason, durableLsn };
}

await work(taskOf() as BackendTask).then(report, (error: unknown) => {
  report({ refused: failureOf(error) } satisfies BackendReport);
});
