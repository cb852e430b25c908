/**
 * An image file to RGB pixels, as Pillow 12 decodes it:
 * `ImageOps.exif_transpose(Image.open(file)).convert('RGB')`.
 *
 * Embedded ICC profiles are ignored, orientation is applied (orientation.ts), alpha is dropped (the
 * RGB under it kept as it is), palettes are expanded, grey becomes three equal channels, the first
 * frame of an animation is taken. Truncated files are refused; what libjpeg and libpng only warn
 * about is accepted, as Pillow does. `docs/preprocessing.md` lists the files on which the two still
 * differ.
 *
 * Ordinary JPEG goes through libturbojpeg (turbojpeg.ts) where it can be loaded; everything else,
 * and whatever libturbojpeg has a word to say about, through sharp. sharp decodes at full size and
 * does nothing else: its shrink-on-load and its resizing are not Pillow's. Cost on a 500×375 JPEG:
 * 1.0 ms of CPU with libturbojpeg, 2.5 with sharp. Holds the encoded bytes, one decoded picture
 * and, for rotated or progressive ones, about as much again.
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
 * No side may be longer, whatever the pixel limit: it bounds the resampling tables. JPEG itself
 * can't say more.
 */
export const MAX_IMAGE_SIDE = 65_535;

const MAX_DETAIL_BYTES = 300;

/** What an image was decoded with. */
export type DecoderName = 'turbojpeg' | 'sharp';

/** `auto`: libturbojpeg for ordinary JPEG where it can be loaded. `sharp`: sharp for everything. */
export type JpegDecoderChoice = 'auto' | 'sharp';

/**
 * height × width × 3 bytes: rows from the top, R, G, B, as it is shown. Good until the next image.
 */
export interface DecodedImage extends Picture {
  readonly format: DecodableFormat;
  readonly decoder: DecoderName;
}

export interface ImageDecoder {
  /**
   * @throws RequestError IMAGE_EMPTY, IMAGE_UNSUPPORTED, IMAGE_TOO_LARGE, or IMAGE_UNDECODABLE with
   *   libvips' words. Anything else thrown (no memory) is not the image's fault.
   */
  decode(bytes: Buffer): Promise<DecodedImage>;
  /** What ordinary JPEG files are decoded with. */
  readonly jpegDecoder: DecoderName;
  /**
   * Why libturbojpeg is not used though it may be; null where it is, or where it was not wanted.
   */
  readonly jpegFallback: TurboJpegMissing | null;
}

export interface ImageDecoderOptions {
  /** Width × height above which an image is refused; at least 1. */
  readonly maxImagePixels: number;
  /** `auto` where not given. */
  readonly jpegDecoder?: JpegDecoderChoice;
  /** Where libturbojpeg puts pixels; memory of its own where not given. */
  readonly memory?: PassMemory;
  /** How the library is come by; for tests. */
  readonly load?: () => TurboJpegLoad;
}

/**
 * Sets sharp up for this whole process: one thread, no cache, and no loader but those of JPEG, PNG
 * and WebP from memory, so that no other parser in libvips (SVG, TIFF, PDF, …) can be reached by
 * any bytes.
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
      const refusal =
        header === undefined ? null : checkSize(header.width, header.height, maxImagePixels);
      if (refusal !== null)
        throw format === 'webp' && wasReadAsText(bytes)
          ? undecodable(format, READ_AS_TEXT)
          : refusal;
      const bounded = boundWork(format, bytes, header, maxImagePixels);
      if (format === 'png' && !pngPreambleIsSound(bytes)) {
        throw undecodable(format, describeDamage(format, bytes) ?? 'broken PNG header');
      }
      const orientation = readOrientation(format, bytes);
      const picture =
        format === 'jpeg' ? (turbo?.decode(bounded, orientation, memory) ?? null) : null;
      if (picture !== null) return { ...picture, format, decoder: 'turbojpeg' };
      // What a file that libturbojpeg gave up had reserved.
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
    // Without it the hundredth warning of libjpeg is an error. For JPEG libvips has no other limit
    // that this lifts; for PNG it has, so those stay.
    unlimited: format === 'jpeg',
    sequentialRead: true,
  });
  turn(image, orientation);
  if (colour === 'cmyk') {
    // Both spaces named, so that libvips hands the inks over unconverted.
    image.pipelineColourspace('cmyk').toColourspace('cmyk').raw();
  } else if (colour === 'grey16') {
    image.removeAlpha().toColourspace('grey16').raw({ depth: 'ushort' });
  } else {
    image.removeAlpha().toColourspace('srgb').raw({ depth: 'uchar' });
  }
  const { data, info } = await image.toBuffer({ resolveWithObject: true });
  const { width, height } = info;
  const refusal = checkSize(width, height, maxImagePixels);
  if (refusal !== null) throw refusal;
  const pixels =
    colour === 'cmyk' ? cmykToRgb(data) : colour === 'grey16' ? grey16ToRgb(asUint16(data)) : data;
  // Every later step trusts this size: a header that promised another colour layout must end here.
  if (pixels.length !== width * height * 3)
    throw new Error(`unexpected layout of ${info.channels} channels`);
  return { pixels, width, height };
}

/** sharp flips first and rotates then, whatever order it is told them in. */
function turn(image: Sharp, orientation: Orientation): void {
  const { fromRight, fromBottom, exchanged } = TURNS[orientation];
  // A quarter turn clockwise takes the rows from the bottom; what is left to do is mirrored before
  // it.
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
 * What sharp threw, as a refusal. Memory that ran out is no fault of the image and passes through.
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
 * libvips' error buffer on one line: each thing said once, no library names, no paths, no control
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
        // biome-ignore lint/suspicious/noControlCharactersInRegex: they are taken out
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
