/** Position embeddings for other grids, against PyTorch (test/golden/make_interpolation.py). */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { interpolateGrid } from '#vitserve/onnx/vit/interpolate.js';
import { readGolden } from '../../../golden/golden.js';

interface Case {
  from: [number, number];
  to: [number, number];
  width: number;
  values: number[];
  bicubic: number[];
  'bicubic-antialias': number[];
}

const gridOf = ([rows, columns]: [number, number]) => ({ rows, columns });

describe('interpolated positions', () => {
  for (const golden of readGolden<Case>('interpolation.json')) {
    for (const how of ['bicubic', 'bicubic-antialias'] as const) {
      test(`${golden.from.join(' × ')} to ${golden.to.join(' × ')}, ${how}, are those of PyTorch`, () => {
        const values = Float32Array.from(golden.values);
        const made = interpolateGrid(
          values,
          golden.width,
          gridOf(golden.from),
          gridOf(golden.to),
          how,
        );
        assert.equal(made.length, golden[how].length);
        for (const [index, value] of made.entries()) {
          assert.ok(
            Math.abs(value - (golden[how][index] as number)) < 2e-6,
            `value ${index}: ${value}`,
          );
        }
      });
    }
  }

  test('stay what they are on the same grid', () => {
    const values = Float32Array.of(1, 2, 3, 4);
    const grid = { rows: 2, columns: 2 };
    assert.equal(interpolateGrid(values, 1, grid, { ...grid }, 'bicubic'), values);
  });

  test('keep a constant, for any grids', () => {
    for (const how of ['bicubic', 'bicubic-antialias'] as const) {
      const made = interpolateGrid(
        new Float32Array(15).fill(0.5),
        1,
        { rows: 3, columns: 5 },
        { rows: 7, columns: 2 },
        how,
      );
      for (const value of made) assert.ok(Math.abs(value - 0.5) < 1e-6);
    }
  });
});
