/**
 * The graph of a Vision Transformer, after arXiv 2010.11929, "An Image is Worth 16x16 Words".
 *
 *     pixels        uint8   [batch, height, width, 3]   RGB, as the decoder leaves them
 *     probabilities float32 [batch, classes]
 *     embedding     float32 [batch, hidden]             what the (first) head sees: the class token after the last
 *                                                       LayerNorm, or the pooled patches
 *
 * Four folds, exact in algebra: rescale, mean and std go into the patch projection (nothing is
 * padded); its bias and the prefix tokens go into the table of positions (so no shape is ever
 * computed); 1/√d goes into the query. The last block is computed for the tokens that the head
 * sees. The only symbol is `batch`.
 *
 * `cpu` is plain ONNX; `cuda` expresses attention, residual + LayerNorm and bias + GELU in
 * onnxruntime's own operators, which have fused kernels there (docs/internals/decisions/0011). With
 * float16 the encoder's weights and arithmetic are float16. Embedding the patches and the head stay
 * float32: folded weights are too small for float16, and both together are a hundredth of the work.
 *
 * Costs: each weight once in memory, and one encoder block twice during its transposition.
 */
import type { Recipe } from '../../models/recipe.js';
import { int, ints } from '../graph/build.js';
import { type FloatType, GraphBuilder } from '../graph/graph-builder.js';
import { DataType, type ModelProto } from '../proto/model-proto.js';
import {
  type Architecture,
  gridOf,
  type Norm,
  type VisionTransformer,
  type Weights,
} from './architecture.js';
import type { Encoder } from './encoder.js';
import { CpuEncoder } from './encoder-cpu.js';
import { CudaEncoder } from './encoder-cuda.js';
import { foldNormalization } from './fold.js';
import { interpolateGrid } from './interpolate.js';
import { dense, layerNorm } from './layers.js';

/** LayerNormalization is an operator since opset 17. */
export const OPSET = 17;

export interface BuildOptions {
  readonly target: 'cpu' | 'cuda';
  readonly type: FloatType;
  /** How pixels are normalised. */
  readonly recipe: Pick<Recipe, 'rescale' | 'mean' | 'std'>;
  /** Goes into the model as its producer's version. */
  readonly producerVersion: string;
}

/**
 * The model. It is as large as the weights; `encodeModel` adds nothing to that until it is written.
 */
export function buildVisionTransformer(
  { architecture, weights }: VisionTransformer,
  options: BuildOptions,
): ModelProto {
  const { hidden, classes, image } = architecture;
  const { target, type } = options;
  const graph = new GraphBuilder();
  const pixels = graph.input('pixels', DataType.UINT8, ['batch', image.height, image.width, 3]);

  let tokens = embedPatches(graph, pixels, architecture, weights, options.recipe);
  if (architecture.preNorm)
    tokens = layerNorm(graph, 'tokens.norm', tokens, weights.preNorm(), architecture.epsilon);
  if (type === 'float16')
    tokens = graph.node('Cast', 'tokens.float16', [tokens], { to: int(DataType.FLOAT16) });
  const encoder: Encoder =
    target === 'cpu'
      ? new CpuEncoder(graph, architecture, type)
      : new CudaEncoder(graph, architecture, type);
  const encoded = encoder.encode(tokens, weights);
  classify(graph, encoded, architecture, weights, type);

  graph.output('probabilities', ['batch', classes]);
  graph.output('embedding', ['batch', hidden]);
  return graph.model('vit', OPSET, options.producerVersion);
}

/**
 * Equation 1: z₀ = [x_class; x¹E; …; xᴺE] + E_pos, [batch, prefix + N, hidden].
 *
 * The patches are cut by reshaping and projected in one MatMul. Rows of zeros in front of them
 * stand for the other tokens; the table that is added holds these tokens beside the positions.
 */
function embedPatches(
  graph: GraphBuilder,
  pixels: string,
  architecture: Architecture,
  weights: Weights,
  recipe: BuildOptions['recipe'],
): string {
  const { hidden, patch, prefixTokens } = architecture;
  const grid = gridOf(architecture);
  const count = grid.rows * grid.columns;
  const { weight, bias } = foldNormalization(weights.patchProjection(), recipe, hidden, patch);

  const cut = graph.ints('patches.cut', [0, grid.rows, patch.height, grid.columns, patch.width, 3]);
  const joined = graph.ints('patches.join', [0, count, patch.height * patch.width * 3]);
  let patches = graph.node('Reshape', 'pixels.cut', [pixels, cut]);
  patches = graph.node('Transpose', 'pixels.grouped', [patches], {
    perm: ints([0, 1, 3, 2, 4, 5]),
  });
  patches = graph.node('Reshape', 'pixels.patches', [patches, joined]);
  patches = graph.node('Cast', 'pixels.float', [patches], { to: int(DataType.FLOAT) });
  const projection = graph.floats(
    'patches.weight',
    [patch.height * patch.width * 3, hidden],
    weight,
  );
  let tokens = graph.node('MatMul', 'patches', [patches, projection]);
  if (prefixTokens > 0) {
    tokens = graph.node('Pad', 'tokens', [
      tokens,
      graph.ints('tokens.pads', [0, prefixTokens, 0, 0, 0, 0]),
    ]);
  }
  const table = tokenTable(architecture, weights, bias);
  return graph.node('Add', 'embedded', [
    tokens,
    graph.floats('positions', [1, prefixTokens + count, hidden], table),
  ]);
}

