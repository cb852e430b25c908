/**
 * Preprocessing as other libraries describe it, converted into our recipe.
 *
 * Hugging Face keeps it in `preprocessor_config.json`, timm under `pretrained_cfg` in
 * `config.json`. A missing value has the default of the class that would read the file. Anything
 * that a recipe can't express is rejected, with all reasons at once: pixels made differently cost
 * accuracy without any error.
 *
 * Sources: transformers 5.23 `image_processing_{vit,deit,bit,clip}.py`, `image_processing_utils.py`
 * (`get_size_dict`); timm 1.0 `data/config.py` (`resolve_data_config`),
 * `data/transforms_factory.py` (`transforms_imagenet_eval`).
 *
 * The recipes have `normalizedInGraph: true`; a caller that keeps a graph with a float32 input sets
 * it to false.
 */
import { SetupError } from '../errors.js';
import type { Crop, Interpolation, Recipe, Resize } from './recipe.js';

export interface ImageSize {
  readonly height: number;
  readonly width: number;
}

type Json = Readonly<Record<string, unknown>>;
type Triple = readonly [number, number, number];

/** PIL's codes (`PIL.Image.Resampling`), by position. */
const PIL_FILTERS: readonly Interpolation[] = [
  'nearest',
  'lanczos',
  'bilinear',
  'bicubic',
  'box',
  'hamming',
];

const HALF: Triple = [0.5, 0.5, 0.5];
const IMAGENET_MEAN: Triple = [0.485, 0.456, 0.406];
const IMAGENET_STD: Triple = [0.229, 0.224, 0.225];
const CLIP_MEAN: Triple = [0.48145466, 0.4578275, 0.40821073];
const CLIP_STD: Triple = [0.26862954, 0.26130258, 0.27577711];
const MAX_SIDE = 4096;

interface Defaults {
  readonly interpolation: Interpolation;
  readonly crops: boolean;
  /** Whether a bare number as `size` means a square; otherwise it is the shortest edge. */
  readonly square: boolean;
  readonly mean: Triple;
  readonly std: Triple;
  /** Size before a crop that is as large as the model's input, in 1/224 of that. */
  readonly resize: number;
}

const VIT: Defaults = {
  interpolation: 'bilinear',
  crops: false,
  square: true,
  mean: HALF,
  std: HALF,
  resize: 224,
};
const CLIP: Defaults = {
  interpolation: 'bicubic',
  crops: true,
  square: false,
  mean: CLIP_MEAN,
  std: CLIP_STD,
  resize: 224,
};
/**
 * By the name of the class without `ImageProcessor` or `FeatureExtractor` and what follows (`Fast`,
 * `Pil`).
 */
const PROCESSORS: Readonly<Record<string, Defaults>> = {
  ViT: VIT,
  DeiT: { ...VIT, interpolation: 'bicubic', crops: true, resize: 256 },
  Bit: CLIP,
  CLIP,
};

/**
 * The recipe of a `preprocessor_config.json` (its parsed JSON). `imageSize` is the model's input;
 * it applies if the file gives no size. The recipe ends at the file's size, which the caller
 * compares with the model.
 *
 * @throws SetupError with everything that a recipe can't express
 */
