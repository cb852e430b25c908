/**
 * An image file to RGB pixels, as Pillow 12 decodes it:
 * `ImageOps.exif_transpose(Image.open(file)).convert('RGB')`.
 *
 * Embedded ICC profiles are ignored, orientation is applied (orientation.ts), alpha is dropped (the
 * RGB under it stays), palettes are expanded, grey becomes three equal channels, an animation gives
 * its first frame. Truncated files are rejected; files about which libjpeg and libpng only warn are
 * accepted, as in Pillow. `docs/internals/preprocessing.md` lists the files on which the two still
 * differ.
 *
 * libturbojpeg (turbojpeg.ts), if it can be loaded, decodes ordinary JPEG; sharp decodes everything
 * else, and every file about which libturbojpeg complains. sharp only decodes, at full size: its
 * shrink-on-load and its resizing are not Pillow's. Cost on a 500×375 JPEG: 1.0 ms of CPU with
 * libturbojpeg, 2.5 with sharp. Holds the encoded bytes, one decoded picture and, for rotated or
 * progressive ones, about as much again.
 */

import sharp, { type Sharp } from 'sharp';
import { messageOf, RequestError } from '../../errors.js';
import { boundWork } from './bound-work.js';
import { describeDamage, READ_AS_TEXT, wasReadAsText } from './damage.js';
import { type Header, pngPreambleIsSound, readHeader } from './header.js';
import { isMemoryShortage } from './memory-shortage.js';
import { type Orientation, readOrientation, TURNS } from './orientation.js';
import { createPassMemory, type PassMemory } from './passes.js';
import { type DecodableFormat, displayName, requireDecodable } from './sniff.js';
import { cmykToRgb, grey16ToRgb } from './to-rgb.js';
import { createTurboJpeg } from './turbojpeg.js';
import { loadTurboJpeg, type TurboJpegLoad, type TurboJpegMissing } from './turbojpeg-library.js';
import type { Picture } from './weighted.js';

/**
 * No side may be longer, whatever the pixel limit: this bounds the resampling tables. It is also
 * JPEG's own limit.
 */
export const MAX_IMAGE_SIDE = 65_535;

const MAX_DETAIL_BYTES = 300;

/** The decoder of an image. */
export type DecoderName = 'turbojpeg' | 'sharp';

/** `auto`: libturbojpeg for ordinary JPEG if it can be loaded. `sharp`: sharp for everything. */
export type JpegDecoderChoice = 'auto' | 'sharp';

/**
 * height × width × 3 bytes: rows from the top, R, G, B, as displayed. Valid until the next image.
 */
export interface DecodedImage extends Picture {
  readonly format: DecodableFormat;
  readonly decoder: DecoderName;
}

export interface ImageDecoder {
  /**
   * @throws RequestError IMAGE_EMPTY, IMAGE_UNSUPPORTED, IMAGE_TOO_LARGE, or IMAGE_UNDECODABLE with
   *   libvips' text. Any other error (out of memory) is not the image's fault.
   */
  decode(bytes: Buffer): Promise<DecodedImage>;
  /** The decoder of ordinary JPEG files. */
  readonly jpegDecoder: DecoderName;
  /** Why libturbojpeg is not used though wanted; null if it is used or was not wanted. */
  readonly jpegFallback: TurboJpegMissing | null;
}

export interface ImageDecoderOptions {
  /** Width × height above which an image is rejected; at least 1. */
  readonly maxImagePixels: number;
  /** Default `auto`. */
  readonly jpegDecoder?: JpegDecoderChoice;
  /** Where libturbojpeg puts pixels; default: memory of its own. */
  readonly memory?: PassMemory;
  /** How the library is loaded; for tests. */
  readonly load?: () => TurboJpegLoad;
}

/**
 * Configures sharp for this whole process: one thread, no cache, and only the loaders of JPEG, PNG
 * and WebP from memory, so that no bytes can reach another parser of libvips (SVG, TIFF, PDF, …).
 */
export function createImageDecoder(options: ImageDecoderOptions): ImageDecoder {
  const {
    maxImagePixels,
    jpegDecoder = 'auto',
    memory = createPassMemory(),
    load = loadTurboJpeg,
  } = options;
  sharp.concurrency(1);
  sharp.cache(false);
  sharp.block({ operation: ['VipsForeignLoad'] });
  sharp.unblock({
    operation: [
      'VipsForeignLoadJpegBuffer',
      'VipsForeignLoadPngBuffer',
      'VipsForeignLoadWebpBuffer',
    ],
  });

  const loaded = jpegDecoder === 'auto' ? load() : null;
  const turbo =
    loaded !== null && 'library' in loaded ? createTurboJpeg(loaded.library, maxImagePixels) : null;

  return {
    jpegDecoder: turbo === null ? 'sharp' : 'turbojpeg',
    jpegFallback: loaded !== null && 'why' in loaded ? loaded : null,
    async decode(bytes) {
      const format = requireDecodable(bytes);
      const header = readHeader(format, bytes);
      const rejection =
        header === undefined ? null : checkSize(header.width, header.height, maxImagePixels);
      if (rejection !== null)
        throw format === 'webp' && wasReadAsText(bytes)
          ? undecodable(format, READ_AS_TEXT)
          : rejection;
      const bounded = boundWork(format, bytes, header, maxImagePixels);
      if (format === 'png' && !pngPreambleIsSound(bytes)) {
        throw undecodable(format, describeDamage(format, bytes) ?? 'broken PNG header');
      }
      const orientation = readOrientation(format, bytes);
      const picture =
        format === 'jpeg' ? (turbo?.decode(bounded, orientation, memory) ?? null) : null;
      if (picture !== null) return { ...picture, format, decoder: 'turbojpeg' };
      // Gives back what libturbojpeg reserved for a file and then gave up.
      memory.settle();
      try {
        const plan = { format, colour: header?.colour ?? 'plain', orientation, maxImagePixels };
        return { ...(await readPixels(bounded, plan)), format, decoder: 'sharp' };
      } catch (thrown) {
        throw translate(thrown, format, bytes, maxImagePixels);
      }
    },
  };
}

