/**
 * Ordinary JPEG files to RGB pixels with libturbojpeg, straight into the memory of the resampling
 * passes.
 *
 * It decodes a file without a single complaint or not at all: at the first warning or error the
 * file goes to sharp, which decides whether the damage is acceptable. So rejections and their texts
 * do not depend on whether this library is present. Pixels equal Pillow's, which uses the same
 * decoder (same library, default upsampling and DCT).
 *
 * Bounds are set before the first byte is decoded: pixels, scans of a progressive file, memory for
 * its coefficients. Cost on a 500 × 375 photo: 1.0 ms of CPU, against sharp's 2.5. Rotated pictures
 * take their size in memory twice.
 */
import { type OrdinaryJpeg, readOrdinaryJpeg } from './jpeg-structure.js';
import { type Orientation, TURNS } from './orientation.js';
import { type PassMemory, SLACK_BYTES } from './passes.js';
import type { TurboJpegHandle, TurboJpegLibrary } from './turbojpeg-library.js';
import type { Picture } from './weighted.js';
import { WORK_LIMITS } from './work-limits.js';

/** turbojpeg.h: enum TJINIT, TJPARAM, TJPF, TJCS. */
const DECOMPRESS = 1;
const PARAMETER = {
  stopOnWarning: 0,
  width: 5,
  height: 6,
  precision: 7,
  colourSpace: 8,
  scanLimit: 13,
  maxMemory: 23,
  maxPixels: 24,
} as const;
const PIXELS_RGB = 0;
const COLOUR_SPACES = { rgb: 0, yCbCr: 1, grey: 2 } as const;

const CHANNELS = 3;
/** Coefficients of a progressive file: three components of 16 bits. */
const COEFFICIENT_BYTES = 6;
/** For everything else, and for what rounding up to whole blocks adds to thin pictures. */
const WORKING_MEBIBYTES = 64;
const MEBIBYTE = 1024 * 1024;
/** Above this the passes' addresses would get short. */
const MOST_PLACED_BYTES = 1024 * MEBIBYTE;

export interface TurboJpeg {
  /**
   * The picture as displayed, in `memory` from address 0: valid until more is reserved there.
   *
   * @param bytes a file that begins like a JPEG
   * @param orientation which way up it is displayed
   * @returns null for a file that is odd, damaged or too large for this path: sharp decodes it
   * @throws Error if there is no memory
   */
  decode(bytes: Buffer, orientation: Orientation, memory: PassMemory): Picture | null;
}

/** @param maxImagePixels width × height above which a file is left alone */
export function createTurboJpeg(library: TurboJpegLibrary, maxImagePixels: number): TurboJpeg {
  return {
    decode(bytes, orientation, memory) {
      const jpeg = readOrdinaryJpeg(bytes);
      if (jpeg === null || jpeg.width * jpeg.height > maxImagePixels) return null;
      const size = jpeg.width * jpeg.height * CHANNELS;
      const turned = orientation !== 1;
      // Decoded behind the place of the turned picture, if it has to be turned.
      const decodedAt = turned ? roundUp(size + SLACK_BYTES) : 0;
      const needed = decodedAt + size + SLACK_BYTES;
      if (needed > MOST_PLACED_BYTES) return null;
      // A new one for each file, for 10 µs. A decompressor keeps the tables of the previous file,
      // so a file without its own would be decoded with foreign ones; and after some errors (3.1.3)
      // it accepts no file any more.
      const handle = open(library, maxImagePixels);
      try {
        if (!agrees(library, handle, bytes, jpeg)) return null;
        const target = memory.reserve(needed).subarray(decodedAt, decodedAt + size);
        if (library.decompress8(handle, bytes, bytes.length, target, 0, PIXELS_RGB) !== 0)
          return null;
        return turned
          ? turn(memory, jpeg, orientation, decodedAt)
          : { pixels: target, width: jpeg.width, height: jpeg.height };
      } finally {
        library.destroy(handle);
      }
    },
  };
}

/** A decompressor with its bounds set. Throws if there is no memory for one. */
function open(library: TurboJpegLibrary, maxImagePixels: number): TurboJpegHandle {
  const handle = library.init(DECOMPRESS);
  if (handle === null) throw new Error('libturbojpeg gave no decompressor');
  const maxMemory = WORKING_MEBIBYTES + Math.ceil((maxImagePixels * COEFFICIENT_BYTES) / MEBIBYTE);
  for (const [parameter, value] of [
    [PARAMETER.stopOnWarning, 1],
    [PARAMETER.scanLimit, WORK_LIMITS.jpegScans],
    [PARAMETER.maxMemory, maxMemory],
    [PARAMETER.maxPixels, maxImagePixels],
  ] as const) {
    if (library.set(handle, parameter, value) !== 0)
      throw new Error(`libturbojpeg rejected parameter ${parameter}`);
  }
  return handle;
}

/**
 * Whether the library reads the same size from the header as we do: the target has exactly our
 * size.
 */
function agrees(
  library: TurboJpegLibrary,
  handle: TurboJpegHandle,
  bytes: Buffer,
  jpeg: OrdinaryJpeg,
): boolean {
  if (library.decompressHeader(handle, bytes, bytes.length) !== 0) return false;
  const colourSpace = library.get(handle, PARAMETER.colourSpace);
  return (
    library.get(handle, PARAMETER.width) === jpeg.width &&
    library.get(handle, PARAMETER.height) === jpeg.height &&
    library.get(handle, PARAMETER.precision) === 8 &&
    Object.values<number>(COLOUR_SPACES).includes(colourSpace)
  );
}

/** The stored picture at `from` as displayed, to address 0. */
function turn(
  memory: PassMemory,
  { width, height }: OrdinaryJpeg,
  orientation: Orientation,
  from: number,
): Picture {
  const { fromRight, fromBottom, exchanged } = TURNS[orientation];
  const rowBytes = width * CHANNELS;
  const topLeft =
    from + (fromRight ? rowBytes - CHANNELS : 0) + (fromBottom ? (height - 1) * rowBytes : 0);
  const column = fromRight ? -CHANNELS : CHANNELS;
  const row = fromBottom ? -rowBytes : rowBytes;
  const shown = exchanged ? { width: height, height: width } : { width, height };
  const [stepX, stepY] = exchanged ? [row, column] : [column, row];
  memory.passes.turn(topLeft, stepX, stepY, 0, shown.width, shown.height);
  return { ...shown, pixels: memory.reserve(0).subarray(0, width * height * CHANNELS) };
}

function roundUp(bytes: number): number {
  return Math.ceil(bytes / SLACK_BYTES) * SLACK_BYTES;
}
