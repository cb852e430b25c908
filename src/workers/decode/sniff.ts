/**
 * Recognises the kind of a file by its first bytes alone.
 *
 * The front calls this to reject a foreign file before it costs a decoder, so it must stay free of
 * native code: no sharp here, nor in what it imports. Costs less than a microsecond for an accepted
 * file, and some ten for the rest, of which it reads the first 512 bytes. A name says how the bytes
 * begin, not that the rest is sound.
 */

import { RequestError } from '../../errors.js';
import { findForeignFormat } from './foreign-formats.js';
import { findTransportMistake } from './transport-mistakes.js';

export type DecodableFormat = 'jpeg' | 'png' | 'webp';

const DISPLAY_NAMES: Record<DecodableFormat, string> = { jpeg: 'JPEG', png: 'PNG', webp: 'WebP' };

/** How many bytes are read to name a format that can't be decoded. */
const PROLOGUE_BYTES = 512;

const WHAT_TO_SEND = 'send a JPEG, PNG or WebP file';

/** The format that `bytes` begin like, if it is one that can be decoded. */
export function sniffDecodable(bytes: Uint8Array): DecodableFormat | null {
  if (bytes[0] === 0xff) return bytes[1] === 0xd8 && bytes[2] === 0xff ? 'jpeg' : null;
  if (bytes[0] === 0x89) return begins(bytes, '\x89PNG\r\n\x1a\n', 0) ? 'png' : null;
  return begins(bytes, 'RIFF', 0) && begins(bytes, 'WEBP', 8) ? 'webp' : null;
}

function begins(bytes: Uint8Array, signature: string, offset: number): boolean {
  for (let at = 0; at < signature.length; at++)
    if (bytes[offset + at] !== signature.charCodeAt(at)) return false;
  return true;
}

/** The name of a format in messages: `JPEG`, `WebP`. */
export function displayName(format: DecodableFormat): string {
  return DISPLAY_NAMES[format];
}

/**
 * The format of an image that can be decoded.
 *
 * @throws RequestError IMAGE_EMPTY for no bytes, IMAGE_UNSUPPORTED for the rest. It says what was
 *   found and what to do, and repeats nothing of what was sent
 */
export function requireDecodable(bytes: Uint8Array): DecodableFormat {
  const format = sniffDecodable(bytes);
  if (format !== null) return format;
  if (bytes.length === 0)
    throw new RequestError('IMAGE_EMPTY', `the image is empty: ${WHAT_TO_SEND}`);
  throw new RequestError('IMAGE_UNSUPPORTED', describeForeign(bytes));
}

function describeForeign(bytes: Uint8Array): string {
  // One character a byte, so that signatures can be written as strings.
  const prologue = String.fromCharCode(...bytes.subarray(0, PROLOGUE_BYTES));
  const found = findForeignFormat(prologue);
  if (found !== null) return `the image looks like ${found}: ${WHAT_TO_SEND}`;
  return (
    findTransportMistake(prologue, bytes.length) ?? `the image has no known format: ${WHAT_TO_SEND}`
  );
}
