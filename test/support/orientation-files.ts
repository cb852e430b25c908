/**
 * Small files that give their orientation in every sound, odd and damaged way: EXIF of all types
 * and shapes, XMP, and all places where JPEG, PNG and WebP keep them. The same files each time, so
 * that their orientations can be stored (`test/golden/orientation.json`).
 */
import { crc32, deflateSync } from 'node:zlib';
import sharp from 'sharp';
import type { DecodableFormat } from '#vitserve/workers/decode/sniff.js';
import { noise } from '../unit/workers/decode/drawing.js';
import { createRandom } from './mutations.js';

export interface OrientationFile {
  readonly name: string;
  readonly format: DecodableFormat;
  readonly bytes: Buffer;
}

const SIZE = { width: 8, height: 5 };

const ascii = (text: string) => Buffer.from(text, 'latin1');
const EXIF = ascii('Exif\0\0');

type Order = 'II' | 'MM';

export interface Entry {
  readonly tag?: number;
  readonly type?: number;
  readonly count?: number;
  /** At most four bytes that lie in the entry, or more that lie behind the directory. */
  readonly value: Buffer;
}

/** A number as `bytes` bytes of an order. */
function whole(value: number, bytes: 1 | 2 | 4, order: Order): Buffer {
  const buffer = Buffer.alloc(bytes);
  if (order === 'II') buffer.writeUIntLE(value, 0, bytes);
  else buffer.writeUIntBE(value, 0, bytes);
  return buffer;
}

interface TiffShape {
  readonly order?: Order;
  readonly magic?: string;
  /** Where the header says that the directory is. */
  readonly directory?: number;
  /** How many entries it claims to have. */
  readonly claimed?: number;
  /** The pointer to the next directory; null for none. */
  readonly next?: number | null;
  /** Bytes cut off the end. */
  readonly cut?: number;
}

/** A TIFF block of one directory at 8. */
export function tiff(entries: readonly Entry[], shape: TiffShape = {}): Buffer {
  const { order = 'II', directory = 8, claimed = entries.length, next = 0, cut = 0 } = shape;
  const magic = shape.magic ?? (order === 'II' ? 'II*\0' : 'MM\0*');
  const behind: Buffer[] = [];
  let free = 8 + 2 + entries.length * 12 + (next === null ? 0 : 4);
  const table = entries.map(({ tag = 0x0112, type = 3, count = 1, value }) => {
    let field: Buffer = Buffer.concat([value, Buffer.alloc(4)]).subarray(0, 4);
    if (value.length > 4) {
      field = whole(free, 4, order);
      behind.push(value);
      free += value.length;
    }
    return Buffer.concat([
      whole(tag, 2, order),
      whole(type, 2, order),
      whole(count, 4, order),
      field,
    ]);
  });
  const block = Buffer.concat([
    ascii(magic),
    whole(directory, 4, order),
    whole(claimed, 2, order),
    ...table,
    next === null ? Buffer.alloc(0) : whole(next, 4, order),
    ...behind,
  ]);
  return block.subarray(0, block.length - cut);
}

const short = (value: number, order: Order = 'II') => whole(value, 2, order);
const sound = (value: number, order: Order = 'II') =>
  tiff([{ value: short(value, order) }], { order });

/** A number in each type that TIFF knows, some that it does not, and the bytes of one value. */
function typed(value: number, type: number, order: Order): Buffer {
  const little = order === 'II';
  const bytes = Buffer.alloc(8);
  switch (type) {
    case 2:
      return ascii(`${value}\0`);
    case 3:
    case 8:
      return whole(value, 2, order);
    case 4:
    case 9:
    case 13:
      return whole(value, 4, order);
    case 5:
    case 10:
      return Buffer.concat([whole(value * 3, 4, order), whole(3, 4, order)]);
    case 11:
      if (little) bytes.writeFloatLE(value);
      else bytes.writeFloatBE(value);
      return bytes.subarray(0, 4);
    case 12:
      if (little) bytes.writeDoubleLE(value);
      else bytes.writeDoubleBE(value);
      return bytes;
    case 16:
    case 17:
    case 18:
      if (little) bytes.writeBigUInt64LE(BigInt(value));
      else bytes.writeBigUInt64BE(BigInt(value));
      return bytes;
    default:
      return whole(value, 1, order);
  }
}

