/**
 * What is sent in an image's place: one of each kind, drawn here. What is said to it stands in
 * docs/reference/errors.md.
 */
import { gzipSync } from 'node:zlib';
import sharp from 'sharp';
import { garbage, jpeg, truncated, webp } from './images.js';

const latin1 = (text: string) => Buffer.from(text, 'latin1');

/** The starts of files of each foreign format, by their names in a rejection. */
export const FOREIGN_STARTS: Readonly<Record<string, readonly string[]>> = {
  GIF: ['GIF87a\x01\0', 'GIF89a\x01\0\x01\0'],
  'a raw photo (CR2)': ['II*\0\x10\0\0\0CR\x02\0'],
  'a raw photo (ORF)': ['IIRO\x08\0\0\0', 'IIRS\x08\0\0\0', 'MMOR\0\0\0\x08'],
  'a raw photo (RW2)': ['IIU\0\x18\0\0\0'],
  'a raw photo (RAF)': ['FUJIFILMCCD-RAW 0201'],
  'a raw photo (X3F)': ['FOVb\0\0\x02\0'],
  'a raw photo (CR3)': ['\0\0\0\x18ftypcrx \0\0\0\x01crx isom'],
  'JPEG XR': ['II\xbc\x01\x08\0\0\0'],
  'TIFF or a raw photo': ['II*\0\x08\0\0\0', 'MM\0*\0\0\0\x08'],
  TIFF: ['II+\0\x08\0\0\0', 'MM\0+\0\x08\0\0'],
  'JPEG 2000': [
    '\0\0\0\x0cjP  \r\n\x87\n',
    '\xff\x4f\xff\x51\0\x2f',
    '\0\0\0\x14ftypjp2 \0\0\0\0jp2 ',
  ],
  'JPEG XL': ['\0\0\0\x0cJXL \r\n\x87\n', '\xff\x0a\xfa\x1f', '\0\0\0\x14ftypjxl \0\0\0\0jxl '],
  Photoshop: ['8BPS\0\x01'],
  GIMP: ['gimp xcf v011\0'],
  PDF: ['%PDF-1.7\n'],
  PostScript: ['%!PS-Adobe-3.0 EPSF-3.0\n', '\xc5\xd0\xd3\xc6\x1e\0\0\0'],
  ICO: ['\0\0\x01\0\x01\0\x10\x10'],
  'ICO (a cursor)': ['\0\0\x02\0\x01\0\x10\x10'],
  SGI: ['\x01\xda\x01\x01'],
  QOI: ['qoif\0\0\0\x10'],
  DDS: ['DDS \x7c\0\0\0'],
  OpenEXR: ['v/1\x01\x02\0\0\0'],
  'Radiance HDR': ['#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n'],
  MNG: ['\x8aMNG\r\n\x1a\n\0\0\0\x1cMHDR'],
  DjVu: ['AT&TFORM\0\0\x02\0DJVU'],
  'a NumPy array': ['\x93NUMPY\x01\0v\0'],
  FITS: ['SIMPLE  =                    T'],
  ZIP: ['PK\x03\x04\x14\0'],
  gzip: ['\x1f\x8b\x08\0'],
  bzip2: ['BZh91AY&SY'],
  xz: ['\xfd7zXZ\0\0\x04'],
  zstd: ['(\xb5/\xfd\x04X'],
  '7-Zip': ['7z\xbc\xaf\x27\x1c\0\x04'],
  RAR: ['Rar!\x1a\x07\x01\0'],
  'Matroska or WebM video': ['\x1aE\xdf\xa3\x9fB\x86\x81'],
  'a program': ['\x7fELF\x02\x01\x01\0', 'MZ\x90\0\x03\0\0\0'],
  AVIF: ['\0\0\0\x1cftypavif\0\0\0\0', '\0\0\0\x18ftypmif1\0\0\0\0mif1avif'],
  HEIC: [
    '\0\0\0\x18ftypheic\0\0\0\0mif1heic',
    '\0\0\0\x18ftypmif1\0\0\0\0mif1heic',
    '\0\0\0\x18ftypheix\0\0\0\0',
  ],
  HEIF: ['\0\0\0\x18ftypmif1\0\0\0\0mif1miaf', '\0\0\0\x14ftypmif1\0\0\0\0mif1heic'],
  'QuickTime video': ['\0\0\0\x14ftypqt  \0\0\0\0qt  '],
  'MP4 video': ['\0\0\0\x18ftypisom\0\0\x02\0isomiso2', '\0\0\0\x18ftypmp42\0\0\0\0'],
  '3GP video': ['\0\0\0\x14ftyp3gp4\0\0\0\0'],
  'AVI video': ['RIFF\x24\0\0\0AVI LIST'],
  'WAV sound': ['RIFF\x24\0\0\0WAVEfmt '],
  BMP: ['BM\x36\0\0\0\0\0\0\0\x36\0\0\0'],
  DICOM: [`${'\0'.repeat(128)}DICM\x02\0`],
  'a tar archive': [`cat.jpg${'\0'.repeat(93)}0000644${'\0'.repeat(150)}ustar\0`],
  PNM: ['P6\n640 480\n255\n', 'P3\n# drawn\n2 2\n', 'P7\nWIDTH 2\n'],
  SVG: [
    '<?xml version="1.0"?>\n<!-- a drawing -->\n<svg xmlns="http://www.w3.org/2000/svg">',
    '<svg width="1"/>',
    '\xef\xbb\xbf  \n<SVG/>',
  ],
  'HTML, as of an error page': [
    '<!DOCTYPE html><title>404</title>',
    '<html><body>',
    '\n<html lang="en">',
  ],
  XML: ['<?xml version="1.0"?><note/>', '<!-- a note -->'],
};

