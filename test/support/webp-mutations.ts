/**
 * Drawn WebP files of every kind, and damage to their structure: sizes of the file and its chunks,
 * flags and canvas of the extended format, headers of both codecs, alpha, animation, profiles and
 * EXIF. WebP has no checksums.
 */
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

const RIFF_BYTES = 12;

interface Chunk {
  readonly type: string;
  readonly data: Buffer;
}

async function drawWebps(): Promise<readonly Buffer[]> {
  const draw = (seed: number, width: number, height: number) =>
    sharp(texture(seed, width, height), { raw: { width, height, channels: 3 } });
  const rgba = sharp(texture(9, 40, 30), { raw: { width: 30, height: 30, channels: 4 } });
  const frames = sharp(texture(6, 30, 90), {
    raw: { width: 30, height: 90, channels: 3, pageHeight: 30 },
  });
  return await Promise.all(
    [
      draw(1, 47, 33).webp(),
      draw(2, 64, 64).webp({ quality: 40, effort: 6 }),
      draw(3, 40, 41).webp({ lossless: true }),
      draw(4, 50, 20).webp({ nearLossless: true, quality: 50 }),
      rgba.clone().webp(),
      rgba.clone().webp({ alphaQuality: 50, quality: 60 }),
      rgba.clone().webp({ lossless: true }),
      frames.clone().webp({ delay: [10, 20, 30] }),
      frames.clone().webp({ delay: [10, 20, 30], lossless: true }),
      draw(7, 35, 25).withMetadata({ orientation: 6 }).webp(),
      draw(8, 9, 200).withIccProfile('srgb').webp({ lossless: true }),
    ].map((image) => image.toBuffer()),
  );
}

function chunksOf(webp: Buffer): Chunk[] {
  const chunks: Chunk[] = [];
  for (let at = RIFF_BYTES; at + 8 <= webp.length; ) {
    const length = webp.readUInt32LE(at + 4);
    const end = at + 8 + length;
    if (end > webp.length) break;
    chunks.push({ type: webp.toString('latin1', at, at + 4), data: webp.subarray(at + 8, end) });
    at = end + (length % 2);
  }
  return chunks;
}

function serialize({ type, data }: Chunk): Buffer {
  const bytes = Buffer.alloc(8 + data.length + (data.length % 2));
  bytes.write(type, 0, 'latin1');
  bytes.writeUInt32LE(data.length, 4);
  data.copy(bytes, 8);
  return bytes;
}

function assemble(chunks: readonly Chunk[]): Buffer {
  const body = Buffer.concat(chunks.map(serialize));
  const head = Buffer.from('RIFF\0\0\0\0WEBP', 'latin1');
  head.writeUInt32LE(4 + body.length, 4);
  return Buffer.concat([head, body]);
}

/** A change of the list of chunks; the size of the file is right afterwards. */
function inChunks(change: (chunks: Chunk[], random: Random) => void): Mutation {
  return (webp, random) => {
    const chunks = chunksOf(webp);
    if (chunks.length === 0) return webp;
    change(chunks, random);
    return assemble(chunks);
  };
}

/** A change of the data of the first chunk of one of these types; of any chunk if there is none. */
const inData = (
  types: readonly string[],
  change: (data: Buffer, random: Random) => Buffer,
): Mutation =>
  inChunks((chunks, random) => {
    const found = chunks.findIndex((chunk) => types.includes(chunk.type));
    const at = found >= 0 ? found : random(chunks.length);
    const chunk = chunks[at] as Chunk;
    chunks[at] = { ...chunk, data: change(Buffer.from(chunk.data), random) };
  });

const insert = (make: (random: Random) => Chunk): Mutation =>
  inChunks((chunks, random) => void chunks.splice(random(chunks.length + 1), 0, make(random)));

/** With the extended header in front, whether it had one or not. */
const extended = (change: (header: Buffer, random: Random) => void): Mutation =>
  inChunks((chunks, random) => {
    const first = chunks[0];
    const found =
      first?.type === 'VP8X' ? first.data : Buffer.from([0, 0, 0, 0, 32, 0, 0, 32, 0, 0]);
    const header = Buffer.concat([found, Buffer.alloc(10)]).subarray(0, 10);
    change(header, random);
    chunks.splice(0, first?.type === 'VP8X' ? 1 : 0, { type: 'VP8X', data: header });
  });

const TYPES = ['VP8 ', 'VP8L', 'VP8X', 'ALPH', 'ANIM', 'ANMF', 'ICCP', 'EXIF', 'XMP ', 'XYZW'];
const LOSSY = ['VP8 '];
const LOSSLESS = ['VP8L'];
const CODED = ['VP8 ', 'VP8L', 'ANMF'];
const SIDES = [0, 1, 2, 15, 63, 255, 5_000, 16_382, 16_383];
/** Into a frame of an animation: its own header of 16 bytes, then a chunk's of 8. */
const FRAME_BYTES = 24;

