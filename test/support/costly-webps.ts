/**
 * WebP files that ask for more work than their size suggests: tens of thousands of frames and
 * chunks, large canvases, and lossless pictures whose header promises more than was encoded.
 */
import sharp from 'sharp';
import { texture } from './images.js';
import { oneOf, type Random, randomBytes, within } from './mutations.js';

export function webpChunk(type: string, data: Uint8Array = Buffer.alloc(0)): Buffer {
  const bytes = Buffer.alloc(8 + data.length + (data.length % 2));
  bytes.write(type, 0, 'latin1');
  bytes.writeUInt32LE(data.length, 4);
  bytes.set(data, 8);
  return bytes;
}

export function riff(...chunks: readonly Uint8Array[]): Buffer {
  const body = Buffer.concat(chunks);
  const head = Buffer.from('RIFF\0\0\0\0WEBP', 'latin1');
  head.writeUInt32LE(4 + body.length, 4);
  return Buffer.concat([head, body]);
}

/** RFC 9649, 2.7: `flags` 2 means frames, 16 alpha. */
export function extendedHeader(flags: number, width: number, height: number): Buffer {
  const data = Buffer.alloc(10);
  data[0] = flags;
  data.writeUIntLE(width - 1, 4, 3);
  data.writeUIntLE(height - 1, 7, 3);
  return webpChunk('VP8X', data);
}

/** A frame in the corner of the canvas; `picture`: the chunk of its codec. */
export function webpFrame(picture: Uint8Array, width: number, height: number): Buffer {
  const data = Buffer.alloc(16);
  data.writeUIntLE(width - 1, 6, 3);
  data.writeUIntLE(height - 1, 9, 3);
  data.writeUIntLE(100, 12, 3);
  return webpChunk('ANMF', Buffer.concat([data, picture]));
}

/** One pixel, lossless. */
const ONE_PIXEL = webpChunk('VP8L', Buffer.from('2f00000000071011fd0f4444ff03', 'hex'));

/** An animation of so many frames of one pixel. */
export function manyFrames(count: number): Buffer {
  const frames = Buffer.concat(new Array<Buffer>(count).fill(webpFrame(ONE_PIXEL, 1, 1)));
  return riff(extendedHeader(2, 1, 1), webpChunk('ANIM', Buffer.alloc(6)), frames);
}

/** So many unknown chunks, behind a picture. */
export function manyChunks(count: number): Buffer {
  return riff(
    extendedHeader(0, 1, 1),
    ONE_PIXEL,
    Buffer.concat(new Array<Buffer>(count).fill(webpChunk('XYZW'))),
  );
}

/**
 * An animation whose first frame is this picture and whose others are one pixel each, of another
 * colour.
 */
export function firstOfMany(picture: Buffer, width: number, height: number, count: number): Buffer {
  const others = Buffer.concat(new Array<Buffer>(count - 1).fill(webpFrame(ONE_PIXEL, 1, 1)));
  const frames = [webpFrame(codecOf(picture), width, height), others];
  return riff(extendedHeader(2, width, height), webpChunk('ANIM', Buffer.alloc(6)), ...frames);
}

/** The codec's chunk of a file without extended header. */
export function codecOf(webp: Buffer): Buffer {
  return webp.subarray(12, 20 + webp.readUInt32LE(16) + (webp.readUInt32LE(16) % 2));
}

/** What `costlyWebp` begins with. */
export async function drawCodecs(): Promise<readonly Buffer[]> {
  const draw = (seed: number, side: number) =>
    sharp(texture(seed, side, side), { raw: { width: side, height: side, channels: 3 } });
  const flat = sharp({ create: { width: 1_500, height: 1_500, channels: 3, background: '#345' } });
  const pictures = [
    draw(1, 64).webp(),
    draw(2, 300).webp({ lossless: true, effort: 0 }),
    draw(3, 120).webp({ lossless: true, effort: 6 }),
    draw(4, 200).webp({ nearLossless: true, quality: 40 }),
    flat.clone().webp(),
    flat.clone().webp({ lossless: true }),
  ];
  return (await Promise.all(pictures.map((picture) => picture.toBuffer()))).map(codecOf);
}

/** Any of these, in any mixture. `pixels`: the largest picture. */
export function costlyWebp(random: Random, pixels: number, codecs: readonly Buffer[]): Buffer {
  const width = oneOf([Math.floor(Math.sqrt(pixels)), 1 + random(16_383), 64], random);
  const height = Math.max(1, Math.min(16_383, Math.floor(pixels / width)));
  let picture: Buffer = Buffer.from(oneOf(codecs, random));
  const lossless = picture.toString('latin1', 0, 4) === 'VP8L';
  if (random(2) > 0) {
    // The header's size instead of the picture's own.
    if (lossless)
      picture.writeUInt32LE((((width - 1) & 0x3fff) | (((height - 1) & 0x3fff) << 14)) >>> 0, 9);
    else
      for (const [at, side] of [
        [14, width],
        [16, height],
      ] as const)
        picture.writeUInt16LE(side & 0x3fff, at);
  }
  for (let flips = random(2) * random(6); flips > 0; flips--) {
    picture = within(
      picture,
      random,
      (copy, at) => copy.writeUInt8(random(256), at),
      lossless ? 13 : 18,
      random(2) === 0 ? 60 : picture.length,
    );
  }
  const alpha = () =>
    webpChunk(
      'ALPH',
      Buffer.concat([
        Buffer.of(random(256)),
        oneOf([randomBytes(60, random), picture.subarray(13)], random),
      ]),
    );
  const count = 1 + random(oneOf([2, 300, 20_000], random));
  const kind = random(5);
  if (kind === 0)
    return riff(
      extendedHeader(2, width, height),
      webpChunk('ANIM', Buffer.alloc(6)),
      webpFrame(picture, width, height),
      Buffer.concat(new Array<Buffer>(count).fill(webpFrame(ONE_PIXEL, 1, 1))),
    );
  if (kind === 1) return riff(extendedHeader(16, width, height), alpha(), picture);
  if (kind === 2)
    return riff(
      extendedHeader(oneOf([0, 8, 4, 32], random), width, height),
      picture,
      Buffer.concat(
        new Array<Buffer>(count).fill(
          webpChunk(
            oneOf(['EXIF', 'XMP ', 'ICCP', 'ALPH', 'ANIM'], random),
            randomBytes(random(12), random),
          ),
        ),
      ),
    );
  if (kind === 3)
    return riff(
      extendedHeader(2, width, height),
      webpChunk('ANIM', Buffer.alloc(6)),
      webpFrame(
        Buffer.concat([
          alpha(),
          picture,
          Buffer.concat(new Array<Buffer>(count).fill(webpChunk('XYZW'))),
        ]),
        width,
        height,
      ),
    );
  return riff(picture);
}
