/**
 * What happens inside, for whoever subscribes through `node:diagnostics_channel`. Publishing costs nothing without one.
 *
 * | channel | message |
 * |---|---|
 * | `tidemark:backend` | `{ kind, reason, setupFlags, sealing }` once per scheduler, when its backend is chosen |
 * | `tidemark:journal:open` | `{ path, end, records, created, filesystem, torn, directActive }` |
 * | `tidemark:journal:poisoned` | `{ path, error }` |
 * | `tidemark:journal:segment` | `{ path, base, origin }` a segment was put in place: recycled, zeroed or plain |
 * | `tidemark:journal:trim` | `{ path, before }` a segment was trimmed: the log now begins at LSN `before` |
 * | `tidemark:journal:space` | `{ path, error }` no room for a further segment; once, until there is room again |
 * | `tidemark:journal:exit-drain` | `{ path, drained, reason, durableLsn, pendingBytes, queuedRecords, tookMs }` at exit |
 * | `tidemark:journal:close` | `{ path, end }` |
 */
import { channel } from 'node:diagnostics_channel';

const channels = {
  backend: channel('tidemark:backend'),
  open: channel('tidemark:journal:open'),
  poisoned: channel('tidemark:journal:poisoned'),
  segment: channel('tidemark:journal:segment'),
  trim: channel('tidemark:journal:trim'),
  space: channel('tidemark:journal:space'),
  exitDrain: channel('tidemark:journal:exit-drain'),
  close: channel('tidemark:journal:close'),
} as const;

export function report(name: keyof typeof channels, message: Readonly<Record<string, unknown>>): void {
  if (channels[name].hasSubscribers) channels[name].publish(message);
}
