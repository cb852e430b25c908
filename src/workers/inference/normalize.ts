/**
 * Normalises outside the graph, for graphs that take floats: uint8 RGB HWC to float32 in the
 * graph's layout, `(value × rescale − mean) / std` per channel (Hugging Face image processors;
 * torchvision `Normalize`).
 *
 * There are only 256 values a channel, so the arithmetic is a table look-up. Prepared graphs take
 * uint8 and don't need it.
 */
import type { Recipe } from '../../models/recipe.js';

export interface FloatInput {
  readonly layout: 'NHWC' | 'NCHW';
  readonly height: number;
  readonly width: number;
}

/**
 * Returns a function from uint8 pixels `[images, height, width, 3]` to float32 values in the
 * input's layout. The returned array is reused by the next call.
 */
export function createNormalizer(
  recipe: Recipe,
  input: FloatInput,
): (pixels: Uint8Array, images: number) => Float32Array {
  const plane = input.height * input.width;
  const tables = recipe.mean.map((mean, channel) =>
    Float32Array.from(
      { length: 256 },
      (_, value) => (value * recipe.rescale - mean) / (recipe.std[channel] as number),
    ),
  );
  let floats = new Float32Array(0);
  return (pixels, images) => {
    if (floats.length < images * plane * 3) floats = new Float32Array(images * plane * 3);
    const [pixelStride, channelStride] = input.layout === 'NHWC' ? [3, 1] : [1, plane];
    for (let image = 0; image < images; image++) {
      const base = image * plane * 3;
      for (let channel = 0; channel < 3; channel++) {
        const table = tables[channel] as Float32Array;
        let to = base + channel * channelStride;
        for (let from = base + channel; from < base + plane * 3; from += 3, to += pixelStride) {
          floats[to] = table[pixels[from] as number] as number;
        }
      }
    }
    return floats.subarray(0, images * plane * 3);
  };
}
