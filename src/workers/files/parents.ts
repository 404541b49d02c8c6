/** The directories in which names are made, moved and removed: open while that happens, and synced once afterwards. */
import { dirname } from 'node:path';
import { inFile } from '../../platform/errno.js';
import type { At } from '../../platform/interface/places.js';
import type { Platform } from '../../platform/platform.js';
import type { Place } from '../protocol/operation.js';
import { openPlace, partsOf } from './places.js';

/** An open directory. */
export interface Parent {
  readonly descriptor: number;
  readonly path: string;
  /** The same for every path that leads to it. */
  readonly identity: string;
}

/** A name in an open directory: whatever is moved meanwhile, the directory that is synced is the one that was changed. */
export interface Entry {
  readonly parent: Parent;
  readonly name: string;
  readonly at: At & { readonly directory: number };
  /** As errors name it. */
  readonly path: string;
}

export class Parents {
  readonly #platform: Platform;
  readonly #durable: boolean;
  /** By the path that leads there. */
  readonly #known = new Map<string, Parent>();
  /** By identity. */
  readonly #open = new Map<string, Parent>();
  readonly #changed = new Set<Parent>();

  /** `durable`: they will be synced, for which they must be readable. */
  constructor(platform: Platform, durable: boolean) {
    this.#platform = platform;
    this.#durable = durable;
  }

  /** The entry of a place; its directory stays open until {@link close}. */
  entryOf(place: Place): Entry {
    const { parent: path, name } = partsOf(place);
    const key = `${place.root ?? ''}:${path}`;
    let parent = this.#known.get(key);
    if (parent === undefined) {
      parent = this.#openParent({ path, root: place.root });
      this.#known.set(key, parent);
    }
    // A slash at the end says that it is a directory: the system looks whether it is.
    const slash = place.root === undefined && name !== '.' && place.path.endsWith('/') ? '/' : '';
    return { parent, name, at: { directory: parent.descriptor, path: `${name}${slash}` }, path: place.path };
  }

  /** Directories may have been renamed: paths are looked up anew. */
  forget(): void {
    this.#known.clear();
  }

  /** A name in it has changed. */
  changed({ parent }: Entry): void {
    this.#changed.add(parent);
  }

  /**
   * Syncs what has changed, in the order in which that was told, each directory once. Answers what failed, by the identity of the
   * directory: what was done there may be lost, and another sync would prove nothing.
   */
  sync(): ReadonlyMap<string, Error> {
    const failures = new Map<string, Error>();
    for (const { identity, descriptor, path } of this.#durable ? this.#changed : []) {
      try {
        inFile(path, () => {
          this.#platform.files.syncFull(descriptor);
        });
      } catch (error) {
        failures.set(identity, error as Error);
      }
    }
    this.#changed.clear();
    return failures;
  }

  close(): void {
    for (const { descriptor } of this.#open.values()) this.#platform.files.close(descriptor);
    this.#open.clear();
  }

  #openParent(place: Place): Parent {
    const { files } = this.#platform;
    const descriptor = inFile(place.path, () => openPlace(this.#platform, place, { write: false, directory: true, pathOnly: !this.#durable }));
    try {
      const { device, inode } = files.status(descriptor, place.path);
      const identity = `${device}:${inode}`;
      const known = this.#open.get(identity);
      if (known !== undefined) {
        files.close(descriptor);
        return known;
      }
      const parent = { descriptor, path: place.path, identity };
      this.#open.set(identity, parent);
      return parent;
    } catch (error) {
      files.close(descriptor);
      throw error;
    }
  }
}

/** Changes names, and syncs their directories where that is wanted. */
export function changeNames<T>(platform: Platform, durable: boolean, change: (parents: Parents) => T): T {
  const parents = new Parents(platform, durable);
  try {
    const result = change(parents);
    for (const failure of parents.sync().values()) throw failure;
    return result;
  } finally {
    parents.close();
  }
}

/** The directory from which a link that is found there leads on; or that has to be there before the place can. */
export function parentOf(place: Place): Place {
  return { path: place.root === undefined ? dirname(place.path) : partsOf(place).parent, root: place.root };
}
