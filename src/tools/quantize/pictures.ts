/** The pictures of a folder as a model's pixels, one after another. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf, SetupError } from '../../errors.js';
import type { Manifest } from '../../models/manifest.js';
import { createPixelPreparer } from '../../workers/decode/prepare-pixels.js';

const MAX_IMAGE_PIXELS = 50_000_000;

/** Image files of a folder and its subfolders, sorted. Throws SetupError if there are none. */
export async function picturesIn(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true }).catch((error: unknown) => {
    throw new SetupError('usage', [
      `--images: can't read ${folder} (${messageOf(error)}): give a folder with images`,
    ]);
  });
  const files = entries.filter((name) => /\.(jpe?g|png|webp)$/i.test(name)).sort();
  if (files.length === 0) {
    throw new SetupError('usage', [
      `--images ${folder} has no JPEG, PNG or WebP file: give a folder with images`,
    ]);
  }
  return files.map((file) => join(folder, file));
}

/**
 * Pixels uint8 `[height, width, 3]` by the model's own recipe, in an array that is reused for the
 * next picture. A file that can't be decoded is left out and listed in `skipped`.
 */
export async function* preparePictures(
  files: readonly string[],
  { input, preprocessing }: Pick<Manifest, 'input' | 'preprocessing'>,
  skipped: string[],
): AsyncGenerator<Uint8Array> {
  const { height, width } = input;
  const preparer = createPixelPreparer({
    maxImagePixels: MAX_IMAGE_PIXELS,
    recipe: preprocessing,
    height,
    width,
  });
  const pixels = new Uint8Array(height * width * 3);
  for (const file of files) {
    try {
      await preparer.prepare(await readFile(file), pixels);
    } catch (error) {
      skipped.push(`${file}: ${messageOf(error)}`);
      continue;
    }
    yield pixels;
  }
}
