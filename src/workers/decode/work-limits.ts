/**
 * How much work a file may ask of a decoder, judged by its structure before any decoder sees it:
 * one table, with reasons.
 *
 * A few bytes can ask for seconds: a scan of a JPEG goes through the whole picture again and may be
 * nine bytes long, a chunk of a PNG may inflate to a thousand times its size, and libvips walks a
 * list of WebP frames once for each frame. So repetitions in a file are counted, and bounded far
 * above what encoders write. Counting is linear in the bytes of the file, keeps a handful of
 * numbers, and does not recurse; an ordinary photo costs microseconds.
 *
 * The remaining work is in proportion to the picture, whose size `max-image-pixels` bounds, or to
 * the bytes, which `max-image-bytes` bounds. `npm run fuzz -- --time` searches for exceptions. CPU
 * times are those of one core at 50 million pixels.
 */
import { RequestError } from '../../errors.js';
import { type DecodableFormat, displayName } from './sniff.js';

export const WORK_LIMITS = {
  /**
   * Scans of a JPEG. Honest: 1 baseline, 10 progressive, 16 at most from an encoder that searches
   * for the best order (mozjpeg). Without the bound: 883 scans, 360 kB, 11.6 s.
   */
  jpegScans: 100,
  /**
   * Samples of a JPEG that its scans go through, for each pixel of `max-image-pixels`: scans × the
   * components that each has. Honest: 3 baseline, 14 progressive, 24 progressive with four
   * components (18 scans of libjpeg's own), and a little for edges that are no whole block. A
   * sample costs 1.2 ns with Huffman codes at worst, so all of them 1.7 s. A smaller picture may be
   * gone through more often; every file may ask for a million pixels' worth.
   */
  jpegSamplesPerPixel: 28,
  /**
   * With arithmetic coding, which is very rare, a sample costs four times as much. Without the
   * bound: 45 scans, 1.3 kB, 12.9 s.
   */
  jpegArithmeticFactor: 4,
  /**
   * How many of these pixels a byte of the file pays for, so that a kilobyte can't ask for what
   * megabytes may. Honest: a blank picture has at least a bit for each block of 64 samples, so that
   * ten scans of each component are paid for; a photo has a hundred times as much.
   */
  jpegPixelsPerByte: 200,
  /**
   * Blocks that a JPEG may have beyond one for each bit of the file: with Huffman codes each takes
   * a bit or more, so a file with more is cut off. Without the bound: 171 bytes, 50 million pixels
   * of four components, 1.6 s.
   */
  jpegFreeBlocks: 65_536,
  /**
   * Segments of a JPEG. Honest: some 300, if 16 MiB are metadata in segments of 64 KiB. Without the
   * bound: 4 million of four bytes, 1.2 s and 400 MB.
   */
  jpegSegments: 4_096,
  /**
   * Chunks of a PNG. Honest: 2,048 at 16 MiB in pieces of 8 KiB; encoders that write one for each
   * row stay below the most rows there can be. Without the bound: 1.3 million of twelve bytes, 0.6
   * s in libpng and as much here.
   */
  pngChunks: 65_536,
  /**
   * Bytes, and number, of a PNG's chunks beside the picture (texts, profiles, unknown ones) that
   * libpng gets; with more it gets none of them, since the pixels need none. Honest: below; longer
   * ones (XMP, profiles of printers) lose nothing either. Without the bound: 900 texts that inflate
   * to 8 MB each, 6.9 MB, 2.1 s.
   */
  pngExtraBytes: 65_536,
  pngExtraChunks: 256,
  /**
   * How much longer than its rows a PNG's compressed image data may be. Honest: 1.001 times, and a
   * few bytes a row with an encoder that flushes each. Bytes after the last row are inflated too,
   * up to a thousand times their size.
   */
  pngDataFactor: 1.25,
  pngDataBytes: 65_536,
  /**
   * Frames of a WebP that libvips gets; of an animation with more it gets the first, the only one
   * that is decoded. Honest: some hundreds, a clip of minutes some thousands. Without the bound:
   * 50,000 frames 5.4 s, 100,000 22 s.
   */
  webpFrames: 256,
  /** Other chunks of a WebP. Honest: 5. Without the bound: 2 million of eight bytes, 0.3 s. */
  webpChunks: 4_096,
} as const;

/** The rejection: what the file has too much of, and how to make it an ordinary one. */
export function tooMuchWork(format: DecodableFormat, detail: string, remedy: string): RequestError {
  return new RequestError(
    'IMAGE_TOO_LARGE',
    `the ${displayName(format)} image has ${detail}: ${remedy}`,
  );
}
