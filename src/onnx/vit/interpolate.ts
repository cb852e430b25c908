/**
 * Position embeddings for another resolution: the grid is interpolated in two dimensions (arXiv
 * 2010.11929, section 3.2).
 *
 * The weights are those of PyTorch, but it adds up in another order, so results do not agree bit
 * for bit. Both frameworks use cubic convolution with `align_corners=False`: Hugging Face without
 * antialiasing (`torch.nn.functional.interpolate`, a = −0.75, edges repeated), timm with it
 * (`antialias=True`, a = −0.5, weights made to sum to one inside the grid).
 *
 * Sources: transformers `modeling_vit.py` (`interpolate_pos_encoding`), timm `layers/pos_embed.py`
 * (`resample_abs_pos_embed`), PyTorch `aten/src/ATen/native/UpSample.h` and
 * `cpu/UpSampleKernel.cpp`.
 */

export interface Grid {
  readonly rows: number;
  readonly columns: number;
}

export type Resampling = 'bicubic' | 'bicubic-antialias';

/** The source of one output sample: input positions with their weights. */
type Taps = readonly { readonly at: number; readonly weight: number }[];

/**
 * `values`: [rows · columns, width], row by row. Returns the same object if the grid does not
 * change.
 */
export function interpolateGrid(
  values: Float32Array,
  width: number,
  from: Grid,
  to: Grid,
  how: Resampling,
): Float32Array {
  if (from.rows === to.rows && from.columns === to.columns) return values;
  const down = tapsOf(from.rows, to.rows, how);
  const across = tapsOf(from.columns, to.columns, how);
  const wide = new Float64Array(from.rows * to.columns * width);
  for (let row = 0; row < from.rows; row++) {
    for (const [column, taps] of across.entries()) {
      const target = (row * to.columns + column) * width;
      for (const { at, weight } of taps) {
        const source = (row * from.columns + at) * width;
        for (let i = 0; i < width; i++)
          wide[target + i] = (wide[target + i] ?? 0) + (values[source + i] ?? 0) * weight;
      }
    }
  }
  const result = new Float32Array(to.rows * to.columns * width);
  const sums = new Float64Array(to.columns * width);
  for (const [row, taps] of down.entries()) {
    sums.fill(0);
    for (const { at, weight } of taps) {
      const source = at * sums.length;
      for (let i = 0; i < sums.length; i++)
        sums[i] = (sums[i] ?? 0) + (wide[source + i] ?? 0) * weight;
    }
    result.set(sums, row * sums.length);
  }
  return result;
}

function tapsOf(from: number, to: number, how: Resampling): readonly Taps[] {
  const scale = from / to;
  return Array.from({ length: to }, (_, index) =>
    how === 'bicubic' ? plain(index, scale, from) : smooth(index, scale, from),
  );
}

/** Four neighbours; the edge repeats where they lie outside. */
function plain(index: number, scale: number, length: number): Taps {
  const centre = scale * (index + 0.5) - 0.5;
  const first = Math.floor(centre) - 1;
  return [0, 1, 2, 3].map((offset) => ({
    at: Math.min(Math.max(first + offset, 0), length - 1),
    weight: cubic(first + offset - centre, -0.75),
  }));
}

/**
 * A kernel that widens when the grid shrinks; samples outside are left out and the rest weighs
 * more.
 */
function smooth(index: number, scale: number, length: number): Taps {
  const stretch = Math.max(scale, 1);
  const centre = scale * (index + 0.5);
  const first = Math.max(Math.trunc(centre - 2 * stretch + 0.5), 0);
  const end = Math.min(Math.trunc(centre + 2 * stretch + 0.5), length);
  const taps = Array.from({ length: end - first }, (_, offset) => ({
    at: first + offset,
    weight: cubic((first + offset - centre + 0.5) / stretch, -0.5),
  }));
  const sum = taps.reduce((total, { weight }) => total + weight, 0);
  return taps.map(({ at, weight }) => ({ at, weight: weight / sum }));
}

/** Keys' cubic convolution kernel. */
function cubic(distance: number, a: number): number {
  const x = Math.abs(distance);
  if (x <= 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? ((a * x - 5 * a) * x + 8 * a) * x - 4 * a : 0;
}
