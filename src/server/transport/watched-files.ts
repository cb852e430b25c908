/**
 * Files that may change while the server runs: certificates, keys, tokens.
 *
 * They are polled and compared by content: Kubernetes mounts links into a folder that it swaps as a
 * whole, which events of single files miss. Several files are read until two readings are equal, so
 * that half of a swap is never used. Unusable content is reported on every look, and the content
 * before it stays in use.
 */
import { readFile } from 'node:fs/promises';
import type { Clock } from '../../clock.js';
import { messageOf, SetupError } from '../../errors.js';

export interface WatchedFile {
  /** The option that names the file, for messages. */
  readonly option: string;
  readonly path: string;
}

/** After this many readings that all differ, the files are left alone until the next look. */
const MOST_READINGS = 5;

export class WatchedFiles<Value> {
  readonly #files: readonly WatchedFile[];
  readonly #parse: (contents: readonly Buffer[]) => Value;
  #contents: readonly Buffer[];
  #value: Value;
  #stopped = false;

  private constructor(
    files: readonly WatchedFile[],
    parse: (contents: readonly Buffer[]) => Value,
    contents: readonly Buffer[],
    value: Value,
  ) {
    this.#files = files;
    this.#parse = parse;
    this.#contents = contents;
    this.#value = value;
  }

  /** Reads the files for the first time. Rejects with the SetupError of `parse` or of reading. */
  static async open<Value>(
    files: readonly WatchedFile[],
    parse: (contents: readonly Buffer[]) => Value,
  ): Promise<WatchedFiles<Value>> {
    const contents = await readSettled(files, null);
    return new WatchedFiles(files, parse, contents, parse(contents));
  }

  get value(): Value {
    return this.#value;
  }

  /**
   * Reads the files again. Resolves to whether there was new content, which `value` then has.
   * Rejects with SetupError and changes nothing.
   */
  async look(): Promise<boolean> {
    const contents = await readSettled(this.#files, this.#contents);
    if (areEqual(contents, this.#contents)) return false;
    this.#value = this.#parse(contents);
    this.#contents = contents;
    return true;
  }

  /** Calls `onLook`, which has to look and must not reject, every `intervalMs` from now on. */
  watch(clock: Clock, intervalMs: number, onLook: () => Promise<void>): void {
    clock.after(intervalMs, () => {
      if (this.#stopped) return;
      void onLook().then(() => this.watch(clock, intervalMs, onLook));
    });
  }

  stop(): void {
    this.#stopped = true;
  }
}

async function readSettled(
  files: readonly WatchedFile[],
  before: readonly Buffer[] | null,
): Promise<readonly Buffer[]> {
  let last = before;
  for (let reading = 0; reading < MOST_READINGS; reading++) {
    const contents = await readAll(files);
    if (last !== null && areEqual(contents, last)) return contents;
    last = contents;
  }
  throw new SetupError('environment', [
    `${files[0]?.option}: ${files[0]?.path} changes while it is read: write it in one step`,
  ]);
}

async function readAll(files: readonly WatchedFile[]): Promise<Buffer[]> {
  const readings = await Promise.allSettled(files.map(({ path }) => readFile(path)));
  const problems = readings.flatMap((reading, at) =>
    reading.status === 'rejected'
      ? [`${files[at]?.option}: ${files[at]?.path} can't be read (${messageOf(reading.reason)})`]
      : [],
  );
  if (problems.length > 0) throw new SetupError('environment', problems);
  return readings.map((reading) => (reading as PromiseFulfilledResult<Buffer>).value);
}

function areEqual(one: readonly Buffer[], other: readonly Buffer[]): boolean {
  return one.length === other.length && one.every((bytes, at) => bytes.equals(other[at] as Buffer));
}
