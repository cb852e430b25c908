/**
 * Dynamic int8 for CPUs: weights become int8 once, activations become uint8 in every execution.
 *
 * Each MatMul or Gemm with constant weights, `y = x·W`, becomes standard ONNX (opset 11 and later):
 *
 *     q, s, z = DynamicQuantizeLinear(x)            once for all that take the same x
 *     y       = Cast(MatMulInteger(q, Wq, z)) · (s · Ws)
 *
 * with uint8 q, int8 Wq and one scale Ws for each output (`quantize-weights.ts`). That is the form
 * that onnxruntime fuses into DynamicQuantizeMatMul and MatMulIntegerToFloat, a following bias
 * included, and uint8 × int8 is what VNNI multiplies. A patch embedding that takes the picture's
 * own bytes takes them as they are:
 *
 *     y = Cast(MatMulInteger(x, Wq)) · Ws + c        c: what rounding W takes from mid-grey
 *
 * Everything else stays float32: the products of attention, LayerNorm, Softmax, other patch
 * embeddings and, unless requested, the head, which has little of the work and whose errors nothing
 * averages out.
 *
 * What it costs: `s` is one scale for the whole tensor, over all images of a batch, so an image's
 * answer depends on the other images in the batch. The manifest of such a model says
 * `batchInvariant: false`, and its images are executed one by one.
 */
import { SetupError } from '../../errors.js';
import { int, nodeOf } from '../graph/build.js';
import {
  type GraphIndex,
  indexGraph,
  nodeLabel,
  opsetVersion,
  uniqueNames,
} from '../graph/graph.js';
import { findPatchEmbedding } from '../graph/patch-embedding.js';
import { withoutUnusedConstants } from '../graph/unused-constants.js';
import { findWeightedNodes, type WeightedNode } from '../graph/weighted-nodes.js';
import {
  DataType,
  type ModelProto,
  type NodeProto,
  type TensorProto,
} from '../proto/model-proto.js';
import { float32Tensor, floatsOf, int8Tensor, typeNameOf } from '../proto/tensors.js';
import { quantizeColumns, transposed, type WeightBits } from './quantize-weights.js';

/** DynamicQuantizeLinear came with this version of the standard operators. */
const FIRST_OPSET = 11;

/** The middle of the range of a picture's bytes. */
const MID_GREY = 128;

/** Operators that move values without changing them. */
const MOVING: ReadonlySet<string> = new Set(['Reshape', 'Transpose']);

const QUANTIZED: ReadonlySet<string> = new Set([
  'MatMulInteger',
  'QLinearMatMul',
  'QuantizeLinear',
  'DequantizeLinear',
  'DynamicQuantizeLinear',
  'MatMulNBits',
]);

export interface QuantizeOptions {
  /** Whether the classifier becomes int8 too. Default false. */
  readonly head?: boolean;
  /** How many bits of each weight are used. Default 7, which no CPU overflows with. */
  readonly bits?: WeightBits;
}

export interface QuantizedGraph {
  readonly model: ModelProto;
  /** How many products became int8. */
  readonly products: number;
  /** How many weights those hold. */
  readonly weights: number;
  /**
   * Products with constant weights that stayed as they were, each with a reason for people to read.
   */
  readonly kept: readonly string[];
}

/**
 * The same graph with int8 products; the given model stays as it was. Throws SetupError that names
 * node and remedy.
 */
