import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Geometry, Interpolation } from '#vitserve/models/recipe.js';
import { computeWeights, createWeightCache } from '#vitserve/workers/decode/coefficients.js';
import { RETAINED_BYTES } from '#vitserve/workers/decode/passes.js';
import { createResampler, type Picture } from '#vitserve/workers/decode/resample.js';
import { fromBase64, readGolden } from '../../../golden/golden.js';
import { noise } from './drawing.js';

interface ResampleCase {
  interpolation: Interpolation;
  width: number;
  height: number;
  resizedWidth: number;
  resizedHeight: number;
  pixels: string;
}

const INTERPOLATIONS: readonly Interpolation[] = [
  'nearest',
  'box',
  'bilinear',
  'hamming',
  'bicubic',
  'lanczos',
];

const resampler = createResampler();

function draw(width: number, height: number): Picture {
  return { pixels: noise(width * height * 3), width, height };
}

/** Without noise, which takes a while to make. */
function grey(width: number, height: number): Picture {
  return { pixels: Buffer.alloc(width * height * 3, 0x80), width, height };
}

function whole(resizedWidth: number, resizedHeight: number): Geometry {
  const [outputWidth, outputHeight] = [resizedWidth, resizedHeight];
  return { resizedWidth, resizedHeight, cropLeft: 0, cropTop: 0, outputWidth, outputHeight };
}

function resample(picture: Picture, geometry: Geometry, interpolation: Interpolation): Buffer {
  // The target's previous content must not show.
  const target = Buffer.alloc(geometry.outputWidth * geometry.outputHeight * 3, 0xa5);
  resampler.resample(picture, geometry, interpolation, target);
  return target;
}

for (const golden of readGolden<ResampleCase>('resample.json')) {
  const { interpolation, width, height, resizedWidth, resizedHeight } = golden;
  test(`${interpolation} ${width}×${height} → ${resizedWidth}×${resizedHeight} equals Pillow`, () => {
    const pixels = resample(draw(width, height), whole(resizedWidth, resizedHeight), interpolation);
    assert.deepEqual(pixels, fromBase64(golden.pixels));
  });
}

/** The crop from a whole resized picture, zeros outside it: the slow way. */
function cropAfterwards(resized: Buffer, geometry: Geometry): Buffer {
  const { resizedWidth, resizedHeight, cropLeft, cropTop, outputWidth, outputHeight } = geometry;
  const output = Buffer.alloc(outputWidth * outputHeight * 3);
  for (let y = 0; y < outputHeight; y++) {
    for (let x = 0; x < outputWidth; x++) {
      const [fromX, fromY] = [x + cropLeft, y + cropTop];
      if (fromX < 0 || fromY < 0 || fromX >= resizedWidth || fromY >= resizedHeight) continue;
      const from = (fromY * resizedWidth + fromX) * 3;
      resized.copy(output, (y * outputWidth + x) * 3, from, from + 3);
    }
  }
  return output;
}

test('computing only the crop gives the same pixels as cropping the whole, for any crop', () => {
  const side = fc.integer({ min: 1, max: 60 });
  /** Sometimes so tall that Pillow goes vertically first. */
  const tallSide = fc.oneof(side, fc.integer({ min: 1, max: 900 }));
  /** An output window on one axis that overlaps the resized picture. */
  const axis = side.chain((resized) =>
    side.chain((output) =>
      fc
        .integer({ min: 1 - output, max: resized - 1 })
        .map((offset) => ({ resized, output, offset })),
    ),
  );
  fc.assert(
    fc.property(
      side,
      tallSide,
      axis,
      axis,
      fc.constantFrom(...INTERPOLATIONS),
      (width, height, x, y, interpolation) => {
        const picture = draw(width, height);
        const geometry = {
          resizedWidth: x.resized,
          resizedHeight: y.resized,
          cropLeft: x.offset,
          cropTop: y.offset,
          outputWidth: x.output,
          outputHeight: y.output,
        };
        const all = resample(picture, whole(x.resized, y.resized), interpolation);
        assert.deepEqual(resample(picture, geometry, interpolation), cropAfterwards(all, geometry));
      },
    ),
    { numRuns: 300 },
  );
});

test('a picture of one colour stays that colour, at any size', () => {
  const side = fc.integer({ min: 1, max: 90 });
  fc.assert(
    fc.property(
      side,
      side,
      side,
      side,
      fc.nat(255),
      fc.constantFrom(...INTERPOLATIONS),
      (w, h, toW, toH, level, name) => {
        const picture = { pixels: new Uint8Array(w * h * 3).fill(level), width: w, height: h };
        assert.ok(resample(picture, whole(toW, toH), name).every((value) => value === level));
      },
    ),
  );
});

