import assert from 'node:assert/strict';
import { test } from 'node:test';
import sharp from 'sharp';
import { RequestError } from '#vitserve/errors.js';
import type { Recipe } from '#vitserve/models/recipe.js';
import { createPixelPreparer } from '#vitserve/workers/decode/prepare-pixels.js';
import { noise } from './drawing.js';

const NORMALIZATION = {
  rescale: 1 / 255,
  mean: [0.5, 0.5, 0.5],
  std: [0.5, 0.5, 0.5],
  normalizedInGraph: true,
} as const;

const cropOnly = (height: number, width: number): Recipe => ({
  resize: null,
  interpolation: 'bilinear',
  crop: { height, width, rounding: 'floor' },
  ...NORMALIZATION,
});

test('a file becomes the middle of its picture, and its size is reported', async () => {
  const pixels = noise(7 * 5 * 3);
  const file = await sharp(pixels, { raw: { width: 7, height: 5, channels: 3 } })
    .png()
    .toBuffer();
  const preparer = createPixelPreparer({
    maxImagePixels: 1000,
    recipe: cropOnly(3, 5),
    height: 3,
    width: 5,
  });
  const target = new Uint8Array(3 * 5 * 3).fill(0xa5);
  const prepared = await preparer.prepare(file, target);
  assert.deepEqual(prepared, { format: 'png', decoder: 'sharp', sourceWidth: 7, sourceHeight: 5 });
  const wanted = [1, 2, 3].flatMap((row) => [
    ...pixels.subarray((row * 7 + 1) * 3, (row * 7 + 6) * 3),
  ]);
  assert.deepEqual([...target], wanted);
});

test('a picture smaller than the crop is padded with zeros', async () => {
  const file = await sharp(new Uint8Array(3).fill(200), {
    raw: { width: 1, height: 1, channels: 3 },
  })
    .png()
    .toBuffer();
  const preparer = createPixelPreparer({
    maxImagePixels: 1000,
    recipe: cropOnly(3, 3),
    height: 3,
    width: 3,
  });
  const target = new Uint8Array(27).fill(0xa5);
  await preparer.prepare(file, target);
  assert.deepEqual(
    [...target],
    Array.from({ length: 27 }, (_, at) => (at >= 12 && at < 15 ? 200 : 0)),
  );
});

test('a rejected image leaves the preparer usable', async () => {
  const preparer = createPixelPreparer({
    maxImagePixels: 1000,
    recipe: cropOnly(1, 1),
    height: 1,
    width: 1,
  });
  const target = new Uint8Array(3);
  await assert.rejects(
    preparer.prepare(Buffer.from('not an image'), target),
    (error) => error instanceof RequestError && error.reason === 'IMAGE_UNSUPPORTED',
  );
  const file = await sharp(new Uint8Array([9, 8, 7]), { raw: { width: 1, height: 1, channels: 3 } })
    .png()
    .toBuffer();
  await preparer.prepare(file, target);
  assert.deepEqual([...target], [9, 8, 7]);
});

test('a recipe that does not always yield the size of the model is rejected at once', () => {
  const make = (recipe: Recipe) => () =>
    createPixelPreparer({ maxImagePixels: 1000, recipe, height: 224, width: 224 });
  assert.throws(make(cropOnly(224, 225)), /yields 224 × 225, the model takes 224 × 224/);
  assert.throws(make({ ...cropOnly(1, 1), crop: null }), /varying size/);
});
