/**
 * Pictures and files that are not pictures, drawn by the tests themselves. The same seed gives the
 * same bytes.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import sharp from 'sharp';
import { REPOSITORY } from './scope.js';

/**
 * The side that the default model's pictures are resized to: a picture of this size reaches the
 * model unchanged.
 */
export const MODEL_SIDE = 32;

export type Colour = readonly [red: number, green: number, blue: number];

/** Numerical Recipes' linear congruential generator. */
function generator(seed: number): () => number {
  let state = (Math.imul(seed, 2_654_435_761) + 1) | 0;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) | 0;
    return (state >>> 24) & 255;
  };
}

/** Smooth colours with noise on them, RGB row by row. */
export function texture(seed: number, width: number, height: number): Uint8Array {
  const random = generator(seed);
  const [red, green, blue, wave] = [random(), random(), random(), 4 + (random() % 12)];
  const pixels = new Uint8Array(width * height * 3);
  for (let y = 0, at = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const grain = random() & 15;
      pixels[at++] = (red + (x * 160) / width + grain) & 255;
      pixels[at++] = Math.min(
        255,
        (green >> 1) + 100 * (1 + Math.sin((y * wave) / height)) * 0.5 + grain,
      );
      pixels[at++] = (blue + (y * 160) / height + grain) & 255;
    }
  }
  return pixels;
}

function encoder(pixels: Uint8Array, width: number, height: number) {
  return sharp(pixels, { raw: { width, height, channels: 3 } });
}

/** A picture as a camera would make it. */
export function jpeg(seed: number, width = 320, height = 240): Promise<Buffer> {
  return encoder(texture(seed, width, height), width, height)
    .jpeg({ quality: 90 })
    .toBuffer();
}

/** The same picture in a file of about so many bytes: comments do not matter to a decoder. */
export function withComments(file: Buffer, bytes: number): Buffer {
  const comment = Buffer.alloc(65_000, 7);
  comment.set([0xff, 0xfe]);
  comment.writeUInt16BE(comment.length - 2, 2);
  const count = Math.ceil((bytes - file.length) / comment.length);
  return Buffer.concat([
    file.subarray(0, 2),
    ...Array<Buffer>(count).fill(comment),
    file.subarray(2),
  ]);
}

/** A lossless picture of the model's own size, and the pixels in it. */
export async function exactPng(
  seed: number,
): Promise<{ readonly file: Buffer; readonly pixels: Uint8Array }> {
  const pixels = texture(seed, MODEL_SIDE, MODEL_SIDE);
  return { pixels, file: await encoder(pixels, MODEL_SIDE, MODEL_SIDE).png().toBuffer() };
}

/** One colour all over, lossless: simulated inference embeds it as exactly that colour. */
export function plainPng([r, g, b]: Colour, side = MODEL_SIDE): Promise<Buffer> {
  return sharp({ create: { width: side, height: side, channels: 3, background: { r, g, b } } })
    .png()
    .toBuffer();
}

export function webp(seed: number, width = 320, height = 240): Promise<Buffer> {
  return encoder(texture(seed, width, height), width, height)
    .webp({ quality: 90 })
    .toBuffer();
}

/** The smallest GIF: one pixel. */
export const GIF = Buffer.from('R0lGODlhAQABAIAAAAAAAP///ywAAAAAAQABAAACAUwAOw==', 'base64');
export const SVG = Buffer.from(
  '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9" height="9"/></svg>',
);
export const TEXT = Buffer.from('This is a letter and not a picture.');

/** The first part of a file. */
export function truncated(file: Buffer, part = 0.5): Buffer {
  return file.subarray(0, Math.floor(file.length * part));
}

/** A PNG whose header carries a wrong checksum. */
export function corruptPng(png: Buffer): Buffer {
  const copy = Buffer.from(png);
  const endOfHeader = 8 + 8 + 13;
  copy[endOfHeader] = (copy[endOfHeader] as number) ^ 0xff;
  return copy;
}

/**
 * A file's bytes behind the right first bytes: passes the signature check and breaks the decoder.
 */
export function garbage(seed: number, format: 'jpeg' | 'png', bytes = 4096): Buffer {
  const random = generator(seed);
  const signature =
    format === 'jpeg' ? [0xff, 0xd8, 0xff, 0xe0] : [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
  return Buffer.concat([
    Buffer.from(signature),
    Buffer.from(Uint8Array.from({ length: bytes }, random)),
  ]);
}

/** A folder of real files beside the repository, on some machines only. */
export function sharedData(folder: string): string | null {
  const path = join(REPOSITORY, '..', 'shared', 'data', folder);
  return existsSync(path) ? path : null;
}

/** The files of a folder and its subfolders. */
export function filesIn(folder: string): { readonly name: string; readonly bytes: Buffer }[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort()
    .map((path) => ({ name: path.slice(folder.length + 1), bytes: readFileSync(path) }));
}
