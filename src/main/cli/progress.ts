/** Progress on stderr, for a person who watches. Nothing at all where stderr is no terminal. */
import cliProgress from 'cli-progress';

export interface Progress {
  /** `bytes` done so far, and how many records they hold, where they hold any. */
  readonly update: (bytes: number, records?: number) => void;
  readonly stop: () => void;
}

const SILENT: Progress = { update: () => undefined, stop: () => undefined };

/** `totalBytes` undefined: nobody knows how much will come. `of`: what the bytes are made of. */
export function startProgress(label: string, totalBytes: number | undefined, of: 'records' | 'bytes' = 'records'): Progress {
  if (!process.stderr.isTTY) return SILENT;
  const records = of === 'records' ? ' | {records} records' : '';
  const known = `${label} [{bar}] {percentage}% | {size} of {sizeTotal}${records} | {eta_formatted}`;
  const unknown = `${label} {size}${records} | {duration_formatted}`;
  const bar = new cliProgress.SingleBar(
    // Interruption belongs to the command: a bar that caught SIGINT would swallow it.
    // Lines are trimmed to the terminal (`linewrap`), so that its settings stay as they are whatever ends the program.
    { format: totalBytes === undefined ? unknown : known, stream: process.stderr, barsize: 20, gracefulExit: false, linewrap: true, hideCursor: null },
    cliProgress.Presets.legacy,
  );
  bar.start(totalBytes ?? 0, 0, { size: humanBytes(0), sizeTotal: humanBytes(totalBytes ?? 0), records: 0 });
  return {
    update: (bytes, records = 0) => {
      bar.update(bytes, { size: humanBytes(bytes), records });
    },
    stop: () => {
      bar.stop();
    },
  };
}

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB'] as const;

export function humanBytes(bytes: number): string {
  const power = bytes === 0 ? 0 : Math.min(Math.floor(Math.log2(bytes) / 10), UNITS.length - 1);
  const number = bytes / 1024 ** power;
  return `${power === 0 ? number : number.toFixed(1)} ${UNITS[power] ?? 'B'}`;
}
