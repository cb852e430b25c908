/**
 * Files that are there whole or not at all: written beside their place, flushed to the disk,
 * renamed into it.
 *
 * Chunks are written and hashed as they come; nothing is gathered in memory. A process that has the
 * old file open keeps it.
 */
import { createHash, randomBytes } from 'node:crypto';
import { type FileHandle, open, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';

/**
 * Node writes and hashes at most 2 GiB in one call; smaller pieces leave time for other work on the
 * event loop.
 */
const PIECE_BYTES = 64 * 1024 * 1024;

export interface WrittenFile {
  readonly path: string;
  readonly bytes: number;
  /** Lower-case hexadecimal. */
  readonly sha256: string;
}

/** A written file that is not in its place yet: `place` moves it there, `discard` removes it. */
export interface PendingFile extends WrittenFile {
  place(): Promise<void>;
  discard(): Promise<void>;
}

/**
 * Writes the chunks beside `path`. Throws what the file system throws, and then leaves nothing
 * behind.
 */
export async function writeBeside(
  path: string,
  chunks: Iterable<Uint8Array>,
): Promise<PendingFile> {
  const beside = join(
    dirname(path),
    `.${basename(path)}.${randomBytes(6).toString('hex')}.partial`,
  );
  const discard = () => rm(beside, { force: true });
  const file = await open(beside, 'wx');
  try {
    let written: { bytes: number; sha256: string };
    try {
      written = await writeChunks(file, chunks);
      await file.sync();
    } finally {
      await file.close();
    }
    const place = async () => {
      await rename(beside, path);
      await syncFolder(dirname(path));
    };
    return { path, ...written, place, discard };
  } catch (error) {
    await discard();
    throw error;
  }
}

async function writeChunks(
  file: FileHandle,
  chunks: Iterable<Uint8Array>,
): Promise<{ bytes: number; sha256: string }> {
  const hash = createHash('sha256');
  let bytes = 0;
  for (const chunk of chunks) {
    for (let start = 0; start < chunk.length; start += PIECE_BYTES) {
      const piece = chunk.subarray(start, start + PIECE_BYTES);
      hash.update(piece);
      await file.writeFile(piece);
      bytes += piece.length;
    }
  }
  return { bytes, sha256: hash.digest('hex') };
}

/** A rename is durable once its folder is flushed. */
async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
