/** Pixels to the floats of a graph's input, compared with the plain arithmetic. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Recipe } from '#vitserve/models/recipe.js';
import { createNormalizer } from '#vitserve/workers/inference/normalize.js';
import { noise } from '../decode/drawing.js';

const HEIGHT = 3;
const WIDTH = 5;
const IMAGE_BYTES = HEIGHT * WIDTH * 3;

const RECIPE: Recipe = {
  resize: { mode: 'squash', height: HEIGHT, width: WIDTH },
  interpolation: 'bilinear',
  crop: null,
  rescale: 1 / 255,
  mean: [0.485, 0.456, 0.406],
  std: [0.229, 0.224, 0.225],
  normalizedInGraph: false,
};

/** Where the value of a pixel's channel belongs. */
const PLACE = {
  NHWC: (image: number, y: number, x: number, channel: number) =>
    ((image * HEIGHT + y) * WIDTH + x) * 3 + channel,
  NCHW: (image: number, y: number, x: number, channel: number) =>
    ((image * 3 + channel) * HEIGHT + y) * WIDTH + x,
};

function plainly(pixels: Uint8Array, images: number, layout: 'NHWC' | 'NCHW'): Float32Array {
  const floats = new Float32Array(images * IMAGE_BYTES);
  for (let image = 0; image < images; image++) {
    for (let y = 0; y < HEIGHT; y++) {
      for (let x = 0; x < WIDTH; x++) {
        for (const channel of [0, 1, 2] as const) {
          const value = pixels[PLACE.NHWC(image, y, x, channel)] ?? 0;
          const normal = (value * RECIPE.rescale - RECIPE.mean[channel]) / RECIPE.std[channel];
          floats[PLACE[layout](image, y, x, channel)] = normal;
        }
      }
    }
  }
  return floats;
}

for (const layout of ['NHWC', 'NCHW'] as const) {
  test(`normalising to ${layout} is (value × rescale − mean) / std, channel by channel`, () => {
    const normalize = createNormalizer(RECIPE, { layout, height: HEIGHT, width: WIDTH });
    for (const images of [1, 3, 2]) {
      const pixels = noise(images * IMAGE_BYTES, images);
      assert.deepEqual(normalize(pixels, images), plainly(pixels, images, layout));
    }
  });
}

test('pixels beyond the images of the batch are not read', () => {
  const normalize = createNormalizer(RECIPE, { layout: 'NCHW', height: HEIGHT, width: WIDTH });
  const pixels = noise(4 * IMAGE_BYTES);
  assert.deepEqual(normalize(pixels, 2), plainly(pixels, 2, 'NCHW'));
});
