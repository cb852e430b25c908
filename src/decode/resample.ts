/**
 * Resizes and crops RGB pixels exactly as Pillow 12's `Image.resize` followed by a crop.
 *
 * Pillow's order holds: the horizontal pass first, its result rounded to 8 bits, then the vertical pass; a pass is left
 * out where the size on its axis doesn't change (Pillow src/libImaging/Resample.c, `ImagingResampleInner`). Only the rows and columns
 * that reach the crop are computed, which changes no pixel of it.
 *
 * The passes run in WebAssembly (wasm/resample.ts). Source rows go there in bands of about 256 KiB, so memory is one
 * band + the horizontally resized rows + the output + weights: 1.5 MiB for a 500×375 photo, 4 MiB for 12 megapixels. Memory
 * only grows; once past 16 MiB (a very long or wide picture) it is given up after that picture, so a resampler at rest
 * holds no more than 16 MiB and 4 MiB of cached weights. Cost at 500×375 → 224×224: about 0.2 ms, bilinear.
 */

import type { Geometry, Interpolation } from '../model/recipe.js';
import { type Axis, createWeightCache, nearestPositions, type WeightTable } from './coefficients.js';
import { createPassMemory, SLACK_BYTES } from './passes.js';

const BAND_BYTES = 256 * 1024;
const CHANNELS = 3;

export interface Picture {
  /** height × width × 3 bytes. */
  readonly pixels: Uint8Array;
  readonly width: number;
  readonly height: number;
}

export interface Resampler {
  /**
   * Writes outputHeight × outputWidth × 3 bytes into `target`, zeros where the crop lies outside the picture.
   *
   * @throws RangeError if `target` has another size.
   */
  resample(picture: Picture, geometry: Geometry, interpolation: Interpolation, target: Uint8Array): void;
  /** Bytes of WebAssembly memory held now. */
  memoryBytes(): number;
}

/** The part of the crop that lies inside the resized picture, and where it goes in the output. */
interface Window {
  readonly x: Axis;
  readonly y: Axis;
  readonly toLeft: number;
  readonly toTop: number;
}

export function createResampler(): Resampler {
  const memory = createPassMemory();
  const weightsFor = createWeightCache();

  function resampleWeighted(
    picture: Picture,
    window: Window,
    interpolation: Exclude<Interpolation, 'nearest'>,
    place: (row: number, pixels: Uint8Array) => void,
  ): void {
    const { x, y } = window;
    const across = changesSize(x) ? weightsFor(interpolation, x) : null;
    const down = changesSize(y) ? weightsFor(interpolation, y) : null;
    const firstRow = down?.inputStart ?? y.first;
    const rows = (down?.inputEnd ?? y.first + y.count) - firstRow;

    const sourceStride = picture.width * CHANNELS;
    const stride = roundUp(x.count * CHANNELS, 16);
    const bandRows = Math.min(rows, Math.max(1, Math.floor(BAND_BYTES / sourceStride)));

    const layout = createLayout();
    const acrossAt = across && placeTable(layout, across);
    const downAt = down && placeTable(layout, down);
    const bandAt = layout.add(across === null ? 0 : bandRows * sourceStride);
    // One row more: the vertical pass reads pairs of rows, the last one perhaps with a weight of zero.
    const resizedAt = layout.add((rows + 1) * stride);
    const outputAt = down === null ? resizedAt : layout.add(y.count * stride);
    const bytes = memory.reserve(layout.size());
    const { passes } = memory;

    if (across === null || acrossAt === null) {
      const left = x.first * CHANNELS;
      for (let row = 0; row < rows; row++) {
        const start = (firstRow + row) * sourceStride + left;
        bytes.set(picture.pixels.subarray(start, start + x.count * CHANNELS), resizedAt + row * stride);
      }
    } else {
      writeTable(bytes, acrossAt, across);
      for (let row = 0; row < rows; row += bandRows) {
        const count = Math.min(bandRows, rows - row);
        const start = (firstRow + row) * sourceStride;
        bytes.set(picture.pixels.subarray(start, start + count * sourceStride), bandAt);
        const to = resizedAt + row * stride;
        const { boundsAt, weightsAt } = acrossAt;
        passes.resampleHorizontally(
          bandAt,
          sourceStride,
          count,
          to,
          stride,
          x.count,
          boundsAt,
          weightsAt,
          across.stride,
        );
      }
    }
    if (down !== null && downAt !== null) {
      writeTable(bytes, downAt, down);
      const { boundsAt, weightsAt } = downAt;
      passes.resampleVertically(resizedAt, stride, firstRow, outputAt, y.count, boundsAt, weightsAt, down.stride);
    }
    for (let row = 0; row < y.count; row++) {
      const start = outputAt + row * stride;
      place(row, bytes.subarray(start, start + x.count * CHANNELS));
    }
  }

  return {
    resample(picture, geometry, interpolation, target) {
      const { outputWidth, outputHeight } = geometry;
      const size = outputWidth * outputHeight * CHANNELS;
      if (target.length !== size) throw new RangeError(`target holds ${target.length} bytes, ${size} are needed`);
      const window = visibleWindow(picture, geometry);
      if (window.x.count < outputWidth || window.y.count < outputHeight) target.fill(0);
      const place = (row: number, pixels: Uint8Array): void =>
        target.set(pixels, ((window.toTop + row) * outputWidth + window.toLeft) * CHANNELS);
      if (interpolation === 'nearest') {
        takeNearest(picture, window, place);
      } else {
        resampleWeighted(picture, window, interpolation, place);
        memory.settle();
      }
    },
    memoryBytes: memory.size,
  };
}

