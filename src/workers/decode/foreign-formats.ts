/**
 * Formats that are recognised only to name them in a rejection: those in which people have
 * pictures, and some that are sent by mistake. By the first bytes, one character a byte. Free of
 * native code: the front calls it (sniff.ts).
 */

/** The starts of files and the names of their formats. The first match counts. */
const SIGNATURES: readonly (readonly [start: string, name: string])[] = [
  ['GIF87a', 'GIF'],
  ['GIF89a', 'GIF'],
  ['II*\0\x10\0\0\0CR', 'a raw photo (CR2)'],
  ['IIRO', 'a raw photo (ORF)'],
  ['IIRS', 'a raw photo (ORF)'],
  ['MMOR', 'a raw photo (ORF)'],
  ['IIU\0', 'a raw photo (RW2)'],
  ['FUJIFILMCCD-RAW', 'a raw photo (RAF)'],
  ['FOVb', 'a raw photo (X3F)'],
  ['II\xbc', 'JPEG XR'],
  // Nikon's, Sony's, Pentax' and Adobe's raw photos begin like any other TIFF.
  ['II*\0', 'TIFF or a raw photo'],
  ['MM\0*', 'TIFF or a raw photo'],
  ['II+\0', 'TIFF'],
  ['MM\0+', 'TIFF'],
  ['\0\0\0\x0cjP  \r\n\x87\n', 'JPEG 2000'],
  ['\xff\x4f\xff\x51', 'JPEG 2000'],
  ['\0\0\0\x0cJXL \r\n\x87\n', 'JPEG XL'],
  ['\xff\x0a', 'JPEG XL'],
  ['8BPS', 'Photoshop'],
  ['gimp xcf', 'GIMP'],
  ['%PDF-', 'PDF'],
  ['%!PS', 'PostScript'],
  ['\xc5\xd0\xd3\xc6', 'PostScript'],
  ['\0\0\x01\0', 'ICO'],
  ['\0\0\x02\0', 'ICO (a cursor)'],
  ['\x01\xda', 'SGI'],
  ['qoif', 'QOI'],
  ['DDS ', 'DDS'],
  ['v/1\x01', 'OpenEXR'],
  ['#?RADIANCE', 'Radiance HDR'],
  ['\x8aMNG\r\n\x1a\n', 'MNG'],
  ['AT&TFORM', 'DjVu'],
  ['\x93NUMPY', 'a NumPy array'],
  ['SIMPLE  =', 'FITS'],
  ['PK\x03\x04', 'ZIP'],
  ['\x1f\x8b', 'gzip'],
  ['BZh', 'bzip2'],
  ['\xfd7zXZ\0', 'xz'],
  ['(\xb5/\xfd', 'zstd'],
  ['7z\xbc\xaf\x27\x1c', '7-Zip'],
  ['Rar!\x1a\x07', 'RAR'],
  ['\x1aE\xdf\xa3', 'Matroska or WebM video'],
  ['\x7fELF', 'a program'],
  ['MZ\x90\0', 'a program'],
];

/** ISO 14496-12, 4.3: brands of files that begin with an `ftyp` box. */
const BRANDS: Readonly<Record<string, string>> = {
  avif: 'AVIF',
  avis: 'AVIF',
  heic: 'HEIC',
  heix: 'HEIC',
  heim: 'HEIC',
  heis: 'HEIC',
  hevc: 'HEIC',
  hevx: 'HEIC',
  'crx ': 'a raw photo (CR3)',
  'jp2 ': 'JPEG 2000',
  'jxl ': 'JPEG XL',
  'qt  ': 'QuickTime video',
  isom: 'MP4 video',
  iso2: 'MP4 video',
  iso5: 'MP4 video',
  iso6: 'MP4 video',
  mp41: 'MP4 video',
  mp42: 'MP4 video',
  avc1: 'MP4 video',
  'M4V ': 'MP4 video',
  '3gp4': '3GP video',
  '3gp5': '3GP video',
};

/** Brands that do not tell the coding: the compatible ones behind them do. */
const CONTAINER_BRANDS = new Set(['mif1', 'mif2', 'msf1']);

/** Names that are found by other means. */
const [HEIF, AVI, WAV, BMP, DICOM, TAR, PNM] = [
  'HEIF',
  'AVI video',
  'WAV sound',
  'BMP',
  'DICOM',
  'a tar archive',
  'PNM',
];
const [SVG, HTML, XML] = ['SVG', 'HTML, as of an error page', 'XML'];

/** Every name that a rejection may contain. */
export const FOREIGN_FORMATS: ReadonlySet<string> = new Set([
  ...SIGNATURES.map(([, name]) => name),
  ...Object.values(BRANDS),
  ...[HEIF, AVI, WAV, BMP, DICOM, TAR, PNM, SVG, HTML, XML],
]);

/** @param prologue the first bytes of a file, as Latin-1 */
export function findForeignFormat(prologue: string): string | null {
  return (
    SIGNATURES.find(([start]) => prologue.startsWith(start))?.[1] ??
    findByBrand(prologue) ??
    findRiff(prologue) ??
    findBitmap(prologue) ??
    findByLateSignature(prologue) ??
    findMarkup(prologue)
  );
}

function findByBrand(prologue: string): string | null {
  if (prologue.slice(4, 8) !== 'ftyp') return null;
  const major = prologue.slice(8, 12);
  if (!CONTAINER_BRANDS.has(major)) return BRANDS[major] ?? null;
  // Length, name, major brand, its version; then four bytes each.
  const length = (prologue.charCodeAt(2) << 8) | prologue.charCodeAt(3);
  for (let at = 16; at + 4 <= Math.min(length, prologue.length); at += 4) {
    const name = BRANDS[prologue.slice(at, at + 4)];
    if (name !== undefined) return name;
  }
  return HEIF;
}

function findRiff(prologue: string): string | null {
  if (!prologue.startsWith('RIFF')) return null;
  return { 'AVI ': AVI, WAVE: WAV }[prologue.slice(8, 12)] ?? null;
}

/** Windows' BMP. Its two letters begin words too, so the four reserved bytes must be zero. */
function findBitmap(prologue: string): string | null {
  return prologue.startsWith('BM') && prologue.slice(6, 10) === '\0\0\0\0' ? BMP : null;
}

function findByLateSignature(prologue: string): string | null {
  if (prologue.slice(128, 132) === 'DICM') return DICOM;
  if (prologue.slice(257, 262) === 'ustar') return TAR;
  return /^P[1-7]\s+[#0-9W]/.test(prologue) ? PNM : null;
}

function findMarkup(prologue: string): string | null {
  const text = prologue
    .replace(/^\xef\xbb\xbf/, '')
    .trimStart()
    .toLowerCase();
  if (!text.startsWith('<')) return null;
  if (text.includes('<svg')) return SVG;
  if (/^<(?:!doctype html|html|head|body)\b/.test(text)) return HTML;
  return text.startsWith('<?xml') || text.startsWith('<!') ? XML : null;
}
