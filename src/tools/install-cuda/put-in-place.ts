/**
 * Moves the libraries of a provider from an archive to the folder that loads them: unpacks them
 * beside their places, hashes them on the way, and renames them only when all are complete and
 * right. A server that starts meanwhile finds the old ones or none.
 */
import { createHash } from 'node:crypto';
import { mkdir, open, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf, SetupError } from '../../errors.js';
import { PROVIDER_FILES, type ProviderFile } from '../../workers/inference/cuda/provider-place.js';
import { Zip } from './zip.js';

export interface Placed {
  readonly file: ProviderFile;
  readonly bytes: number;
  readonly sha256: string;
}

/**
 * @param within the folder of the libraries in the archive
 * @param hashes the expected ones; null: any
 * @param unlike what to say if they differ
 */
export async function putInPlace(
  archive: string,
  within: string,
  folder: string,
  hashes: Readonly<Record<ProviderFile, string>> | null,
  unlike: string,
): Promise<Placed[]> {
  const parts = PROVIDER_FILES.map((file) => ({
    file,
    part: join(folder, `.${file}.${process.pid}`),
  }));
  try {
    await mkdir(folder, { recursive: true });
    const zip = await Zip.open(archive);
    const placed: Placed[] = [];
    try {
      for (const { file, part } of parts)
        placed.push(await unpack(zip, `${within}/${file}`, part, file));
    } finally {
      await zip.close();
    }
    const wrong = placed.find(({ file, sha256 }) => hashes !== null && hashes[file] !== sha256);
    if (wrong !== undefined)
      throw new Error(`its ${wrong.file} has the SHA-256 ${wrong.sha256}: ${unlike}`);
    for (const { file, part } of parts) await rename(part, join(folder, file));
    return placed;
  } catch (error) {
    throw new SetupError('environment', [`can't install from ${archive}: ${messageOf(error)}`]);
  } finally {
    for (const { part } of parts) await rm(part, { force: true });
  }
}

async function unpack(zip: Zip, name: string, target: string, file: ProviderFile): Promise<Placed> {
  const hash = createHash('sha256');
  let bytes = 0;
  const output = await open(target, 'w', 0o755);
  try {
    await zip.read(name, async (chunk) => {
      hash.update(chunk);
      bytes += chunk.length;
      await output.writeFile(chunk);
    });
  } finally {
    await output.close();
  }
  return { file, bytes, sha256: hash.digest('hex') };
}