function visibleWindow(picture: Picture, geometry: Geometry): Window {
  const { cropLeft, cropTop, outputWidth, outputHeight, resizedWidth, resizedHeight } = geometry;
  const x = visibleAxis(picture.width, resizedWidth, cropLeft, outputWidth);
  const y = visibleAxis(picture.height, resizedHeight, cropTop, outputHeight);
  return { x, y, toLeft: x.first - cropLeft, toTop: y.first - cropTop };
}

function visibleAxis(inputSize: number, outputSize: number, offset: number, length: number): Axis {
  const first = Math.max(0, offset);
  return { inputSize, outputSize, first, count: Math.min(outputSize, offset + length) - first };
}

function changesSize(axis: Axis): boolean {
  return axis.inputSize !== axis.outputSize;
}

/** Pillow's `resize` with NEAREST: each output pixel is one input pixel; one that falls outside stays zero. */
function takeNearest(picture: Picture, window: Window, place: (row: number, pixels: Uint8Array) => void): void {
  const columns = nearestPositions(window.x);
  const rows = nearestPositions(window.y);
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

interface TablePlace {
  readonly boundsAt: number;
  readonly weightsAt: number;
}

/** Addresses one behind the other, made anew for every picture. */
function createLayout(): { add(bytes: number): number; size(): number } {
  let end = 0;
  return {
    add(bytes) {
      const start = end;
      end = roundUp(start + bytes + SLACK_BYTES, 16);
      return start;
    },
    size: () => end,
  };
}

function placeTable(layout: { add(bytes: number): number }, table: WeightTable): TablePlace {
  return { boundsAt: layout.add(table.bounds.byteLength), weightsAt: layout.add(table.weights.byteLength) };
}

function writeTable(memory: Uint8Array, at: TablePlace, table: WeightTable): void {
  new Int32Array(memory.buffer, at.boundsAt, table.bounds.length).set(table.bounds);
  new Int16Array(memory.buffer, at.weightsAt, table.weights.length).set(table.weights);
}

function roundUp(value: number, multiple: number): number {
  return Math.ceil(value / multiple) * multiple;
}