export interface NotAnImage {
  /** The first cell of its row in docs/reference/errors.md. */
  readonly what: string;
  readonly bytes: Buffer;
}

const escaped = (file: Buffer) =>
  [...file].map((byte) => `\\x${byte.toString(16).padStart(2, '0')}`).join('');
const between = (file: Buffer, separator: string) =>
  file.toString('hex').replace(/..(?=.)/g, `$&${separator}`);
const withQuestionMarks = (file: Buffer) =>
  Buffer.from(file.map((byte) => (byte > 127 ? 63 : byte)));
const changeLineEnds = (file: Buffer, from: string, to: string) =>
  latin1(file.toString('latin1').replaceAll(from, to));

/** Data that are not an image at all; kinds with the same message have one name. */
export async function notImages(): Promise<NotAnImage[]> {
  const images = await Promise.all([
    jpeg(1, 64, 64),
    sharp({ create: { width: 64, height: 64, channels: 3, background: 'red' } })
      .png()
      .toBuffer(),
    webp(1, 64, 64),
  ]);
  const [photo, png, picture] = images as [Buffer, Buffer, Buffer];
  const all: NotAnImage[] = [];
  const add = (what: string, ...contents: (Buffer | string)[]) => {
    for (const content of contents) all.push({ what, bytes: Buffer.from(content as string) });
  };
  for (const file of images) {
    const base64 = file.toString('base64');
    add(
      'base64 text',
      base64,
      file.toString('base64url'),
      base64.replace(/.{76}/g, '$&\r\n'),
      JSON.stringify(base64),
    );
    add(
      'base64 text',
      `"${base64.replaceAll('/', '\\/')}"`,
      `\n${base64}\n`,
      `base64,${base64}`,
      base64.slice(0, 24),
    );
    add(
      'a data URL',
      `data:image/jpeg;base64,${base64}`,
      `"data:image/png;base64,${base64}"`,
      `DATA:,${base64}`,
    );
    add(
      'hexadecimal text',
      file.toString('hex'),
      file.toString('hex').toUpperCase(),
      between(file, ' '),
    );
    add(
      'hexadecimal text',
      `0x${file.toString('hex')}`,
      `\\x${file.toString('hex')}`,
      between(file, ':'),
    );
    add('bytes written with escapes', escaped(file), `b'${escaped(file)}'`);
    add(
      'a list of numbers',
      [...file].join(','),
      JSON.stringify([...file]),
      `(${[...file].join(', ')})`,
    );
    add(
      'JSON',
      JSON.stringify(file),
      JSON.stringify({ image: base64 }),
      JSON.stringify([{ image: base64 }]),
    );
    add(
      'an image behind a line break',
      Buffer.concat([latin1('\n'), file]),
      Buffer.concat([latin1('\r\n'), file]),
    );
    add('an image behind a byte order mark', Buffer.concat([latin1('\xef\xbb\xbf'), file]));
    add('an image behind white space', Buffer.concat([latin1(' \n'), file]));
    add('an image behind one other byte', Buffer.concat([Buffer.of(7), file]));
    add('an image behind five other bytes', Buffer.concat([Buffer.of(0, 0, 0, 9, 9), file]));
    const part =
      'Content-Disposition: form-data; name="file"; filename="cat.jpg"\r\nContent-Type: image/jpeg\r\n\r\n';
    add('a multipart body', Buffer.concat([latin1(`------Boundary7MA4\r\n${part}`), file]));
    add(
      'an HTTP message',
      Buffer.concat([latin1('HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\n\r\n'), file]),
    );
    add('text in UTF-16', Buffer.from(`\ufeff${base64}`, 'utf16le'));
  }
  add('bytes read as text, which replaced some', photo.toString('utf8'), png.toString('utf8'));
  add('bytes read as text, which replaced some', withQuestionMarks(photo), withQuestionMarks(png));
  add('bytes encoded as text in UTF-8', photo.toString('latin1'), png.toString('latin1'));
  // A length whose bytes are above 127, and replaced, so that the name of the format moves.
  add(
    'bytes read as text, which replaced some',
    `RIFF\ufffd\ufffd\0\0WEBPVP8 ${picture.toString('utf8', 16)}`,
  );
  add(
    'bytes encoded as text in UTF-8',
    `RIFF\u00ff\u0080\0\0WEBPVP8 ${picture.toString('latin1', 16)}`,
  );
  add(
    'bytes with other line ends',
    changeLineEnds(png, '\r\n', '\n'),
    changeLineEnds(png, '\n', '\r\n'),
  );
  add(
    'a URL',
    'https://example.com/cat.jpg',
    's3://bucket/cat.jpg',
    'file:///tmp/cat.jpg',
    'blob:https://example.com/1',
  );
  add(
    'the name of a file',
    '/home/me/cat.jpg',
    'cat.JPEG',
    'C:\\pictures\\cat.png',
    './cat',
    '~/cat.png\n',
    '"cat.webp"',
  );
  add(
    'a value made text',
    '[object Object]',
    '[object ArrayBuffer]',
    'undefined',
    'null',
    'None\n',
  );
  add('white space', ' ', ' \r\n\t', '\ufeff\n');
  add('zero bytes', Buffer.alloc(1), Buffer.alloc(3000));
  add(
    'a text',
    'This is a letter and not a picture.',
    'what?',
    'hello',
    'Ein Brief über Bäume',
    '<b>bold</b>',
    'BMW',
  );
  add('a text', `${'ä'.repeat(400)}`, `x${'ä'.repeat(400)}`);
  add(
    'bytes of no known format',
    Buffer.of(200, 3, 4, 5, 255, 1, 2, 9),
    latin1('\xff\xd8'),
    latin1('\x89PNG'),
  );
  add(
    'bytes of no known format',
    garbage(1, 'jpeg').subarray(4),
    latin1('\xe4\xf6\xfc \xe4\xf6\xfc'),
  );
  add('bytes of no known format', latin1('\0\0\0\x18ftypzzzz'), latin1('RIFF\x24\0\0\0ACON'));
  add('a gzip file of an image', gzipSync(photo));
  return all;
}

