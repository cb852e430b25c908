/**
 * Bounds the work that a file asks for by its structure, before any decoder sees it: by what stands
 * in `work-limits.ts`.
 */
import type { Header } from './header.js';
import { checkJpegWork } from './jpeg-work.js';
import { leanPng } from './png-work.js';
import type { DecodableFormat } from './sniff.js';
import { singleFrameWebp } from './webp-work.js';

/**
 * The file as a decoder may have it: as it came, or without what the picture does not need and
 * would cost much.
 *
 * @throws RequestError IMAGE_TOO_LARGE where it asks for more work than is done for one image
 */
export function boundWork(
  format: DecodableFormat,
  bytes: Buffer,
  header: Header | undefined,
  maxImagePixels: number,
): Buffer {
  switch (format) {
    case 'jpeg':
      checkJpegWork(bytes, maxImagePixels);
      return bytes;
    case 'png':
      return leanPng(bytes, header);
    case 'webp':
      return singleFrameWebp(bytes);
  }
}
