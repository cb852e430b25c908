/**
 * Models of any variant with random weights, for measuring and testing: they cost what a trained
 * one costs, and know nothing. The manifest says so, and `serve` rejects them unless told
 * otherwise.
 *
 * Values are uniform with the standard deviation that ViTs are initialised with (0.02), from a
 * small generator of whole numbers, so that a seed gives the same model everywhere. The head is not
 * zero, as the paper starts fine-tuning (section 3.2), so that answers depend on the picture.
 */
import { SetupError } from '../../errors.js';
import type { Architecture, Dense, Norm, VisionTransformer } from './architecture.js';
import { gridOf } from './architecture.js';
import { xorshift32 } from './xorshift.js';

/** Table 1 of arXiv 2010.11929 (B, L, H) and of arXiv 2012.12877 (Ti, S). */
const VARIANTS: Readonly<
  Record<string, Pick<Architecture, 'hidden' | 'layers' | 'heads' | 'mlp'>>
> = {
  Ti: { hidden: 192, layers: 12, heads: 3, mlp: 768 },
  S: { hidden: 384, layers: 12, heads: 6, mlp: 1536 },
  B: { hidden: 768, layers: 12, heads: 12, mlp: 3072 },
  L: { hidden: 1024, layers: 24, heads: 16, mlp: 4096 },
  H: { hidden: 1280, layers: 32, heads: 16, mlp: 5120 },
};
/** Half the width of a uniform distribution with standard deviation 0.02. */
const REACH = 0.02 * Math.sqrt(3);

/** The architecture that `variant` names, such as `B/16`. Throws SetupError for unknown names. */
export function variantArchitecture(
  variant: string,
  image: { readonly height: number; readonly width: number },
  classes: number,
): Architecture {
  const [, letter = '', patch = ''] = /^([A-Za-z]+)\/([1-9]\d{0,2})$/.exec(variant) ?? [];
  const known = VARIANTS[letter];
  if (known === undefined) {
    throw new SetupError('usage', [
      `random: ${JSON.stringify(variant)} is not a variant: give ${Object.keys(VARIANTS).join(', ')} with a patch size, such as B/16`,
    ]);
  }
  return {
    ...known,
    patch: { height: Number(patch), width: Number(patch) },
    image,
    classes,
    epsilon: 1e-6,
    activation: 'gelu',
    prefixTokens: 1,
    preNorm: false,
    pooling: 'token',
    finalNorm: 'before-pooling',
    output: 'softmax',
  };
}

export function randomTransformer(architecture: Architecture, seed: number): VisionTransformer {
  const { hidden, mlp, classes, patch, prefixTokens } = architecture;
  const values = (count: number, stream: number): Float32Array =>
    fill(new Float32Array(count), seed, stream);
  const dense = (outputs: number, inputs: number, stream: number): Dense => ({
    weight: values(outputs * inputs, stream),
    bias: new Float32Array(outputs),
  });
  const norm: Norm = { scale: new Float32Array(hidden).fill(1), shift: new Float32Array(hidden) };
  const grid = gridOf(architecture);
  return {
    architecture,
    weights: {
      patchProjection: () => dense(hidden, 3 * patch.height * patch.width, 1),
      prefix: () => values(prefixTokens * hidden, 2),
      positions: () => ({
        patches: values(grid.rows * grid.columns * hidden, 3),
        grid,
        prefix: null,
        resampling: 'bicubic',
      }),
      preNorm: () => norm,
      block(index) {
        const stream = (part: number): number => 16 * (index + 1) + part;
        return {
          attentionNorm: norm,
          query: dense(hidden, hidden, stream(0)),
          key: dense(hidden, hidden, stream(1)),
          value: dense(hidden, hidden, stream(2)),
          output: dense(hidden, hidden, stream(3)),
          mlpNorm: norm,
          grow: dense(mlp, hidden, stream(4)),
          shrink: dense(hidden, mlp, stream(5)),
        };
      },
      finalNorm: () => norm,
      heads: () => [dense(classes, hidden, 4)],
    },
  };
}

/** Random values, restarted for each tensor. */
function fill(values: Float32Array, seed: number, stream: number): Float32Array {
  let state = (Math.imul(seed + 1, 0x9e3779b1) ^ Math.imul(stream + 1, 0x85ebca6b)) | 0 || 1;
  for (let i = -16; i < values.length; i++) {
    state = xorshift32(state);
    // Near seeds have near first values, so these are dropped.
    if (i >= 0) values[i] = state * (REACH / 2 ** 31);
  }
  return values;
}
