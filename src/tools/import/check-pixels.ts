/**
 * The pixels on which the prepared graph is compared with the original: random ones, and pictures
 * through the model's own recipe, drawn ones or those of a folder.
 */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf, SetupError } from '../../errors.js';
import type { Manifest } from '../../models/manifest.js';
import { xorshift32 } from '../../onnx/vit/xorshift.js';
import { drawJpeg } from '../../workers/decode/draw.js';
import { createPixelPreparer } from '../../workers/decode/prepare-pixels.js';

const MAX_IMAGES = 64;
const MAX_IMAGE_PIXELS = 50_000_000;
const DRAWN: readonly (readonly [width: number, height: number])[] = [
  [320, 240],
  [240, 320],
  [500, 375],
  [96, 96],
];

/** `count` images of random bytes, the same in every run: uint8 `[height, width, 3]` each. */
export function randomPixels(
  count: number,
  { height, width }: { height: number; width: number },
): Uint8Array[] {
  // A linear generator would repeat itself along the rows.
  let state = 0x9e3779b9;
  return Array.from({ length: count }, () =>
    Uint8Array.from({ length: height * width * 3 }, () => {
      state = xorshift32(state);
      return state >>> 24;
    }),
  );
}

/**
 * Pictures as the server would prepare them. `folder` null: drawn ones. `skipped` names files that
 * can't be decoded.
 */
export async function picturePixels(
  folder: string | null,
  { input, preprocessing }: Pick<Manifest, 'input' | 'preprocessing'>,
): Promise<{ readonly pixels: Uint8Array[]; readonly skipped: readonly string[] }> {
  const { height, width } = input;
  const preparer = createPixelPreparer({
    maxImagePixels: MAX_IMAGE_PIXELS,
    recipe: preprocessing,
    height,
    width,
  });
  const pictures = folder === null ? await drawnPictures() : await picturesIn(folder);
  const pixels: Uint8Array[] = [];
  const skipped: string[] = [];
  for (const { name, read } of pictures) {
    const target = new Uint8Array(height * width * 3);
    try {
      await preparer.prepare(await read(), target);
      pixels.push(target);
    } catch (error) {
      skipped.push(`${name}: ${messageOf(error)}`);
    }
  }
  if (pixels.length === 0) {
    throw new SetupError('usage', [
      skipped[0] === undefined
        ? `--check-images ${folder} has no JPEG, PNG or WebP file: give a folder with images`
        : `--check-images ${folder} has no image that can be decoded (${skipped[0]}): give a folder with images`,
    ]);
  }
  return { pixels, skipped };
}

interface Picture {
  readonly name: string;
  read(): Promise<Buffer>;
}

async function drawnPictures(): Promise<Picture[]> {
  return DRAWN.map(([width, height]) => ({
    name: `${width} × ${height}`,
    read: () => drawJpeg(width, height),
  }));
}

async function picturesIn(folder: string): Promise<Picture[]> {
  const names = await readdir(folder).catch((error: unknown) => {
    throw new SetupError('usage', [`--check-images: can't read ${folder} (${messageOf(error)})`]);
  });
  const pictures = names.filter((name) => /\.(jpe?g|png|webp)$/i.test(name)).sort();
  return pictures
    .slice(0, MAX_IMAGES)
    .map((name) => ({ name, read: () => readFile(join(folder, name)) }));
}
