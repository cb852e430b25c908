/**
 * Tells ordinary JPEG files from odd ones by their segments, before any decoder sees them.
 *
 * Ordinary: 8 bits, Huffman-coded, baseline or progressive, one or three components, segments one behind the other
 * without stray bytes, and an EXIF orientation that leaves no room for doubt (or none). That is nearly every photo.
 * Whatever else there is (CMYK, lossless, arithmetic coding, two EXIF segments, a broken directory) is for sharp, whose
 * judgement is the one that `docs/preprocessing.md` describes. Reads headers only: a few microseconds.
 */

/** EXIF 2.32, 4.6.4, tag 274. 1: as stored; 5 to 8 exchange width and height. */
export type Orientation = 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8;

export interface OrdinaryJpeg {
  /** As stored, before any EXIF rotation. */
  readonly width: number;
  readonly height: number;
  readonly orientation: Orientation;
}

/** ITU-T T.81, table B.1. */
const MARKER = { sof0: 0xc0, sof2: 0xc2, sos: 0xda, app0: 0xe0, app1: 0xe1, app15: 0xef, comment: 0xfe } as const;
/** DHT, DQT, DRI. */
const TABLES: readonly number[] = [0xc4, 0xdb, 0xdd];
const EXIF = Buffer.from('Exif\0\0', 'latin1');
const ORIENTATION_TAG = 0x0112;
const TYPE_SHORT = 3;
const ENTRY_BYTES = 12;

/** @returns null for an odd file, and for one that ends before its image data. */
export function readOrdinaryJpeg(bytes: Buffer): OrdinaryJpeg | null {
  let size: { width: number; height: number } | null = null;
  let orientation: Orientation | null = null;
  // Behind the start-of-image marker, which sniffing has seen.
  let offset = 2;
  for (;;) {
    if (bytes[offset] !== 0xff) return null;
    while (bytes[offset] === 0xff) offset++;
    const marker = bytes[offset++];
    if (marker === undefined || offset + 2 > bytes.length) return null;
    const end = offset + bytes.readUInt16BE(offset);
    if (end < offset + 2 || end > bytes.length) return null;
    const segment = bytes.subarray(offset + 2, end);
    if (marker === MARKER.sos) return size === null ? null : { ...size, orientation: orientation ?? 1 };
    if (marker >= MARKER.sof0 && marker <= MARKER.sof2) {
      if (size !== null) return null;
      size = readFrame(segment);
      if (size === null) return null;
    } else if (marker === MARKER.app1 && segment.subarray(0, EXIF.length).equals(EXIF)) {
      if (orientation !== null) return null;
      orientation = readOrientation(segment.subarray(EXIF.length));
      if (orientation === null) return null;
    } else if (!isPassedOver(marker)) return null;
    offset = end;
  }
}

/** Tables, application data and comments, which say nothing about which decoder to take. */
function isPassedOver(marker: number): boolean {
  return TABLES.includes(marker) || (marker >= MARKER.app0 && marker <= MARKER.app15) || marker === MARKER.comment;
}

/** ITU-T T.81, B.2.2: precision, height, width, components. */
function readFrame(segment: Buffer): { width: number; height: number } | null {
  if (segment.length < 6 || segment[0] !== 8) return null;
  const components = segment[5];
  const [height, width] = [segment.readUInt16BE(1), segment.readUInt16BE(3)];
  return (components === 1 || components === 3) && width > 0 && height > 0 ? { width, height } : null;
}

/** TIFF 6.0, section 2: byte order, magic number, the first directory. @returns 1 where it names none, null where in doubt. */
function readOrientation(tiff: Buffer): Orientation | null {
  const order = tiff.toString('latin1', 0, 4);
  if ((order !== 'II*\0' && order !== 'MM\0*') || tiff.length < 8) return null;
  const u16 = (at: number) => (order === 'II*\0' ? tiff.readUInt16LE(at) : tiff.readUInt16BE(at));
  const u32 = (at: number) => (order === 'II*\0' ? tiff.readUInt32LE(at) : tiff.readUInt32BE(at));
  const directory = u32(4);
  if (directory + 2 > tiff.length) return null;
  const first = directory + 2;
  const end = first + u16(directory) * ENTRY_BYTES;
  if (end > tiff.length) return null;
  let found: Orientation = 1;
  let seen = false;
  for (let entry = first; entry < end; entry += ENTRY_BYTES) {
    if (u16(entry) !== ORIENTATION_TAG) continue;
    const value = u16(entry + 8);
    if (seen || u16(entry + 2) !== TYPE_SHORT || u32(entry + 4) !== 1 || value < 1 || value > 8) return null;
    found = value as Orientation;
    seen = true;
  }
  return found;
}
