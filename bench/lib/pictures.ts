/** The pictures that benchmarks work on. */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import sharp from 'sharp';
import { sum } from './figures.js';
import { ROOT } from './machine.js';

/** A folder of photos beside the repository, which some machines have. */
const PHOTOS = join(ROOT, '../shared/data/photos');

/** JPEG files of noise, of the size of a photo unless told otherwise. */
export async function drawnPictures({ width = 500, height = 375 } = {}): Promise<Buffer[]> {
  return await Promise.all(
    Array.from({ length: 16 }, (_, seed) => {
      const noise = { type: 'gaussian', mean: 100 + seed * 4, sigma: 12 + seed } as const;
      return sharp({ create: { width, height, channels: 3, background: 'grey', noise } })
        .jpeg({ quality: 85 })
        .toBuffer();
    }),
  );
}

/** The JPEG files of a folder. */
export function jpegsIn(folder: string): string[] {
  return readdirSync(folder)
    .filter((name) => /\.jpe?g$/i.test(name))
    .sort()
    .map((name) => join(folder, name));
}

/** The photos of the folder, or of this machine, or drawn ones. */
export async function photosOf(folder: string | null): Promise<Buffer[]> {
  if (folder === null && !existsSync(PHOTOS)) return await drawnPictures();
  return jpegsIn(folder ?? PHOTOS).map((path) => readFileSync(path));
}

/** The same as a folder, for programs that read by themselves; drawn ones go into `scratch`. */
export async function photosFolder(folder: string | null, scratch: string): Promise<string> {
  if (folder !== null || existsSync(PHOTOS)) return folder ?? PHOTOS;
  const drawn = join(scratch, 'drawn');
  mkdirSync(drawn);
  for (const [index, image] of (await drawnPictures()).entries())
    writeFileSync(join(drawn, `${index}.jpg`), image);
  return drawn;
}

/** `125 photos of 113 kB` */
export function described(images: readonly Uint8Array[]): string {
  const kilobytes = sum(images.map(({ length }) => length)) / images.length / 1000;
  return `${images.length} photos of ${kilobytes.toFixed(0)} kB`;
}
