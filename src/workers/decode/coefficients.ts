/**
 * Which input pixels make an output pixel, and with what weight: Pillow's numbers, to the last bit.
 *
 * Source of the arithmetic: Pillow 12 src/libImaging/Resample.c (`precompute_coeffs`,
 * `normalize_coeffs_8bpc` and the filters) and, for nearest, src/libImaging/Geometry.c
 * (`ImagingScaleAffine`). Operations are kept in Pillow's order, because floating point depends on
 * it. Tables are made for a window of the output only, so a cropped picture costs its crop.
 */

import type { Interpolation } from '../../models/recipe.js';

export type WeightedInterpolation = Exclude<Interpolation, 'nearest'>;

/**
 * One axis of a resize: `inputSize` pixels to `outputSize`, of which `count` from `first` on are
 * wanted.
 */
export interface Axis {
  readonly inputSize: number;
  readonly outputSize: number;
  readonly first: number;
  readonly count: number;
}

/** Tables in the layout that wasm/resample.ts reads. */
export interface WeightTable {
  /** Per output position: first input position, number of pairs of taps. */
  readonly bounds: Int32Array;
  /**
   * Per output position `stride` bytes: for each pair of taps, two low parts and two high parts.
   */
  readonly weights: Int16Array;
  /** Bytes from one output position's weights to the next's. */
  readonly stride: number;
  /**
   * Input positions that have a weight, over the whole window: from `inputStart` to before
   * `inputEnd`.
   */
  readonly inputStart: number;
  readonly inputEnd: number;
}

interface Filter {
  /** Half the filter's width, in input pixels when enlarging. */
  readonly support: number;
  readonly weigh: (distance: number) => number;
}

function sinc(x: number): number {
  if (x === 0) return 1;
  const angle = x * Math.PI;
  return Math.sin(angle) / angle;
}

// Pillow writes these two as C floats.
const HAMMING_OFFSET = Math.fround(0.54);
const HAMMING_SCALE = Math.fround(0.46);
const CUBIC_A = -0.5;

const FILTERS: Record<WeightedInterpolation, Filter> = {
  box: { support: 0.5, weigh: (x) => (x > -0.5 && x <= 0.5 ? 1 : 0) },
  bilinear: { support: 1, weigh: (x) => Math.max(0, 1 - Math.abs(x)) },
  hamming: {
    support: 1,
    weigh: (x) => {
      if (x === 0) return 1;
      if (Math.abs(x) >= 1) return 0;
      const angle = Math.abs(x) * Math.PI;
      return (Math.sin(angle) / angle) * (HAMMING_OFFSET + HAMMING_SCALE * Math.cos(angle));
    },
  },
  bicubic: {
    support: 2,
    weigh: (signed) => {
      const x = Math.abs(signed);
      if (x < 1) return ((CUBIC_A + 2) * x - (CUBIC_A + 3)) * x * x + 1;
      if (x < 2) return (((x - 5) * x + 8) * x - 4) * CUBIC_A;
      return 0;
    },
  },
  lanczos: { support: 3, weigh: (x) => (x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0) },
};

const PRECISION = 2 ** 22;
const LOW_BITS = 11;
const LOW_MASK = (1 << LOW_BITS) - 1;
const BYTES_A_PAIR = 8;

/** Pillow's weights for one axis. Costs about 0.1 µs a tap. */
export function computeWeights(interpolation: WeightedInterpolation, axis: Axis): WeightTable {
  const { support: baseSupport, weigh } = FILTERS[interpolation];
  // Pillow carries the size through a C float.
  const scale = Math.fround(axis.inputSize) / axis.outputSize;
  const filterScale = Math.max(scale, 1);
  const inverseScale = 1 / filterScale;
  const support = baseSupport * filterScale;
  const maxPairs = Math.ceil(support) + 1;

  const bounds = new Int32Array(axis.count * 2);
  const weights = new Int16Array(axis.count * maxPairs * 4);
  const raw = new Float64Array(maxPairs * 2);
  let inputStart = axis.inputSize;
  let inputEnd = 0;
  for (let index = 0; index < axis.count; index++) {
    const center = (axis.first + index + 0.5) * scale;
    const start = Math.max(0, Math.trunc(center - support + 0.5));
    const end = Math.min(axis.inputSize, Math.trunc(center + support + 0.5));
    const taps = end - start;
    let sum = 0;
    for (let tap = 0; tap < taps; tap++) {
      const weight = weigh((tap + start - center + 0.5) * inverseScale);
      raw[tap] = weight;
      sum += weight;
    }
    for (let tap = 0; tap < taps; tap++) {
      const normalized = sum === 0 ? (raw[tap] as number) : (raw[tap] as number) / sum;
      const fixed = Math.trunc((normalized < 0 ? -0.5 : 0.5) + normalized * PRECISION);
      const slot = (index * maxPairs + (tap >> 1)) * 4 + (tap & 1);
      weights[slot] = fixed & LOW_MASK;
      weights[slot + 2] = fixed >> LOW_BITS;
    }
    bounds[index * 2] = start;
    bounds[index * 2 + 1] = (taps + 1) >> 1;
    inputStart = Math.min(inputStart, start);
    inputEnd = Math.max(inputEnd, end);
  }
  return { bounds, weights, stride: maxPairs * BYTES_A_PAIR, inputStart, inputEnd };
}

/**
 * The input position that each output position of the window takes with nearest, −1 for none.
 * Pillow steps by repeated addition, whose rounding error is part of the result.
 */
export function nearestPositions(axis: Axis): Int32Array {
  const step = Math.fround(axis.inputSize) / axis.outputSize;
  const positions = new Int32Array(axis.count);
  let position = step * 0.5;
  for (let index = 0; index < axis.first + axis.count; index++) {
    if (index >= axis.first) {
      const input = Math.trunc(position);
      positions[index - axis.first] = input < axis.inputSize ? input : -1;
    }
    position += step;
  }
  return positions;
}

const CACHE_BYTES = 4 * 1024 * 1024;
const LARGEST_CACHED_BYTES = CACHE_BYTES / 4;

/**
 * Weight tables by their parameters, the least recently used dropped first: picture sizes repeat.
 * Holds 4 MiB at most.
 */
export function createWeightCache(): (
  interpolation: WeightedInterpolation,
  axis: Axis,
) => WeightTable {
  const tables = new Map<string, WeightTable>();
  let heldBytes = 0;
  const size = (table: WeightTable): number => table.bounds.byteLength + table.weights.byteLength;

  return (interpolation, axis) => {
    const key = `${interpolation} ${axis.inputSize} ${axis.outputSize} ${axis.first} ${axis.count}`;
    const known = tables.get(key);
    if (known !== undefined) {
      // A Map keeps the order of insertion: a moved entry is the last to go.
      tables.delete(key);
      tables.set(key, known);
      return known;
    }
    const table = computeWeights(interpolation, axis);
    if (size(table) > LARGEST_CACHED_BYTES) return table;
    tables.set(key, table);
    heldBytes += size(table);
    for (const [oldest, dropped] of tables) {
      if (heldBytes <= CACHE_BYTES) break;
      tables.delete(oldest);
      heldBytes -= size(dropped);
    }
    return table;
  };
}
