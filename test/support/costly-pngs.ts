/**
 * PNG files that ask for more work than their size suggests: texts and profiles that inflate,
 * hundreds of thousands of chunks, image data that continue after the picture.
 */
import { crc32, deflateSync } from 'node:zlib';
import { oneOf, type Random, randomBytes } from './mutations.js';

const SIGNATURE = Buffer.from('89504e470d0a1a0a', 'hex');
const CHANNELS: Readonly<Record<number, number>> = { 0: 1, 2: 3, 3: 1, 4: 2, 6: 4 };
/** How much libpng inflates of one chunk. */
const UNFOLDED_BYTES = 7_900_000;
/** Above this an uncompressed image data stream would be too large a file for the server. */
const MOST_STORED_BYTES = 12_000_000;

export function chunk(type: string, data: Uint8Array = Buffer.alloc(0)): Buffer {
  const bytes = Buffer.alloc(12 + data.length);
  bytes.writeUInt32BE(data.length, 0);
  bytes.write(type, 4, 'latin1');
  bytes.set(data, 8);
  bytes.writeUInt32BE(crc32(bytes.subarray(4, 8 + data.length)), 8 + data.length);
  return bytes;
}

export interface PngParts {
  readonly width: number;
  readonly height: number;
  readonly depth?: number;
  readonly colour?: number;
  readonly interlaced?: boolean;
  /** In front of the image data. */
  readonly extra?: readonly Uint8Array[];
  /** Image data; default: those of a black picture. */
  readonly data?: readonly Uint8Array[];
}

export function pngOf({
  width,
  height,
  depth = 8,
  colour = 2,
  interlaced = false,
  extra = [],
  data,
}: PngParts): Buffer {
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([depth, colour, 0, 0, interlaced ? 1 : 0], 8);
  const palette = colour === 3 ? [chunk('PLTE', Buffer.alloc(3))] : [];
  const blank = () => [
    chunk('IDAT', deflateSync(Buffer.alloc(rowsBytes(width, height, depth, colour, interlaced)))),
  ];
  return Buffer.concat([
    SIGNATURE,
    chunk('IHDR', header),
    ...palette,
    ...extra,
    ...(data ?? blank()),
    chunk('IEND'),
  ]);
}

/** PNG specification, 8.2: seven passes, each of rows of its own. */
function rowsBytes(
  width: number,
  height: number,
  depth: number,
  colour: number,
  interlaced: boolean,
): number {
  const bits = depth * (CHANNELS[colour] ?? 1);
  const passes = interlaced
    ? [
        [0, 8, 0, 8],
        [4, 8, 0, 8],
        [0, 4, 4, 8],
        [2, 4, 0, 4],
        [0, 2, 2, 4],
        [1, 2, 0, 2],
        [0, 1, 1, 2],
      ]
    : [[0, 1, 0, 1]];
  return passes.reduce((sum, [left = 0, across = 1, top = 0, down = 1]) => {
    const [columns, rows] = [Math.ceil((width - left) / across), Math.ceil((height - top) / down)];
    return columns <= 0 || rows <= 0 ? sum : sum + rows * (1 + Math.ceil((columns * bits) / 8));
  }, 0);
}

let unfolding: Buffer | null = null;
function bomb(): Buffer {
  unfolding ??= deflateSync(Buffer.alloc(UNFOLDED_BYTES), { level: 9 });
  return unfolding;
}

/** A small picture with so many texts, each of 8 kB that inflate to 8 MB. */
export function unfoldingTexts(count: number): Buffer {
  const text = chunk('zTXt', Buffer.concat([Buffer.from('a\0\0'), bomb()]));
  return pngOf({ width: 8, height: 8, extra: new Array<Buffer>(count).fill(text) });
}

/** A small picture with so many meaningless chunks. */
export function emptyChunks(count: number): Buffer {
  return pngOf({
    width: 8,
    height: 8,
    extra: [Buffer.concat(new Array<Buffer>(count).fill(chunk('aaAa')))],
  });
}

/** A small picture whose image data continue after its rows. */
export function endlessData(unfoldedBytes: number): Buffer {
  return pngOf({
    width: 8,
    height: 8,
    data: [chunk('IDAT', deflateSync(Buffer.alloc(unfoldedBytes), { level: 9 }))],
  });
}

/** Any of these, in any mixture. `pixels`: the largest picture. */
export function costlyPng(random: Random, pixels: number): Buffer {
  const width = oneOf([Math.floor(Math.sqrt(pixels)), 1 + random(65_500), 64, 1], random);
  const height = Math.max(1, Math.min(65_500, Math.floor(pixels / width / (1 + random(4)))));
  const colour = oneOf([0, 2, 3, 4, 6], random);
  const depth = oneOf(colour === 3 ? [1, 2, 4, 8] : colour === 0 ? [1, 8, 16] : [8, 16], random);
  const interlaced = random(2) === 0;
  const rows = Buffer.alloc(
    rowsBytes(width, height, depth, colour, interlaced),
    random(2) === 0 ? 0 : random(256),
  );
  const behind = Buffer.alloc(random(3) === 0 ? random(80_000_000) : 0);
  const unfolded = Buffer.concat([rows, behind]);
  const levels = unfolded.length < MOST_STORED_BYTES ? [1, 9, 0] : [1, 9];
  const stream = deflateSync(unfolded, { level: oneOf(levels, random) });
  const piece = oneOf([stream.length, 8_192, 100, 1 + random(1_000)], random);
  const pieces = Math.min(20_000, Math.ceil(stream.length / piece));
  const data = Array.from({ length: pieces }, (_, at) =>
    chunk(
      'IDAT',
      stream.subarray(at * piece, at === pieces - 1 ? stream.length : (at + 1) * piece),
    ),
  );
  const extra = (): Buffer => {
    const kind = oneOf(['zTXt', 'iTXt', 'iCCP', 'sPLT', 'tEXt', 'eXIf', 'hIST', 'aaAa'], random);
    const head =
      kind === 'iTXt'
        ? 'a\0\x01\0\0\0'
        : kind === 'sPLT'
          ? 'a\0\x08'
          : kind === 'eXIf'
            ? 'II*\0\x08\0\0\0'
            : 'a\0\0';
    const body = oneOf(
      [bomb(), Buffer.alloc(random(60_000), random(256)), randomBytes(random(100), random)],
      random,
    );
    const one = chunk(kind, Buffer.concat([Buffer.from(head, 'latin1'), body]));
    const most = Math.floor(4_000_000 / one.length);
    return Buffer.concat(
      new Array<Buffer>(random(Math.min(most, oneOf([2, 20, 1_000, 70_000], random)) + 1)).fill(
        one,
      ),
    );
  };
  const extras = Array.from({ length: random(3) }, extra);
  return pngOf({ width, height, depth, colour, interlaced, extra: extras, data });
}
