/**
 * What kind of file some bytes are, by their first bytes and nothing else.
 *
 * The front calls this to refuse a foreign file before it costs a decoder, so it must stay free of native code: no
 * sharp here. Reads at most the first 512 bytes; costs about a microsecond. A name says how the bytes begin, not that the rest is sound.
 */

import { RequestError } from '../errors.js';

export type DecodableFormat = 'jpeg' | 'png' | 'webp';

/** Formats that are told apart only to name them in a refusal. */
export type RefusedFormat =
  | 'gif'
  | 'tiff'
  | 'bmp'
  | 'ico'
  | 'avif'
  | 'heif'
  | 'jpeg2000'
  | 'jpegxl'
  | 'psd'
  | 'sgi'
  | 'svg'
  | 'xml'
  | 'html'
  | 'pdf'
  | 'gzip'
  | 'zip';

export type SniffedFormat = DecodableFormat | RefusedFormat | 'unknown';

const DISPLAY_NAMES: Record<DecodableFormat | RefusedFormat, string> = {
  jpeg: 'JPEG',
  png: 'PNG',
  webp: 'WebP',
  gif: 'GIF',
  tiff: 'TIFF',
  bmp: 'BMP',
  ico: 'ICO',
  avif: 'AVIF',
  heif: 'HEIF',
  jpeg2000: 'JPEG 2000',
  jpegxl: 'JPEG XL',
  psd: 'Photoshop',
  sgi: 'SGI',
  svg: 'SVG',
  xml: 'XML',
  html: 'HTML',
  pdf: 'PDF',
  gzip: 'gzip',
  zip: 'ZIP',
};

/** Leading bytes written as Latin-1 text, longest and most certain first. */
const SIGNATURES: readonly (readonly [string, DecodableFormat | RefusedFormat])[] = [
  ['\x89PNG\r\n\x1a\n', 'png'],
  ['\xff\xd8\xff', 'jpeg'],
  ['GIF87a', 'gif'],
  ['GIF89a', 'gif'],
  ['II*\0', 'tiff'],
  ['MM\0*', 'tiff'],
  ['II+\0', 'tiff'],
  ['MM\0+', 'tiff'],
  ['\0\0\0\x0cjP  \r\n\x87\n', 'jpeg2000'],
  ['\xff\x4f\xff\x51', 'jpeg2000'],
  ['\0\0\0\x0cJXL \r\n\x87\n', 'jpegxl'],
  ['\xff\x0a', 'jpegxl'],
  ['8BPS', 'psd'],
  ['%PDF-', 'pdf'],
  ['\0\0\x01\0', 'ico'],
  ['PK\x03\x04', 'zip'],
  ['\x1f\x8b', 'gzip'],
  ['\x01\xda', 'sgi'],
  ['BM', 'bmp'],
];

const AVIF_BRANDS = new Set(['avif', 'avis']);
const HEIF_BRANDS = new Set(['heic', 'heix', 'heim', 'heis', 'hevc', 'hevx', 'mif1', 'msf1', 'mif2']);
const TEXT_PROLOGUE_BYTES = 512;

/** Bytes as text, one character a byte, so that signatures can be written as strings. */
function latin1(bytes: Uint8Array, start: number, end: number): string {
  return String.fromCharCode(...bytes.subarray(start, Math.min(end, bytes.length)));
}

function sniffMarkup(bytes: Uint8Array): 'svg' | 'html' | 'xml' | undefined {
  const text = latin1(bytes, 0, TEXT_PROLOGUE_BYTES)
    .replace(/^\xef\xbb\xbf/, '')
    .trimStart()
    .toLowerCase();
  if (!text.startsWith('<')) return undefined;
  if (text.includes('<svg')) return 'svg';
  if (text.startsWith('<!doctype html') || text.startsWith('<html')) return 'html';
  return text.startsWith('<?xml') || text.startsWith('<!') ? 'xml' : undefined;
}

/** The format that `bytes` begin like. Empty or too short input is `unknown`. */
export function sniffFormat(bytes: Uint8Array): SniffedFormat {
  const head = latin1(bytes, 0, 16);
  if (head.startsWith('RIFF') && head.slice(8, 12) === 'WEBP') return 'webp';
  if (head.slice(4, 8) === 'ftyp') {
    const brand = head.slice(8, 12);
    if (AVIF_BRANDS.has(brand)) return 'avif';
    if (HEIF_BRANDS.has(brand)) return 'heif';
  }
  for (const [signature, format] of SIGNATURES) if (head.startsWith(signature)) return format;
  return sniffMarkup(bytes) ?? 'unknown';
}

export function isDecodable(format: SniffedFormat): format is DecodableFormat {
  return format === 'jpeg' || format === 'png' || format === 'webp';
}

/** How a format is written in messages: `JPEG`, `WebP`. */
export function displayName(format: DecodableFormat | RefusedFormat): string {
  return DISPLAY_NAMES[format];
}

/**
 * The format of an image that can be decoded.
 *
 * @throws RequestError IMAGE_EMPTY for no bytes, IMAGE_UNSUPPORTED (naming what was found and what is taken) for the rest.
 */
export function requireDecodable(bytes: Uint8Array): DecodableFormat {
  if (bytes.length === 0) throw new RequestError('IMAGE_EMPTY', 'the image is empty: send a JPEG, PNG or WebP file');
  const format = sniffFormat(bytes);
  if (isDecodable(format)) return format;
  const found =
    format === 'unknown' ? 'the image is of no known format' : `the image looks like ${displayName(format)}`;
  throw new RequestError('IMAGE_UNSUPPORTED', `${found}: send a JPEG, PNG or WebP file`);
}