/** EXIF blocks by name. */
function exifBlocks(): Map<string, Buffer> {
  const blocks = new Map<string, Buffer>();
  for (const order of ['II', 'MM'] as const) {
    const add = (name: string, block: Buffer) => blocks.set(`${order} ${name}`, block);
    const six: Entry = { value: short(6, order) };
    const other = (tag: number): Entry => ({ tag, value: short(1, order) });
    for (let value = 0; value <= 9; value++) add(`value ${value}`, sound(value, order));
    for (let type = 0; type <= 19; type++) {
      for (const value of [3, 6])
        add(
          `type ${type}, value ${value}`,
          tiff([{ type, value: typed(value, type, order) }], { order }),
        );
      for (const count of [0, 2, 3, 65_535])
        add(
          `type ${type}, count ${count}`,
          tiff([{ type, count, value: typed(6, type, order) }], { order }),
        );
      const three = Buffer.concat([
        typed(8, type, order),
        typed(6, type, order),
        typed(3, type, order),
      ]);
      add(`type ${type}, three values`, tiff([{ type, count: 3, value: three }], { order }));
    }
    add('rational 13/2', tiff([{ type: 5, value: ratio(13, 2, order) }], { order }));
    add('rational 6/0', tiff([{ type: 5, value: ratio(6, 0, order) }], { order }));
    add('rational 0/0', tiff([{ type: 5, value: ratio(0, 0, order) }], { order }));
    add(
      'rational -6/-1',
      tiff([{ type: 10, value: ratio(2 ** 32 - 6, 2 ** 32 - 1, order) }], { order }),
    );
    add('short 0x0600', tiff([{ value: short(0x0600, order) }], { order }));
    add('long 65542', tiff([{ type: 4, value: whole(65_542, 4, order) }], { order }));
    add('no entry', tiff([], { order }));
    add('another entry', tiff([other(0x0100)], { order }));
    add('behind another', tiff([other(0x0100), six], { order }));
    add('before a smaller tag', tiff([six, other(0x0100)], { order }));
    add('twice, the same', tiff([six, six], { order }));
    add('twice, otherwise', tiff([six, { value: short(8, order) }], { order }));
    add(
      'twice, the second of a bad type',
      tiff([six, { type: 99, value: short(8, order) }], { order }),
    );
    add(
      'twice, the second a string',
      tiff([six, { type: 2, count: 2, value: ascii('8\0') }], { order }),
    );
    add(
      'twice, the second without values',
      tiff([six, { count: 0, value: short(8, order) }], { order }),
    );
    const overrun: Entry = { tag: 0x010f, type: 2, count: 40_000, value: whole(60_000, 4, order) };
    add('behind an overrun', tiff([overrun, six], { order }));
    add('before an overrun', tiff([six, overrun], { order }));
    const cameras: Entry = { tag: 0x010f, type: 2, count: 9, value: ascii('A camera\0') };
    add('behind a string', tiff([cameras, six], { order }));
    add('behind a string that is cut off', tiff([cameras, six], { order, cut: 1 }));
    add('behind a string of a bad type', tiff([{ ...cameras, type: 77 }, six], { order }));
    add('no next pointer', tiff([six], { order, next: null }));
    add('half a next pointer', tiff([six], { order, cut: 2 }));
    add('a wild next pointer', tiff([six], { order, next: 0xffff_fff0 }));
    add('half an entry', tiff([six], { order, next: null, cut: 2 }));
    add('fewer entries than claimed', tiff([six], { order, claimed: 9 }));
    add('65535 entries claimed', tiff([six], { order, claimed: 65_535 }));
    add('more entries than claimed', tiff([other(0x0100), six], { order, claimed: 1 }));
    add('none claimed', tiff([six], { order, claimed: 0 }));
    for (const directory of [0, 2, 7, 9, 20, 22, 26, 5_000, 0x7fff_ffff, 0xffff_ffff])
      add(`directory at ${directory}`, tiff([six], { order, directory }));
    add('only a header', tiff([], { order }).subarray(0, 8));
    add('half a header', tiff([], { order }).subarray(0, 6));
    add('only a byte order', tiff([], { order }).subarray(0, 4));
    for (const magic of [
      'II\0*',
      'MM*\0',
      'MM\0+',
      'II+\0',
      'II\0+',
      'MM+\0',
      'IIU\0',
      'XX*\0',
      'Exif',
      '\0\0\0\0',
    ])
      if (magic.startsWith('MM') === (order === 'MM'))
        add(`magic ${JSON.stringify(magic)}`, tiff([six], { order, magic }));
    add('prefix twice', Buffer.concat([EXIF, EXIF, sound(6, order)]));
    add('prefix of another kind', Buffer.concat([ascii('Exif\0\xff'), sound(6, order)]));
    add('a zero byte in front', Buffer.concat([Buffer.alloc(1), sound(6, order)]));
  }
  blocks.set('nothing', Buffer.alloc(0));
  blocks.set('only a prefix', EXIF);
  return blocks;
}

