/**
 * The option table of `vitserve convert`, the settings that it makes, and what they can't be
 * together.
 */

import { type ImportSettings, imageSize, importOptions } from './import-options.js';
import type { Option, OptionTable } from './option.js';
import { choice, integer, path, string } from './value-types.js';

export interface ConvertSettings
  extends Pick<ImportSettings, 'labels' | 'recipe' | 'modelRepository' | 'name' | 'version'> {
  readonly imageSize: { readonly height: number; readonly width: number } | null;
  readonly random: string | null;
  readonly classes: number | null;
  readonly seed: number | null;
  readonly dtype: 'float32' | 'float16';
  readonly target: 'cpu' | 'cuda';
  /**
   * Absolute path of a version's folder, or null: `model-repository`, `name` and `version` say it.
   */
  readonly out: string | null;
  readonly description: string | null;
  readonly license: string | null;
}

/**
 * `modelRepository` is the repository of `vitserve serve`: where it looks by default, this writes
 * by default.
 */
export function convertOptions(modelRepository: Option<string>): OptionTable<ConvertSettings> {
  const { labels, recipe, name, version, description, license, ...others } =
    importOptions(modelRepository);
  return {
    imageSize: {
      name: 'image-size',
      group: 'Source',
      type: imageSize(),
      default: null,
      defaultText: "the checkpoint's, or 224",
      summary: "Height and width of the graph's images, in pixels: multiples of the patch size.",
    },
    recipe: {
      ...recipe,
      defaultText: 'what lies beside the weights',
    },
    labels: {
      ...labels,
    },
    random: {
      name: 'random',
      group: 'Source',
      type: string('VARIANT', 'Ti, S, B, L or H with a patch size, such as B/16'),
      default: null,
      summary: 'Make a model of this variant with random weights, without a checkpoint.',
    },
    classes: {
      name: 'classes',
      group: 'Source',
      type: integer(1, 100_000),
      default: null,
      defaultText: '1000',
      summary: 'Number of classes, with --random.',
    },
    seed: {
      name: 'seed',
      group: 'Source',
      type: integer(0, 4_294_967_295),
      default: null,
      defaultText: '0',
      summary: 'Seed for --random.',
    },
    dtype: {
      name: 'dtype',
      group: 'Output',
      type: choice('float32', 'float16'),
      default: 'float32',
      summary: "Type of the encoder's weights and arithmetic.",
    },
    target: {
      name: 'target',
      group: 'Output',
      type: choice('cpu', 'cuda'),
      default: 'cpu',
      summary: "Where the model will run. cuda: with onnxruntime's fused operators.",
    },
    out: {
      name: 'out',
      group: 'Output',
      type: path(),
      default: null,
      defaultText: 'what model-repository, name and version say',
      summary: 'Folder for the new version, NAME/VERSION, instead of name and version.',
    },
    modelRepository: others.modelRepository,
    name,
    version,
    description,
    license,
  };
}

/** Settings that are valid alone but not together, or not with the named sources. */
export function convertProblems(settings: ConvertSettings, sources: readonly string[]): string[] {
  const { random, classes, seed, out, name, version, recipe, labels } = settings;
  const problems: string[] = [];
  if (random === null && sources.length !== 1) {
    problems.push('give one FOLDER or FILE with a checkpoint, or --random VARIANT');
  }
  if (random !== null && sources.length > 0)
    problems.push('random makes a model without a checkpoint: leave out one of them');
  if (random === null && classes !== null)
    problems.push("classes needs random: a checkpoint's head decides it");
  if (random === null && seed !== null) problems.push('seed needs random');
  if (random !== null && recipe !== null)
    problems.push('recipe needs a checkpoint: leave out random or recipe');
  if (random !== null && labels !== null)
    problems.push('labels needs a checkpoint: leave out random or labels');
  if (out !== null && (name !== null || version !== 'auto')) {
    problems.push('out already says name and version: leave out either out, or name and version');
  }
  return problems;
}
