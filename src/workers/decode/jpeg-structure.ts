/**
 * Tells ordinary JPEG files from odd ones by their segments, before any decoder sees them.
 *
 * Ordinary: 8 bits, Huffman-coded, baseline or progressive, one or three components, segments one
 * after another without stray bytes. That is nearly every photo. Everything else (CMYK, lossless,
 * arithmetic coding) goes to sharp, whose judgement `docs/internals/preprocessing.md` describes.
 * Reads headers only: a few microseconds.
 */

export interface OrdinaryJpeg {
  /** As stored, before any EXIF rotation. */
  readonly width: number;
  readonly height: number;
}

/** ITU-T T.81, table B.1. */
const MARKER = {
  sof0: 0xc0,
  sof2: 0xc2,
  sos: 0xda,
  app0: 0xe0,
  app15: 0xef,
  comment: 0xfe,
} as const;
/** DHT, DQT, DRI. */
const TABLES: readonly number[] = [0xc4, 0xdb, 0xdd];

/** @returns null for an odd file, and for one that ends before its image data */
export function readOrdinaryJpeg(bytes: Buffer): OrdinaryJpeg | null {
  let size: { width: number; height: number } | null = null;
  // After the start-of-image marker, which sniffing has seen.
  let offset = 2;
  for (;;) {
    if (bytes[offset] !== 0xff) return null;
    while (bytes[offset] === 0xff) offset++;
    const marker = bytes[offset++];
    if (marker === undefined || offset + 2 > bytes.length) return null;
    const end = offset + bytes.readUInt16BE(offset);
    if (end < offset + 2 || end > bytes.length) return null;
    const segment = bytes.subarray(offset + 2, end);
    if (marker === MARKER.sos) return size;
    if (marker >= MARKER.sof0 && marker <= MARKER.sof2) {
      if (size !== null) return null;
      size = readFrame(segment);
      if (size === null) return null;
    } else if (!isPassedOver(marker)) return null;
    offset = end;
  }
}

/** Tables, application data and comments, which do not decide which decoder to take. */
function isPassedOver(marker: number): boolean {
  return (
    TABLES.includes(marker) ||
    (marker >= MARKER.app0 && marker <= MARKER.app15) ||
    marker === MARKER.comment
  );
}

/** ITU-T T.81, B.2.2: precision, height, width, components. */
function readFrame(segment: Buffer): { width: number; height: number } | null {
  if (segment.length < 6 || segment[0] !== 8) return null;
  const components = segment[5];
  const [height, width] = [segment.readUInt16BE(1), segment.readUInt16BE(3)];
  return (components === 1 || components === 3) && width > 0 && height > 0
    ? { width, height }
    : null;
}
