/**
 * Which way up a picture is displayed, as Pillow 12's `ImageOps.exif_transpose` decides it, for all
 * three formats.
 *
 * Read here and passed to the decoders, because libvips reads less of a file than Pillow: only the
 * EXIF in front of a PNG's pixels, no XMP, and it reads damage differently.
 * `docs/internals/preprocessing.md` has the table of what counts. Never throws. Costs a walk over
 * the headers, some microseconds, and for a PNG over all its chunks.
 */
import { type Orientation, readExifOrientation } from './exif.js';
import { type Metadata, readJpegMetadata, readWebpMetadata } from './metadata.js';
import { readPngMetadata } from './png-metadata.js';
import type { DecodableFormat } from './sniff.js';

export type { Orientation } from './exif.js';

const READERS: Readonly<Record<DecodableFormat, (bytes: Buffer) => Metadata>> = {
  jpeg: readJpegMetadata,
  png: readPngMetadata,
  webp: readWebpMetadata,
};

/** @param bytes a file that begins like `format` */
export function readOrientation(format: DecodableFormat, bytes: Buffer): Orientation {
  const { exif, xmp } = READERS[format](bytes);
  const value = exif === null ? 'absent' : readExifOrientation(exif);
  // XMP counts only if there is no EXIF block, or a sound one without the tag.
  if (value === 'absent') return asOrientation(orientationInXmp(xmp));
  return value === 'unreadable' ? 1 : asOrientation(value);
}

/**
 * The first mention, as an attribute or an element. Pillow looks for the text and parses no XML.
 */
function orientationInXmp(xmp: string | null): number {
  return Number(xmp?.match(/tiff:Orientation(?:="|>)([0-9])/)?.[1] ?? 1);
}

function asOrientation(value: number): Orientation {
  return Number.isInteger(value) && value >= 1 && value <= 8 ? (value as Orientation) : 1;
}

/**
 * Which stored pixel comes to the top left, and in which direction the displayed picture's rows and
 * columns run through the stored one: columns and rows, each 0 or from the far end.
 */
export const TURNS: Readonly<
  Record<
    Orientation,
    { readonly fromRight: boolean; readonly fromBottom: boolean; readonly exchanged: boolean }
  >
> = {
  1: { fromRight: false, fromBottom: false, exchanged: false },
  2: { fromRight: true, fromBottom: false, exchanged: false },
  3: { fromRight: true, fromBottom: true, exchanged: false },
  4: { fromRight: false, fromBottom: true, exchanged: false },
  5: { fromRight: false, fromBottom: false, exchanged: true },
  6: { fromRight: false, fromBottom: true, exchanged: true },
  7: { fromRight: true, fromBottom: true, exchanged: true },
  8: { fromRight: true, fromBottom: false, exchanged: true },
};
