/**
 * The option table of `vitserve convert`, the settings that it makes, and what they can't be
 * together.
 */

import { type ImportSettings, imageSize, importOptions } from './import-options.js';
import type { Option, OptionTable } from './option.js';
import { choice, integer, path, string } from './value-types.js';

export interface ConvertSettings
  extends Pick<ImportSettings, 'labels' | 'recipe' | 'models' | 'name' | 'version'> {
  readonly imageSize: { readonly height: number; readonly width: number } | null;
  readonly random: string | null;
  readonly classes: number | null;
  readonly seed: number | null;
  readonly dtype: 'float32' | 'float16';
  readonly target: 'cpu' | 'cuda';
  /** Absolute path of a version's folder, or null: `models`, `name` and `version` say it. */
  readonly out: string | null;
  readonly description: string | null;
  readonly license: string | null;
}

/**
 * `models` is the repository of `vitserve serve`: where it looks by default, this writes by
 * default.
 */
export function convertOptions(models: Option<string>): OptionTable<ConvertSettings> {
  const { labels, recipe, name, version, description, license, ...others } = importOptions(models);
  return {
    imageSize: {
      name: 'image-size',
      group: 'Source',
      type: imageSize(),
      default: null,
      defaultText: "the checkpoint's, or 224",
      summary:
        'Height and width of the pictures that the graph will take, in pixels; multiples of the patch size.',
      reason:
        'Position embeddings are interpolated in two dimensions, as the library that wrote the checkpoint does it. A larger ' +
        'picture shows more and costs more: the work grows with the number of patches, and somewhat faster.',
    },
    recipe: {
      ...recipe,
      defaultText: 'what lies beside the weights',
      reason:
        'A model that is fed otherwise than it was evaluated loses accuracy without any error, so there is no default for a ' +
        'checkpoint that comes without one. It overrides what lies beside the weights.',
    },
    labels: {
      ...labels,
      reason:
        'There have to be as many as classes. Where neither the checkpoint nor a file has them, answers say "class 0", "class 1" ' +
        'and so on. JSON is a list, or an object by class index.',
    },
    random: {
      name: 'random',
      group: 'Source',
      type: string('VARIANT', 'Ti, S, B, L or H with a patch size, such as B/16'),
      default: null,
      summary:
        'Take no checkpoint: make a model of this variant with random weights, such as B/16.',
      reason:
        'For measuring what a model will cost on a machine before there are weights: time and memory do not depend on their ' +
        'values. Its answers mean nothing. Its manifest says so, and `vitserve serve` refuses it without `--allow-random-weights`.',
    },
    classes: {
      name: 'classes',
      group: 'Source',
      type: integer(1, 100_000),
      default: null,
      defaultText: '1000',
      summary: 'How many classes a model with random weights has.',
      reason: 'A checkpoint has as many as its head, so there this is refused.',
    },
    seed: {
      name: 'seed',
      group: 'Source',
      type: integer(0, 4_294_967_295),
      default: null,
      defaultText: '0',
      summary: 'Which random weights: the same seed gives the same model, on every machine.',
      reason: 'Another seed gives another model of the same cost.',
    },
    dtype: {
      name: 'dtype',
      group: 'Output',
      type: choice('float32', 'float16'),
      default: 'float32',
      summary:
        "Type of the encoder's weights and arithmetic; pictures go in and answers come out as before.",
      reason:
        '`float16` halves the file and is for GPUs, which have units for it; probabilities move by less than 0.005. ' +
        'A CPU converts it back and forth, and is slower than with float32.',
    },
    target: {
      name: 'target',
      group: 'Output',
      type: choice('cpu', 'cuda'),
      default: 'cpu',
      summary: 'Where the model will run. cuda: with the fused operators of onnxruntime.',
      reason:
        '`cpu` is plain ONNX, which any runtime reads, and is the faster one on a CPU. `cuda` uses operators that only onnxruntime ' +
        'has, for which it has fused GPU kernels, also of attention.',
    },
    out: {
      name: 'out',
      group: 'Output',
      type: path(),
      default: null,
      defaultText: 'what models, name and version say',
      summary: "Folder of the new version, NAME/VERSION, instead of the model's name and version.",
      reason: 'It must not be there yet, and the version has to be a whole number.',
    },
    models: others.models,
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
    problems.push("vitserve convert takes one FOLDER or FILE, a checkpoint's, or --random VARIANT");
  }
  if (random !== null && sources.length > 0)
    problems.push('--random takes no checkpoint: leave one of them out');
  if (random === null && classes !== null)
    problems.push('classes is for --random: a checkpoint has as many as its head');
  if (random === null && seed !== null) problems.push('seed is for --random');
  if (random !== null && recipe !== null)
    problems.push('recipe is for checkpoints: random weights have none');
  if (random !== null && labels !== null)
    problems.push('labels is for checkpoints: random classes have no names');
  if (out !== null && (name !== null || version !== 'auto')) {
    problems.push(
      'out names the folder of the version, so name and version can not be given beside it',
    );
  }
  return problems;
}
