// Builds the optional shim into dist/native/<platform>-<arch>/. Without a C compiler this says so and succeeds:
// everything works without it.
import { spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const EXTENSIONS = { win32: 'dll', darwin: 'dylib' };
const MACHINE_FLAGS = { x64: ['-msse4.2'], arm64: ['-march=armv8-a+crc'] };

const here = new URL('.', import.meta.url);
const target = new URL(`../dist/native/${process.platform}-${process.arch}/`, here);
const output = new URL(`tidemark.${EXTENSIONS[process.platform] ?? 'so'}`, target);
mkdirSync(target, { recursive: true });

const compiler = process.env.CC ?? 'cc';
const result = spawnSync(compiler, [
  '-O3', '-shared', '-fPIC', '-fvisibility=hidden', '-Wall', '-Wextra', '-Werror', ...(MACHINE_FLAGS[process.arch] ?? []),
  '-o', fileURLToPath(output), fileURLToPath(new URL('seal.c', here)),
], { encoding: 'utf8' });

if (result.error) console.log(`native shim: not built, no C compiler (${result.error.code}); frames are sealed by @node-rs/crc32`);
else if (result.status !== 0) console.log(`native shim: not built, ${compiler} failed; frames are sealed by @node-rs/crc32\n${result.stderr}`);
