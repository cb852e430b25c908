/**
 * Drawn PNG files of every ordinary kind, and damage to their structure: lengths, checksums, order,
 * headers that lie, the compressed stream, palettes, animation, and compressed chunks beside the
 * picture that inflate to megabytes. Damage inside of a chunk comes with the right checksum as well
 * as with the wrong one, since the right one gets further.
 */
import { crc32, deflateSync, inflateSync } from 'node:zlib';
import sharp from 'sharp';
import { texture } from './images.js';
import {
  cutOff,
  cutOffNearTheEnd,
  flip,
  type Mutation,
  type Mutations,
  oneOf,
  pieceOut,
  type Random,
  randomBytes,
  replace,
  somethingBehind,
  within,
} from './mutations.js';

const SIGNATURE_BYTES = 8;
const BOMB_BYTES = 12_000_000;

interface Chunk {
  readonly type: string;
  readonly data: Buffer;
}

async function drawPngs(): Promise<readonly Buffer[]> {
  const draw = (seed: number, width: number, height: number) =>
    sharp(texture(seed, width, height), { raw: { width, height, channels: 3 } });
  const rgba = sharp(texture(9, 40, 30), { raw: { width: 30, height: 30, channels: 4 } });
  return await Promise.all(
    [
      draw(1, 47, 33).png(),
      draw(2, 40, 40).png({ progressive: true, compressionLevel: 9 }),
      rgba.clone().png(),
      rgba.clone().png({ palette: true }),
      draw(3, 50, 20).png({ palette: true, colours: 4, progressive: true }),
      draw(4, 33, 31).greyscale().png(),
      draw(5, 21, 41).toColourspace('rgb16').png(),
      draw(6, 30, 30).greyscale().toColourspace('grey16').png(),
      draw(7, 35, 25).withMetadata({ orientation: 6 }).png(),
      draw(8, 9, 200).withIccProfile('srgb').png(),
    ].map((image) => image.toBuffer()),
  );
}

/** The chunks as far as their lengths can be followed. */
function chunksOf(png: Buffer): Chunk[] {
  const chunks: Chunk[] = [];
  for (let at = SIGNATURE_BYTES; at + 12 <= png.length; ) {
    const end = at + 8 + png.readUInt32BE(at);
    if (end + 4 > png.length) break;
    chunks.push({ type: png.toString('latin1', at + 4, at + 8), data: png.subarray(at + 8, end) });
    at = end + 4;
  }
  return chunks;
}

function serialize({ type, data }: Chunk): Buffer {
  const bytes = Buffer.alloc(12 + data.length);
  bytes.writeUInt32BE(data.length, 0);
  bytes.write(type, 4, 'latin1');
  data.copy(bytes, 8);
  bytes.writeUInt32BE(crc32(bytes.subarray(4, 8 + data.length)), 8 + data.length);
  return bytes;
}

const assemble = (png: Buffer, chunks: readonly Chunk[]): Buffer =>
  Buffer.concat([png.subarray(0, SIGNATURE_BYTES), ...chunks.map(serialize)]);

/** A change of the list of chunks; the checksums are right afterwards. */
function inChunks(change: (chunks: Chunk[], random: Random) => void): Mutation {
  return (png, random) => {
    const chunks = chunksOf(png);
    if (chunks.length === 0) return png;
    change(chunks, random);
    return assemble(png, chunks);
  };
}

/** A change of the data of one chunk, the first of that type if there is one. */
const inData = (type: string | null, change: (data: Buffer, random: Random) => Buffer): Mutation =>
  inChunks((chunks, random) => {
    const at =
      type === null ? random(chunks.length) : chunks.findIndex((chunk) => chunk.type === type);
    const chunk = chunks[at];
    if (chunk !== undefined)
      chunks[at] = { ...chunk, data: change(Buffer.from(chunk.data), random) };
  });

/** The header, unless an earlier damage has shortened it. */
const inHeader = (change: (header: Buffer, random: Random) => Buffer): Mutation =>
  inData('IHDR', (data, random) => (data.length < 13 ? data : change(data, random)));

const insert = (
  make: (random: Random) => Chunk | readonly Chunk[],
  before: 'IDAT' | 'IEND' = 'IDAT',
): Mutation =>
  inChunks((chunks, random) => {
    const at = chunks.findIndex(({ type }) => type === before);
    chunks.splice(at < 0 ? chunks.length : at, 0, ...[make(random)].flat());
  });

/** All image data as one stream, changed, in one chunk again. */
const inImageData = (change: (stream: Buffer, random: Random) => Buffer): Mutation =>
  inChunks((chunks, random) => {
    const first = chunks.findIndex(({ type }) => type === 'IDAT');
    if (first < 0) return;
    const stream = Buffer.concat(
      chunks.filter(({ type }) => type === 'IDAT').map(({ data }) => data),
    );
    const rest = chunks.filter(({ type }) => type !== 'IDAT');
    const changed = { type: 'IDAT', data: change(Buffer.from(stream), random) };
    chunks.splice(0, chunks.length, ...rest.slice(0, first), changed, ...rest.slice(first));
  });

