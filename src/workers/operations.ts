/** Runs operations by name: what a file worker does with its tasks. */
import { createRequire } from 'node:module';
import { InternalError, toWire } from '../platform/errors.js';
import { selectPlatform } from '../platform/select.js';
import { uninterrupted } from '../platform/thread-start.js';
import { OperationContext } from './files/context.js';
import { fileOperations, groupedOperations } from './files/operations.js';
import { journalOperations } from './journal-operations.js';
import { mergeTables } from './operation-tables.js';
import { outcomeOf, type Outcome } from './protocol/messages.js';
import type { OperationCall, OperationsTask } from './protocol/operation.js';

type Operation = (context: OperationContext, ...args: readonly unknown[]) => unknown;
type GroupedOperation = (calls: readonly { readonly context: OperationContext; readonly args: readonly unknown[] }[]) => Promise<Outcome<unknown>[]> | Outcome<unknown>[];

const table: ReadonlyMap<string, Operation> = new Map(Object.entries(mergeTables(journalOperations, fileOperations) as unknown as Record<string, Operation>));
const groups: ReadonlyMap<string, GroupedOperation> = new Map(Object.entries(groupedOperations as unknown as Record<string, GroupedOperation>));

/** Results of up to this many bytes are copied: handing memory over costs more than that. */
const COPIED_BYTES_MAX = 64 * 1024;

/** Does the calls one after the other; one that fails leaves the others alone. */
export async function runOperations(task: OperationsTask): Promise<Outcome<unknown>[]> {
  const moved: ArrayBuffer[] = [];
  const outcomes = await outcomesOf(task.calls, moved);
  if (moved.reduce((sum, { byteLength }) => sum + byteLength, 0) <= COPIED_BYTES_MAX) return outcomes;
  const { move, transferableSymbol, valueSymbol } = piscina();
  return move({ [transferableSymbol]: moved, [valueSymbol]: outcomes } as never) as unknown as Outcome<unknown>[];
}

async function outcomesOf(calls: readonly OperationCall[], moved: ArrayBuffer[]): Promise<Outcome<unknown>[]> {
  const name = calls[0]?.name ?? '';
  const together = groups.get(name);
  if (together !== undefined && calls.every((call) => call.name === name)) {
    const ready: { readonly context: OperationContext; readonly args: readonly unknown[] }[] = [];
    const given = calls.map((call): Outcome<unknown> | undefined => {
      try {
        ready.push({ context: start(call, moved), args: call.args });
        return undefined;
      } catch (error) {
        return { ok: false, error: toWire(error) };
      }
    });
    const done = ready.length === 0 ? [] : await together(ready);
    let next = 0;
    return given.map((outcome) => outcome ?? (done[next++] as Outcome<unknown>));
  }
  const outcomes: Outcome<unknown>[] = [];
  for (const call of calls) {
    outcomes.push(await outcomeOf(() => {
      const operation = table.get(call.name);
      if (operation === undefined) throw new InternalError(`there is no operation '${call.name}'`);
      return operation(start(call, moved), ...call.args);
    }));
  }
  return outcomes;
}

function start(call: OperationCall, moved: ArrayBuffer[]): OperationContext {
  return new OperationContext(selectPlatform(), call, moved);
}

type Piscina = typeof import('piscina');
let loaded: Piscina | undefined;

/** The package of the pool, whose way to move memory out of a task is a function of it. Few threads ever need it. */
function piscina(): Piscina {
  loaded ??= uninterrupted(() => createRequire(import.meta.url)('piscina') as Piscina);
  return loaded;
}