export function quantizeToInt8(model: ModelProto, options: QuantizeOptions = {}): QuantizedGraph {
  const opset = opsetVersion(model) ?? 0;
  if (opset < FIRST_OPSET) {
    throw new SetupError('environment', [
      `int8 needs opset ${FIRST_OPSET} or later, the graph has ${opset}: ` +
        'export the model again with a later opset',
    ]);
  }
  const { graph } = model;
  const already = graph.node.find(({ opType }) => QUANTIZED.has(opType));
  if (already !== undefined) {
    throw new SetupError('environment', [
      `${nodeLabel(already)}: the graph is already quantized: give the float32 graph of the model`,
    ]);
  }
  const index = indexGraph(graph);
  const { found, others } = findWeightedNodes(graph, index);
  const patches = findPatchEmbedding(graph, index);
  const kept = [...others];
  const chosen = new Map<NodeProto, WeightedNode>();
  const ofBytes = new Map<NodeProto, CastBytes>();
  for (const one of found) {
    const { node } = one;
    const bytes = patches.has(node) ? castBytes(index, one) : null;
    if (one.isHead && options.head !== true) kept.push(`${nodeLabel(node)}: the head`);
    else if (patches.has(node) && bytes === null)
      kept.push(`${nodeLabel(node)}: the patch embedding`);
    else {
      chosen.set(node, one);
      if (bytes !== null) ofBytes.set(node, bytes);
    }
  }
  const problems = typeProblems([...chosen.values()]);
  if (chosen.size === 0) {
    const why = kept.length === 0 ? '' : ` (${kept.join('; ')})`;
    problems.push(`the graph has no matrix product with constant weights for int8${why}`);
  }
  if (problems.length > 0) throw new SetupError('environment', problems);

  const rewrite = new Rewrite(uniqueNames(graph), options.bits ?? 7);
  const casts = new Set([...ofBytes.values()].map(({ cast }) => cast));
  const node = graph.node.flatMap((one) => {
    if (casts.has(one)) return [];
    const weighted = chosen.get(one);
    if (weighted === undefined) return [one];
    const bytes = ofBytes.get(one);
    return bytes === undefined
      ? rewrite.product(weighted)
      : rewrite.productOfBytes(weighted, bytes.values);
  });
  const initializer = [...graph.initializer, ...rewrite.constants];
  const quantized = withoutUnusedConstants({ ...graph, node, initializer });
  return {
    model: { ...model, graph: quantized },
    products: chosen.size,
    weights: rewrite.weights,
    kept,
  };
}

/** The uint8 values that an activation holds as float32, and the node that converts them. */
interface CastBytes {
  readonly values: string;
  readonly cast: NodeProto;
}

/**
 * Null unless the activation is a picture's bytes converted to float32 for this node alone, with
 * nothing added.
 */
function castBytes(index: GraphIndex, { activation, addend }: WeightedNode): CastBytes | null {
  const cast = index.producerOf(activation);
  if (cast?.opType !== 'Cast' || addend !== null) return null;
  if (index.consumersOf(activation).length > 1 || index.isOutput(activation)) return null;
  const values = cast.input[0] as string;
  let source = values;
  for (;;) {
    const mover = index.producerOf(source);
    if (mover === undefined) break;
    if (!MOVING.has(mover.opType)) return null;
    source = mover.input[0] as string;
  }
  const picture = index.graph.input.find(({ name }) => name === source);
  return picture?.type?.tensorType?.elemType === DataType.UINT8 ? { values, cast } : null;
}

/** One line for any number of nodes: a float16 graph has only such weights. */
function typeProblems(nodes: readonly WeightedNode[]): string[] {
  const [first, ...others] = nodes.filter(({ weight }) => weight.dataType !== DataType.FLOAT);
  if (first === undefined) return [];
  const { node, weight } = first;
  const more = others.length === 0 ? '' : `, nor are those of ${others.length} more nodes`;
  const found = `the weights "${weight.name}" are ${typeNameOf(weight.dataType)} and not float32${more}`;
  return [`${nodeLabel(node)}: ${found}: give the float32 graph of the model`];
}

interface Activation {
  readonly values: string;
  readonly scale: string;
  readonly zeroPoint: string;
}

interface Weights {
  readonly values: string;
  readonly scales: string;
  /** For each output, the sum of what rounding took from its weights. */
  readonly lost: Float32Array;
}

class Rewrite {
  readonly constants: TensorProto[] = [];
  weights = 0;
  readonly #unique: (wanted: string) => string;
  readonly #bits: WeightBits;
  readonly #activations = new Map<string, Activation>();
  readonly #weights = new Map<string, Weights>();

  constructor(unique: (wanted: string) => string, bits: WeightBits) {
    this.#unique = unique;
    this.#bits = bits;
  }

