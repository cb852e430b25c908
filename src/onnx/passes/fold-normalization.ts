/**
 * Folds (pixel × rescale − mean) / std into the weights of the patch embedding.
 *
 * A convolution is linear in its input, so with a = rescale / std and c = −mean / std (one each a
 * channel)
 *   conv(a·x + c, W, b) = conv(x, a·W, b + Σ W·c),
 * exactly in algebra, as long as every tap sees a pixel: padding adds zeros to the normalised
 * picture, which stand for `mean` in the raw one. So there must be no padding, or no mean. Sums are
 * computed in double precision. Weights of 16 bits become float32, since a/255 of them would fall
 * into float16's subnormal numbers; the convolution's result is cast back.
 */
import { int, nodeOf } from '../graph/build.js';
import {
  attributeOf,
  type GraphIndex,
  intAttribute,
  intsAttribute,
  textAttribute,
} from '../graph/graph.js';
import {
  DataType,
  type GraphProto,
  type NodeProto,
  type TensorProto,
} from '../proto/model-proto.js';
import { float32Tensor, floatsOf } from '../proto/tensors.js';

export interface Normalization {
  readonly rescale: number;
  readonly mean: readonly number[];
  readonly std: readonly number[];
}

/** The convolution that is the only consumer of the pixels, and the nodes on the way to it. */
interface PatchEmbedding {
  readonly conv: NodeProto;
  readonly onTheWay: readonly NodeProto[];
  readonly weights: TensorProto;
  readonly bias: TensorProto | undefined;
}

const FLOATS: readonly number[] = [DataType.FLOAT, DataType.FLOAT16, DataType.BFLOAT16];

/** Folds if that is sound; otherwise says why not and changes nothing. */
export function foldNormalization(
  graph: GraphProto,
  index: GraphIndex,
  pixels: string,
  normalization: Normalization,
  uniqueName: (wanted: string) => string,
): { readonly folded: boolean; readonly reason: string } {
  const found = findPatchEmbedding(index, pixels, normalization);
  if (typeof found === 'string') return { folded: false, reason: found };
  const { conv, onTheWay, weights, bias } = found;
  const folded = foldedWeights(weights, bias, normalization);
  const weightsName = uniqueName(`${weights.name}_on_pixels`);
  const biasName = uniqueName(`${bias?.name ?? weights.name}_bias_on_pixels`);
  graph.initializer.push(
    float32Tensor(weightsName, weights.dims, folded.weights),
    float32Tensor(biasName, [folded.bias.length], folded.bias),
  );
  conv.input = [conv.input[0] ?? '', weightsName, biasName];
  for (const node of onTheWay) if (node.opType === 'Cast') castTo(node, DataType.FLOAT);
  if (weights.dataType !== DataType.FLOAT) {
    const output = conv.output[0] ?? '';
    const precise = uniqueName(`${output}_float32`);
    conv.output = [precise];
    const name = uniqueName(`${output}_cast`);
    const cast = nodeOf('Cast', [precise], [output], {
      name,
      attributes: { to: int(weights.dataType) },
    });
    graph.node.splice(graph.node.indexOf(conv) + 1, 0, cast);
  }
  return { folded: true, reason: '' };
}

function castTo(node: NodeProto, type: number): void {
  node.attribute = [{ name: 'to', ...int(type) }];
}

/**
 * The patch embedding, or why the pixels do not reach one that normalization can be folded into.
 */
function findPatchEmbedding(
  index: GraphIndex,
  pixels: string,
  { mean }: Normalization,
): PatchEmbedding | string {
  const onTheWay: NodeProto[] = [];
  let value = pixels;
  for (;;) {
    // Shape reads sizes only.
    const takers = index.consumersOf(value).filter(({ opType }) => opType !== 'Shape');
    const [taker] = takers;
    if (taker === undefined || takers.length > 1) return `${takers.length} nodes take the pixels`;
    if (taker.opType === 'Conv') return asPatchEmbedding(index, taker, value, onTheWay, mean);
    if (!passes(taker)) return `the pixels go into ${taker.opType}, not into a Conv`;
    onTheWay.push(taker);
    value = taker.output[0] ?? '';
  }
}

/**
 * Whether a node passes the pixels on unchanged, channel by channel, in an order that Conv can
 * take.
 */
function passes(node: NodeProto): boolean {
  if (node.opType === 'Identity') return true;
  if (node.opType === 'Cast') return FLOATS.includes(intAttribute(node, 'to', 0));
  return node.opType === 'Transpose' && intsAttribute(node, 'perm')?.join() === '0,3,1,2';
}

function asPatchEmbedding(
  index: GraphIndex,
  conv: NodeProto,
  pixels: string,
  onTheWay: readonly NodeProto[],
  mean: readonly number[],
): PatchEmbedding | string {
  const weights = index.constantOf(conv.input[1] ?? '');
  const bias = conv.input[2] ? index.constantOf(conv.input[2]) : undefined;
  if (conv.input[0] !== pixels || weights === undefined || (conv.input[2] && bias === undefined)) {
    return 'the weights of the Conv are not constant';
  }
  if (!FLOATS.includes(weights.dataType))
    return 'the weights of the Conv are not floating-point numbers';
  if (weights.dims.length !== 4 || weights.dims[1] !== 3 || intAttribute(conv, 'group', 1) !== 1) {
    return 'the Conv does not mix three channels';
  }
  const autoPad =
    attributeOf(conv, 'auto_pad') === undefined
      ? 'NOTSET'
      : textAttribute(conv, 'auto_pad', 'NOTSET');
  const isPadded = (intsAttribute(conv, 'pads') ?? []).some((pad) => pad !== 0);
  if ((autoPad.startsWith('SAME') || isPadded) && mean.some((value) => value !== 0))
    return 'the Conv has padding';
  return { conv, onTheWay, weights, bias };
}

function foldedWeights(
  weights: TensorProto,
  bias: TensorProto | undefined,
  { rescale, mean, std }: Normalization,
): { readonly weights: Float32Array; readonly bias: Float32Array } {
  const before = floatsOf(weights);
  const filters = weights.dims[0] ?? 0;
  const taps = before.length / (filters * 3);
  const after = new Float32Array(before.length);
  const biasAfter =
    bias === undefined ? new Float32Array(filters) : Float32Array.from(floatsOf(bias));
  for (let filter = 0; filter < filters; filter++) {
    let shift = biasAfter[filter] ?? 0;
    for (let channel = 0; channel < 3; channel++) {
      const scale = rescale / (std[channel] ?? 1);
      const offset = -(mean[channel] ?? 0) / (std[channel] ?? 1);
      const start = (filter * 3 + channel) * taps;
      for (let tap = start; tap < start + taps; tap++) {
        const weight = before[tap] ?? 0;
        after[tap] = weight * scale;
        shift += weight * offset;
      }
    }
    biasAfter[filter] = shift;
  }
  return { weights: after, bias: biasAfter };
}
