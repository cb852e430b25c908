/**
 * Float weights as int8, one scale for each output: symmetric, zero point 0, rounded to nearest.
 *
 * For every finite weight w, its column's scale s, its integer q and the limit L of the bits in
 * use: −L ≤ q ≤ L and |w − s·q| ≤ s/2. The scale is a float32, as in the graph, and q is computed
 * with that rounded scale, so the bound is exact. −128 stays unused, so the range is symmetric.
 *
 * Why 7 bits: x64 CPUs without VNNI add two products of uint8 and int8 in 16 bits, with saturation.
 * Two products of 8 bits can be 255 · 127 · 2 = 64,770, which is more than 2¹⁵; of 7 bits they are
 * 255 · 63 · 2 = 32,130 at most, which is not.
 */

/** How many bits of an int8 weight are used, sign included. */
export type WeightBits = 7 | 8;

/** The largest integer used on either side. */
export const WEIGHT_LIMITS: Readonly<Record<WeightBits, number>> = { 7: 63, 8: 127 };

/**
 * The smallest normal float32: a scale below it would lose digits, and arithmetic on it is slow.
 */
const SMALLEST_NORMAL = 2 ** -126;

export interface QuantizedColumns {
  /** `[rows, columns]`, row by row as in the source. */
  readonly values: Int8Array;
  /** `[columns]`, each above zero. A column of zeros has scale 1. */
  readonly scales: Float32Array;
  /** `[columns]`: w − s·q, summed over each column. */
  readonly lost: Float32Array;
}

/**
 * @param weights `[rows, columns]`, row by row: inputs by outputs, as the second operand of ONNX
 *   MatMul
 * @throws RangeError if a weight is not finite, or their number is not rows × columns
 */
export function quantizeColumns(
  weights: Float32Array,
  rows: number,
  columns: number,
  bits: WeightBits,
): QuantizedColumns {
  const limit = WEIGHT_LIMITS[bits];
  if (weights.length !== rows * columns) {
    throw new RangeError(`${weights.length} weights are not ${rows} × ${columns}`);
  }
  const scales = new Float32Array(columns);
  for (let row = 0, at = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++, at++) {
      const size = Math.abs(weights[at] as number);
      if (!Number.isFinite(size))
        throw new RangeError(`the weight at row ${row}, column ${column} is ${weights[at]}`);
      if (size > (scales[column] as number)) scales[column] = size;
    }
  }
  for (let column = 0; column < columns; column++) {
    const largest = scales[column] as number;
    scales[column] = largest === 0 ? 1 : Math.max(largest / limit, SMALLEST_NORMAL);
  }
  const values = new Int8Array(weights.length);
  const lost = new Float64Array(columns);
  for (let row = 0, at = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++, at++) {
      const [weight, scale] = [weights[at] as number, scales[column] as number];
      const value = Math.round(weight / scale);
      values[at] = value;
      lost[column] = (lost[column] as number) + (weight - scale * value);
    }
  }
  return { values, scales, lost: Float32Array.from(lost) };
}

/** A matrix `[rows, columns]` as `[columns, rows]`. */
export function transposed(values: Float32Array, rows: number, columns: number): Float32Array {
  const result = new Float32Array(values.length);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      result[column * rows + row] = values[row * columns + column] as number;
    }
  }
  return result;
}
