/** What one open file takes over from another, on every filesystem; and that metadata below a root stays below it. */
import { chmodSync, chownSync, closeSync, mkdirSync, openSync, statSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { NotSupportedError } from 'tidemark';
import { noRoot, skip } from '../fault/tools.js';
import { temporaryDirectory } from '../support.js';
import { directoryOn, FILESYSTEMS } from './filesystems.js';
import { ACL, attributesOf, rejection, setAttribute } from './metadata-tools.js';

const dist = (file: string): string => new URL(`../../../dist/${file}`, import.meta.url).href;
const { copyMetadata, MODE_ALONE } = (await import(dist('workers/files/preserve.js'))) as typeof import('../../dist/workers/files/preserve.js');
const { fileOperations } = (await import(dist('workers/files/operations.js'))) as typeof import('../../dist/workers/files/operations.js');
const { OperationContext } = (await import(dist('workers/files/context.js'))) as typeof import('../../dist/workers/files/context.js');
const platform = ((await import(dist('platform/select.js'))) as typeof import('../../dist/platform/select.js')).selectPlatform();

const ALL = { mode: true, owner: true, times: true, xattrs: true } as const;

/** The capability to bind low ports (struct vfs_cap_data). */
const CAPABILITY = '0100000200040000000000000000000000000000';

function withFiles<T>(directory: string, use: (from: number, to: number, target: string, source: string) => T): T {
  const [source, target] = [join(directory, 'source'), join(directory, 'target')];
  for (const path of [source, target]) writeFileSync(path, '', { mode: 0o600 });
  chownSync(source, 1001, 1002);
  const opened = [openSync(source, 'r+'), openSync(target, 'r+')] as const;
  try {
    return use(...opened, target, source);
  } finally {
    for (const descriptor of opened) closeSync(descriptor);
  }
}

/** As another user, for one call. */
function as<T>(uid: number, call: () => T): T {
  process.seteuid?.(uid);
  try {
    return call();
  } finally {
    process.seteuid?.(0);
  }
}

for (const filesystem of FILESYSTEMS) {
  const { name } = filesystem;

  test(`${name}: everything is taken over`, () => {
    withFiles(directoryOn(filesystem), (from, to, target, source) => {
      for (const [attribute, hex] of [['user.a', '00ff'], ['trusted.b', ''], ['security.capability', CAPABILITY], ['system.posix_acl_access', ACL]] as const) {
        setAttribute(source, attribute, hex);
      }
      chmodSync(source, 0o6660);
      utimesSync(source, 1, 2.5);
      assert.equal(copyMetadata(platform, from, to, ALL), []);
      const { mode, uid, gid, atimeNs, mtimeNs } = statSync(target, { bigint: true });
      assert.equal([mode, uid, gid, atimeNs, mtimeNs], [0o106660n, 1001n, 1002n, 1_000_000_000n, 2_500_000_000n]);
      assert.equal(attributesOf(target), attributesOf(source));
      assert.is(attributesOf(target)['system.posix_acl_access'], ACL);
    });
  });

  test(`${name}: what was not asked for stays`, () => {
    withFiles(directoryOn(filesystem), (from, to, target, source) => {
      chmodSync(source, 0o644);
      setAttribute(source, 'user.a', '01');
      setAttribute(target, 'user.b', '02');
      const before = statSync(target, { bigint: true });
      assert.equal(copyMetadata(platform, from, to, { mode: false, owner: false, times: false, xattrs: false }), []);
      const after = statSync(target, { bigint: true });
      assert.equal([after.ctimeNs, after.mode, after.uid, attributesOf(target)], [before.ctimeNs, before.mode, before.uid, { 'user.b': '02' }]);
    });
  });

  for (const [what, parts] of [['everything', ALL], ['the mode alone', MODE_ALONE]] as const) {
    test(`${name}: with ${what}, a list that the directory gave does not outlive one that the source has not`, () => {
      const directory = directoryOn(filesystem);
      setAttribute(directory, 'system.posix_acl_default', ACL);
      withFiles(directory, (from, to, target, source) => {
        platform.attributes.remove(from, 'system.posix_acl_access');
        chmodSync(source, 0o640);
        assert.ok('system.posix_acl_access' in attributesOf(target), 'inherited');
        assert.equal(copyMetadata(platform, from, to, parts), []);
        assert.equal(attributesOf(target), {});
        assert.is(statSync(target).mode & 0o7777, 0o640);
      });
    });
  }

  test(`${name}: the mode comes with the list that it is a part of`, () => {
    withFiles(directoryOn(filesystem), (from, to, target, source) => {
      setAttribute(source, 'system.posix_acl_access', ACL);
      setAttribute(source, 'user.a', '01');
      assert.equal(copyMetadata(platform, from, to, MODE_ALONE), []);
      const { 'system.posix_acl_access': list, 'user.a': other } = attributesOf(target);
      assert.equal([statSync(target).mode & 0o7777, list, other], [0o660, ACL, undefined]);
    });
  });
}

function asRoot(): void {
  test('setuid is for the owner it was given by', () => {
    withFiles(temporaryDirectory(), (from, to, target, source) => {
      chmodSync(source, 0o6755);
      assert.equal(copyMetadata(platform, from, to, { ...ALL, owner: false }), ['setuid', 'setgid']);
      assert.is(statSync(target).mode & 0o7777, 0o755);
    });
  });

  test('where the list cannot be had, its mask gives nothing to the group', () => {
    for (const parts of [ALL, MODE_ALONE]) {
      withFiles(temporaryDirectory(), (from, to, target, source) => {
        setAttribute(source, 'system.posix_acl_access', ACL);
        const { attributes } = platform;
        const without = { ...platform, attributes: { ...attributes, set: () => {
          throw new NotSupportedError('fsetxattr', 'this filesystem has no lists');
        } } };
        assert.equal(copyMetadata(without, from, to, { ...parts, owner: false }), ['system.posix_acl_access']);
        assert.is(statSync(target).mode & 0o7777, 0o600);
      });
    }
  });

  test('what this process may not give is told', () => {
    withFiles(temporaryDirectory(), (from, to, target, source) => {
      setAttribute(source, 'trusted.a', '01');
      setAttribute(source, 'user.b', '02');
      chmodSync(source, 0o6711);
      chownSync(target, 1001, 65_534);
      const { attributes, ownership } = platform;
      // The owner of both files, who knows what only root can list.
      const asOwner = {
        ...platform,
        ownership: { chown: (...args: Parameters<typeof ownership.chown>) => as(1001, () => ownership.chown(...args)) },
        attributes: { ...attributes, set: (...args: Parameters<typeof attributes.set>) => as(1001, () => attributes.set(...args)) },
      };
      assert.equal(copyMetadata(asOwner, from, to, ALL), ['gid', 'trusted.a', 'setgid']);
      assert.equal(attributesOf(target), { 'user.b': '02' });
      assert.is(statSync(target).mode & 0o7777, 0o4711);
    });
  });
}

// ---- below a root -----------------------------------------------------------------------------------------------------

const tree = temporaryDirectory();
const inside = join(tree, 'inside');
mkdirSync(join(inside, 'directory'), { recursive: true });
writeFileSync(join(tree, 'outside'), '', { mode: 0o600 });
writeFileSync(join(inside, 'directory', 'file'), '', { mode: 0o600 });
symlinkSync('../outside', join(inside, 'escape'));
symlinkSync('..', join(inside, 'up'));
symlinkSync('directory/file', join(inside, 'link'));
const root = openSync(inside, 'r');
const context = new OperationContext(platform, { name: '', args: [], control: undefined }, []);
const followed = { followLink: true, durable: false };

/** Every operation of these rooms, on the place it is given. */
const OPERATIONS: Readonly<Record<string, (path: string) => unknown>> = {
  getXattr: (path) => fileOperations.getXattr(context, { path, root }, 'user.x', true),
  setXattr: (path) => fileOperations.setXattr(context, { path, root }, 'user.x', Buffer.from('x'), 'set', followed),
  'setXattr, durable': (path) => fileOperations.setXattr(context, { path, root }, 'user.x', Buffer.from('x'), 'set', { followLink: true, durable: true }),
  listXattr: (path) => fileOperations.listXattr(context, { path, root }, true),
  statx: (path) => fileOperations.statx(context, { path, root }, true),
  setTimes: (path) => fileOperations.setTimes(context, { path, root }, 1n, 2n, followed),
  chmod: (path) => fileOperations.chmod(context, { path, root }, 0o640, false),
  chown: (path) => fileOperations.chown(context, { path, root }, 5, 6, followed),
  removeXattr: (path) => fileOperations.removeXattr(context, { path, root }, 'user.x', followed),
};

function belowRoot(): void {
  for (const [name, operation] of Object.entries(OPERATIONS)) {
    test(`below a root: ${name} reaches what lies there, by its name and by a link`, () => {
      operation('directory/file');
      if (name !== 'removeXattr') operation('link');
    });

    for (const path of ['../outside', 'escape', 'up/outside', join(tree, 'outside')]) {
      test(`below a root: ${name} does not reach ${path.replace(tree, '(absolute)')}`, async () => {
        const before = statSync(join(tree, 'outside'), { bigint: true });
        assert.is((await rejection(Promise.resolve().then(() => operation(path)))).code, 'TIDEMARK_OUTSIDE_ROOT');
        assert.is(statSync(join(tree, 'outside'), { bigint: true }).ctimeNs, before.ctimeNs);
      });
    }
  }

  test('below a root: what is not supported names the filesystem that it was tried on', async () => {
    for (const path of ['directory/file', 'link']) {
      const set = Promise.resolve().then(() => fileOperations.setXattr(context, { path, root }, 'nobody.knows', Buffer.from('x'), 'set', followed));
      const error = await rejection(set);
      assert.is(error.code, 'TIDEMARK_NOT_SUPPORTED');
      assert.ok(error.message.includes(`the filesystem ${platform.files.filesystem(root).name} has no attribute`), error.message);
    }
  });

  test('below a root: a link itself, and a new name', async () => {
    const link = { path: 'directory/own', root };
    symlinkSync('/', join(inside, 'directory', 'own'));
    assert.is(fileOperations.statx(context, link, false).kind, 'symlink');
    fileOperations.setXattr(context, link, 'trusted.x', Buffer.from('x'), 'set', { followLink: false, durable: false });
    assert.equal(attributesOf(join(inside, 'directory', 'own')), { 'trusted.x': '78' });
    fileOperations.chown(context, link, 7, 8, { followLink: false, durable: false });
    for (const durable of [true, false]) {
      fileOperations.makeNode(context, { path: `directory/fifo-${durable}`, root }, 'fifo', 0o600, { major: 0, minor: 0 }, durable);
      assert.ok(statSync(join(inside, 'directory', `fifo-${durable}`)).isFIFO());
      for (const path of ['../fifo', 'up/fifo', join(tree, 'fifo')]) {
        const make = Promise.resolve().then(() => fileOperations.makeNode(context, { path, root }, 'fifo', 0o600, { major: 0, minor: 0 }, durable));
        assert.is((await rejection(make)).code, 'TIDEMARK_OUTSIDE_ROOT');
      }
    }
  });
}

const reason = noRoot();
if (reason !== undefined) skip('owners and attributes', reason);
else {
  asRoot();
  belowRoot();
}

test.run();