  /** The nodes that replace a weighted node. */
  product(weighted: WeightedNode): NodeProto[] {
    const { node, activation, addend } = weighted;
    const result = node.output[0] as string;
    const name = (part: string) => this.#unique(`${result}.${part}`);
    const nodes: NodeProto[] = [];
    let from = this.#activations.get(activation);
    if (from === undefined) {
      const part = (what: string) => this.#unique(`${activation}.${what}`);
      from = { values: part('int8'), scale: part('int8_scale'), zeroPoint: part('int8_zero') };
      this.#activations.set(activation, from);
      nodes.push(
        nodeOf('DynamicQuantizeLinear', [activation], [from.values, from.scale, from.zeroPoint]),
      );
    }
    const weights = this.#quantized(weighted);
    const [sum, sumFloat, scales] = [name('sum'), name('sum_float'), name('scales')];
    nodes.push(
      nodeOf('MatMulInteger', [from.values, weights.values, from.zeroPoint], [sum]),
      nodeOf('Cast', [sum], [sumFloat], { attributes: { to: int(DataType.FLOAT) } }),
      nodeOf('Mul', [from.scale, weights.scales], [scales]),
    );
    if (addend === null)
      nodes.push(nodeOf('Mul', [sumFloat, scales], [result], { name: node.name }));
    else {
      const product = name('product');
      nodes.push(nodeOf('Mul', [sumFloat, scales], [product]));
      nodes.push(nodeOf('Add', [product, addend], [result], { name: node.name }));
    }
    return nodes;
  }

  /**
   * The same for a node that takes `bytes`. They need no scale, and the rounding of Wq is the only
   * error. Over a patch of one colour that error would be the same everywhere, so `c` removes it
   * for mid-grey.
   */
  productOfBytes(weighted: WeightedNode, bytes: string): NodeProto[] {
    const { node } = weighted;
    const result = node.output[0] as string;
    const name = (part: string) => this.#unique(`${result}.${part}`);
    const weights = this.#quantized(weighted);
    const [sum, sumFloat, product, correction] = [
      name('sum'),
      name('sum_float'),
      name('product'),
      name('correction'),
    ];
    const lost = weights.lost.map((one) => one * MID_GREY);
    this.constants.push(float32Tensor(correction, [lost.length], lost));
    return [
      nodeOf('MatMulInteger', [bytes, weights.values], [sum]),
      nodeOf('Cast', [sum], [sumFloat], { attributes: { to: int(DataType.FLOAT) } }),
      nodeOf('Mul', [sumFloat, weights.scales], [product]),
      nodeOf('Add', [product, correction], [result], { name: node.name }),
    ];
  }

  /** A weight that several nodes take in the same form is quantized once. */
  #quantized({ node, weight, transposed: isTransposed, factor }: WeightedNode): Weights {
    const key = `${weight.name} ${isTransposed} ${factor}`;
    const known = this.#weights.get(key);
    if (known !== undefined) return known;
    const [first, second] = weight.dims as [number, number];
    const [rows, columns] = isTransposed ? [second, first] : [first, second];
    const floats = floatsOf(weight);
    let columnwise: ReturnType<typeof quantizeColumns>;
    try {
      columnwise = quantizeColumns(
        isTransposed ? transposed(floats, first, second) : floats,
        rows,
        columns,
        this.#bits,
      );
    } catch (cause) {
      if (!(cause instanceof RangeError)) throw cause;
      const text = `${nodeLabel(node)}: the weights "${weight.name}" can't become int8: ${cause.message}`;
      throw new SetupError('environment', [text], { cause });
    }
    const { scales, lost } = columnwise;
    const names = {
      values: this.#unique(`${weight.name}.int8`),
      scales: this.#unique(`${weight.name}.scales`),
      lost: lost.map((one) => one * factor),
    };
    this.#weights.set(key, names);
    this.weights += floats.length;
    this.constants.push(
      int8Tensor(names.values, [rows, columns], columnwise.values),
      float32Tensor(
        names.scales,
        [columns],
        scales.map((scale) => scale * factor),
      ),
    );
    return names;
  }
}