/** The addend of the projected patches and the rows of zeros before them: [prefix + N, hidden]. */
function tokenTable(
  architecture: Architecture,
  weights: Weights,
  patchBias: Float64Array,
): Float32Array {
  const { hidden, prefixTokens } = architecture;
  const grid = gridOf(architecture);
  const { patches, grid: trained, prefix, resampling } = weights.positions();
  const positions = interpolateGrid(patches, hidden, trained, grid, resampling);
  const tokens = weights.prefix();
  const table = new Float32Array((prefixTokens + grid.rows * grid.columns) * hidden);
  const start = prefixTokens * hidden;
  for (let i = 0; i < start; i++) table[i] = (tokens[i] ?? 0) + (prefix?.[i] ?? 0);
  for (let i = 0; i < positions.length; i++)
    table[start + i] = (positions[i] ?? 0) + (patchBias[i % hidden] ?? 0);
  return table;
}

/**
 * Equation 4: y = LN(z_L⁰), and the linear head on it. The encoder's output is the tokens that the
 * head sees.
 */
function classify(
  graph: GraphBuilder,
  encoded: string,
  architecture: Architecture,
  weights: Weights,
  type: FloatType,
): void {
  const { pooling, classes, output } = architecture;
  const [head, second] = weights.heads();
  if (head === undefined) throw new Error('a classifier has a head');
  let logits: string;
  const norm = weights.finalNorm();
  if (pooling === 'distilled' && second !== undefined) {
    // DeiT (arXiv 2012.12877, section 4): the mean of the two tokens' heads.
    const normed = layerNorm(
      graph,
      'encoded.norm',
      float32(graph, encoded, type),
      norm,
      architecture.epsilon,
    );
    const embedding = graph.node('Gather', 'embedding', [normed, graph.ints('first', 0)], {
      axis: int(1),
    });
    const distilled = graph.node('Gather', 'distillation', [normed, graph.ints('second', 1)], {
      axis: int(1),
    });
    const own = dense(graph, 'logits.class', embedding, head, classes);
    const taught = dense(graph, 'logits.distillation', distilled, second, classes);
    const sum = graph.node('Add', 'logits.sum', [own, taught]);
    logits = graph.node('Mul', 'logits', [sum, graph.scalar('half.float32', 0.5)]);
  } else {
    const embedding = pool(graph, encoded, architecture, norm, type);
    logits = dense(graph, 'logits', embedding, head, classes);
  }
  if (output === 'sigmoid') graph.node('Sigmoid', 'probabilities', [logits]);
  else graph.node('Softmax', 'probabilities', [logits], { axis: int(-1) });
}

function pool(
  graph: GraphBuilder,
  encoded: string,
  architecture: Architecture,
  norm: Norm,
  type: FloatType,
): string {
  const { pooling, prefixTokens, finalNorm, epsilon } = architecture;
  if (pooling !== 'average') {
    const first = graph.node('Gather', 'class_token', [encoded, graph.ints('first', 0)], {
      axis: int(1),
    });
    return layerNorm(graph, 'embedding', float32(graph, first, type), norm, epsilon);
  }
  let patches = float32(graph, encoded, type);
  if (prefixTokens > 0) {
    const [begin, end] = [
      graph.ints('pooled.begin', [prefixTokens]),
      graph.ints('pooled.end', [2 ** 31 - 1]),
    ];
    patches = graph.node('Slice', 'pooled.tokens', [
      patches,
      begin,
      end,
      graph.ints('tokens.axis', [1]),
    ]);
  }
  const mean = { axes: ints([1]), keepdims: int(0) };
  if (finalNorm === 'before-pooling') {
    const normed = layerNorm(graph, 'pooled.norm', patches, norm, epsilon);
    return graph.node('ReduceMean', 'embedding', [normed], mean);
  }
  return layerNorm(
    graph,
    'embedding',
    graph.node('ReduceMean', 'pooled', [patches], mean),
    norm,
    epsilon,
  );
}

function float32(graph: GraphBuilder, value: string, type: FloatType): string {
  return type === 'float32'
    ? value
    : graph.node('Cast', `${value}.float32`, [value], { to: int(DataType.FLOAT) });
}
