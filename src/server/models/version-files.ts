/**
 * Whether the files of a version have changed since they were read, and for a served version what
 * to tell the operator.
 *
 * What it costs: each look at the repository compares names, sizes and times. It reads files again
 * only where these have changed.
 */
import { basename } from 'node:path';
import type { Model } from '../../models/repository.js';
import { changedFiles, type HashedFile } from '../../models/weights.js';

/** Compares files by their stamps (`stampOf`). */
export class FileWatch {
  #read: string;
  /** At the last look. */
  #seen: string;

  /** @param read the stamp before the files were read */
  constructor(read: string) {
    this.#read = read;
    this.#seen = read;
  }

  /**
   * Whether the files differ from those that were read. False while they still change between two
   * looks, unless `evenUnsteady`.
   */
  haveChanged(stamp: string, { evenUnsteady = false } = {}): boolean {
    const isSteady = stamp === this.#seen;
    this.#seen = stamp;
    return (isSteady || evenUnsteady) && stamp !== this.#read;
  }

  read(stamp: string): void {
    this.#read = stamp;
  }
}

/** The files of a served version, which should not change. */
export class ServedFiles {
  readonly #model: Model;
  readonly #watch: FileWatch;
  #problem: string | null = null;

  constructor(model: Model) {
    this.#model = model;
    this.#watch = new FileWatch(model.stamp);
  }

  /** The problem to report, once for as long as it stays the same, or again with `byHand`. */
  async look(stamp: string, byHand: boolean): Promise<string | null> {
    if (!this.#watch.haveChanged(stamp, { evenUnsteady: byHand }))
      return byHand ? this.#problem : null;
    const { manifestFile, weights } = this.#model;
    const changed = await changedFiles([manifestFile, ...weights]);
    this.#watch.read(stamp);
    const before = this.#problem;
    this.#problem = changed.length === 0 ? null : problemOf(this.#model, changed);
    return this.#problem === before && !byHand ? null : this.#problem;
  }
}

function problemOf({ name, version, weights }: Model, changed: readonly HashedFile[]): string {
  const names = changed.map(({ path }) => basename(path)).join(', ');
  const lost = changed.some((file) => weights.includes(file))
    ? ', and its lost processes cannot be replaced'
    : '';
  return (
    `model ${name}/${version}: ${names} changed after the version was loaded. ` +
    `It is not loaded again${lost}: ` +
    'put the old content back, and new content into a version folder with a higher number'
  );
}