function ratio(numerator: number, denominator: number, order: Order): Buffer {
  return Buffer.concat([whole(numerator, 4, order), whole(denominator, 4, order)]);
}

/** XMP packets by name. */
const XMP: Readonly<Record<string, Buffer>> = {
  'attribute 6': ascii(
    '<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/>',
  ),
  'element 8': ascii('<rdf:Description><tiff:Orientation>8</tiff:Orientation></rdf:Description>'),
  'attribute 1': ascii('<rdf:Description tiff:Orientation="1"/>'),
  'attribute 0': ascii('<rdf:Description tiff:Orientation="0"/>'),
  'attribute 9': ascii('<rdf:Description tiff:Orientation="9"/>'),
  'attribute 63': ascii('<rdf:Description tiff:Orientation="63"/>'),
  'single quotes': ascii("<rdf:Description tiff:Orientation='6'/>"),
  'spaces around it': ascii('<rdf:Description tiff:Orientation = "6"/>'),
  'two of them': ascii('<a tiff:Orientation="3"/><b tiff:Orientation="6"/>'),
  'another prefix': ascii('<rdf:Description t:Orientation="6"/>'),
  'no UTF-8': Buffer.concat([Buffer.of(0xff, 0xfe), ascii('tiff:Orientation="6"')]),
  'no XML at all': ascii('tiff:Orientation>6'),
  empty: Buffer.alloc(0),
};

const SOUND_XMP = XMP['attribute 6'] as Buffer;

// JPEG

function segment(marker: number, content: Buffer): Buffer {
  return Buffer.concat([Buffer.of(0xff, marker), whole(content.length + 2, 2, 'MM'), content]);
}

const exifSegment = (block: Buffer) => segment(0xe1, Buffer.concat([EXIF, block]));
const xmpSegment = (packet: Buffer) =>
  segment(0xe1, Buffer.concat([ascii('http://ns.adobe.com/xap/1.0/\0'), packet]));

// PNG

function chunk(name: string, content: Buffer): Buffer {
  const named = Buffer.concat([ascii(name), content]);
  return Buffer.concat([whole(content.length, 4, 'MM'), named, whole(crc32(named), 4, 'MM')]);
}

/** As ImageMagick writes it. */
function rawProfile(block: Buffer, name = 'exif'): Buffer {
  const digits = Buffer.concat([EXIF, block]).toString('hex').replace(/.{72}/g, '$&\n');
  return ascii(`\n${name}\n${String(block.length + EXIF.length).padStart(8)}\n${digits}\n`);
}

const text = (keyword: string, value: Buffer) =>
  chunk('tEXt', Buffer.concat([ascii(`${keyword}\0`), value]));
const packedText = (keyword: string, value: Buffer) =>
  chunk('zTXt', Buffer.concat([ascii(`${keyword}\0\0`), deflateSync(value)]));
