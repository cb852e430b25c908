/**
 * Pillow's two resampling passes in AssemblyScript with 128-bit SIMD, and the turning of pictures
 * that are stored rotated. Compiled by tools/generate-wasm.mjs; called only by ../weighted.ts and
 * ../turbojpeg.ts, which lay out the memory. No allocation here and no bounds checks: the caller
 * leaves 32 readable bytes behind every region, and one row more where rows are read in pairs.
 *
 * Arithmetic (Pillow src/libImaging/Resample.c, 8 bits per channel): sum of pixel × weight in
 * 22-bit fixed point, plus a half, shifted back and clipped to 0–255.
 *
 * A weight w is stored in two 16-bit parts, w = high × 2^11 + low with 0 ≤ low < 2^11, because the
 * machine multiplies and adds pairs of 16-bit numbers (i32x4.dot_i16x8_s) twice as fast as it
 * multiplies 32-bit ones. The sums are equal modulo 2^32, so the result is too, whatever the number
 * of taps.
 *
 * A table of weights, for each output position: pairs of taps (padded with a zero weight), 8 bytes
 * a pair: low of the first and the second tap, high of the first and the second tap. A table of
 * bounds, for each output position: first input position and number of pairs, two i32.
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

/** Two pixels side by side, by colour: bytes R G B R G B … become the pairs R R, G G, B B. */
// @ts-ignore: decorator
@inline
function pairUp(pixel: usize): v128 {
  return i8x16.swizzle(
    v128.load64_zero(pixel),
    i8x16(0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1),
  );
}

/**
 * Stores a pixel, and a fourth byte that the next one overwrites; a row needs a byte to spare for
 * the last one.
 */
// @ts-ignore: decorator
@inline
function storePixel(target: usize, low: v128, high: v128): void {
  const sum = finish(low, high);
  const words = i16x8.narrow_i32x4_s(sum, sum);
  store<u32>(target, i32x4.extract_lane(i8x16.narrow_i16x8_u(words, words), 0));
}

/**
 * RGB, `rows` rows of `sourceStride` bytes to rows of `columns` pixels, `targetStride` bytes apart,
 * at least one more than the pixels take. Four rows at a time share the weights and the loop; at
 * the bottom the last row is done more than once.
 */
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
  const bottom = rows - 1;
  for (let y = 0; y < rows; y += 4) {
    const y1 = min(y + 1, bottom), y2 = min(y + 2, bottom), y3 = min(y + 3, bottom);
    const source0 = source + y * sourceStride;
    const source1 = source + y1 * sourceStride;
    const source2 = source + y2 * sourceStride;
    const source3 = source + y3 * sourceStride;
    const target0 = target + y * targetStride;
    const target1 = target + y1 * targetStride;
    const target2 = target + y2 * targetStride;
    const target3 = target + y3 * targetStride;
    for (let x = 0; x < columns; x++) {
      let at = load<i32>(bounds + (x << 3)) * 3;
      const end = at + load<i32>(bounds + (x << 3), 4) * 6;
      let weight = weights + x * weightStride;
      let low0 = zero, low1 = zero, low2 = zero, low3 = zero;
      let high0 = zero, high1 = zero, high2 = zero, high3 = zero;
      for (; at < end; at += 6) {
        const lowWeights = v128.load32_splat(weight);
        const highWeights = v128.load32_splat(weight, 4);
        const pair0 = pairUp(source0 + at);
        const pair1 = pairUp(source1 + at);
        const pair2 = pairUp(source2 + at);
        const pair3 = pairUp(source3 + at);
        low0 = i32x4.add(low0, i32x4.dot_i16x8_s(pair0, lowWeights));
        low1 = i32x4.add(low1, i32x4.dot_i16x8_s(pair1, lowWeights));
        low2 = i32x4.add(low2, i32x4.dot_i16x8_s(pair2, lowWeights));
        low3 = i32x4.add(low3, i32x4.dot_i16x8_s(pair3, lowWeights));
        high0 = i32x4.add(high0, i32x4.dot_i16x8_s(pair0, highWeights));
        high1 = i32x4.add(high1, i32x4.dot_i16x8_s(pair1, highWeights));
        high2 = i32x4.add(high2, i32x4.dot_i16x8_s(pair2, highWeights));
        high3 = i32x4.add(high3, i32x4.dot_i16x8_s(pair3, highWeights));
        weight += 8;
      }
      const to = x * 3;
      storePixel(target0 + to, low0, high0);
      storePixel(target1 + to, low1, high1);
      storePixel(target2 + to, low2, high2);
      storePixel(target3 + to, low3, high3);
    }
  }
}

/**
 * Rows of `stride` bytes (a multiple of 16) to `rows` rows of the same stride. `firstRow` is the
 * input row at `source`.
 */
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

/**
 * Rows and columns that are turned at a time, so that the cache lines of both sides are used whole.
 */
const TILE: i32 = 32;

/**
 * Copies an RGB picture of `width` × `height` pixels to `target`, rows without gaps. Its top left
 * pixel is at `source`, the next one to the right `stepX` bytes further, the next one below
 * `stepY`; steps may be negative.
 */
export function turn(source: usize, stepX: i32, stepY: i32, target: usize, width: i32, height: i32): void {
  for (let top = 0; top < height; top += TILE) {
    const bottom = min(top + TILE, height);
    for (let left = 0; left < width; left += TILE) {
      const right = min(left + TILE, width);
      for (let y = top; y < bottom; y++) {
        let from = source + y * stepY + left * stepX;
        let to = target + (y * width + left) * 3;
        for (let x = left; x < right; x++) {
          store<u16>(to, load<u16>(from));
          store<u8>(to, load<u8>(from, 2), 2);
          from += stepX;
          to += 3;
        }
      }
    }
  }
}
