/** Weights as int8 keep the promised bound exactly. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import {
  quantizeColumns,
  transposed,
  WEIGHT_LIMITS,
} from '#vitserve/onnx/passes/quantize-weights.js';

/** Finite float32 values of every size, also subnormal ones. */
const weight = fc.oneof(
  fc.float({ noNaN: true, noDefaultInfinity: true }),
  fc.float({ noNaN: true, min: -4, max: 4 }),
);

const matrix = fc
  .record({ rows: fc.integer({ min: 1, max: 9 }), columns: fc.integer({ min: 1, max: 7 }) })
  .chain(({ rows, columns }) =>
    fc
      .array(weight, { minLength: rows * columns, maxLength: rows * columns })
      .map((values) => ({ rows, columns, weights: Float32Array.from(values) })),
  );

describe('quantizeColumns', () => {
  for (const bits of [7, 8] as const) {
    const limit = WEIGHT_LIMITS[bits];

    test(`no weight is further than half a step from its integer: ${bits} bits`, () => {
      fc.assert(
        fc.property(matrix, ({ rows, columns, weights }) => {
          const { values, scales } = quantizeColumns(weights, rows, columns, bits);
          weights.forEach((weight, at) => {
            const scale = scales[at % columns] as number;
            const integer = values[at] as number;
            assert.ok(integer >= -limit && integer <= limit);
            // Products of a float32 and an 8-bit integer are exact in doubles, and so is this
            // difference of near values.
            assert.ok(
              Math.abs(weight - scale * integer) <= scale / 2,
              `${weight} as ${scale} · ${integer}`,
            );
          });
        }),
        { numRuns: 2000 },
      );
    });

    test(`a column uses its whole range, whatever its neighbours hold: ${bits} bits`, () => {
      const { values, scales } = quantizeColumns(
        Float32Array.of(1000, 0.001, -400, 0.0004, 0, -0.001),
        3,
        2,
        bits,
      );
      const part = Math.round(limit * 0.4);
      assert.deepEqual([...values], [limit, limit, -part, part, 0, -limit]);
      assert.deepEqual(
        [...scales],
        [Math.fround(1000 / limit), Math.fround(Math.fround(0.001) / limit)],
      );
    });
  }

  test('a column of zeros stays zeros, with a scale above zero', () => {
    assert.deepEqual(quantizeColumns(new Float32Array(3), 3, 1, 7), {
      values: new Int8Array(3),
      scales: Float32Array.of(1),
      lost: Float32Array.of(0),
    });
  });

  test('a weight that is not a number is rejected with its place', () => {
    for (const wrong of [Number.NaN, Number.POSITIVE_INFINITY]) {
      assert.throws(
        () => quantizeColumns(Float32Array.of(1, 2, 3, wrong), 2, 2, 7),
        /row 1, column 1 is (NaN|Infinity)/,
      );
    }
    assert.throws(() => quantizeColumns(new Float32Array(5), 2, 2, 7), RangeError);
  });
});

test('transposed swaps rows and columns', () => {
  assert.deepEqual([...transposed(Float32Array.of(1, 2, 3, 4, 5, 6), 2, 3)], [1, 4, 2, 5, 3, 6]);
});
