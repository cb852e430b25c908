/**
 * A new version in a model repository, whole or not at all: it is written into a hidden folder of
 * the repository, which servers ignore, and renamed when it is complete.
 */
import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf, SetupError } from '../../errors.js';

export interface NewVersion {
  readonly name: string;
  readonly version: number;
  /** The folder to write into. */
  readonly folder: string;
  /** Puts the version in its place and returns the place. */
  publish(): Promise<string>;
  /** Removes what was written, unless it was published. */
  discard(): Promise<void>;
}

/**
 * Throws SetupError if the name is invalid, the version exists, or the repository can't be written.
 */
export async function beginVersion(
  repository: string,
  name: string,
  wanted: number | 'auto',
): Promise<NewVersion> {
  if (!/^[A-Za-z0-9][\w.-]*$/.test(name)) {
    const rule = 'use letters, digits, dots, dashes and underscores, with a letter or digit first';
    throw new SetupError('usage', [
      `a model can't be called "${name}" (${rule}): give another --name`,
    ]);
  }
  const home = join(repository, name);
  const version = wanted === 'auto' ? (await highestVersion(home)) + 1 : wanted;
  const place = join(home, String(version));
  if (existsSync(place)) {
    throw new SetupError('usage', [`${place} exists: leave out --version, or give another one`]);
  }
  const folder = join(repository, `.import-${randomUUID()}`);
  const cantWrite = (error: unknown) =>
    new SetupError('environment', [
      `--model-repository: can't write to ${repository} (${messageOf(error)}): give another folder`,
    ]);
  await mkdir(folder, { recursive: true }).catch((error: unknown) => {
    throw cantWrite(error);
  });
  return {
    name,
    version,
    folder,
    async publish() {
      try {
        await mkdir(home, { recursive: true });
        await rename(folder, place);
      } catch (error) {
        throw cantWrite(error);
      }
      return place;
    },
    discard: () => rm(folder, { recursive: true, force: true }),
  };
}

async function highestVersion(home: string): Promise<number> {
  const names = await readdir(home).catch(() => []);
  return Math.max(0, ...names.filter((name) => /^[1-9]\d*$/.test(name)).map(Number));
}
