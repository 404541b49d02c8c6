/**
 * What happens inside, for whoever subscribes through `node:diagnostics_channel`. Publishing costs nothing without one.
 *
 * | channel | message |
 * |---|---|
 * | `tidemark:backend` | `{ kind, reason }` once per scheduler, when its backend is chosen |
 * | `tidemark:journal:open` | `{ path, end, records, created, torn, directActive }` |
 * | `tidemark:journal:poisoned` | `{ path, error }` |
 * | `tidemark:journal:close` | `{ path, end }` |
 */
import { channel } from 'node:diagnostics_channel';

const channels = {
  backend: channel('tidemark:backend'),
  open: channel('tidemark:journal:open'),
  poisoned: channel('tidemark:journal:poisoned'),
  close: channel('tidemark:journal:close'),
} as const;

export function report(name: keyof typeof channels, message: Readonly<Record<string, unknown>>): void {
  if (channels[name].hasSubscribers) channels[name].publish(message);
}