interface ReadingPlan {
  readonly format: DecodableFormat;
  readonly colour: Header['colour'];
  readonly orientation: Orientation;
  readonly maxImagePixels: number;
}

async function readPixels(
  bytes: Buffer,
  { format, colour, orientation, maxImagePixels }: ReadingPlan,
) {
  const image = sharp(bytes, {
    failOn: 'truncated',
    ignoreIcc: true,
    limitInputPixels: maxImagePixels,
    // Without it the hundredth warning of libjpeg is an error. It lifts no other limit of libvips
    // for JPEG, but does for PNG, which keeps them.
    unlimited: format === 'jpeg',
    sequentialRead: true,
  });
  turn(image, orientation);
  if (colour === 'cmyk') {
    // Both spaces named, so that libvips passes the inks on unconverted.
    image.pipelineColourspace('cmyk').toColourspace('cmyk').raw();
  } else if (colour === 'grey16') {
    image.removeAlpha().toColourspace('grey16').raw({ depth: 'ushort' });
  } else {
    image.removeAlpha().toColourspace('srgb').raw({ depth: 'uchar' });
  }
  const { data, info } = await image.toBuffer({ resolveWithObject: true });
  const { width, height } = info;
  const rejection = checkSize(width, height, maxImagePixels);
  if (rejection !== null) throw rejection;
  const pixels =
    colour === 'cmyk' ? cmykToRgb(data) : colour === 'grey16' ? grey16ToRgb(asUint16(data)) : data;
  // Every later step trusts this size, so a file whose header promised another colour layout must
  // fail here.
  if (pixels.length !== width * height * 3)
    throw new Error(`unexpected layout of ${info.channels} channels`);
  return { pixels, width, height };
}

/** sharp flips first and rotates then, in whatever order they are called. */
function turn(image: Sharp, orientation: Orientation): void {
  const { fromRight, fromBottom, exchanged } = TURNS[orientation];
  // A quarter turn clockwise takes the rows from the bottom; the rest is mirrored before it.
  const [flop, flip] = exchanged ? [fromRight, !fromBottom] : [fromRight, fromBottom];
  if (flip) image.flip();
  if (flop) image.flop();
  if (exchanged) image.rotate(90);
}

function asUint16(bytes: Buffer): Uint16Array {
  return new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.length >> 1);
}

function checkSize(width: number, height: number, maxImagePixels: number): RequestError | null {
  const size = `the image is ${width} × ${height} pixels`;
  if (width * height > maxImagePixels) {
    return new RequestError(
      'IMAGE_TOO_LARGE',
      `${size}; the limit is ${maxImagePixels} pixels in all`,
    );
  }
  if (Math.max(width, height) > MAX_IMAGE_SIDE) {
    return new RequestError(
      'IMAGE_TOO_LARGE',
      `${size}; the limit is ${MAX_IMAGE_SIDE} pixels a side`,
    );
  }
  return null;
}

function undecodable(format: DecodableFormat, detail: string, cause?: unknown): RequestError {
  const message = `the ${displayName(format)} image can't be decoded: ${detail}`;
  return new RequestError('IMAGE_UNDECODABLE', message, { cause });
}

/**
 * An error of sharp as a rejection. Memory shortage is not the image's fault and passes through.
 */
function translate(
  thrown: unknown,
  format: DecodableFormat,
  bytes: Buffer,
  maxImagePixels: number,
): unknown {
  if (thrown instanceof RequestError) return thrown;
  if (isMemoryShortage(thrown)) return thrown;
  const message = messageOf(thrown);
  if (/exceeds pixel limit/i.test(message)) {
    const text = `the image has more pixels than the limit of ${maxImagePixels}`;
    return new RequestError('IMAGE_TOO_LARGE', text, { cause: thrown });
  }
  return undecodable(format, describeDamage(format, bytes) ?? cleanDetail(message), thrown);
}

/**
 * libvips' error buffer on one line, without repetitions, library names, paths or control
 * characters.
 */
export function cleanDetail(message: string): string {
  const lines = message
    .replace(/^Input buffer has corrupt header:/, '')
    .split(/[\r\n]+/)
    .map((line) =>
      line
        .replace(/\b(vips\w*|libpng|libwebp)\s?:/gi, '')
        .replace(/(?:[A-Za-z]:)?(?:[\\/][\w.@+-]+){2,}/g, '…')
        // biome-ignore lint/suspicious/noControlCharactersInRegex: they are removed
        .replace(/[\u0000-\u001f\u007f-\u009f\s]+/g, ' ')
        .trim(),
    );
  const said = [...new Set(lines.filter((line) => line !== ''))].join('; ');
  const cut = Buffer.from(said)
    .subarray(0, MAX_DETAIL_BYTES)
    .toString()
    .replace(/\ufffd+$/, '');
  return cut === '' ? 'the file is damaged' : cut;
}
