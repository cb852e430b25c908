/** Arithmetic on weights that a graph would otherwise do for every picture. */

import type { Recipe } from '../../models/recipe.js';
import type { ImageSize } from '../../models/recipe-sources.js';
import type { Dense } from './architecture.js';

/** Side of the squares that are transposed at a time: two of them fit the first-level cache. */
const TILE = 32;

/**
 * [rows, columns] to [columns, rows], times `factor`; into `target` from `offset`, with `stride`
 * values to a row, or into new memory.
 */
export function transpose(
  values: Float32Array,
  rows: number,
  columns: number,
  factor = 1,
  target: Float32Array = new Float32Array(values.length),
  offset = 0,
  stride = rows,
): Float32Array {
  for (let top = 0; top < rows; top += TILE) {
    const bottom = Math.min(top + TILE, rows);
    for (let left = 0; left < columns; left += TILE) {
      const right = Math.min(left + TILE, columns);
      for (let column = left; column < right; column++) {
        for (let row = top; row < bottom; row++) {
          target[offset + column * stride + row] =
            (values[row * columns + column] as number) * factor;
        }
      }
    }
  }
  return target;
}

/**
 * Layer scale λ (arXiv 2103.17239) into the dense layer before it: λ ⊙ (Wx + b) = (λ ⊙ W)x + λ ⊙ b.
 * In place.
 */
export function foldLayerScale({ weight, bias }: Dense, scale: Float32Array): Dense {
  const inputs = weight.length / scale.length;
  for (const [row, factor] of scale.entries()) {
    for (let i = row * inputs; i < (row + 1) * inputs; i++)
      weight[i] = (weight[i] as number) * factor;
    if (bias !== null) bias[row] = (bias[row] as number) * factor;
  }
  return { weight, bias };
}

/**
 * A patch projection [hidden, 3, height, width] that takes raw bytes: w · (x · rescale − mean) /
 * std, summed, is (w · rescale / std) · x, summed, + (bias − (w · mean / std), summed).
 *
 * `weight`: [height · width · 3, hidden], for patches whose values lie row by row, pixel by pixel.
 * `bias` stays in double precision until it is added to something.
 */
export function foldNormalization(
  { weight, bias }: Dense,
  { rescale, mean, std }: Pick<Recipe, 'rescale' | 'mean' | 'std'>,
  hidden: number,
  patch: ImageSize,
): { readonly weight: Float32Array; readonly bias: Float64Array } {
  const area = patch.height * patch.width;
  const folded = new Float32Array(weight.length);
  const shifted = new Float64Array(hidden);
  for (let output = 0; output < hidden; output++) {
    let sum = bias?.[output] ?? 0;
    for (const [channel, deviation] of std.entries()) {
      const start = (output * 3 + channel) * area;
      let inChannel = 0;
      for (let at = 0; at < area; at++) {
        const value = weight[start + at] as number;
        folded[(at * 3 + channel) * hidden + output] = (value * rescale) / deviation;
        inChannel += value;
      }
      sum -= (inChannel * (mean[channel] as number)) / deviation;
    }
    shifted[output] = sum;
  }
  return { weight: folded, bias: shifted };
}
