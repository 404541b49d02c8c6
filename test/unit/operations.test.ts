/** Operations by name: none may hide another one. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { mergeTables } from '../internals.js';

test('tables become one, and a name that stands in two is told', () => {
  assert.equal(mergeTables({ open: 1, close: 2 }, { read: 3 }, {}), { open: 1, close: 2, read: 3 });
  assert.throws(() => mergeTables({ open: 1, close: 2 }, { read: 3 }, { read: 4, open: 5 }), /each operation has a name of its own, but not read, open/);
});

test.run();
