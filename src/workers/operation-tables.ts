/** Tables of operations in one. */
import { assert } from '../platform/errors.js';

type Merged<Tables extends readonly unknown[]> = Tables extends readonly [infer First, ...infer Others] ? First & Merged<Others> : unknown;

/** All entries of the tables. A name that two of them have would hide an operation, and is refused. */
export function mergeTables<const Tables extends readonly Readonly<Record<string, unknown>>[]>(...tables: Tables): Merged<Tables> {
  const names = tables.flatMap((table) => Object.keys(table));
  const twice = names.filter((name, index) => names.indexOf(name) < index);
  assert(twice.length === 0, `each operation has a name of its own, but not ${twice.join(', ')}`);
  return Object.assign({}, ...tables) as Merged<Tables>;
}