/** The same with the inflated stream, if it still inflates. */
const inRows = (change: (rows: Buffer, random: Random) => Buffer): Mutation =>
  inImageData((stream, random) => {
    try {
      return deflateSync(change(inflateSync(stream), random));
    } catch {
      return stream;
    }
  });

let bomb: Buffer | null = null;
function deflatedBomb(): Buffer {
  bomb ??= deflateSync(Buffer.alloc(BOMB_BYTES));
  return bomb;
}

const SIZES = [
  0,
  1,
  2,
  3,
  16,
  31,
  255,
  1_000,
  5_000,
  65_535,
  65_536,
  1_000_000,
  2 ** 31 - 1,
  2 ** 31,
  2 ** 32 - 1,
];
const KNOWN = [
  'IHDR',
  'PLTE',
  'IDAT',
  'IEND',
  'tRNS',
  'gAMA',
  'cHRM',
  'sRGB',
  'iCCP',
  'tEXt',
  'zTXt',
  'iTXt',
  'bKGD',
].concat(['pHYs', 'sBIT', 'sPLT', 'hIST', 'tIME', 'eXIf', 'acTL', 'fcTL', 'fdAT', 'cICP', 'CgBI']);

function frameControl(random: Random, sequence: number): Chunk {
  const data = Buffer.alloc(26);
  data.writeUInt32BE(sequence, 0);
  for (const at of [4, 8]) data.writeUInt32BE(oneOf([...SIZES, 20, 30, 40], random), at);
  for (const at of [12, 16]) data.writeUInt32BE(random(3) === 0 ? oneOf(SIZES, random) : 0, at);
  data[24] = random(4);
  data[25] = random(3);
  return { type: 'fcTL', data };
}

function animation(random: Random): Chunk[] {
  const control = Buffer.alloc(8);
  control.writeUInt32BE(oneOf([0, 1, 2, 3, 2 ** 31 - 1, 2 ** 32 - 1], random), 0);
  return [{ type: 'acTL', data: control }, ...(random(2) === 0 ? [frameControl(random, 0)] : [])];
}

function exif(random: Random): Buffer {
  const tiff = Buffer.from('49492a00080000000100120103000100000006000000000000000000', 'hex');
  tiff[18] = random(10);
  return random(2) === 0 ? tiff : within(tiff, random, flip(random));
}