test('many bands make the same picture as single rows', () => {
  // 700 × 3 bytes a row: 256 KiB hold 124 rows, so 1,000 rows take nine bands.
  const picture = draw(700, 1000);
  const all = resample(picture, whole(50, 1000), 'bicubic');
  for (const row of [0, 123, 124, 125, 500, 999]) {
    const line = {
      pixels: picture.pixels.subarray(row * 2100, (row + 1) * 2100),
      width: 700,
      height: 1,
    };
    assert.deepEqual(
      resample(line, whole(50, 1), 'bicubic'),
      all.subarray(row * 150, (row + 1) * 150),
    );
  }
});

test('a huge resized size costs only its crop', () => {
  // The shortest edge of a 1 × 5,000 picture to 256 makes 1,280,000 rows, of which 224 are wanted.
  const picture = draw(1, 5000);
  const geometry = {
    ...whole(256, 1_280_000),
    cropLeft: 16,
    cropTop: 639_888,
    outputWidth: 224,
    outputHeight: 224,
  };
  const output = resample(picture, geometry, 'bicubic');
  assert.equal(output.length, 224 * 224 * 3);
  assert.ok(resampler.memoryBytes() < 2 * 1024 * 1024);
});

test('memory of an unusual picture is given back, and the next one is still right', () => {
  const own = createResampler();
  const usual = draw(100, 80);
  const before = Buffer.alloc(30 * 20 * 3);
  own.resample(usual, whole(30, 20), 'bilinear', before);
  // 800 columns of 20,000 rows between the passes are 48 MB; 200 × 60,000 pixels that go vertically
  // first are 36 MB.
  own.resample(grey(300, 20_000), whole(800, 2), 'bilinear', Buffer.alloc(800 * 2 * 3));
  assert.ok(own.memoryBytes() <= RETAINED_BYTES, `${own.memoryBytes()} bytes are held`);
  own.resample(grey(200, 60_000), whole(100, 2), 'bilinear', Buffer.alloc(100 * 2 * 3));
  assert.ok(own.memoryBytes() <= RETAINED_BYTES, `${own.memoryBytes()} bytes are held`);
  const after = Buffer.alloc(30 * 20 * 3);
  own.resample(usual, whole(30, 20), 'bilinear', after);
  assert.deepEqual(after, before);
});

test('a target of another size is rejected before anything is written', () => {
  const target = Buffer.alloc(11);
  assert.throws(
    () => resampler.resample(draw(4, 4), whole(2, 2), 'bilinear', target),
    /11 bytes, 12 are needed/,
  );
  assert.ok(target.every((value) => value === 0));
});

test('the weights of every output pixel add up to one', () => {
  for (const interpolation of ['box', 'bilinear', 'hamming', 'bicubic', 'lanczos'] as const) {
    for (const [inputSize, outputSize] of [
      [500, 224],
      [10, 300],
      [65_535, 7],
    ] as const) {
      const axis = { inputSize, outputSize, first: 0, count: outputSize };
      const { weights, stride } = computeWeights(interpolation, axis);
      for (let index = 0; index < outputSize; index++) {
        let sum = 0;
        for (let at = (index * stride) / 2; at < ((index + 1) * stride) / 2; at += 4) {
          for (const tap of [0, 1])
            sum += (weights[at + tap] ?? 0) + 2 ** 11 * (weights[at + tap + 2] ?? 0);
        }
        const taps = stride / 4;
        assert.ok(
          Math.abs(sum - 2 ** 22) <= taps / 2 + 1,
          `${interpolation} ${inputSize} → ${outputSize}: ${sum}`,
        );
      }
    }
  }
});

test('the cache returns the same table again, and drops the least recently used one', () => {
  const weightsFor = createWeightCache();
  const axis = (inputSize: number) => ({ inputSize, outputSize: 2000, first: 0, count: 2000 });
  const kept = weightsFor('lanczos', axis(1999));
  const dropped = weightsFor('lanczos', axis(1998));
  // 2,000 outputs of 4 pairs are 80 kB: 60 of them pass 4 MiB.
  for (let size = 1900; size < 1960; size++) {
    weightsFor('lanczos', axis(size));
    assert.ok(weightsFor('lanczos', axis(1999)) === kept);
  }
  assert.ok(weightsFor('lanczos', axis(1998)) !== dropped);
});
