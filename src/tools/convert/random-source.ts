/** A model with random weights, marked as such in its description and its provenance. */
import type { ConvertSettings } from '../../cli/convert-options.js';
import { SetupError } from '../../errors.js';
import { RANDOM_WEIGHTS } from '../../models/provenance.js';
import { plainLabels } from '../../models/sources/label-file.js';
import { presetRecipe } from '../../models/sources/recipe-presets.js';
import { architectureProblems } from '../../onnx/vit/architecture.js';
import { randomTransformer, variantArchitecture } from '../../onnx/vit/random.js';
import type { ModelSource } from './read-checkpoint.js';

/**
 * Throws SetupError for an unknown variant, or an image size that is not a multiple of its patch.
 */
export function randomSource(variant: string, settings: ConvertSettings): ModelSource {
  const image = settings.imageSize ?? { height: 224, width: 224 };
  const architecture = variantArchitecture(variant, image, settings.classes ?? 1000);
  const problems = architectureProblems(architecture);
  if (problems.length > 0) throw new SetupError('usage', problems);
  const seed = settings.seed ?? 0;
  return {
    transformer: randomTransformer(architecture, seed),
    recipe: presetRecipe('hf-vit', image),
    labels: plainLabels(architecture.classes),
    description: `ViT-${variant} with random weights, for measuring: its answers mean nothing.`,
    license: 'none: random weights',
    provenance: { weights: RANDOM_WEIGHTS, variant, seed: String(seed) },
    suggestedName: `vit-${variant.replace('/', '-').toLowerCase()}-random`,
    notes: [
      'its weights are random, so its answers mean nothing: serve it with --allow-random-weights, for measurements only',
    ],
    storedBytes: 0,
    close: () => {},
  };
}
