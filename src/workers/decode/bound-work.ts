/**
 * Bounds the work that a file's structure asks for, before any decoder sees it, by the table in
 * `work-limits.ts`.
 */
import type { Header } from './header.js';
import { checkJpegWork } from './jpeg-work.js';
import { leanPng } from './png-work.js';
import type { DecodableFormat } from './sniff.js';
import { singleFrameWebp } from './webp-work.js';

/**
 * The file for a decoder: unchanged, or without parts that the picture does not need and that would
 * cost much.
 *
 * @throws RequestError IMAGE_TOO_LARGE if it asks for more work than one image may have
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
