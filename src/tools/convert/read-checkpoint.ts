/**
 * Reads a checkpoint's folder or file as a Vision Transformer, with what a manifest needs beside
 * the graph.
 *
 * `config.json` says which library wrote it; the recipe comes from `preprocessor_config.json`
 * (Hugging Face) or `pretrained_cfg` (timm). All problems at once, each with the name of its file.
 */
import { readFile, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import type { ConvertSettings } from '../../cli/convert-options.js';
import { messageOf, SetupError } from '../../errors.js';
import { outputSize, type Recipe } from '../../models/recipe.js';
import {
  recipeForSize,
  recipeFromHuggingFace,
  recipeFromTimm,
} from '../../models/recipe-sources.js';
import { plainLabels } from '../../models/sources/label-file.js';
import { presetRecipe } from '../../models/sources/recipe-presets.js';
import {
  licenseOfCard,
  readSourceConfig,
  type SourceConfig,
} from '../../models/sources/source-config.js';
import { checkpointProblem } from '../../onnx/proto/checkpoint-files.js';
import { Checkpoint } from '../../onnx/proto/safetensors.js';
import {
  type Architecture,
  architectureProblems,
  type VisionTransformer,
} from '../../onnx/vit/architecture.js';
import { fromHuggingFace } from '../../onnx/vit/from-huggingface.js';
import { fromTimm } from '../../onnx/vit/from-timm.js';
import { readLabels } from '../import/read-source.js';

export interface ModelSource {
  readonly transformer: VisionTransformer;
  readonly recipe: Recipe;
  readonly labels: readonly string[];
  readonly description: string;
  readonly license: string;
  readonly provenance: Readonly<Record<string, string>>;
  /** The default name of the model. */
  readonly suggestedName: string;
  /** Notes, one line each. */
  readonly notes: readonly string[];
  /** Bytes of the weights as they are stored. */
  readonly storedBytes: number;
  close(): void;
}

/** Throws SetupError with everything that is wrong. The caller closes it. */
export async function readCheckpoint(
  path: string,
  settings: ConvertSettings,
): Promise<ModelSource> {
  const checkpoint = Checkpoint.open(path);
  try {
    return await describe(path, checkpoint, settings);
  } catch (error) {
    checkpoint.close();
    throw error;
  }
}

async function describe(
  path: string,
  checkpoint: Checkpoint,
  settings: ConvertSettings,
): Promise<ModelSource> {
  const folder = (await stat(path)).isDirectory() ? path : dirname(path);
  const configPath = join(folder, 'config.json');
  const config = await readJson(configPath);
  if (config === null) {
    throw new SetupError('environment', [
      `${configPath} does not exist: put the config.json of the model beside its weights`,
    ]);
  }
  const evidence = readSourceConfig(config);
  const read = evidence?.library === 'timm' ? fromTimm : fromHuggingFace;
  const transformer = read(config, checkpoint, settings.imageSize);
  if ('problems' in transformer) throw checkpointProblem(configPath, transformer.problems);
  const { architecture } = transformer;
  const impossible = architectureProblems(architecture);
  if (impossible.length > 0) throw checkpointProblem(configPath, impossible);

  const notes: string[] = [];
  const card = await readFile(join(folder, 'README.md'), 'utf8').catch(() => '');
  const name = nameOf(path);
  const what = evidence?.architecture ?? 'A Vision Transformer';
  return {
    transformer,
    recipe: await recipeOf(folder, evidence, config, architecture, settings),
    labels: await labelsOf(path, evidence, architecture.classes, settings.labels, notes),
    description: `${what}, converted from ${name}.`,
    license: evidence?.license ?? licenseOfCard(card) ?? 'unknown',
    provenance: { convertedFrom: name, weights: 'checkpoint' },
    suggestedName: nameOf(folder).split('/')[0] as string,
    notes,
    storedBytes: checkpoint.bytes,
    close: () => checkpoint.close(),
  };
}

/**
 * The last part of a path; for a version of a model repository the model's name too, since a number
 * says nothing.
 */
function nameOf(path: string): string {
  const whole = resolve(path);
  const last = basename(whole);
  return /^\d+$/.test(last) ? `${basename(dirname(whole))}/${last}` : last;
}

async function recipeOf(
  folder: string,
  evidence: SourceConfig | null,
  config: unknown,
  { image }: Architecture,
  settings: ConvertSettings,
): Promise<Recipe> {
  if (settings.recipe !== null) return presetRecipe(settings.recipe, image);
  let recipe: Recipe;
  if (evidence?.library === 'timm') recipe = recipeFromTimm(evidence.pretrainedCfg);
  else {
    const path = join(folder, 'preprocessor_config.json');
    const stored = await readJson(path);
    if (stored === null) {
      throw new SetupError('usage', [
        `${path} does not exist: put the file of the model beside its weights, or choose a recipe with --recipe`,
      ]);
    }
    const { model_type: type } = config as Record<string, unknown>;
    const named = {
      image_processor_type: type === 'deit' ? 'DeiTImageProcessor' : 'ViTImageProcessor',
    };
    const { image_processor_type: own, feature_extractor_type: older } = stored as Record<
      string,
      unknown
    >;
    recipe = recipeFromHuggingFace(
      own === undefined && older === undefined ? { ...stored, ...named } : stored,
      image,
    );
  }
  const pixels = outputSize(recipe);
  return pixels?.height === image.height && pixels.width === image.width
    ? recipe
    : recipeForSize(recipe, image);
}

async function labelsOf(
  path: string,
  evidence: SourceConfig | null,
  classes: number,
  flag: string | null,
  notes: string[],
): Promise<readonly string[]> {
  const given = await readLabels(flag);
  const found = given ?? evidence?.labels ?? 'none';
  if (found === 'none') {
    if (given === null)
      notes.push(
        'no labels found, so classes are called "class 0" and so on: name them with --labels FILE',
      );
    return plainLabels(classes);
  }
  if (found.length === classes) return found;
  const where = given === null ? 'config.json' : `--labels ${flag}`;
  throw new SetupError('usage', [
    `${path}: the head has ${classes} classes, but ${where} has ${found.length} labels: give the right labels with --labels FILE, or --labels none`,
  ]);
}

/** Null if there is no such file. */
async function readJson(path: string): Promise<object | null> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw new SetupError('environment', [`can't read ${path} (${messageOf(error)})`]);
  }
  try {
    const json: unknown = JSON.parse(text);
    if (typeof json === 'object' && json !== null) return json;
  } catch (error) {
    throw new SetupError('environment', [`${path}: not JSON (${messageOf(error)})`]);
  }
  throw new SetupError('environment', [`${path}: not a JSON object`]);
}
