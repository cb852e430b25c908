/**
 * Pillow's two resampling passes in AssemblyScript with 128-bit SIMD. Compiled by tools/generate-wasm.mjs; called only
 * by ../resample.ts, which lays out the memory. No allocation here and no bounds checks: the caller leaves 32 readable
 * bytes behind every region.
 *
 * Arithmetic (Pillow src/libImaging/Resample.c, 8 bits per channel): sum of pixel × weight in 22-bit fixed point,
 * plus a half, shifted back and clipped to 0–255.
 *
 * A weight w is stored in two 16-bit parts, w = high × 2^11 + low with 0 ≤ low < 2^11, because the machine multiplies
 * and adds pairs of 16-bit numbers (i32x4.dot_i16x8_s) twice as fast as it multiplies 32-bit ones. The sums are equal
 * modulo 2^32, so the result is too, whatever the number of taps.
 *
 * A table of weights, for each output position: pairs of taps (padded with a zero weight), 8 bytes a pair: low of the first
 * and the second tap, high of the first and the second tap. A table of bounds, for each output position: first input
 * position and number of pairs, two i32.
 */

const LOW_BITS: i32 = 11;
const PRECISION_BITS: i32 = 22;
const HALF: i32 = 1 << (PRECISION_BITS - 1);

/** Joins both part sums, rounds, shifts. */
// @ts-ignore: decorator
@inline
function finish(low: v128, high: v128): v128 {
  const sum = i32x4.add(i32x4.shl(high, LOW_BITS), i32x4.add(low, i32x4.splat(HALF)));
  return i32x4.shr_s(sum, PRECISION_BITS);
}

/** RGB, `rows` rows of `sourceStride` bytes to rows of `columns` pixels, `targetStride` bytes apart. */
export function resampleHorizontally(
  source: usize,
  sourceStride: i32,
  rows: i32,
  target: usize,
  targetStride: i32,
  columns: i32,
  bounds: usize,
  weights: usize,
  weightStride: i32,
): void {
  const zero = i32x4.splat(0);
  for (let y = 0; y < rows; y++) {
    let out = target;
    let bound = bounds;
    let table = weights;
    for (let x = 0; x < columns; x++) {
      let pixel = source + load<i32>(bound) * 3;
      let pairs = load<i32>(bound, 4);
      let weight = table;
      let low = zero;
      let high = zero;
      // Two pairs from one load: four pixels are 12 of its 16 bytes. Zero bytes widen the colours to 16 bits.
      for (; pairs > 1; pairs -= 2) {
        const four = v128.load(pixel);
        const first = i8x16.shuffle(four, zero, 0, 16, 3, 16, 1, 16, 4, 16, 2, 16, 5, 16, 16, 16, 16, 16);
        const second = i8x16.shuffle(four, zero, 6, 16, 9, 16, 7, 16, 10, 16, 8, 16, 11, 16, 16, 16, 16, 16);
        low = i32x4.add(low, i32x4.dot_i16x8_s(first, v128.load32_splat(weight)));
        high = i32x4.add(high, i32x4.dot_i16x8_s(first, v128.load32_splat(weight, 4)));
        low = i32x4.add(low, i32x4.dot_i16x8_s(second, v128.load32_splat(weight, 8)));
        high = i32x4.add(high, i32x4.dot_i16x8_s(second, v128.load32_splat(weight, 12)));
        pixel += 12;
        weight += 16;
      }
      if (pairs > 0) {
        const two = v128.load64_zero(pixel);
        const last = i8x16.shuffle(two, zero, 0, 16, 3, 16, 1, 16, 4, 16, 2, 16, 5, 16, 16, 16, 16, 16);
        low = i32x4.add(low, i32x4.dot_i16x8_s(last, v128.load32_splat(weight)));
        high = i32x4.add(high, i32x4.dot_i16x8_s(last, v128.load32_splat(weight, 4)));
      }
      const sum = finish(low, high);
      const words = i16x8.narrow_i32x4_s(sum, sum);
      // Writes a fourth byte, which the next pixel overwrites (or the padding behind the last one takes).
      store<u32>(out, i32x4.extract_lane(i8x16.narrow_i16x8_u(words, words), 0));
      out += 3;
      bound += 8;
      table += weightStride;
    }
    source += sourceStride;
    target += targetStride;
  }
}

/** Rows of `stride` bytes (a multiple of 16) to `rows` rows of the same stride. `firstRow` is the input row at `source`. */
export function resampleVertically(
  source: usize,
  stride: i32,
  firstRow: i32,
  target: usize,
  rows: i32,
  bounds: usize,
  weights: usize,
  weightStride: i32,
): void {
  const zero = i32x4.splat(0);
  for (let y = 0; y < rows; y++) {
    const start = source + (load<i32>(bounds) - firstRow) * stride;
    const pairs = load<i32>(bounds, 4);
    for (let x = 0; x < stride; x += 16) {
      let low0 = zero, low1 = zero, low2 = zero, low3 = zero;
      let high0 = zero, high1 = zero, high2 = zero, high3 = zero;
      let upper = start + x;
      let weight = weights;
      for (let pair = 0; pair < pairs; pair++) {
        const above = v128.load(upper);
        const below = v128.load(upper + stride);
        const left = i8x16.shuffle(above, below, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
        const right = i8x16.shuffle(above, below, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
        const lowWeights = v128.load32_splat(weight);
        const highWeights = v128.load32_splat(weight, 4);
        const part0 = i16x8.extend_low_i8x16_u(left);
        const part1 = i16x8.extend_high_i8x16_u(left);
        const part2 = i16x8.extend_low_i8x16_u(right);
        const part3 = i16x8.extend_high_i8x16_u(right);
        low0 = i32x4.add(low0, i32x4.dot_i16x8_s(part0, lowWeights));
        low1 = i32x4.add(low1, i32x4.dot_i16x8_s(part1, lowWeights));
        low2 = i32x4.add(low2, i32x4.dot_i16x8_s(part2, lowWeights));
        low3 = i32x4.add(low3, i32x4.dot_i16x8_s(part3, lowWeights));
        high0 = i32x4.add(high0, i32x4.dot_i16x8_s(part0, highWeights));
        high1 = i32x4.add(high1, i32x4.dot_i16x8_s(part1, highWeights));
        high2 = i32x4.add(high2, i32x4.dot_i16x8_s(part2, highWeights));
        high3 = i32x4.add(high3, i32x4.dot_i16x8_s(part3, highWeights));
        upper += stride << 1;
        weight += 8;
      }
      const words0 = i16x8.narrow_i32x4_s(finish(low0, high0), finish(low1, high1));
      const words1 = i16x8.narrow_i32x4_s(finish(low2, high2), finish(low3, high3));
      v128.store(target + x, i8x16.narrow_i16x8_u(words0, words1));
    }
    target += stride;
    bounds += 8;
    weights += weightStride;
  }
}
