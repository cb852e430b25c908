/**
 * What is known of the files of a version between two looks at the repository: whether they have
 * changed since they were read, and, of a version that is served, what to tell the operator of it.
 *
 * What it costs: a look compares names, sizes and times; files are read anew only where these have
 * changed.
 */
import { basename } from 'node:path';
import type { Model } from '../../models/repository.js';
import { changedFiles, type HashedFile } from '../../models/weights.js';

/** By their stamps (`stampOf`). */
export class FileWatch {
  #read: string;
  /** At the last look. */
  #seen: string;

  /** @param read the stamp from before they were read */
  constructor(read: string) {
    this.#read = read;
    this.#seen = read;
  }

  /**
   * Whether they are others than those that were read. Not yet, while they still change from look
   * to look.
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

/** The files of a version that is being served, which should not change. */
export class ServedFiles {
  readonly #model: Model;
  readonly #watch: FileWatch;
  #problem: string | null = null;

  constructor(model: Model) {
    this.#model = model;
    this.#watch = new FileWatch(model.stamp);
  }

  /**
   * What is to be told now: once for as long as it stays the same, but again to who asks by hand.
   */
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
    ? ', and lost processes of it can not be replaced'
    : '';
  return (
    `model ${name}/${version}: ${names} changed after the version was loaded. It is not loaded again${lost}: ` +
    'put the old content back, and new content into a version folder with a higher number'
  );
}
