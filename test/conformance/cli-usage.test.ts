/** The command line: what is refused, and how. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { emptyDirectory, INVALID, matches, run, succeed, VERSION } from './cli-tools.js';

const usage = suite('cli: usage');

const USAGE_ERRORS: readonly { readonly args: readonly string[]; readonly says: string }[] = [
  { args: ['nonsense'], says: "unknown command 'nonsense'" },
  { args: ['cat'], says: "missing required argument 'journal'" },
  { args: ['cat', 'a', 'b'], says: "too many arguments for 'cat'" },
  { args: ['cat', '--nonsense', 'a'], says: "unknown option '--nonsense'" },
  { args: ['cat', '--from', '-1', 'a'], says: "option '--from <lsn>' argument '-1' is invalid" },
  { args: ['cat', '--from', '1e3', 'a'], says: "option '--from <lsn>' argument '1e3' is invalid" },
  { args: ['cat', '--from', '9007199254740992', 'a'], says: "option '--from <lsn>' argument '9007199254740992' is invalid" },
  { args: ['cat', '--limit', 'x', 'a'], says: "option '--limit <n>' argument 'x' is invalid" },
  { args: ['cat', '--json', '--length-prefixed', 'a'], says: "option '--json' cannot be used with option '--length-prefixed'" },
  { args: ['follow', '--from', 'start', 'a'], says: "option '--from <lsn>' argument 'start' is invalid" },
  { args: ['append', '--preallocate', '1T', 'a'], says: "option '--preallocate <bytes>' argument '1T' is invalid" },
  { args: ['append', '--preallocate', '9999999G', 'a'], says: "option '--preallocate <bytes>' argument '9999999G' is invalid" },
  { args: ['append', '--preallocate', '2048G', 'a'], says: 'Expected `preallocate` to be an integer from 0 to 1099511627776' },
  { args: ['append', '--layout', 'directory', 'a'], says: "option '--layout <layout>' argument 'directory' is invalid" },
  { args: ['append', '--segment-bytes', '64kB', 'a'], says: "option '--segment-bytes <bytes>' argument '64kB' is invalid" },
  { args: ['append', '--segment-bytes', '65k', 'a'], says: 'Expected `segmentBytes` to be a power of two from 65536 to 1073741824' },
  { args: ['append', '--segment-bytes', '32k', 'a'], says: 'Expected `segmentBytes` to be an integer from 65536 to 1073741824' },
  { args: ['append', '--backend', 'aio', 'a'], says: "option '--backend <backend>' argument 'aio' is invalid" },
  { args: ['bench', '--seconds', '0'], says: "option '--seconds <n>' argument '0' is invalid" },
  { args: ['bench', '--concurrency', '1,,2'], says: "option '--concurrency <list>' argument '1,,2' is invalid" },
  { args: ['bench', '--concurrency', '0'], says: "option '--concurrency <list>' argument '0' is invalid" },
  { args: ['bench', '--layout', 'log'], says: "option '--layout <layout>' argument 'log' is invalid" },
  { args: ['bench', '--size', '1G'], says: "option '--size <bytes>' argument '1G' is invalid" },
];

for (const { args, says } of USAGE_ERRORS) {
  usage(args.join(' '), async () => {
    const result = await run(args);
    matches(result, { code: 1, stderr: INVALID });
    assert.is(result.stderr.slice(0, 10 + says.length), `tidemark: ${says}`);
    assert.is(result.stderr.split('\n').length, 2, 'one line');
  });
}

usage('--version', async () => {
  matches(await run(['--version']), { code: 0, stdout: `${VERSION}\n` });
});

usage('no command', async () => {
  matches(await run([]), { code: 1, stderr: /^Usage: tidemark/ });
});

usage('the layouts are in the help, and which one is the default', async () => {
  const help = (await succeed(['append', '--help'])).replace(/\s+/g, ' ');
  assert.match(help, '--layout <layout> layout of a journal that is created; default: segments (choices: "segments", "file")');
  assert.match(help, '--segment-bytes <bytes> layout segments, of a journal that is created: bytes of a segment');
  assert.match((await succeed(['bench', '--help'])).replace(/\s+/g, ' '), '--layout <layout> layout of the journal (choices: "segments", "file", default: "segments")');
});

for (const args of [['--help'], ['append', '--help'], ['cat', '--help'], ['follow', '--help'], ['info', '--help'], ['verify', '--help'], ['doctor', '--help'], ['bench', '--help']]) {
  usage(args.join(' '), async () => {
    matches(await run(args), { code: 0, stdout: /^Usage: tidemark [^]*Exit codes:\n {2}0 {2}success\n {2}1 {2}error[^]*\n {2}2 {2}the journal is damaged/ });
  });
}

for (const command of ['cat', 'follow', 'info', 'verify']) {
  usage(`${command} of what cannot be read`, async () => {
    matches(await run([command, 'no-such-file']), { code: 1, stderr: /^tidemark: .*'[^']*no-such-file'.*\(ENOENT\) \[TIDEMARK_NOT_FOUND\]\n$/ });
    matches(await run([command, emptyDirectory()]), { code: 2, stderr: /^tidemark: .* it has no segments \[TIDEMARK_NOT_A_JOURNAL\]\n$/ });
    matches(await run([command, '/dev/null']), { code: 1, stderr: /^tidemark: .* \[TIDEMARK_NOT_A_FILE\]\n$/ });
  });
}

usage('the stack is for those who ask', async () => {
  matches(await run(['cat', 'no-such-file'], '', { TIDEMARK_DEBUG: '1' }), { code: 1, stderr: /^tidemark: IoError: .*\n {4}at /s });
});

usage.run();
