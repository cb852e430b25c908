/**
 * The few header fields that decide how an image is decoded, or that it isn't: size, and colours
 * that Pillow converts in a way of its own.
 *
 * Read here rather than through sharp's `metadata()`, which costs 0.2 ms a photo, and so that
 * native code never sees a picture that is too large. Reading costs microseconds. An unreadable
 * header is not a verdict: the decoder decides, with the same limits.
 */

import { crc32 } from 'node:zlib';
import type { DecodableFormat } from './sniff.js';

export interface Header {
  /** As stored, before any EXIF rotation. */
  readonly width: number;
  readonly height: number;
  /** `cmyk`: four-channel JPEG. `grey16`: PNG of one 16-bit channel. Everything else is `plain`. */
  readonly colour: 'plain' | 'cmyk' | 'grey16';
}

/** @returns undefined if the header is damaged or unusually laid out. */
export function readHeader(format: DecodableFormat, bytes: Buffer): Header | undefined {
  if (format === 'png') return readPngHeader(bytes);
  return format === 'jpeg' ? readJpegHeader(bytes) : readWebpHeader(bytes);
}

const PNG_SIGNATURE_BYTES = 8;

/** PNG specification, 11.2.1 IHDR: width, height, bit depth, colour type. */
function readPngHeader(bytes: Buffer): Header | undefined {
  if (bytes.length < 33 || bytes.toString('latin1', 12, 16) !== 'IHDR') return undefined;
  const grey16 = bytes[24] === 16 && bytes[25] === 0;
  return {
    width: bytes.readUInt32BE(16),
    height: bytes.readUInt32BE(20),
    colour: grey16 ? 'grey16' : 'plain',
  };
}

/**
 * Whether a PNG's chunks up to the image data have the right checksums. Pillow rejects a wrong one
 * (PngImagePlugin.ChunkStream.crc); libpng, set to accept what Pillow accepts in the image data,
 * does not.
 */
export function pngPreambleIsSound(bytes: Buffer): boolean {
  let offset = PNG_SIGNATURE_BYTES;
  while (offset + 12 <= bytes.length) {
    if (bytes.toString('latin1', offset + 4, offset + 8) === 'IDAT') return true;
    const end = offset + 8 + bytes.readUInt32BE(offset);
    if (end + 4 > bytes.length) return false;
    if (crc32(bytes.subarray(offset + 4, end)) !== bytes.readUInt32BE(end)) return false;
    offset = end + 4;
  }
  return false;
}

const SOI_BYTES = 2;

/** ITU-T T.81, B.1.1.3: SOF0–SOF15 without DHT (C4), JPG (C8) and DAC (CC). */
function isStartOfFrame(marker: number): boolean {
  return marker >= 0xc0 && marker <= 0xcf && marker !== 0xc4 && marker !== 0xc8 && marker !== 0xcc;
}

/** ITU-T T.81, B.2.2. Like libjpeg, skips stray bytes between segments. */
function readJpegHeader(bytes: Buffer): Header | undefined {
  let offset = SOI_BYTES;
  for (;;) {
    offset = bytes.indexOf(0xff, offset);
    if (offset < 0) return undefined;
    while (bytes[offset] === 0xff) offset++;
    const marker = bytes[offset];
    offset++;
    if (marker === undefined || marker === 0xd9 || marker === 0xda) return undefined;
    // Stuffed zeros, TEM and restart markers stand alone; after every other marker comes its
    // length.
    if (marker === 0x00 || marker === 0x01 || (marker >= 0xd0 && marker <= 0xd8)) continue;
    if (offset + 2 > bytes.length) return undefined;
    const segmentBytes = bytes.readUInt16BE(offset);
    if (isStartOfFrame(marker)) {
      if (segmentBytes < 8 || offset + 8 > bytes.length) return undefined;
      const [height, width, channels] = [
        bytes.readUInt16BE(offset + 3),
        bytes.readUInt16BE(offset + 5),
        bytes[offset + 7],
      ];
      return { width, height, colour: channels === 4 ? 'cmyk' : 'plain' };
    }
    offset += segmentBytes;
  }
}

/** RFC 9649, 2.5–2.7: the canvas of the extended format, or the frame of the simple ones. */
function readWebpHeader(bytes: Buffer): Header | undefined {
  if (bytes.length < 30) return undefined;
  const chunk = bytes.toString('latin1', 12, 16);
  if (chunk === 'VP8X') {
    return {
      width: 1 + bytes.readUIntLE(24, 3),
      height: 1 + bytes.readUIntLE(27, 3),
      colour: 'plain',
    };
  }
  if (chunk === 'VP8L') {
    const packed = bytes.readUInt32LE(21);
    return {
      width: 1 + (packed & 0x3fff),
      height: 1 + ((packed >>> 14) & 0x3fff),
      colour: 'plain',
    };
  }
  if (chunk === 'VP8 ') {
    return {
      width: bytes.readUInt16LE(26) & 0x3fff,
      height: bytes.readUInt16LE(28) & 0x3fff,
      colour: 'plain',
    };
  }
  return undefined;
}
