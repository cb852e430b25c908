/**
 * The orientation in an EXIF block, as Pillow 12 finds it: the first directory only, either byte
 * order, and every number type that an entry may have.
 *
 * It stops where Pillow stops: an entry whose value lies outside of the block ends the reading, and
 * what was read before it counts. Never throws, allocates nothing, and looks at each entry once:
 * microseconds.
 */

/** EXIF 2.32, 4.6.4, tag 274. 1: as stored; 5 to 8 exchange width and height. */
export type Orientation = 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8;

/**
 * `unreadable`: no TIFF header, so nothing is known. `absent`: no such entry. Otherwise the entry's
 * first value, or NaN if it is not a number: the entry exists but turns nothing.
 */
export type ExifOrientation = number | 'absent' | 'unreadable';

const ORIENTATION_TAG = 0x0112;
const HEADER_BYTES = 8;
const ENTRY_BYTES = 12;
/** Values of up to this many bytes lie in the entry itself. */
const INLINE_BYTES = 4;

/**
 * Byte order and magic number. Pillow accepts the number in either order, and BigTIFF's if it can't
 * tell it from TIFF's.
 */
const LITTLE_ENDIAN: Readonly<Record<string, boolean>> = {
  'II*\0': true,
  'II\0*': true,
  'MM\0*': false,
  'MM*\0': false,
  'MM\0+': false,
};

type Reader = (bytes: DataView, at: number, little: boolean) => number;

/**
 * TIFF 6.0, section 2, and TIFF Technical Note 1 (13): how many bytes a value has, and how one is
 * read.
 */
const TYPES: Readonly<Record<number, { readonly bytes: number; readonly read: Reader }>> = {
  1: { bytes: 1, read: () => Number.NaN },
  2: { bytes: 1, read: () => Number.NaN },
  3: { bytes: 2, read: (bytes, at, little) => bytes.getUint16(at, little) },
  4: { bytes: 4, read: (bytes, at, little) => bytes.getUint32(at, little) },
  5: {
    bytes: 8,
    read: (bytes, at, little) => bytes.getUint32(at, little) / bytes.getUint32(at + 4, little),
  },
  6: { bytes: 1, read: (bytes, at) => bytes.getInt8(at) },
  7: { bytes: 1, read: () => Number.NaN },
  8: { bytes: 2, read: (bytes, at, little) => bytes.getInt16(at, little) },
  9: { bytes: 4, read: (bytes, at, little) => bytes.getInt32(at, little) },
  10: {
    bytes: 8,
    read: (bytes, at, little) => bytes.getInt32(at, little) / bytes.getInt32(at + 4, little),
  },
  11: { bytes: 4, read: (bytes, at, little) => bytes.getFloat32(at, little) },
  12: { bytes: 8, read: (bytes, at, little) => bytes.getFloat64(at, little) },
  13: { bytes: 4, read: (bytes, at, little) => bytes.getUint32(at, little) },
  16: { bytes: 8, read: (bytes, at, little) => Number(bytes.getBigUint64(at, little)) },
};

/** @param block the EXIF of a file, behind any number of `Exif\0\0` */
export function readExifOrientation(block: Buffer): ExifOrientation {
  const tiff = block.subarray(prefixBytes(block));
  if (tiff.length === 0) return 'absent';
  const little = LITTLE_ENDIAN[tiff.toString('latin1', 0, 4)];
  if (little === undefined || tiff.length < HEADER_BYTES) return 'unreadable';
  const view = new DataView(tiff.buffer, tiff.byteOffset, tiff.length);
  const directory = view.getUint32(4, little);
  return directory + 2 > tiff.length ? 'absent' : readDirectory(view, directory, little);
}

function readDirectory(view: DataView, directory: number, little: boolean): ExifOrientation {
  let found: ExifOrientation = 'absent';
  let entry = directory + 2;
  for (let left = view.getUint16(directory, little); left > 0; left--, entry += ENTRY_BYTES) {
    if (entry + ENTRY_BYTES > view.byteLength) break;
    const type = TYPES[view.getUint16(entry + 2, little)];
    if (type === undefined) continue;
    const size = view.getUint32(entry + 4, little) * type.bytes;
    if (size === 0) continue;
    const at = size > INLINE_BYTES ? view.getUint32(entry + 8, little) : entry + 8;
    if (at + size > view.byteLength) break;
    // The last one counts.
    if (view.getUint16(entry, little) === ORIENTATION_TAG) found = type.read(view, at, little);
  }
  return found;
}

/** `Exif\0\0`, of which files have zero, one or two in front of the block. */
function prefixBytes(block: Buffer): number {
  let at = 0;
  while (
    at + 6 <= block.length &&
    block.readUInt32BE(at) === 0x45786966 &&
    block.readUInt16BE(at + 4) === 0
  )
    at += 6;
  return at;
}
