// The pictures that the benchmarks work on.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import sharp from 'sharp';

/** A folder of photos beside the repository, which some machines have. */
export const PHOTOS = fileURLToPath(new URL('../../shared/data/photos', import.meta.url));

/** The JPEG files of a folder. */
export function jpegsIn(folder) {
  return readdirSync(folder)
    .filter((name) => /\.jpe?g$/i.test(name))
    .sort()
    .map((name) => join(folder, name));
}

/** JPEG files given on the command line, or drawn ones of the size of a photo. */
export async function pictures(paths, { width = 500, height = 375, count = 16 } = {}) {
  if (paths.length > 0) return paths.map((path) => readFileSync(path));
  return await Promise.all(
    Array.from({ length: count }, (_, seed) => {
      const noise = { type: 'gaussian', mean: 100 + seed * 4, sigma: 12 + seed };
      return sharp({ create: { width, height, channels: 3, background: 'grey', noise } })
        .jpeg({ quality: 85 })
        .toBuffer();
    }),
  );
}