export interface DamagedImage extends NotAnImage {
  readonly format: 'png' | 'webp';
}

/** PNG and WebP files whose structure tells why they fail. */
export async function damagedImages(): Promise<DamagedImage[]> {
  const palette = await sharp({ create: { width: 64, height: 64, channels: 3, background: 'red' } })
    .png({ palette: true })
    .toBuffer();
  const plain = await sharp(Buffer.from(garbage(3, 'png', 64 * 64 * 3).subarray(8)), {
    raw: { width: 64, height: 64, channels: 3 },
  })
    .png()
    .toBuffer();
  const picture = await webp(1, 64, 64);
  const all: DamagedImage[] = [];
  const add = (what: string, format: 'png' | 'webp', ...files: Buffer[]) => {
    for (const bytes of files) all.push({ what, format, bytes });
  };
  const ends = [20, 40, 60].map((end) => plain.subarray(0, end));
  add(
    'a PNG that is cut off',
    'png',
    plain.subarray(0, 8),
    ...ends,
    truncated(plain),
    truncated(plain, 0.99),
  );
  add(
    'a WebP that is cut off',
    'webp',
    picture.subarray(0, 16),
    picture.subarray(0, -1),
    truncated(picture, 0.1),
  );
  const apple = Buffer.concat([plain.subarray(0, 8), appleChunk(), plain.subarray(8)]);
  add('a PNG of the kind that only Apple reads', 'png', apple);
  const [from, to] = [palette.indexOf('PLTE') - 4, palette.indexOf('IDAT') - 4];
  add(
    'a PNG without its palette',
    'png',
    Buffer.concat([palette.subarray(0, from), palette.subarray(to)]),
  );
  add('a WebP read as text, which replaced some', 'webp', Buffer.from(picture.toString('utf8')));
  return all;
}

/** `CgBI`, with its checksum, as Xcode puts it in front of the header. */
function appleChunk(): Buffer {
  return Buffer.from('000000044367424950002006 2cb87766'.replace(' ', ''), 'hex');
}
