/**
 * Where EXIF and XMP lie in a JPEG and in a WebP file, and which of several counts: as in Pillow 12
 * and libwebp.
 *
 * Lengths are trusted only up to the end of the file; a walk that meets anything unexpected ends,
 * and what it has found counts. Never throws. Copies nothing but an EXIF block that is spread over
 * several segments.
 */

/** A file's metadata, still packed. */
export interface Metadata {
  /** The EXIF block that counts. */
  readonly exif: Buffer | null;
  /** The XMP packet that counts, one character a byte. */
  readonly xmp: string | null;
}

const EXIF_HEADER = Buffer.from('Exif\0\0', 'latin1');
const XMP_HEADER = Buffer.from('http://ns.adobe.com/xap/1.0/\0', 'latin1');

/** ITU-T T.81, table B.1: markers that stand alone between segments, for Pillow as for most. */
function standsAlone(marker: number): boolean {
  return (
    marker === 0xc8 || (marker >= 0xd0 && marker <= 0xd9) || (marker >= 0xf0 && marker <= 0xfd)
  );
}

/**
 * EXIF segments in front of the picture are one block, cut up; of several XMP packets the last
 * counts.
 */
export function readJpegMetadata(bytes: Buffer): Metadata {
  const exif: Buffer[] = [];
  let xmp: Buffer | null = null;
  // After the start-of-image marker, which sniffing has seen.
  let offset = 2;
  for (;;) {
    // Stray bytes are skipped.
    if (bytes[offset] !== 0xff) offset = bytes.indexOf(0xff, offset);
    if (offset < 0) break;
    while (bytes[offset] === 0xff) offset++;
    const marker = bytes[offset++];
    if (marker === 0x00) continue;
    if (marker === undefined || marker < 0xc0 || marker === 0xda) break;
    if (standsAlone(marker)) continue;
    if (offset + 2 > bytes.length) break;
    const end = offset + Math.max(2, bytes.readUInt16BE(offset));
    if (end > bytes.length) break;
    if (marker === 0xe1 && end - offset > EXIF_HEADER.length) {
      const segment = bytes.subarray(offset + 2, end);
      if (startsWith(segment, EXIF_HEADER)) exif.push(segment.subarray(EXIF_HEADER.length));
      else if (startsWith(segment, XMP_HEADER)) xmp = segment.subarray(XMP_HEADER.length);
    }
    offset = end;
  }
  return {
    exif: exif.length > 1 ? Buffer.concat(exif) : (exif[0] ?? null),
    xmp: xmp?.toString('latin1') ?? null,
  };
}

export function startsWith(bytes: Buffer, start: Buffer): boolean {
  return (
    bytes.length >= start.length && bytes.compare(start, 0, start.length, 0, start.length) === 0
  );
}

/** RFC 9649, 2.7: flags of the extended format. */
const EXIF_FLAG = 0x08;
const XMP_FLAG = 0x04;
/** Names of chunks as numbers. */
const EXIF_CHUNK = 0x45584946;
const XMP_CHUNK = 0x584d5020;
const RIFF_HEADER_BYTES = 12;
const CHUNK_HEADER_BYTES = 8;

/** Chunks count only if the extended header announces them; the first of several counts. */
export function readWebpMetadata(bytes: Buffer): Metadata {
  const found: { exif: Buffer | null; xmp: string | null } = { exif: null, xmp: null };
  if (bytes.length < 30 || bytes.toString('latin1', 12, 16) !== 'VP8X') return found;
  const flags = bytes[20] as number;
  const end = Math.min(bytes.length, CHUNK_HEADER_BYTES + bytes.readUInt32LE(4));
  let offset = RIFF_HEADER_BYTES;
  while (offset + CHUNK_HEADER_BYTES <= end) {
    const name = bytes.readUInt32BE(offset);
    const content = offset + CHUNK_HEADER_BYTES;
    const size = bytes.readUInt32LE(offset + 4);
    const next = content + size + (size & 1);
    if (next > end) break;
    if (name === EXIF_CHUNK && flags & EXIF_FLAG)
      found.exif ??= bytes.subarray(content, content + size);
    if (name === XMP_CHUNK && flags & XMP_FLAG)
      found.xmp ??= bytes.toString('latin1', content, content + size);
    offset = next;
  }
  return found;
}
