/**
 * Resizes and crops RGB pixels exactly as Pillow 12's `Image.resize` followed by a crop.
 *
 * Only the rows and columns that reach the crop are computed, which changes no pixel of it. Memory
 * is a band of source rows (the whole picture if libturbojpeg has put it there) + the horizontally
 * resized rows + the output + weights: 1 MiB for a 500×375 photo, 3 MiB for 12 megapixels. What an
 * unusual picture needs beyond 16 MiB is given back after it, so a resampler at rest holds no more
 * than that and 4 MiB of cached weights. The arithmetic is in weighted.ts, coefficients.ts and
 * wasm/resample.ts.
 */

import type { Geometry, Interpolation } from '../../models/recipe.js';
import { type Axis, createWeightCache, nearestPositions } from './coefficients.js';
import { createPassMemory, type PassMemory } from './passes.js';
import { type Picture, resampleWeighted } from './weighted.js';

export type { Picture } from './weighted.js';

const CHANNELS = 3;

export interface Resampler {
  /**
   * Writes outputHeight × outputWidth × 3 bytes into `target`, zeros where the crop lies outside
   * the picture.
   *
   * @throws RangeError if `target` has another size.
   */
  resample(
    picture: Picture,
    geometry: Geometry,
    interpolation: Interpolation,
    target: Uint8Array,
  ): void;
  /** Bytes of WebAssembly memory held now. */
  memoryBytes(): number;
}

/** @param memory the passes' memory; a picture in it is resampled in place and lost afterwards */
export function createResampler(memory: PassMemory = createPassMemory()): Resampler {
  const weightsFor = createWeightCache();

  return {
    resample(picture, geometry, interpolation, target) {
      const { cropLeft, cropTop, outputWidth, outputHeight, resizedWidth, resizedHeight } =
        geometry;
      const size = outputWidth * outputHeight * CHANNELS;
      if (target.length !== size)
        throw new RangeError(`target holds ${target.length} bytes, ${size} are needed`);

      const x = visibleAxis(picture.width, resizedWidth, cropLeft, outputWidth);
      const y = visibleAxis(picture.height, resizedHeight, cropTop, outputHeight);
      if (x.count < outputWidth || y.count < outputHeight) target.fill(0);
      const place = (row: number, pixels: Uint8Array): void =>
        target.set(
          pixels,
          ((y.first - cropTop + row) * outputWidth + x.first - cropLeft) * CHANNELS,
        );

      if (interpolation === 'nearest') {
        takeNearest(picture, nearestPositions(x), nearestPositions(y), place);
        memory.settle();
        return;
      }
      const across = changesSize(x) ? weightsFor(interpolation, x) : null;
      const down = changesSize(y) ? weightsFor(interpolation, y) : null;
      resampleWeighted(memory, picture, { x, y, across, down }, place);
      memory.settle();
    },
    memoryBytes: memory.size,
  };
}

/** The part of a crop's axis that lies inside the resized picture. */
function visibleAxis(inputSize: number, outputSize: number, offset: number, length: number): Axis {
  const first = Math.max(0, offset);
  return { inputSize, outputSize, first, count: Math.min(outputSize, offset + length) - first };
}

function changesSize(axis: Axis): boolean {
  return axis.inputSize !== axis.outputSize;
}

/**
 * Pillow's `resize` with NEAREST: each output pixel is one input pixel; one that falls outside
 * stays zero.
 */
function takeNearest(
  picture: Picture,
  columns: Int32Array,
  rows: Int32Array,
  place: (row: number, pixels: Uint8Array) => void,
): void {
  const line = new Uint8Array(columns.length * CHANNELS);
  rows.forEach((fromRow, row) => {
    line.fill(0);
    columns.forEach((fromColumn, column) => {
      if (fromRow < 0 || fromColumn < 0) return;
      const from = (fromRow * picture.width + fromColumn) * CHANNELS;
      for (let channel = 0; channel < CHANNELS; channel++) {
        line[column * CHANNELS + channel] = picture.pixels[from + channel] as number;
      }
    });
    place(row, line);
  });
}