const utfText = (
  keyword: string,
  value: Buffer,
  { packed = false, language = '', method = 0 } = {},
) =>
  chunk(
    'iTXt',
    Buffer.concat([
      ascii(`${keyword}\0`),
      Buffer.of(packed ? 1 : 0, method),
      ascii(`${language}\0\0`),
      packed ? deflateSync(value) : value,
    ]),
  );

const RAW_EXIF = 'Raw profile type exif';
const ADOBE = 'XML:com.adobe.xmp';

function frame(sequence: number): Buffer {
  const control = Buffer.alloc(26);
  control.writeUInt32BE(sequence, 0);
  control.writeUInt32BE(SIZE.width, 4);
  control.writeUInt32BE(SIZE.height, 8);
  return chunk('fcTL', control);
}

const frames = (count: number) =>
  chunk('acTL', Buffer.concat([whole(count, 4, 'MM'), Buffer.alloc(4)]));

// WebP

function riffChunk(name: string, content: Buffer): Buffer {
  const padding = Buffer.alloc(content.length % 2);
  return Buffer.concat([ascii(name), whole(content.length, 4, 'II'), content, padding]);
}

function riff(...chunks: Buffer[]): Buffer {
  const content = Buffer.concat([ascii('WEBP'), ...chunks]);
  return Buffer.concat([ascii('RIFF'), whole(content.length, 4, 'II'), content]);
}

function extendedHeader(flags: number): Buffer {
  const header = Buffer.alloc(10);
  header[0] = flags;
  header.writeUIntLE(SIZE.width - 1, 4, 3);
  header.writeUIntLE(SIZE.height - 1, 7, 3);
  return riffChunk('VP8X', header);
}

const [EXIF_FLAG, XMP_FLAG] = [8, 4];