export function recipeFromHuggingFace(preprocessorConfig: unknown, imageSize: ImageSize): Recipe {
  const problems: string[] = [];
  const config = objectOf(preprocessorConfig, problems);
  const given = config.image_processor_type ?? config.feature_extractor_type ?? 'ViTImageProcessor';
  const family = String(given).replace(/(ImageProcessor|FeatureExtractor).*$/, '');
  const defaults = PROCESSORS[family];
  if (defaults === undefined) {
    problems.push(
      `image_processor_type ${String(given)} is unknown: use ${Object.keys(PROCESSORS).join(', ')}, or write the recipe by hand`,
    );
  }
  const {
    interpolation: filter,
    crops,
    square,
    mean: defaultMean,
    std: defaultStd,
    resize: defaultResize,
  } = defaults ?? VIT;
  for (const key of [
    'do_pad',
    'do_flip_channel_order',
    'do_grayscale',
    'crop_pct',
    'do_thumbnail',
    'do_align_long_axis',
  ]) {
    if (config[key] !== undefined && config[key] !== false && config[key] !== null) {
      problems.push(
        `${key} ${JSON.stringify(config[key])} is not supported: a recipe can't express it`,
      );
    }
  }

  const crop = yes(config.do_center_crop, crops)
    ? cropOf(config.crop_size, imageSize, 'floor', problems)
    : null;
  let resize: Resize | null = null;
  if (yes(config.do_resize, true)) {
    const scaled = (side: number): number =>
      crop === null ? side : Math.round((side * defaultResize) / 224);
    const fallback = square
      ? { height: scaled(imageSize.height), width: scaled(imageSize.width) }
      : { shortest_edge: scaled(Math.min(imageSize.height, imageSize.width)) };
    resize = resizeOf(config.size ?? fallback, square, problems);
  }
  if (crop === null && resize?.mode !== 'squash' && problems.length === 0) {
    problems.push(
      'its images vary in size: resize to a height and width, or crop (do_center_crop)',
    );
  }
  const normalize = yes(config.do_normalize, true);
  const rescale = yes(config.do_rescale, true)
    ? numberOf(config.rescale_factor ?? 1 / 255, 'rescale_factor', problems)
    : 1;
  const recipe: Recipe = {
    resize,
    interpolation: interpolationOf(config.resample ?? filter, 'resample', problems),
    crop,
    rescale,
    mean: normalize
      ? tripleOf(config.image_mean ?? defaultMean, 'image_mean', problems)
      : [0, 0, 0],
    std: normalize ? tripleOf(config.image_std ?? defaultStd, 'image_std', problems) : [1, 1, 1],
    normalizedInGraph: true,
  };
  return checked('preprocessor_config.json', recipe, problems);
}

/**
 * The recipe of timm's evaluation transform for a `pretrained_cfg` (its parsed JSON): resize to
 * ⌊size / crop_pct⌋, crop to `input_size`.
 *
 * @throws SetupError with everything that a recipe can't express
 */
export function recipeFromTimm(pretrainedCfg: unknown): Recipe {
  const problems: string[] = [];
  const config = objectOf(pretrainedCfg, problems);
  const [height, width] = inputSizeOf(config.input_size ?? [3, 224, 224], problems);
  const cropPct = numberOf(config.crop_pct || 0.875, 'crop_pct', problems);
  const [scaledHeight, scaledWidth] = [Math.floor(height / cropPct), Math.floor(width / cropPct)];
  const mode = config.crop_mode ?? 'center';
  let resize: Resize = { mode: 'shortest-edge', size: scaledHeight };
  if (mode === 'squash') resize = { mode: 'squash', height: scaledHeight, width: scaledWidth };
  else if (mode !== 'center') {
    problems.push(`crop_mode ${JSON.stringify(mode)} is not supported: use center or squash`);
  } else if (scaledHeight !== scaledWidth) {
    problems.push(
      `crop_mode center with ${height} × ${width} pixels is not supported: the shortest edge needs a square`,
    );
  }
  const recipe: Recipe = {
    resize,
    interpolation: interpolationOf(config.interpolation || 'bicubic', 'interpolation', problems),
    crop: { height, width, rounding: 'half-even' },
    rescale: 1 / 255,
    mean: tripleOf(config.mean ?? IMAGENET_MEAN, 'mean', problems),
    std: tripleOf(config.std ?? IMAGENET_STD, 'std', problems),
    normalizedInGraph: true,
  };
  return checked('pretrained_cfg', recipe, problems);
}

