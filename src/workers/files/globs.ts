/** Which paths globs name, and which directories may hold such paths. */
import { createRequire } from 'node:module';
import { uninterrupted } from '../../platform/thread-start.js';

export interface Globs {
  readonly patterns: readonly string[];
  /** Wildcards match names that begin with a dot too. */
  readonly dot: boolean;
}

export interface GlobMatcher {
  /** Of a path with `/` between its parts, relative to where the scan began. */
  matches(path: string): boolean;
  /** Whether anything below a directory can match. True also where that is not certain. */
  mayHold(directory: string): boolean;
}

type Picomatch = typeof import('picomatch');
type PartMatcher = (name: string) => boolean;

let loaded: Picomatch | undefined;

/** Few threads ever need it. */
function picomatch(): Picomatch {
  loaded ??= uninterrupted(() => createRequire(import.meta.url)('picomatch') as Picomatch);
  return loaded;
}

export function compileGlobs({ patterns, dot }: Globs): GlobMatcher {
  const options = { dot, nonegate: true, posix: true };
  const matches = picomatch()([...patterns], options);
  const beginnings = patterns.map((pattern) => beginningOf(pattern, options));
  return {
    matches: (path) => matches(path),
    mayHold: (directory) => {
      const names = directory.split('/');
      return beginnings.some(({ parts, open }) => (open || names.length < parts.length) && names.every((name, index) => parts[index]?.(name) ?? true));
    },
  };
}

/**
 * What the first parts of a path have to match, one by one. `open`: any number of parts may follow them. A part that may stand
 * for several (a globstar, or a slash inside braces) ends the list.
 */
function beginningOf(pattern: string, options: object): { readonly parts: readonly PartMatcher[]; readonly open: boolean } {
  const { parts = [] } = picomatch().scan(pattern, { ...options, parts: true }) as { readonly parts?: readonly string[] };
  const end = parts.findIndex((part) => part.includes('**') || part.includes('/'));
  const certain = (end < 0 ? parts : parts.slice(0, end)).filter((part) => part !== '' && part !== '.');
  return { parts: certain.map((part) => picomatch()(part, options)), open: end >= 0 };
}
