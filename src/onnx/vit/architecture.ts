/**
 * The parts of a Vision Transformer: the shapes and choices that a graph needs, and the source of
 * its weights.
 *
 * A checkpoint's reader (`from-huggingface.ts`, `from-timm.ts`) or `random.ts` provides both;
 * `build.ts` knows no source. Words are those of arXiv 2010.11929, "An Image is Worth 16x16 Words":
 * hidden is D, layers L, patch P.
 */
import type { ImageSize } from '../../models/recipe-sources.js';
import type { Grid, Resampling } from './interpolate.js';

export type Activation = 'gelu' | 'gelu_tanh' | 'quick_gelu';

export interface Architecture {
  /** Width of a token, D. */
  readonly hidden: number;
  /** Encoder blocks, L. */
  readonly layers: number;
  readonly heads: number;
  /** Width inside the MLP. */
  readonly mlp: number;
  readonly patch: ImageSize;
  /** The input that the graph takes; a multiple of the patch. */
  readonly image: ImageSize;
  readonly classes: number;
  /** Added to the variance by LayerNorm. */
  readonly epsilon: number;
  readonly activation: Activation;
  /** Tokens before those of the patches: class, distillation, registers. */
  readonly prefixTokens: number;
  /** LayerNorm between embedding and encoder, as CLIP has it. */
  readonly preNorm: boolean;
  /**
   * What the head sees: token 0, the first two tokens with a head each (DeiT), or the mean of the
   * patches' tokens.
   */
  readonly pooling: 'token' | 'distilled' | 'average';
  /** Where the last LayerNorm stands. `after-pooling` is timm's fc_norm. */
  readonly finalNorm: 'before-pooling' | 'after-pooling';
  /** What turns the head's answers into probabilities. */
  readonly output: 'softmax' | 'sigmoid';
}

/** weight: [outputs, inputs], row by row, as PyTorch keeps it. */
export interface Dense {
  readonly weight: Float32Array;
  readonly bias: Float32Array | null;
}

/** LayerNorm's affine part, one value for each of `hidden`. */
export interface Norm {
  readonly scale: Float32Array;
  readonly shift: Float32Array;
}

/** One encoder block. `output` and `shrink` already include layer scale, if the model has it. */
export interface Block {
  readonly attentionNorm: Norm;
  readonly query: Dense;
  readonly key: Dense;
  readonly value: Dense;
  readonly output: Dense;
  readonly mlpNorm: Norm;
  /** hidden to mlp. */
  readonly grow: Dense;
  /** mlp to hidden. */
  readonly shrink: Dense;
}

/** Position embeddings as they were trained. */
export interface Positions {
  /** [grid.rows · grid.columns, hidden]. */
  readonly patches: Float32Array;
  readonly grid: Grid;
  /** [prefixTokens, hidden], or null if those tokens have no positions. */
  readonly prefix: Float32Array | null;
  readonly resampling: Resampling;
}

/**
 * The weights of a model. Each part is read when it is requested and the source does not keep it:
 * one block at a time is in memory beside the graph.
 */
export interface Weights {
  /** The patch projection E: weight [hidden, 3, patch.height, patch.width]. */
  patchProjection(): Dense;
  /** [prefixTokens, hidden]. */
  prefix(): Float32Array;
  positions(): Positions;
  /** Called only if the architecture has one. */
  preNorm(): Norm;
  block(index: number): Block;
  finalNorm(): Norm;
  /** One head; two with distillation, in the order of their tokens. */
  heads(): readonly Dense[];
}

export interface VisionTransformer {
  readonly architecture: Architecture;
  readonly weights: Weights;
}

export function gridOf({ image, patch }: Pick<Architecture, 'image' | 'patch'>): Grid {
  return { rows: image.height / patch.height, columns: image.width / patch.width };
}

/** Length of the encoder's sequence. */
export function tokensOf(
  architecture: Pick<Architecture, 'image' | 'patch' | 'prefixTokens'>,
): number {
  const { rows, columns } = gridOf(architecture);
  return architecture.prefixTokens + rows * columns;
}

/** What is impossible about an architecture, in words. */
export function architectureProblems({ hidden, heads, image, patch }: Architecture): string[] {
  const problems: string[] = [];
  if (hidden % heads !== 0)
    problems.push(`hidden size ${hidden} is not a multiple of the ${heads} attention heads`);
  if (image.height % patch.height !== 0 || image.width % patch.width !== 0) {
    problems.push(
      `image size ${image.height} × ${image.width} is not a multiple of the patch size ` +
        `${patch.height} × ${patch.width}: choose another with --image-size`,
    );
  }
  return problems;
}
