/** Extents of a segment journal as blocking calls. What is asked for in one turn is done together, at its end. */
import type { TeamJob, WriteTeam } from '../write-team.js';
import type { WriteEngine } from './journal.js';

export class BlockingEngine implements WriteEngine {
  readonly writeCall = 'pwrite';
  readonly #team: WriteTeam;
  #jobs: { readonly job: TeamJob; readonly done: (result: number) => void }[] = [];

  constructor(team: WriteTeam) {
    this.#team = team;
  }

  /** `dsync` needs nothing here: then the descriptor was opened with O_DSYNC. */
  write(descriptor: number, address: number, bytes: number, offset: number, _inLogBuffer: boolean, _dsync: boolean, done: (result: number) => void): void {
    this.#add({ kind: 'write', descriptor, address, bytes, offset }, done);
  }

  syncData(descriptor: number, done: (result: number) => void): void {
    this.#add({ kind: 'sync', descriptor, address: 0, bytes: 0, offset: 0 }, done);
  }

  resume(turn: () => void): void {
    // The event loop gets its turn, for the control plane.
    setImmediate(turn);
  }

  #add(job: TeamJob, done: (result: number) => void): void {
    if (this.#jobs.length === 0) queueMicrotask(() => this.#run());
    this.#jobs.push({ job, done });
  }

  #run(): void {
    const jobs = this.#jobs;
    this.#jobs = [];
    const results = this.#team.run(jobs.map(({ job }) => job));
    jobs.forEach(({ done }, i) => {
      done(results[i] ?? 0);
    });
  }
}
