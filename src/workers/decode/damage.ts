/**
 * Why a PNG or WebP file can't be decoded, if its structure tells it better than the decoders'
 * libraries do. Called only after a file has failed; walks its chunks and changes no verdict. Never
 * throws.
 */
import type { DecodableFormat } from './sniff.js';

/** For a WebP file; the first byte of the other formats does not survive that. */
export const READ_AS_TEXT =
  'it was read as text, which replaced some of its bytes: ' +
  'read the file as binary data and send it as it is';
const CUT_OFF = 'the file is cut off: send all of it';
const PNG_SIGNATURE_BYTES = 8;
const CHUNK_FRAME_BYTES = 12;
const PALETTE_COLOUR = 3;
/** U+FFFD in UTF-8. It does not occur in a picture's first bytes by chance. */
const REPLACEMENT = '\xef\xbf\xbd';
const MOST_BY_CHANCE = 3;
const PROLOGUE_BYTES = 512;

/** @returns null if the structure shows nothing */
export function describeDamage(format: DecodableFormat, bytes: Buffer): string | null {
  if (format === 'png') return describePng(bytes);
  return format === 'webp' ? describeWebp(bytes) : null;
}

function describePng(bytes: Buffer): string | null {
  if (bytes.length < PNG_SIGNATURE_BYTES + CHUNK_FRAME_BYTES) return CUT_OFF;
  let colour: number | undefined;
  let hasPalette = false;
  for (let offset = PNG_SIGNATURE_BYTES; offset < bytes.length; ) {
    const name = bytes.toString('latin1', offset + 4, offset + 8);
    if (name === 'CgBI')
      return 'it is of a kind (CgBI) that only Apple reads: export it as an ordinary PNG';
    // Bytes that are not chunks: damaged, and nothing shows how.
    if (!/^[A-Za-z]*$/.test(name)) return null;
    if (colour === undefined && !'IHDR'.startsWith(name)) return null;
    if (name === 'IEND') return null;
    if (name === 'PLTE') hasPalette = true;
    if (name === 'IHDR') colour = bytes[offset + 17] ?? -1;
    if (name === 'IDAT' && colour === PALETTE_COLOUR && !hasPalette)
      return 'its palette is missing: save it again';
    const end =
      offset + 8 <= bytes.length
        ? offset + CHUNK_FRAME_BYTES + bytes.readUInt32BE(offset)
        : bytes.length + 1;
    if (end > bytes.length) return CUT_OFF;
    offset = end;
  }
  return CUT_OFF;
}

function describeWebp(bytes: Buffer): string | null {
  if (wasReadAsText(bytes)) return READ_AS_TEXT;
  if (bytes.length < 20) return CUT_OFF;
  const isPicture = /^VP8[ LX]$/.test(bytes.toString('latin1', 12, 16));
  return isPicture && bytes.length < bytes.readUInt32LE(4) + 8 ? CUT_OFF : null;
}

/** For a WebP file, whose first letters survive that. A size in its header is then nonsense. */
export function wasReadAsText(bytes: Buffer): boolean {
  return bytes.toString('latin1', 0, PROLOGUE_BYTES).split(REPLACEMENT).length > MOST_BY_CHANCE;
}
