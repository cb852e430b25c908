/**
 * An image file to the pixels a model takes: sniff, decode, resize, crop, all in the calling process. This is what a
 * decoder process does for each image.
 *
 * The result equals what Pillow 12 makes of the same file by the same recipe (`docs/preprocessing.md` says how that is
 * known and where it ends). One image at a time: memory is shared, and decoding is asynchronous only because sharp is.
 */

import { outputSize, planGeometry, type Recipe } from '../model/recipe.js';
import { createImageDecoder, type DecoderName, type JpegDecoderChoice } from './decode-image.js';
import { createPassMemory } from './passes.js';
import { createResampler } from './resample.js';
import type { DecodableFormat } from './sniff.js';
import type { TurboJpegMissing } from './turbojpeg-library.js';

export interface PreparedImage {
  readonly format: DecodableFormat;
  readonly decoder: DecoderName;
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
  /** What ordinary JPEG files are decoded with. */
  readonly jpegDecoder: DecoderName;
  /** Why libturbojpeg is not used though it may be; null where it is, or where it was not wanted. */
  readonly jpegFallback: TurboJpegMissing | null;
}

/**
 * @param options.jpegDecoder `auto` (where not given): libturbojpeg where it can be loaded
 * @param options.height, options.width what the model takes, in pixels
 * @throws RangeError if the recipe doesn't always yield height × width
 */
export function createPixelPreparer(options: {
  maxImagePixels: number;
  jpegDecoder?: JpegDecoderChoice;
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
  const memory = createPassMemory();
  const decoder = createImageDecoder({ maxImagePixels, jpegDecoder: options.jpegDecoder ?? 'auto', memory });
  const resampler = createResampler(memory);

  return {
    jpegDecoder: decoder.jpegDecoder,
    jpegFallback: decoder.jpegFallback,
    async prepare(bytes, target) {
      const picture = await decoder.decode(bytes);
      const geometry = planGeometry(recipe, picture.width, picture.height);
      resampler.resample(picture, geometry, recipe.interpolation, target);
      const { format, decoder: ran, width: sourceWidth, height: sourceHeight } = picture;
      return { format, decoder: ran, sourceWidth, sourceHeight };
    },
  };
}
