/** Arithmetic folded into weights gives the same results as outside of them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { foldLayerScale, foldNormalization, transpose } from '#vitserve/onnx/vit/fold.js';

const counted = (length: number) =>
  Float32Array.from({ length }, (_, index) => ((index * 37) % 101) / 50 - 1);

test('transposing puts every value in its place, past a tile, scaled, beside others', () => {
  const side = fc.integer({ min: 1, max: 70 });
  fc.assert(
    fc.property(
      side,
      side,
      fc.constantFrom(1, 0.5),
      fc.integer({ min: 0, max: 3 }),
      (rows, columns, factor, offset) => {
        const values = counted(rows * columns);
        const stride = rows + offset;
        const made = transpose(
          values,
          rows,
          columns,
          factor,
          new Float32Array(columns * stride),
          offset,
          stride,
        );
        for (let row = 0; row < rows; row++) {
          for (let column = 0; column < columns; column++) {
            assert.equal(
              made[offset + column * stride + row],
              (values[row * columns + column] as number) * factor,
            );
          }
        }
      },
    ),
    { numRuns: 30 },
  );
});

test('layer scale goes into the rows of the layer before it, and into its bias', () => {
  const { weight, bias } = foldLayerScale(
    { weight: Float32Array.of(1, 2, 3, 4), bias: Float32Array.of(5, 6) },
    Float32Array.of(2, 10),
  );
  assert.deepEqual(
    [[...weight], [...(bias ?? [])]],
    [
      [2, 4, 30, 40],
      [10, 60],
    ],
  );
});

test('a projection of raw bytes is the projection of normalised pixels', () => {
  const [hidden, patch] = [4, { height: 2, width: 3 }];
  const recipe = { rescale: 1 / 255, mean: [0.4, 0.5, 0.6], std: [0.2, 0.25, 0.3] } as const;
  const weight = counted(hidden * 3 * 6);
  const bias = Float32Array.of(1, 2, 3, 4);
  const pixels = Uint8Array.from({ length: 18 }, (_, index) => (index * 91) % 256);
  const folded = foldNormalization({ weight, bias }, recipe, hidden, patch);
  for (let output = 0; output < hidden; output++) {
    let [wanted, made] = [bias[output] as number, folded.bias[output] as number];
    for (let channel = 0; channel < 3; channel++) {
      for (let at = 0; at < 6; at++) {
        const pixel = pixels[at * 3 + channel] as number;
        const normal =
          (pixel * recipe.rescale - (recipe.mean[channel] as number)) /
          (recipe.std[channel] as number);
        wanted += normal * (weight[(output * 3 + channel) * 6 + at] as number);
        made += pixel * (folded.weight[(at * 3 + channel) * hidden + output] as number);
      }
    }
    assert.ok(Math.abs(wanted - made) < 1e-5, `${wanted} ${made}`);
  }
});
