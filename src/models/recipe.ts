/**
 * The preprocessing recipe: how a decoded picture becomes the pixels that a model was trained on.
 *
 * A recipe is data in the model's manifest, not code. The arithmetic is Pillow 12's, bit for bit,
 * because that is what published ViT weights were trained and evaluated with.
 */

/** Pillow's resampling filters. */
export type Interpolation = 'nearest' | 'box' | 'bilinear' | 'hamming' | 'bicubic' | 'lanczos';

/**
 * `squash` ignores the aspect ratio (Hugging Face ViT). `shortest-edge` keeps it: the shorter side
 * becomes `size`, the longer one `trunc(size · long / short)` (torchvision, timm, Hugging Face
 * BitImageProcessor).
 */
export type Resize =
  | { readonly mode: 'squash'; readonly height: number; readonly width: number }
  | { readonly mode: 'shortest-edge'; readonly size: number };

/**
 * Centre crop. `rounding` says where an odd margin goes: `floor` is Hugging Face's `(H − h) // 2`,
 * `half-even` torchvision's and timm's `int(round((H − h) / 2))`. A crop larger than the picture
 * pads with zeros.
 */
export interface Crop {
  readonly height: number;
  readonly width: number;
  readonly rounding: 'floor' | 'half-even';
}

export interface Recipe {
  readonly resize: Resize | null;
  readonly interpolation: Interpolation;
  readonly crop: Crop | null;
  /** Factor that takes a uint8 value to the unit the mean is given in, usually 1/255. */
  readonly rescale: number;
  /** Per channel R, G, B, after rescaling: (value × rescale − mean) / std. */
  readonly mean: readonly [number, number, number];
  readonly std: readonly [number, number, number];
  /**
   * Whether the graph takes uint8 and normalises by itself; otherwise the inference process
   * normalises.
   */
  readonly normalizedInGraph: boolean;
}

/** The sizes and offsets of one picture in a recipe, in pixels of the resized picture. */
export interface Geometry {
  readonly resizedWidth: number;
  readonly resizedHeight: number;
  /** The output's top left corner in the resized picture; negative if zeros are padded. */
  readonly cropLeft: number;
  readonly cropTop: number;
  readonly outputWidth: number;
  readonly outputHeight: number;
}

/**
 * Sizes and offsets for a picture of `width` × `height` (after EXIF orientation; both at least 1).
 *
 * Sources of the rounding: torchvision `transforms/functional.py` (`_compute_resized_output_size`,
 * `center_crop`), transformers `image_transforms.py` (`get_resize_output_image_size`,
 * `center_crop`), timm `data/transforms_factory.py`.
 */
export function planGeometry(recipe: Recipe, width: number, height: number): Geometry {
  const [resizedWidth, resizedHeight] = resizedSize(recipe.resize, width, height);
  const { crop } = recipe;
  if (crop === null) {
    const [outputWidth, outputHeight] = [resizedWidth, resizedHeight];
    return { resizedWidth, resizedHeight, cropLeft: 0, cropTop: 0, outputWidth, outputHeight };
  }
  return {
    resizedWidth,
    resizedHeight,
    cropLeft: cropOffset(resizedWidth - crop.width, crop.rounding),
    cropTop: cropOffset(resizedHeight - crop.height, crop.rounding),
    outputWidth: crop.width,
    outputHeight: crop.height,
  };
}

/**
 * The size that a recipe gives to every picture, or null if it depends on the picture (no crop
 * after keeping the aspect ratio).
 */
export function outputSize(recipe: Recipe): { height: number; width: number } | null {
  if (recipe.crop !== null) return { height: recipe.crop.height, width: recipe.crop.width };
  if (recipe.resize?.mode === 'squash')
    return { height: recipe.resize.height, width: recipe.resize.width };
  return null;
}

function resizedSize(
  resize: Resize | null,
  width: number,
  height: number,
): [width: number, height: number] {
  if (resize === null) return [width, height];
  if (resize.mode === 'squash') return [resize.width, resize.height];
  const { size } = resize;
  const longer = (short: number, long: number): number => Math.trunc((size * long) / short);
  return width <= height ? [size, longer(width, height)] : [longer(height, width), size];
}

/**
 * The offset of a centred crop with `margin` pixels to spare. A negative margin pads, and the odd
 * pixel of padding goes to the other side than the rounding suggests: before the picture in Hugging
 * Face, after it in torchvision.
 */
function cropOffset(margin: number, rounding: Crop['rounding']): number {
  const half = Math.floor(margin / 2);
  if (margin % 2 === 0) return half;
  if (rounding === 'floor') return half;
  if (margin < 0) return half + 1;
  return half % 2 === 0 ? half : half + 1;
}