/** All files, some 1,500. */
export async function orientationFiles(): Promise<OrientationFile[]> {
  const raw = { ...SIZE, channels: 3 as const };
  const picture = sharp(noise(SIZE.width * SIZE.height * 3), { raw });
  const [jpeg, png, webp] = await Promise.all([
    picture.clone().jpeg({ quality: 100, chromaSubsampling: '4:4:4' }).toBuffer(),
    picture.clone().png().toBuffer(),
    picture.clone().webp({ lossless: true }).toBuffer(),
  ]);
  const files: OrientationFile[] = [];

  // Behind the application segment that sharp writes, or in front of it.
  const inJpeg = (name: string, ...segments: Buffer[]) =>
    files.push({
      name: `jpeg: ${name}`,
      format: 'jpeg',
      bytes: Buffer.concat([jpeg.subarray(0, 2), ...segments, jpeg.subarray(2)]),
    });

  const idat = png.indexOf('IDAT') - 4;
  const end = png.indexOf('IEND') - 4;
  const inPng = (name: string, before: readonly Buffer[], after: readonly Buffer[] = []) =>
    files.push({
      name: `png: ${name}`,
      format: 'png',
      bytes: Buffer.concat([
        png.subarray(0, idat),
        ...before,
        png.subarray(idat, end),
        ...after,
        png.subarray(end),
      ]),
    });

  const image = webp.subarray(12);
  const inWebp = (name: string, flags: number, ...chunks: Buffer[]) =>
    files.push({
      name: `webp: ${name}`,
      format: 'webp',
      bytes: riff(extendedHeader(flags), image, ...chunks),
    });

  for (const [name, block] of exifBlocks()) {
    inJpeg(name, exifSegment(block));
    inJpeg(`${name}, XMP says 6`, exifSegment(block), xmpSegment(SOUND_XMP));
    inPng(`${name}, eXIf before`, [chunk('eXIf', block)]);
    inPng(`${name}, eXIf after, XMP says 6`, [utfText(ADOBE, SOUND_XMP)], [chunk('eXIf', block)]);
    inPng(`${name}, text`, [text(RAW_EXIF, rawProfile(block))]);
    inWebp(name, EXIF_FLAG, riffChunk('EXIF', block));
    inWebp(
      `${name}, XMP says 6`,
      EXIF_FLAG | XMP_FLAG,
      riffChunk('EXIF', block),
      riffChunk('XMP ', SOUND_XMP),
    );
  }
  for (const [name, packet] of Object.entries(XMP)) {
    inJpeg(`XMP ${name}`, xmpSegment(packet));
    inJpeg(`XMP ${name}, then another`, xmpSegment(packet), xmpSegment(XMP['element 8'] as Buffer));
    for (const packed of [false, true]) {
      inPng(`XMP ${name}${packed ? ', packed' : ''}`, [utfText(ADOBE, packet, { packed })]);
      inPng(
        `XMP ${name}${packed ? ', packed' : ''}, after`,
        [],
        [utfText(ADOBE, packet, { packed })],
      );
    }
    inPng(`XMP ${name} as plain text`, [text(ADOBE, packet)]);
    inPng(`XMP ${name} behind another`, [
      utfText(ADOBE, XMP['element 8'] as Buffer),
      utfText(ADOBE, packet),
    ]);
    inWebp(`XMP ${name}`, XMP_FLAG, riffChunk('XMP ', packet));
  }

  const [six, eight] = [sound(6), sound(8)];
  inJpeg(
    'an EXIF block in two segments',
    exifSegment(six.subarray(0, 15)),
    exifSegment(six.subarray(15)),
  );
  inJpeg('two EXIF segments', exifSegment(six), exifSegment(eight));
  inJpeg('two EXIF segments, the first empty', exifSegment(Buffer.alloc(0)), exifSegment(eight));
  inJpeg('two EXIF segments, the first broken', exifSegment(ascii('XX')), exifSegment(eight));
  inJpeg('EXIF behind XMP', xmpSegment(XMP['element 8'] as Buffer), exifSegment(six));
  inJpeg('EXIF in another segment', segment(0xe2, Buffer.concat([EXIF, six])));
  inJpeg('EXIF in lower case', segment(0xe1, Buffer.concat([ascii('exif\0\0'), six])));
  inJpeg(
    'stray bytes in front',
    segment(0xfe, ascii('A note')),
    Buffer.of(0, 1, 0xff, 0, 2),
    exifSegment(six),
  );
  inJpeg('fill bytes in front', Buffer.alloc(5, 0xff), exifSegment(six));
  inJpeg('a comment in front', segment(0xfe, ascii('Exif\0\0')), exifSegment(six));
  inJpeg('a restart marker in front', Buffer.of(0xff, 0xd0), exifSegment(six));
  inJpeg('an empty APP1 in front', segment(0xe1, Buffer.alloc(0)), exifSegment(six));
  // Pillow rejects a file for broken EXIF only if a JFIF segment has told it the density before.
  const density = segment(
    0xe0,
    Buffer.concat([ascii('JFIF\0'), Buffer.of(1, 2, 1, 0, 72, 0, 72, 0, 0)]),
  );
  inJpeg(
    'sound EXIF beside a density, XMP says 6',
    density,
    exifSegment(eight),
    xmpSegment(SOUND_XMP),
  );
  inJpeg(
    'broken EXIF beside a density, XMP says 6',
    density,
    exifSegment(ascii('XX')),
    xmpSegment(SOUND_XMP),
  );
  files.push({
    name: 'jpeg: EXIF behind the picture',
    format: 'jpeg',
    bytes: Buffer.concat([jpeg, exifSegment(six)]),
  });

  inPng('eXIf twice', [chunk('eXIf', six)], [chunk('eXIf', eight)]);
  inPng('eXIf twice before', [chunk('eXIf', six), chunk('eXIf', eight)]);
  inPng('eXIf and a raw profile', [chunk('eXIf', six), text(RAW_EXIF, rawProfile(eight))]);
  inPng('a raw profile and an empty eXIf', [
    chunk('eXIf', Buffer.alloc(0)),
    text(RAW_EXIF, rawProfile(eight)),
  ]);
  inPng('a raw profile, packed', [packedText(RAW_EXIF, rawProfile(six))]);
  inPng('a raw profile, packed, after', [], [packedText(RAW_EXIF, rawProfile(six))]);
  inPng('a raw profile in iTXt', [utfText(RAW_EXIF, rawProfile(six))]);
  inPng('a raw profile in iTXt, packed', [utfText(RAW_EXIF, rawProfile(six), { packed: true })]);
  inPng(
    'two raw profiles',
    [text(RAW_EXIF, rawProfile(six))],
    [packedText(RAW_EXIF, rawProfile(eight))],
  );
  inPng('a raw profile of type APP1', [text('Raw profile type APP1', rawProfile(six, 'APP1'))]);
  inPng('a raw profile in lower case', [text('raw profile type exif', rawProfile(six))]);
  inPng('a raw profile without lines', [text(RAW_EXIF, ascii(six.toString('hex')))]);
  inPng('a raw profile in capitals', [
    text(RAW_EXIF, ascii(rawProfile(six).toString('latin1').toUpperCase())),
  ]);
  inPng('a raw profile with spaces', [
    text(RAW_EXIF, ascii(`\nexif\n 9\n${six.toString('hex').replace(/../g, '$& \t')}`)),
  ]);
  inPng('a raw profile with split pairs', [
    text(RAW_EXIF, ascii(`\nexif\n 9\n${six.toString('hex').replace(/./g, '$& ')}`)),
  ]);
  inPng('a raw profile with lines between', [
    text(RAW_EXIF, ascii(`\nexif\n 9\n${six.toString('hex').replace(/./g, '$&\n')}`)),
  ]);
  inPng('a raw profile with an odd digit', [
    text(RAW_EXIF, ascii(`\nexif\n 9\n${six.toString('hex')}0`)),
  ]);
  inPng('a raw profile of other letters', [text(RAW_EXIF, ascii('\nexif\n 9\nzz'))]);
  inPng('a raw profile of nothing, XMP says 6', [
    text(RAW_EXIF, ascii('\nexif\n 0\n')),
    utfText(ADOBE, SOUND_XMP),
  ]);
  inPng('a raw profile, XMP says 8', [
    text(RAW_EXIF, rawProfile(six)),
    utfText(ADOBE, XMP['element 8'] as Buffer),
  ]);
  inPng('a text that is EXIF', [text('exif', six)]);
  inPng('a text that is EXIF, then eXIf', [text('exif', six), chunk('eXIf', eight)]);
  inPng('a packed text that is cut off', [
    chunk(
      'zTXt',
      Buffer.concat([ascii(`${RAW_EXIF}\0\0`), deflateSync(rawProfile(six)).subarray(0, -3)]),
    ),
  ]);
  inPng('a packed text that is none', [chunk('zTXt', ascii(`${RAW_EXIF}\0\0not packed`))]);
  inPng('a packed text that is none behind one', [
    packedText(RAW_EXIF, rawProfile(six)),
    chunk('zTXt', ascii(`${RAW_EXIF}\0\0not packed`)),
  ]);
  inPng('a packed iTXt that is none behind one', [
    utfText(RAW_EXIF, rawProfile(six)),
    chunk('iTXt', ascii(`${RAW_EXIF}\0\x01\0\0\0not packed`)),
  ]);
  inPng('an iTXt with another method', [
    utfText(RAW_EXIF, rawProfile(six), { packed: true, method: 7 }),
  ]);
  inPng('an unpacked iTXt with another method', [
    utfText(RAW_EXIF, rawProfile(six), { method: 7 }),
  ]);
  inPng('an iTXt whose language is no UTF-8', [
    utfText(RAW_EXIF, rawProfile(six), { language: '\xff' }),
  ]);
  inPng('XMP whose language is no UTF-8', [utfText(ADOBE, SOUND_XMP, { language: '\xff' })]);
  inPng('an iTXt without its parts', [chunk('iTXt', ascii(`${ADOBE}\0\0\0tiff:Orientation="6"`))]);
  inPng('plain XMP and broken XMP', [
    text(ADOBE, SOUND_XMP),
    utfText(ADOBE, XMP['no UTF-8'] as Buffer),
  ]);
  inPng('empty plain XMP behind broken XMP', [
    utfText(ADOBE, XMP['no UTF-8'] as Buffer),
    text(ADOBE, Buffer.alloc(0)),
  ]);
  inPng('eXIf behind another chunk', [], [text('Comment', ascii('A note')), chunk('eXIf', six)]);
  inPng(
    'eXIf behind a chunk with a strange name',
    [],
    [chunk('a.b.', Buffer.alloc(3)), chunk('eXIf', six)],
  );
  inPng(
    'eXIf with a wrong checksum, after',
    [],
    [Buffer.concat([chunk('eXIf', six).subarray(0, -1), Buffer.of(0)])],
  );
  for (const count of [0, 1, 2]) {
    inPng(
      `${count} frames, eXIf at the end`,
      [frames(count), frame(0)],
      [frame(1), chunk('eXIf', six)],
    );
    inPng(
      `${count} frames beside the picture, eXIf at the end`,
      [frames(count)],
      [frame(0), chunk('eXIf', six)],
    );
    inPng(
      `${count} frames, eXIf before the second`,
      [frames(count), frame(0)],
      [chunk('eXIf', six), frame(1)],
    );
  }
  inPng(
    'frames told twice, eXIf at the end',
    [frames(2), frames(2), frame(0)],
    [frame(1), chunk('eXIf', six)],
  );
  inPng(
    'frames told three times, eXIf at the end',
    [frames(2), frames(2), frames(2), frame(0)],
    [frame(1), chunk('eXIf', six)],
  );

  inWebp('EXIF that is not announced', 0, riffChunk('EXIF', six));
  inWebp('XMP that is not announced', EXIF_FLAG, riffChunk('XMP ', SOUND_XMP));
  inWebp('EXIF twice', EXIF_FLAG, riffChunk('EXIF', six), riffChunk('EXIF', eight));
  inWebp(
    'EXIF twice, the first empty',
    EXIF_FLAG,
    riffChunk('EXIF', Buffer.alloc(0)),
    riffChunk('EXIF', eight),
  );
  inWebp(
    'XMP twice',
    XMP_FLAG,
    riffChunk('XMP ', SOUND_XMP),
    riffChunk('XMP ', XMP['element 8'] as Buffer),
  );
  inWebp(
    'EXIF behind a strange chunk',
    EXIF_FLAG,
    riffChunk('what', Buffer.alloc(3)),
    riffChunk('EXIF', six),
  );
  inWebp('EXIF in lower case', EXIF_FLAG, riffChunk('exif', six));
  const plain = { name: 'webp: EXIF in a file of the simple format', format: 'webp' as const };
  files.push({ ...plain, bytes: riff(image, riffChunk('EXIF', six)) });
  const before = { name: 'webp: EXIF before the picture', format: 'webp' as const };
  files.push({ ...before, bytes: riff(extendedHeader(EXIF_FLAG), riffChunk('EXIF', six), image) });
  const behind = { name: 'webp: EXIF behind the end', format: 'webp' as const };
  files.push({
    ...behind,
    bytes: Buffer.concat([riff(extendedHeader(EXIF_FLAG), image), riffChunk('EXIF', six)]),
  });
  return files;
}

/**
 * One of each file with some bytes of its orientation data overwritten; a PNG's checksums are
 * corrected.
 */
export function damageMetadata(files: readonly OrientationFile[], seed: number): OrientationFile[] {
  const random = createRandom(seed);
  return files.map(({ name, format, bytes }) => {
    const copy = Buffer.from(bytes);
    const places = ['Exif', 'EXIF', 'eXIf', 'http', 'XM', 'Raw '].map((start) =>
      copy.indexOf(start),
    );
    const at = 4 + (places.find((place) => place >= 0) ?? 0);
    for (let count = 1 + random(3); count > 0; count--) {
      const place = at + random(40);
      if (place < copy.length)
        copy[place] = [0, 1, 3, 6, 0x12, 0xff, random(256)][random(7)] as number;
    }
    if (format === 'png') mendChecksums(copy);
    return { name: `${name}, damaged`, format, bytes: copy };
  });
}

function mendChecksums(png: Buffer): void {
  for (let at = 8; at + 12 <= png.length; ) {
    const end = at + 8 + png.readUInt32BE(at);
    if (end + 4 > png.length) return;
    png.writeUInt32BE(crc32(png.subarray(at + 4, end)), end);
    at = end + 4;
  }
}
