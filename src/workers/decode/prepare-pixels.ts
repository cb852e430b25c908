/**
 * An image file to the pixels a model takes: sniff, decode, resize, crop, all in the calling
 * process. A decoder process does this for each image.
 *
 * The result equals Pillow 12's for the same file and recipe (`docs/internals/preprocessing.md`
 * says how that is known and where it ends). One image at a time: memory is shared, and decoding is
 * asynchronous only because sharp is.
 */

import { outputSize, planGeometry, type Recipe } from '../../models/recipe.js';
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
   * Writes height × width × 3 uint8 values (rows from the top, R, G, B) into `target`, which must
   * have that size. After an error the content of `target` is unspecified.
   *
   * @throws RequestError with an IMAGE_… reason if the image is at fault.
   */
  prepare(bytes: Buffer, target: Uint8Array): Promise<PreparedImage>;
}

/** What a model needs of an image. Every call passes it to its decoder. */
export interface PixelPlan {
  readonly recipe: Recipe;
  /** The model's input, in pixels. */
  readonly height: number;
  readonly width: number;
}

/** The decoder of a process, for any number of plans, which share its memory. */
export interface PixelDecoder {
  /** The decoder of ordinary JPEG files. */
  readonly jpegDecoder: DecoderName;
  /** Why libturbojpeg is not used though wanted; null if it is used or was not wanted. */
  readonly jpegFallback: TurboJpegMissing | null;
  /** @throws RangeError if the recipe doesn't always yield height × width */
  preparerFor(plan: PixelPlan): PixelPreparer;
}

export interface PixelDecoderOptions {
  readonly maxImagePixels: number;
  /** Default `auto`: libturbojpeg if it can be loaded. */
  readonly jpegDecoder?: JpegDecoderChoice;
}

export function createPixelDecoder({
  maxImagePixels,
  jpegDecoder = 'auto',
}: PixelDecoderOptions): PixelDecoder {
  const memory = createPassMemory();
  const decoder = createImageDecoder({ maxImagePixels, jpegDecoder, memory });
  const resampler = createResampler(memory);
  return {
    jpegDecoder: decoder.jpegDecoder,
    jpegFallback: decoder.jpegFallback,
    preparerFor({ recipe, height, width }) {
      const yielded = outputSize(recipe);
      if (yielded === null || yielded.height !== height || yielded.width !== width) {
        const found =
          yielded === null ? 'pictures of varying size' : `${yielded.height} × ${yielded.width}`;
        throw new RangeError(
          `the recipe yields ${found}, the model takes ${height} × ${width} (height × width)`,
        );
      }
      return {
        async prepare(bytes, target) {
          const picture = await decoder.decode(bytes);
          const geometry = planGeometry(recipe, picture.width, picture.height);
          resampler.resample(picture, geometry, recipe.interpolation, target);
          const { format, decoder: ran, width: sourceWidth, height: sourceHeight } = picture;
          return { format, decoder: ran, sourceWidth, sourceHeight };
        },
      };
    },
  };
}

/** For a process that prepares images for one model only. */
export function createPixelPreparer(options: PixelDecoderOptions & PixelPlan): PixelPreparer {
  return createPixelDecoder(options).preparerFor(options);
}
