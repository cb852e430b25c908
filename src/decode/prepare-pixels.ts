/**
 * An image file to the pixels a model takes: sniff, decode, resize, crop, all in the calling process. This is what a
 * decoder process does for each image.
 *
 * The result equals what Pillow 12 makes of the same file by the same recipe (`docs/preprocessing.md` says how that is
 * known and where it ends). One image at a time: decoding is asynchronous only because sharp is.
 */

import { outputSize, planGeometry, type Recipe } from '../model/recipe.js';
import { createImageDecoder } from './decode-image.js';
import { createResampler } from './resample.js';
import type { DecodableFormat } from './sniff.js';

export interface PreparedImage {
  readonly format: DecodableFormat;
  /** The decoded picture's size, after EXIF orientation. */
  readonly sourceWidth: number;
  readonly sourceHeight: number;
}

export interface PixelPreparer {
  /**
   * Writes height × width × 3 uint8 values (rows from the top, R, G, B) into `target`, which must have that size.
   * After an error the content of `target` is unspecified.
   *
   * @throws RequestError with an IMAGE_… reason if the image is at fault.
   */
  prepare(bytes: Buffer, target: Uint8Array): Promise<PreparedImage>;
}

/**
 * @param options.height, options.width what the model takes, in pixels
 * @throws RangeError if the recipe doesn't always yield height × width
 */
export function createPixelPreparer(options: {
  maxImagePixels: number;
  recipe: Recipe;
  height: number;
  width: number;
}): PixelPreparer {
  const { maxImagePixels, recipe, height, width } = options;
  const yielded = outputSize(recipe);
  if (yielded === null || yielded.height !== height || yielded.width !== width) {
    const found = yielded === null ? 'pictures of varying size' : `${yielded.height} × ${yielded.width}`;
    throw new RangeError(`the recipe yields ${found}, the model takes ${height} × ${width} (height × width)`);
  }
  const decoder = createImageDecoder({ maxImagePixels });
  const resampler = createResampler();

  return {
    async prepare(bytes, target) {
      const picture = await decoder.decode(bytes);
      const geometry = planGeometry(recipe, picture.width, picture.height);
      resampler.resample(picture, geometry, recipe.interpolation, target);
      return { format: picture.format, sourceWidth: picture.width, sourceHeight: picture.height };
    },
  };
}
