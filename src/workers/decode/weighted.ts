/**
 * Lays out a picture, its weights and its intermediate results in WebAssembly memory and runs the
 * passes over them, in Pillow's order, only for the wanted window of the resized picture. A picture
 * that lies in that memory already stays there, and the rest comes behind it.
 *
 * Pillow 12 resizes horizontally first, rounds to 8 bits, then vertically, and skips a pass if the
 * size on its axis stays (src/libImaging/Resample.c, `ImagingResampleInner`). Pictures more than
 * 100 times as tall as wide that get shorter go vertically first (src/PIL/Image.py,
 * `Image.resize`). The order matters: every pass rounds.
 */

import type { Axis, WeightTable } from './coefficients.js';
import { type PassMemory, SLACK_BYTES } from './passes.js';

const CHANNELS = 3;
/** Source rows are processed in bands that stay in a core's cache. */
const BAND_BYTES = 256 * 1024;
/** The vertical pass works on 16 bytes at a time. */
const ROW_ALIGNMENT = 16;
const TALL_ASPECT = 100;

export interface Picture {
  /**
   * height × width × 3 bytes; with `SLACK_BYTES` readable behind them if they lie in the passes'
   * memory.
   */
  readonly pixels: Uint8Array;
  readonly width: number;
  readonly height: number;
}

/**
 * The wanted columns and rows of the resized picture, with their weights; no weights if the size
 * stays.
 */
export interface WeightedWindow {
  readonly x: Axis;
  readonly y: Axis;
  readonly across: WeightTable | null;
  readonly down: WeightTable | null;
}

/** A picture, and where it lies in the passes' memory: null for elsewhere. */
interface Source extends Picture {
  readonly address: number | null;
}

/** Resized rows in memory: row r starts at `at + r × stride`. */
interface Rows {
  readonly bytes: Uint8Array;
  readonly at: number;
  readonly stride: number;
}

/**
 * Calls `place` with each row of the window, top down; the bytes are valid during the call only.
 */
export function resampleWeighted(
  memory: PassMemory,
  picture: Picture,
  window: WeightedWindow,
  place: (row: number, pixels: Uint8Array) => void,
): void {
  const { x, y, across, down } = window;
  const source = { ...picture, address: memory.addressOf(picture.pixels) };
  const tall = picture.height > picture.width * TALL_ASPECT && y.outputSize < picture.height;
  const { bytes, at, stride } =
    tall && across !== null && down !== null
      ? verticallyFirst(memory, source, x, y, across, down)
      : horizontallyFirst(memory, source, window);
  for (let row = 0; row < y.count; row++) {
    const start = at + row * stride;
    place(row, bytes.subarray(start, start + x.count * CHANNELS));
  }
}

function horizontallyFirst(
  memory: PassMemory,
  source: Source,
  { x, y, across, down }: WeightedWindow,
): Rows {
  const firstRow = down?.inputStart ?? y.first;
  const rows = (down?.inputEnd ?? y.first + y.count) - firstRow;
  const sourceStride = source.width * CHANNELS;
  const stride = rowStride(x.count);
  const inPlace = source.address !== null;
  const bandRows = inPlace
    ? rows
    : Math.min(rows, Math.max(1, Math.floor(BAND_BYTES / sourceStride)));

  const layout = createLayout(source);
  const acrossAt = layout.addTable(across);
  const downAt = layout.addTable(down);
  const bandAt = layout.add(across === null || inPlace ? 0 : bandRows * sourceStride);
  const resizedAt = layout.addRows(rows, stride);
  const outputAt = down === null ? resizedAt : layout.addRows(y.count, stride);
  const bytes = memory.reserve(layout.size());
  const pixels = pixelsOf(source, bytes);

  if (across === null) {
    copyRows(pixels, source.width, x.first, x.count, firstRow, rows, {
      bytes,
      at: resizedAt,
      stride,
    });
  } else {
    writeTable(bytes, acrossAt, across);
    for (let row = 0; row < rows; row += bandRows) {
      const count = Math.min(bandRows, rows - row);
      const start = (firstRow + row) * sourceStride;
      if (source.address === null)
        bytes.set(pixels.subarray(start, start + count * sourceStride), bandAt);
      const from = source.address === null ? bandAt : source.address + start;
      const to = resizedAt + row * stride;
      const { bounds, weights } = acrossAt;
      memory.passes.resampleHorizontally(
        from,
        sourceStride,
        count,
        to,
        stride,
        x.count,
        bounds,
        weights,
        across.stride,
      );
    }
  }
  if (down !== null) {
    writeTable(bytes, downAt, down);
    const { bounds, weights } = downAt;
    memory.passes.resampleVertically(
      resizedAt,
      stride,
      firstRow,
      outputAt,
      y.count,
      bounds,
      weights,
      down.stride,
    );
  }
  return { bytes, at: outputAt, stride };
}