const MUTATIONS: Readonly<Record<string, Mutation>> = {
  'cut off': cutOff,
  'cut off near the end': cutOffNearTheEnd,
  'piece out': pieceOut,
  'something behind the end': somethingBehind,
  'bit anywhere': (webp, random) => within(webp, random, flip(random), RIFF_BYTES),
  'wrong size of the file': (webp, random) => {
    const copy = Buffer.from(webp);
    const size = copy.readUInt32LE(4);
    const sizes = [
      0,
      4,
      12,
      size - 1,
      size - 2,
      size + 1,
      size + 2,
      size >> 1,
      2 ** 31,
      2 ** 32 - 1,
    ];
    copy.writeUInt32LE(oneOf(sizes, random) >>> 0, 4);
    return copy;
  },
  'wrong size of a chunk': (webp, random) => {
    const chunks = chunksOf(webp);
    const before = chunks.slice(0, random(Math.max(1, chunks.length)));
    const at =
      RIFF_BYTES + before.reduce((sum, { data }) => sum + 8 + data.length + (data.length % 2), 0);
    return within(webp, random, replace(random), at + 4, at + 8);
  },
  'another chunk type': inChunks((chunks, random) => {
    const at = random(chunks.length);
    chunks[at] = { ...(chunks[at] as Chunk), type: oneOf(TYPES, random) };
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
  'chunk cut short': inData([], (data, random) => data.subarray(0, random(data.length + 1))),
  'chunk with more': inData([], (data, random) =>
    Buffer.concat([data, randomBytes(1 + random(20), random)]),
  ),
  flags: extended((header, random) => {
    header[0] = random(256);
  }),
  canvas: extended((header, random) => {
    for (const at of [4, 7]) header.writeUIntLE(oneOf([...SIDES, 2 ** 24 - 1], random), at, 3);
  }),
  'byte in the extended header': extended((header, random) => {
    header[random(10)] = random(256);
  }),
  'frame tag of the lossy codec': inData(LOSSY, (data, random) =>
    within(data, random, flip(random), 0, 3),
  ),
  'first partition of another size': inData(LOSSY, (data, random) => {
    if (data.length < 3) return data;
    const size = oneOf([0, 1, 10, data.length - 10, data.length, 2 ** 19 - 1], random);
    data.writeUIntLE(((data[0] as number) & 0x1f) | ((Math.max(0, size) << 5) & 0xffffe0), 0, 3);
    return data;
  }),
  'start code': inData(LOSSY, (data, random) => within(data, random, replace(random), 3, 6)),
  'another size in the lossy frame': inData(LOSSY, (data, random) => {
    if (data.length >= 10)
      data.writeUInt16LE(oneOf(SIDES, random) | (random(4) << 14), 6 + 2 * random(2));
    return data;
  }),
  'head of the first partition': inData(LOSSY, (data, random) =>
    within(data, random, flip(random), 10, 40),
  ),
  'lossless signature': inData(LOSSLESS, (data, random) =>
    within(data, random, replace(random), 0, 1),
  ),
  'another size in the lossless frame': inData(LOSSLESS, (data, random) => {
    if (data.length < 5) return data;
    const version = data.readUInt32LE(1) & ~0x0fff_ffff;
    data.writeUInt32LE((oneOf(SIDES, random) | (oneOf(SIDES, random) << 14) | version) >>> 0, 1);
    return data;
  }),
  'version and alpha of the lossless frame': inData(LOSSLESS, (data, random) => {
    if (data.length >= 5) data[4] = (data[4] as number) ^ (1 << (4 + random(4)));
    return data;
  }),
  'transforms of the lossless frame': inData(LOSSLESS, (data, random) =>
    within(data, random, flip(random), 5, 40),
  ),
  'bit in the data': inData(CODED, (data, random) => within(data, random, flip(random), 10)),
  'zeros in the data': inData(CODED, (data, random) =>
    within(
      data,
      random,
      (copy, at) => copy.fill(0, at, Math.min(copy.length, at + 1 + random(64))),
      10,
    ),
  ),
  'data cut short': inData(CODED, (data, random) => data.subarray(0, random(data.length))),
  'head of the alpha': inData(['ALPH'], (data, random) =>
    within(data, random, replace(random), 0, 1),
  ),
  'alpha damaged': inData(['ALPH'], (data, random) => within(data, random, flip(random))),
  'alpha where there was none': insert((random) => ({
    type: 'ALPH',
    data: randomBytes(1 + random(60), random),
  })),
  'head of a frame': inData(['ANMF'], (data, random) =>
    within(data, random, replace(random), 0, FRAME_BYTES),
  ),
  'codec in a frame': inData(['ANMF'], (data, random) =>
    within(data, random, flip(random), FRAME_BYTES, FRAME_BYTES + 40),
  ),
  'animation header': inData(['ANIM'], (data, random) => within(data, random, replace(random))),
  'very many frames': inChunks((chunks, random) => {
    const frame = chunks.find(({ type }) => type === 'ANMF') ?? (chunks.at(-1) as Chunk);
    chunks.push(...Array.from({ length: random(400) }, () => frame));
  }),
  'junk in EXIF': insert((random) => ({
    type: 'EXIF',
    data: Buffer.concat([
      Buffer.from('49492a000800000001001201030001000000', 'hex'),
      randomBytes(random(40), random),
    ]),
  })),
  'odd profile': insert((random) => ({ type: 'ICCP', data: randomBytes(random(400), random) })),
  'long chunk beside': insert((random) => ({
    type: oneOf(['XMP ', 'ICCP', 'XYZW'], random),
    data: Buffer.alloc(random(300_000), 'a'),
  })),
  'both codecs': insert((random) => ({
    type: oneOf(['VP8 ', 'VP8L'], random),
    data: randomBytes(30, random),
  })),
};

export const WEBP: Mutations = {
  draw: drawWebps,
  kinds: MUTATIONS,
  isStructured: (file) => file.length > RIFF_BYTES && chunksOf(file).length > 0,
};
