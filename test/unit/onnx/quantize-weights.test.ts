/** Weights as int8: the promised bound, exactly. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { quantizeColumns, transposed } from '#vitserve/onnx/quantize-weights.js';

/** Finite float32 values of every size, subnormal ones too. */
const weight = fc.oneof(fc.float({ noNaN: true, noDefaultInfinity: true }), fc.float({ noNaN: true, min: -4, max: 4 }));

const matrix = fc
  .record({ rows: fc.integer({ min: 1, max: 9 }), columns: fc.integer({ min: 1, max: 7 }) })
  .chain(({ rows, columns }) =>
    fc
      .array(weight, { minLength: rows * columns, maxLength: rows * columns })
      .map((values) => ({ rows, columns, weights: Float32Array.from(values) })),
  );

describe('quantizeColumns', () => {
  test('no weight is further than half a step from its integer, and no integer beyond 127', () => {
    fc.assert(
      fc.property(matrix, ({ rows, columns, weights }) => {
        const { values, scales } = quantizeColumns(weights, rows, columns);
        weights.forEach((weight, at) => {
          const scale = scales[at % columns] as number;
          const integer = values[at] as number;
          assert.ok(integer >= -127 && integer <= 127);
          // Products of a float32 and an 8-bit integer are exact in doubles, and so is this difference of near values.
          assert.ok(Math.abs(weight - scale * integer) <= scale / 2, `${weight} as ${scale} · ${integer}`);
        });
      }),
      { numRuns: 2000 },
    );
  });

  test('a column uses its whole range, whatever its neighbours hold', () => {
    const { values, scales } = quantizeColumns(Float32Array.of(1000, 0.001, -500, 0.0005, 0, -0.001), 3, 2);
    assert.deepEqual([...values], [127, 127, -63, 64, 0, -127]);
    assert.deepEqual([...scales], [Math.fround(1000 / 127), Math.fround(Math.fround(0.001) / 127)]);
  });

  test('a column of zeros stays zeros, with a scale that can be multiplied by', () => {
    assert.deepEqual(quantizeColumns(new Float32Array(3), 3, 1), {
      values: new Int8Array(3),
      scales: Float32Array.of(1),
      lost: Float32Array.of(0),
    });
  });

  test('a weight that is no number is refused with its place', () => {
    for (const wrong of [Number.NaN, Number.POSITIVE_INFINITY]) {
      assert.throws(() => quantizeColumns(Float32Array.of(1, 2, 3, wrong), 2, 2), /row 1, column 1 is (NaN|Infinity)/);
    }
    assert.throws(() => quantizeColumns(new Float32Array(5), 2, 2), RangeError);
  });
});

test('transposed swaps rows and columns', () => {
  assert.deepEqual([...transposed(Float32Array.of(1, 2, 3, 4, 5, 6), 2, 3)], [1, 4, 2, 5, 3, 6]);
});