const MUTATIONS: Readonly<Record<string, Mutation>> = {
  'cut off': cutOff,
  'cut off near the end': cutOffNearTheEnd,
  'piece out': pieceOut,
  'something behind the end': somethingBehind,
  'wrong length': (png, random) => {
    const chunks = chunksOf(png);
    const before = chunks.slice(0, random(Math.max(1, chunks.length)));
    const at = SIGNATURE_BYTES + before.reduce((sum, { data }) => sum + 12 + data.length, 0);
    return within(png, random, replace(random), at, at + 4);
  },
  'wrong checksum': (png, random) => {
    const chunks = chunksOf(png);
    const before = chunks.slice(0, 1 + random(Math.max(1, chunks.length)));
    const at = SIGNATURE_BYTES + before.reduce((sum, { data }) => sum + 12 + data.length, 0) - 4;
    return within(png, random, flip(random), at, at + 4);
  },
  'bit anywhere': (png, random) => within(png, random, flip(random), SIGNATURE_BYTES),
  'bit in a chunk': inData(null, (data, random) => within(data, random, flip(random))),
  'chunk cut short': inData(null, (data, random) => data.subarray(0, random(data.length + 1))),
  'chunk with more': inData(null, (data, random) =>
    Buffer.concat([data, randomBytes(1 + random(20), random)]),
  ),
  'byte in the header': inHeader((data, random) => within(data, random, replace(random))),
  'another size': inHeader((data, random) => {
    data.writeUInt32BE(oneOf(SIZES, random), 4 * random(2));
    return data;
  }),
  'a little larger': inHeader((data, random) => {
    const at = 4 * random(2);
    data.writeUInt32BE((data.readUInt32BE(at) + 1 + random(40)) >>> 0, at);
    return data;
  }),
  'a little smaller': inHeader((data, random) => {
    const at = 4 * random(2);
    data.writeUInt32BE(Math.max(1, data.readUInt32BE(at) - 1 - random(20)), at);
    return data;
  }),
  'another depth and colour': inHeader((data, random) => {
    data[8] = oneOf([1, 2, 4, 8, 16, 3], random);
    data[9] = oneOf([0, 2, 3, 4, 6, 1], random);
    return data;
  }),
  'another method': inHeader((data, random) => {
    data[10 + random(3)] = 1 + random(2);
    return data;
  }),
  'interlacing the other way': inHeader((data) => {
    data[12] = data[12] === 0 ? 1 : 0;
    return data;
  }),
  'another chunk type': inChunks((chunks, random) => {
    const at = random(chunks.length);
    const { type, data } = chunks[at] as Chunk;
    const letters = within(Buffer.from(type, 'latin1'), random, (copy, i) => {
      copy[i] = (copy[i] as number) ^ 0x20;
    });
    chunks[at] = {
      type: random(2) === 0 ? oneOf(KNOWN, random) : letters.toString('latin1'),
      data,
    };
  }),
  'chunk left out': inChunks((chunks, random) => void chunks.splice(random(chunks.length), 1)),
  'chunk twice': inChunks((chunks, random) => {
    const at = random(chunks.length);
    chunks.splice(at, 0, chunks[at] as Chunk);
  }),
  'chunk moved': inChunks((chunks, random) => {
    const [moved] = chunks.splice(random(chunks.length), 1);
    chunks.splice(random(chunks.length + 1), 0, moved as Chunk);
  }),
  'image data in pieces': inChunks((chunks, random) => {
    const at = chunks.findIndex(({ type }) => type === 'IDAT');
    if (at < 0) return;
    const { data } = chunks[at] as Chunk;
    const cuts = [
      0,
      ...Array.from({ length: random(20) }, () => random(data.length + 1)),
      data.length,
    ].sort((a, b) => a - b);
    const pieces = cuts
      .slice(1)
      .map((cut, i) => ({ type: 'IDAT', data: data.subarray(cuts[i], cut) }));
    // Sometimes another chunk stands between them, which the standard forbids.
    if (random(3) === 0)
      pieces.splice(random(pieces.length), 0, { type: 'tEXt', data: Buffer.from('a\0b') });
    chunks.splice(at, 1, ...pieces);
  }),
  'bit in the image data': inImageData((stream, random) => within(stream, random, flip(random))),
  'image data cut short': inImageData((stream, random) =>
    stream.subarray(0, random(stream.length)),
  ),
  'zeros in the image data': inImageData((stream, random) =>
    within(stream, random, (copy, at) =>
      copy.fill(0, at, Math.min(copy.length, at + 1 + random(30))),
    ),
  ),
  'head of the image data': inImageData((stream, random) =>
    within(stream, random, replace(random), 0, 2),
  ),
  'wrong sum behind the image data': inImageData((stream, random) =>
    within(stream, random, flip(random), stream.length - 4),
  ),
  'image data that unfolds without end': inImageData(() => deflatedBomb()),
  'odd row filters': inRows((rows, random) => within(rows, random, replace(random))),
  'rows missing': inRows((rows, random) => rows.subarray(0, random(rows.length))),
  'rows to spare': inRows((rows, random) =>
    Buffer.concat([rows, rows.subarray(0, random(rows.length))]),
  ),
  palette: inChunks((chunks, random) => {
    const rest = chunks.filter(({ type }) => type !== 'PLTE');
    const length = oneOf([0, 1, 3, 6, 7, 48, 765, 768, 771], random);
    rest.splice(1 + random(2), 0, { type: 'PLTE', data: randomBytes(length, random) });
    chunks.splice(0, chunks.length, ...rest);
  }),
  transparency: insert((random) => ({
    type: 'tRNS',
    data: randomBytes(oneOf([0, 1, 2, 6, 7, 256, 300], random), random),
  })),
  'profile that unfolds without end': insert(() => ({
    type: 'iCCP',
    data: Buffer.concat([Buffer.from('name\0\0'), deflatedBomb()]),
  })),
  'odd profile': insert((random) => ({ type: 'iCCP', data: randomBytes(random(200), random) })),
  'text that unfolds without end': insert((random) => ({
    type: oneOf(['zTXt', 'iTXt'], random),
    data: Buffer.concat([
      Buffer.from(oneOf(['a\0\0', 'a\0\x01\0\0\0'], random), 'latin1'),
      deflatedBomb(),
    ]),
  })),
  'very many texts': insert((random) =>
    Array.from({ length: 500 + random(1500) }, (_, at) => ({
      type: 'tEXt',
      data: Buffer.from(`key ${at}\0value`),
    })),
  ),
  'long text behind': insert(
    (random) => ({ type: 'tEXt', data: Buffer.alloc(random(300_000), 'a') }),
    'IEND',
  ),
  animation: insert(animation),
  'frames behind': insert((random) => {
    const sequence = Buffer.alloc(4);
    sequence.writeUInt32BE(random(4), 0);
    return [
      frameControl(random, random(3)),
      { type: 'fdAT', data: Buffer.concat([sequence, randomBytes(40, random)]) },
    ];
  }, 'IEND'),
  'orientation and junk in EXIF': insert((random) => ({ type: 'eXIf', data: exif(random) })),
  'odd chunk of a known kind': insert((random) => ({
    type: oneOf(KNOWN.slice(4), random),
    data: randomBytes(oneOf([0, 1, 4, 8, 9, 32], random), random),
  })),
};

export const PNG: Mutations = {
  draw: drawPngs,
  kinds: MUTATIONS,
  isStructured: (file) => chunksOf(file).length > 0,
};
