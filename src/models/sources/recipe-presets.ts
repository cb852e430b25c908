/**
 * The preprocessing recipes of the common libraries, by name, for models that have no recipe.
 *
 * Each was compared with the library's own code at its own size (`tools/reference/preprocess.py
 * prove`); at other sizes the resize scales in proportion. Sources: transformers
 * `ViTImageProcessor`, `DeiTImageProcessor`; timm `data/transforms_factory.py` with crop_pct 0.9;
 * torchvision `transforms/_presets.py`, `models/vision_transformer.py`.
 */
import type { Recipe } from '../recipe.js';
import { recipeForSize } from '../recipe-sources.js';
import type { Size } from './source-config.js';

export const RECIPE_PRESETS = [
  'hf-vit',
  'hf-deit',
  'timm',
  'torchvision',
  'torchvision-swag',
] as const;

export type RecipePreset = (typeof RECIPE_PRESETS)[number];

const HALF = {
  rescale: 1 / 255,
  mean: [0.5, 0.5, 0.5],
  std: [0.5, 0.5, 0.5],
  normalizedInGraph: true,
} as const;
/** The mean and standard deviation of ImageNet's training images. */
const IMAGENET = { ...HALF, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] } as const;

const AT_OWN_SIZE: Readonly<Record<RecipePreset, Recipe>> = {
  'hf-vit': {
    resize: { mode: 'squash', height: 224, width: 224 },
    interpolation: 'bilinear',
    crop: null,
    ...HALF,
  },
  'hf-deit': {
    resize: { mode: 'squash', height: 256, width: 256 },
    interpolation: 'bicubic',
    crop: { height: 224, width: 224, rounding: 'floor' },
    ...HALF,
  },
  timm: shortestEdge(248, 224, 'bicubic', HALF),
  torchvision: shortestEdge(256, 224, 'bilinear', IMAGENET),
  'torchvision-swag': shortestEdge(384, 384, 'bicubic', IMAGENET),
};

/** A recipe that makes pixels of `size`. */
export function presetRecipe(preset: RecipePreset, size: Size): Recipe {
  const recipe = recipeForSize(AT_OWN_SIZE[preset], size);
  if (preset !== 'timm') return recipe;
  // timm's 248 is ⌊224 / 0.9⌋, so proportional scaling would be off by one at other sizes.
  return {
    ...recipe,
    resize: { mode: 'shortest-edge', size: Math.floor(Math.max(size.height, size.width) / 0.9) },
  };
}

function shortestEdge(
  size: number,
  crop: number,
  interpolation: Recipe['interpolation'],
  values: typeof HALF | typeof IMAGENET,
): Recipe {
  return {
    resize: { mode: 'shortest-edge', size },
    interpolation,
    crop: { height: crop, width: crop, rounding: 'half-even' },
    ...values,
  };
}
