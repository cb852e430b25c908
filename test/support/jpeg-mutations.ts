/**
 * Drawn JPEG files of every ordinary kind, and damage where it hurts: in lengths, sizes, tables,
 * markers and entropy-coded data. The same seed gives the same files.
 */
import sharp from 'sharp';
import { texture } from './images.js';
import {
  flip,
  type MutatedFile,
  type Mutation,
  type Mutations,
  mutateFiles,
  type Random,
  replace,
  splice,
  within,
} from './mutations.js';

/** Small, so that thousands take seconds. */
export async function drawJpegs(): Promise<readonly Buffer[]> {
  const draw = (seed: number, width: number, height: number) =>
    sharp(texture(seed, width, height), { raw: { width, height, channels: 3 } });
  return await Promise.all(
    [
      draw(1, 61, 47).jpeg(),
      draw(2, 64, 48).jpeg({ chromaSubsampling: '4:4:4', optimiseCoding: false }),
      draw(3, 50, 70).jpeg({ progressive: true }),
      draw(4, 33, 40).jpeg({ progressive: true, optimiseScans: false, chromaSubsampling: '4:4:4' }),
      draw(5, 40, 40).greyscale().jpeg(),
      draw(6, 45, 38).withMetadata({ orientation: 6 }).jpeg(),
      draw(7, 38, 45).withMetadata({ orientation: 3 }).jpeg({ progressive: true }),
      draw(8, 40, 30).toColourspace('cmyk').jpeg(),
      draw(9, 7, 300).jpeg(),
    ].map((image) => image.toBuffer()),
  );
}

interface Segment {
  readonly start: number;
  readonly end: number;
  readonly marker: number;
}

const START_OF_SCAN = 0xda;

/** Segments up to the first scan, and where its entropy-coded data begin. */
function segmentsOf(jpeg: Buffer): {
  readonly segments: readonly Segment[];
  readonly data: number;
} {
  const segments: Segment[] = [];
  let at = 2;
  while (at + 4 <= jpeg.length) {
    const marker = jpeg[at + 1] as number;
    const end = at + 2 + jpeg.readUInt16BE(at + 2);
    segments.push({ start: at, end, marker });
    at = end;
    if (marker === START_OF_SCAN) break;
  }
  return { segments, data: at };
}

/** One of the segments, or one with the given marker. */
function pick(jpeg: Buffer, random: Random, marker?: (marker: number) => boolean): Segment {
  const { segments } = segmentsOf(jpeg);
  const fitting = segments.filter((segment) => marker?.(segment.marker) ?? true);
  return (fitting.length > 0 ? fitting : segments)[
    random(fitting.length || segments.length)
  ] as Segment;
}

const isFrame = (marker: number) => marker >= 0xc0 && marker <= 0xc2;
const isTable = (marker: number) => marker === 0xc4 || marker === 0xdb;

const MUTATIONS: Readonly<Record<string, Mutation>> = {
  'cut off': (jpeg, random) => jpeg.subarray(0, 3 + random(jpeg.length - 3)),
  'cut off near the end': (jpeg, random) => jpeg.subarray(0, jpeg.length - 1 - random(40)),
  'wrong segment length': (jpeg, random) => {
    const { start } = pick(jpeg, random);
    return within(jpeg, random, replace(random), start + 2, start + 4);
  },
  'bit in a segment': (jpeg, random) => {
    const { start, end } = pick(jpeg, random);
    return within(jpeg, random, flip(random), start, end);
  },
  'byte in the frame': (jpeg, random) => {
    const { start, end } = pick(jpeg, random, isFrame);
    return within(jpeg, random, replace(random), start + 4, end);
  },
  'byte in a table': (jpeg, random) => {
    const { start, end } = pick(jpeg, random, isTable);
    return within(jpeg, random, replace(random), start + 4, end);
  },
  'byte in the scan header': (jpeg, random) => {
    const { start, end } = pick(jpeg, random, (marker) => marker === START_OF_SCAN);
    return within(jpeg, random, replace(random), start + 4, end);
  },
  'byte in application data': (jpeg, random) => {
    const { start, end } = pick(jpeg, random, (marker) => marker >= 0xe0 && marker <= 0xef);
    return within(jpeg, random, replace(random), start + 4, Math.min(end, start + 60));
  },
  'another frame marker': (jpeg, random) => {
    const copy = Buffer.from(jpeg);
    copy[pick(jpeg, random, isFrame).start + 1] = 0xc0 + random(16);
    return copy;
  },
  'segment left out': (jpeg, random) => {
    const { start, end } = pick(jpeg, random);
    return splice(jpeg, start, end - start);
  },
  'segment twice': (jpeg, random) => {
    const { start, end } = pick(jpeg, random);
    return splice(jpeg, end, 0, jpeg.subarray(start, end));
  },
  'segment moved': (jpeg, random) => {
    const { start, end } = pick(jpeg, random);
    const without = splice(jpeg, start, end - start);
    const to = segmentsOf(without).segments.length > 0 ? pick(without, random).start : 2;
    return splice(without, to, 0, jpeg.subarray(start, end));
  },
  'restart interval': (jpeg, random) =>
    splice(jpeg, pick(jpeg, random).start, 0, Buffer.from([0xff, 0xdd, 0, 4, 0, random(5)])),
  'marker in the data': (jpeg, random) => {
    const { data } = segmentsOf(jpeg);
    const marker = Buffer.from([
      0xff,
      [0xd0, 0xd7, 0xd8, 0xd9, 0xda, 0xc4, 0x01, 0xfe][random(8)] as number,
    ]);
    return splice(jpeg, data + random(jpeg.length - data), 0, marker);
  },
  'bit in the data': (jpeg, random) =>
    within(jpeg, random, flip(random), segmentsOf(jpeg).data, jpeg.length),
  'zeros in the data': (jpeg, random) =>
    within(
      jpeg,
      random,
      (copy, at) => copy.fill(0, at, Math.min(copy.length, at + 1 + random(64))),
      segmentsOf(jpeg).data,
      jpeg.length,
    ),
  'piece out of the data': (jpeg, random) => {
    const { data } = segmentsOf(jpeg);
    return splice(jpeg, data + random(jpeg.length - data), 1 + random(64));
  },
  'stray bytes between segments': (jpeg, random) =>
    splice(
      jpeg,
      pick(jpeg, random).start,
      0,
      Buffer.from(Array.from({ length: 1 + random(4) }, () => random(256))),
    ),
  'fill bytes before a marker': (jpeg, random) =>
    splice(jpeg, pick(jpeg, random).start, 0, Buffer.alloc(1 + random(9), 0xff)),
  'something behind the end': (jpeg, random) =>
    Buffer.concat([jpeg, jpeg.subarray(0, random(jpeg.length))]),
};

export const JPEG: Mutations = {
  draw: drawJpegs,
  kinds: MUTATIONS,
  isStructured: (file) => segmentsOf(file).segments.length > 0,
};

/**
 * `count` damaged files; each base file and each kind of damage in turn, one or two of them at a
 * time.
 */
export function mutate(bases: readonly Buffer[], count: number, seed: number): MutatedFile[] {
  return mutateFiles(bases, JPEG, count, seed);
}