/** The same recipe for another input size of the model: the size before a crop scales with it. */
export function recipeForSize(recipe: Recipe, size: ImageSize): Recipe {
  const { resize, crop } = recipe;
  if (crop === null) return { ...recipe, resize: { mode: 'squash', ...size } };
  const [down, across] = [size.height / crop.height, size.width / crop.width];
  const grown: Resize | null =
    resize === null
      ? null
      : resize.mode === 'squash'
        ? {
            mode: 'squash',
            height: Math.floor(resize.height * down),
            width: Math.floor(resize.width * across),
          }
        : { mode: 'shortest-edge', size: Math.floor(resize.size * Math.max(down, across)) };
  return { ...recipe, resize: grown, crop: { ...crop, ...size } };
}

function checked(file: string, recipe: Recipe, problems: readonly string[]): Recipe {
  if (problems.length === 0) return recipe;
  throw new SetupError(
    'environment',
    problems.map((problem) => `${file}: ${problem}`),
  );
}

function objectOf(value: unknown, problems: string[]): Json {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Json;
  problems.push('not a JSON object');
  return {};
}

function yes(value: unknown, fallback: boolean): boolean {
  return typeof value === 'boolean' ? value : fallback;
}

function numberOf(value: unknown, key: string, problems: string[]): number {
  if (typeof value === 'number' && Number.isFinite(value) && value > 0) return value;
  problems.push(`${key} is ${JSON.stringify(value)}, not a number above zero`);
  return 1;
}

function isSide(value: unknown): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= 1 && value <= MAX_SIDE;
}

function resizeOf(size: unknown, square: boolean, problems: string[]): Resize | null {
  if (isSide(size)) {
    return square ? { mode: 'squash', height: size, width: size } : { mode: 'shortest-edge', size };
  }
  if (Array.isArray(size) && size.length === 2 && size.every(isSide)) {
    return { mode: 'squash', height: size[0] as number, width: size[1] as number };
  }
  if (typeof size === 'object' && size !== null) {
    const { height, width, shortest_edge: shortest, longest_edge: longest } = size as Json;
    if (isSide(height) && isSide(width)) return { mode: 'squash', height, width };
    if (isSide(shortest) && (longest === undefined || longest === null))
      return { mode: 'shortest-edge', size: shortest };
  }
  problems.push(
    `size is ${JSON.stringify(size)}, not a height and width, a shortest_edge or a whole number`,
  );
  return null;
}

function cropOf(
  size: unknown,
  fallback: ImageSize,
  rounding: Crop['rounding'],
  problems: string[],
): Crop | null {
  if (size === undefined || size === null)
    return { height: fallback.height, width: fallback.width, rounding };
  const wanted = resizeOf(size, true, []);
  if (wanted?.mode === 'squash') return { height: wanted.height, width: wanted.width, rounding };
  problems.push(`crop_size is ${JSON.stringify(size)}, not a height and width or a whole number`);
  return null;
}

function inputSizeOf(value: unknown, problems: string[]): readonly [height: number, width: number] {
  if (
    Array.isArray(value) &&
    value.length === 3 &&
    value[0] === 3 &&
    isSide(value[1]) &&
    isSide(value[2])
  ) {
    return [value[1], value[2]];
  }
  problems.push(`input_size is ${JSON.stringify(value)}, not [3, height, width]`);
  return [224, 224];
}

function interpolationOf(value: unknown, key: string, problems: string[]): Interpolation {
  const named =
    typeof value === 'number' ? PIL_FILTERS[value] : PIL_FILTERS.find((filter) => filter === value);
  if (named !== undefined) return named;
  problems.push(
    `${key} is ${JSON.stringify(value)}, not a PIL code from 0 to 5 or one of ${PIL_FILTERS.join(', ')}`,
  );
  return 'bilinear';
}

function tripleOf(value: unknown, key: string, problems: string[]): Triple {
  const values = typeof value === 'number' ? [value, value, value] : value;
  if (Array.isArray(values) && values.length === 3) {
    const [red, green, blue]: readonly unknown[] = values;
    if (typeof red === 'number' && typeof green === 'number' && typeof blue === 'number')
      return [red, green, blue];
  }
  problems.push(`${key} is ${JSON.stringify(value)}, not three numbers`);
  return [0, 0, 0];
}
