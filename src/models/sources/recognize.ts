/**
 * Recognises a foreign model: derives everything that a manifest needs from the graph, from the
 * files beside it, and from flags, which take precedence. Pure. Reports everything missing or wrong
 * at once, each with the flag that fixes it.
 */
import { messageOf, SetupError } from '../../errors.js';
import { outputSize, type Recipe } from '../recipe.js';
import { recipeForSize, recipeFromHuggingFace, recipeFromTimm } from '../recipe-sources.js';
import { type FoundInput, findInput, type InputFlags } from './find-input.js';
import { type FoundOutput, findOutput, type OutputFlags } from './find-output.js';
import type { GraphView } from './graph-view.js';
import { plainLabels } from './label-file.js';
import { presetRecipe, RECIPE_PRESETS, type RecipePreset } from './recipe-presets.js';
import type { Size, SourceConfig } from './source-config.js';

type Triple = readonly [number, number, number];

export interface RecognitionFlags extends InputFlags, OutputFlags {
  /** From a file; `none` for plain numbers; null if the flag is not given. */
  readonly labels: readonly string[] | 'none' | null;
  readonly recipe: RecipePreset | null;
  readonly mean: Triple | null;
  readonly std: Triple | null;
}

/** The parsed files beside the graph. */
export interface Evidence {
  readonly config: SourceConfig | null;
  readonly preprocessor: unknown;
}

export interface RecognizedModel {
  readonly input: FoundInput;
  readonly output: FoundOutput;
  readonly labels: readonly string[];
  /** One sigmoid output with two labels: answered as (1 − p, p). */
  readonly binaryClasses: 'one' | 'two';
  /** `normalizedInGraph` describes the present graph: true for a uint8 input only. */
  readonly recipe: Recipe;
  readonly labelsFrom: string;
  readonly recipeFrom: string;
}

export function recognizeModel(
  graph: GraphView,
  { config, preprocessor }: Evidence,
  flags: RecognitionFlags,
): RecognizedModel | { problems: string[] } {
  const problems: string[] = [];
  const input = findInput(graph, config, flags, problems);
  const output = findOutput(graph, config, flags, problems);
  const labels = findLabels(output, config, flags.labels, problems);
  const recipe = findRecipe(input, { config, preprocessor }, flags, problems);
  if (
    input === null ||
    output === null ||
    labels === null ||
    recipe === null ||
    problems.length > 0
  ) {
    return { problems };
  }
  const { labels: names, from } = labels;
  const binaryClasses = output.classCount === 1 && names.length === 2 ? 'two' : 'one';
  return { input, output, labels: names, labelsFrom: from, binaryClasses, ...recipe };
}

function findLabels(
  output: FoundOutput | null,
  config: SourceConfig | null,
  flag: RecognitionFlags['labels'],
  problems: string[],
): { readonly labels: readonly string[]; readonly from: string } | null {
  const count = output?.classCount ?? null;
  if (flag === 'none') {
    if (count !== null) return { labels: plainLabels(count), from: '--labels none' };
    if (output !== null)
      problems.push('--labels none: the graph does not say how many classes it has: give a file');
    return null;
  }
  const [labels, from] =
    flag === null ? [config?.labels ?? null, 'config.json'] : [flag, '--labels'];
  if (labels === null) {
    const classes =
      count === null ? 'the classes' : count === 1 ? 'the class' : `the ${count} classes`;
    problems.push(
      `no labels: name ${classes} with --labels FILE (one per line, or JSON), or give --labels none for "class 0", "class 1"…`,
    );
    return null;
  }
  const fits = count === null || labels.length === count || (count === 1 && labels.length === 2);
  if (fits) return { labels, from };
  problems.push(
    `${from} has ${labels.length} labels, but the graph has ${count} classes: give the right labels with --labels FILE`,
  );
  return null;
}

function findRecipe(
  input: FoundInput | null,
  evidence: Evidence,
  flags: RecognitionFlags,
  problems: string[],
): { readonly recipe: Recipe; readonly recipeFrom: string } | null {
  if (flags.recipe === null && evidence.preprocessor === null && !evidence.config?.pretrainedCfg) {
    const presets = RECIPE_PRESETS.join(', ');
    problems.push(
      `no preprocessing recipe: choose one with --recipe, such as --recipe timm (${presets})`,
    );
    return null;
  }
  if (input === null) return null;
  const { size } = input;
  const found = readRecipe(size, evidence, flags.recipe, problems);
  if (found === null) return null;
  const { recipe, from } = found;
  const made = outputSize(recipe);
  if (made === null || made.height !== size.height || made.width !== size.width) {
    const pixels =
      made === null ? 'images of varying size' : `${made.height} × ${made.width} pixels`;
    problems.push(
      `${from} makes ${pixels}, but input "${input.name}" is ${size.height} × ${size.width}: give the right recipe with --recipe`,
    );
    return null;
  }
  const changes = [flags.mean === null ? '' : '--mean', flags.std === null ? '' : '--std'].filter(
    Boolean,
  );
  return {
    recipe: {
      ...recipe,
      mean: flags.mean ?? recipe.mean,
      std: flags.std ?? recipe.std,
      normalizedInGraph: input.typeName === 'uint8',
    },
    recipeFrom: [from, ...changes].join(', '),
  };
}

function readRecipe(
  size: Size,
  { config, preprocessor }: Evidence,
  preset: RecipePreset | null,
  problems: string[],
): { readonly recipe: Recipe; readonly from: string } | null {
  if (preset !== null) return { recipe: presetRecipe(preset, size), from: `--recipe ${preset}` };
  try {
    if (preprocessor !== null) {
      return {
        recipe: recipeFromHuggingFace(preprocessor, size),
        from: 'preprocessor_config.json',
      };
    }
    // timm resizes a model to another input without a new recipe: its own transform follows the
    // input.
    return {
      recipe: recipeForSize(recipeFromTimm(config?.pretrainedCfg), size),
      from: 'pretrained_cfg',
    };
  } catch (error) {
    problems.push(...(error instanceof SetupError ? error.problems : [messageOf(error)]));
    return null;
  }
}
