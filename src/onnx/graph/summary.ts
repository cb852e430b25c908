/**
 * A graph in figures: values in and out, operators, parameters, and the work of one image.
 *
 * Work is counted in multiply-accumulates (MACs) of matrix products, convolutions and attention,
 * from shapes (`shapes.ts`); element-wise operators are left out, as is customary (ViT-B/16 at 224
 * px: 17.6 GMAC). If the shape of such a node is unknown, the sum is null, not too small.
 */

import { DataType, type ModelProto, type NodeProto } from '../proto/model-proto.js';
import { byteSizeOf, typeNameOf } from '../proto/tensors.js';
import { describeGraph, intAttribute, type ValueDescription } from './graph.js';
import { type InferredShapes, inferShapes, operatorOf } from './shapes.js';

export interface GraphSummary {
  readonly producer: string;
  readonly irVersion: number;
  /** Version by domain; the standard operators are `ai.onnx`. */
  readonly opsets: Readonly<Record<string, number>>;
  readonly inputs: readonly ValueDescription[];
  readonly outputs: readonly ValueDescription[];
  /** Nodes by operator, most frequent first. */
  readonly operators: Readonly<Record<string, number>>;
  /** Elements of all constants but scalars and 64-bit integers, which are shapes and indices. */
  readonly parameters: number;
  /** Their bytes by type, the largest first. */
  readonly parameterBytes: Readonly<Record<string, number>>;
  /** Multiply-accumulates of one image; null if unknown. */
  readonly macs: number | null;
  /** Operators whose output shapes are unknown. */
  readonly unknownOperators: readonly string[];
}

/**
 * @param inputDims dims of the graph's inputs by name, for one image; default: those of the graph,
 *   with 1 for open sizes
 */
export function summarizeGraph(
  model: ModelProto,
  inputDims: Readonly<Record<string, readonly number[]>> = {},
): GraphSummary {
  const { graph } = model;
  const shapes = inferShapes(model, inputDims);
  const weights = graph.initializer.filter(
    ({ dims, dataType }) => dims.length > 0 && dataType !== DataType.INT64,
  );
  const bytes = new Map<string, number>();
  for (const tensor of weights) {
    const type = typeNameOf(tensor.dataType);
    bytes.set(type, (bytes.get(type) ?? 0) + byteSizeOf(tensor));
  }
  const operators = new Map<string, number>();
  for (const node of graph.node)
    operators.set(operatorOf(node), (operators.get(operatorOf(node)) ?? 0) + 1);
  return {
    producer: `${model.producerName} ${model.producerVersion}`.trim(),
    irVersion: model.irVersion,
    opsets: Object.fromEntries(
      model.opsetImport.map(({ domain, version }) => [domain || 'ai.onnx', version]),
    ),
    ...describeGraph(model),
    operators: mostFirst(operators),
    parameters: weights.reduce((sum, { dims }) => sum + elementsOf(dims), 0),
    parameterBytes: mostFirst(bytes),
    macs: macsOf(graph.node, shapes),
    unknownOperators: shapes.unknownOperators,
  };
}

function macsOf(nodes: readonly NodeProto[], shapes: InferredShapes): number | null {
  let sum = 0;
  for (const node of nodes) {
    const count = WORK[node.opType];
    if (count === undefined) continue;
    const inputs = node.input.map((name) => shapes.valueOf(name)?.dims ?? null);
    const macs = count(node, inputs, shapes.valueOf(node.output[0] ?? '')?.dims ?? null);
    if (macs === null || !Number.isFinite(macs)) return null;
    sum += macs;
  }
  return sum;
}

type Dims = readonly number[];
type Work = (
  node: NodeProto,
  inputs: readonly (Dims | null)[],
  output: Dims | null,
) => number | null;

/** Each element of the result sums over an axis of the first operand. */
const matrixProduct: Work = (node, [left], output) => {
  if (left == null || output === null) return null;
  return (
    elementsOf(output) * (left.at(intAttribute(node, 'transA', 0) === 0 ? -1 : -2) ?? Number.NaN)
  );
};

const WORK: Readonly<Record<string, Work>> = {
  MatMul: matrixProduct,
  FusedMatMul: matrixProduct,
  Gemm: matrixProduct,
  MatMulInteger: matrixProduct,
  MatMulIntegerToFloat: matrixProduct,
  DynamicQuantizeMatMul: matrixProduct,
  MatMulNBits: matrixProduct,
  Conv: (_, [, weight], output) => {
    if (weight == null || output === null) return null;
    return elementsOf(output) * elementsOf(weight.slice(1));
  },
  // Query times key, and weights times value: tokens × tokens × width each.
  MultiHeadAttention: (_, [query, key, value]) => {
    if (query?.length !== 3) return null;
    const keys = key?.[1] ?? query[1];
    return (
      elementsOf(query) * (keys as number) +
      (query[0] as number) * (query[1] as number) * (value?.[2] ?? query[2] ?? 0) * (keys as number)
    );
  },
  Attention: ({ domain }, [x, second, third]) => {
    if (x == null || second == null) return null;
    const [tokens, width] = [x.at(-2) as number, x.at(-1) as number];
    if (domain === 'com.microsoft') {
      const projected = elementsOf(x) * (second[1] as number);
      return projected + ((2 * (second[1] as number)) / 3) * elementsOf(x.slice(0, -1)) * tokens;
    }
    return (
      elementsOf(x) * (second.at(-2) as number) +
      (elementsOf(x) / width) * (third?.at(-1) ?? width) * (second.at(-2) as number)
    );
  },
};

function elementsOf(dims: Dims): number {
  return dims.reduce((product, size) => product * size, 1);
}

function mostFirst(counts: ReadonlyMap<string, number>): Record<string, number> {
  return Object.fromEntries([...counts].sort(([a, x], [b, y]) => y - x || a.localeCompare(b)));
}