/** Without bands: such pictures are at most 655 pixels wide, and rare. */
function verticallyFirst(
  memory: PassMemory,
  source: Source,
  x: Axis,
  y: Axis,
  across: WeightTable,
  down: WeightTable,
): Rows {
  const firstRow = down.inputStart;
  const rows = down.inputEnd - firstRow;
  const sourceStride = rowStride(source.width);
  const stride = rowStride(x.count);

  const layout = createLayout(source);
  const acrossAt = layout.addTable(across);
  const downAt = layout.addTable(down);
  const sourceAt = layout.addRows(rows, sourceStride);
  const resizedAt = layout.addRows(y.count, sourceStride);
  const outputAt = layout.addRows(y.count, stride);
  const bytes = memory.reserve(layout.size());

  const to = { bytes, at: sourceAt, stride: sourceStride };
  copyRows(pixelsOf(source, bytes), source.width, 0, source.width, firstRow, rows, to);
  writeTable(bytes, downAt, down);
  memory.passes.resampleVertically(
    sourceAt,
    sourceStride,
    firstRow,
    resizedAt,
    y.count,
    downAt.bounds,
    downAt.weights,
    down.stride,
  );
  writeTable(bytes, acrossAt, across);
  memory.passes.resampleHorizontally(
    resizedAt,
    sourceStride,
    y.count,
    outputAt,
    stride,
    x.count,
    acrossAt.bounds,
    acrossAt.weights,
    across.stride,
  );
  return { bytes, at: outputAt, stride };
}

/** The picture's bytes; a view from before memory grew is empty. */
function pixelsOf({ pixels, address, width, height }: Source, memory: Uint8Array): Uint8Array {
  return address === null ? pixels : memory.subarray(address, address + width * height * CHANNELS);
}

/** Columns from `left` on, `width` of them, of rows that are `sourceWidth` wide. */
function copyRows(
  pixels: Uint8Array,
  sourceWidth: number,
  left: number,
  width: number,
  firstRow: number,
  rows: number,
  to: Rows,
): void {
  for (let row = 0; row < rows; row++) {
    const start = ((firstRow + row) * sourceWidth + left) * CHANNELS;
    to.bytes.set(pixels.subarray(start, start + width * CHANNELS), to.at + row * to.stride);
  }
}

type TablePlace = Readonly<Record<'bounds' | 'weights', number>>;

/** Addresses one after another, behind the picture if it lies there too; made for every picture. */
function createLayout({ address, pixels }: Source) {
  let end = address === null ? 0 : roundUp(address + pixels.length + SLACK_BYTES, ROW_ALIGNMENT);
  const add = (bytes: number): number => {
    const start = end;
    end = roundUp(start + bytes + SLACK_BYTES, ROW_ALIGNMENT);
    return start;
  };
  return {
    add,
    /**
     * One row more than requested: the vertical pass reads rows in pairs, the last one perhaps with
     * a weight of zero.
     */
    addRows: (rows: number, stride: number): number => add((rows + 1) * stride),
    addTable: (table: WeightTable | null): TablePlace => ({
      bounds: add(table?.bounds.byteLength ?? 0),
      weights: add(table?.weights.byteLength ?? 0),
    }),
    size: (): number => end,
  };
}

function writeTable(memory: Uint8Array<ArrayBuffer>, at: TablePlace, table: WeightTable): void {
  new Int32Array(memory.buffer, at.bounds, table.bounds.length).set(table.bounds);
  new Int16Array(memory.buffer, at.weights, table.weights.length).set(table.weights);
}

/** With a byte to spare: the horizontal pass writes one past each row. */
function rowStride(width: number): number {
  return roundUp(width * CHANNELS + 1, ROW_ALIGNMENT);
}

function roundUp(value: number, multiple: number): number {
  return Math.ceil(value / multiple) * multiple;
}
