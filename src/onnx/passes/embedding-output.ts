/**
 * Finds the representation under the head: the input of a classifier's last linear layer (arXiv
 * 2010.11929 section 3.1: the class token after the final LayerNorm; pooled patches in other
 * designs).
 *
 * The search goes backwards from the output, past nodes that only scale, shift or reshape the
 * answer. A head that is not one linear layer (two averaged heads, for example) has no single
 * representation, so none is found.
 */
import { int } from '../graph/build.js';
import { type GraphIndex, indexGraph, intAttribute, intsAttribute } from '../graph/graph.js';
import { DataType, type NodeProto, type TensorProto } from '../proto/model-proto.js';
import { elementCountOf, int64Tensor } from '../proto/tensors.js';
import type { GraphRewrite } from './pass.js';
import { ValueChain } from './value-chain.js';

interface Embedding {
  /** The value that the classifier takes, `[batch, size]` apart from axes of size 1. */
  readonly value: string;
  readonly size: number;
  /** DataType of the value. */
  readonly dataType: number;
  readonly classCount: number;
  /** Whether the value is known to be `[batch, size]`; otherwise its shape must be looked up. */
  readonly isMatrix: boolean;
}

/** These may also select one of many vectors, so the value behind them is checked. */
const RESHAPING = new Set(['Squeeze', 'Unsqueeze', 'Reshape', 'Flatten', 'Gather', 'Slice']);
const PASSING = new Set(['Softmax', 'Sigmoid', 'Cast', 'Identity', ...RESHAPING]);
const AFFINE = new Set(['Add', 'Sub', 'Mul', 'Div']);

/**
 * Adds float32 `[batch, size]` as an output if the representation is found and its shape is sound;
 * otherwise a note says why not.
 */
export function outputEmbedding(rewrite: GraphRewrite): void {
  const { graph, answer, declaredAnswer, options, names, batch, uniqueName } = rewrite;
  if (options.embedding === 'none') return;
  const without = (reason: string) => rewrite.note(`no embedding: ${reason}`);
  const found = findEmbedding(indexGraph(graph), answer, declaredAnswer?.dims?.length);
  if (typeof found === 'string') {
    without(found);
    return;
  }
  const { value, size, dataType, isMatrix } = found;
  const images = typeof batch === 'number' ? batch : 1;
  const dims = isMatrix ? [images, size] : (rewrite.shapes().valueOf(value)?.dims ?? null);
  if (dims === null) {
    without(`the shape of "${value}" before the last linear layer is unknown`);
    return;
  }
  if (elementCountOf(dims) !== images * size) {
    without(`"${value}" before the last linear layer is [${dims}], not one vector per image`);
    return;
  }
  const chain = new ValueChain(rewrite, value);
  if (dims.length !== 2) {
    const shape = int64Tensor(uniqueName(`${value}_shape`), [2], [-1, size]);
    graph.initializer.push(shape);
    chain.append('Reshape', [chain.last, shape.name]);
  }
  if (dataType !== DataType.FLOAT) chain.append('Cast', [chain.last], { to: int(DataType.FLOAT) });
  chain.finish(names.embedding, [batch, size]);
  rewrite.embeddingSize = size;
}

/**
 * The embedding of the classifier that makes `output`, or why there is none. `outputRank`: if
 * known.
 */
function findEmbedding(
  index: GraphIndex,
  output: string,
  outputRank: number | undefined,
): Embedding | string {
  let value = output;
  let isMatrix = outputRank === 2;
  for (;;) {
    const node = index.producerOf(value);
    if (node === undefined) return 'no linear layer makes the output';
    if (PASSING.has(node.opType)) {
      if (RESHAPING.has(node.opType)) isMatrix = false;
      value = node.input[0] ?? '';
    } else if (AFFINE.has(node.opType)) {
      const next = variableInput(index, node);
      if (next === undefined) return `${node.opType} joins two branches before the output`;
      value = next;
    } else return embeddingOf(index, node, isMatrix);
  }
}

/**
 * The one input that is not constant. A dynamic int8 product is scaled by a computed value; the
 * wanted input is the one that was cast.
 */
function variableInput(index: GraphIndex, node: NodeProto): string | undefined {
  const variable = node.input.filter((input) => index.constantOf(input) === undefined);
  if (variable.length === 1) return variable[0];
  return variable.find((input) => {
    const cast = index.producerOf(input);
    return (
      cast?.opType === 'Cast' && index.producerOf(cast.input[0] ?? '')?.opType === 'MatMulInteger'
    );
  });
}

function embeddingOf(index: GraphIndex, node: NodeProto, isMatrix: boolean): Embedding | string {
  const [value = '', weightsName = ''] = node.input;
  const weights = weightsOf(index, weightsName);
  const noLinearLayer = `the output is made by ${node.opType}, which is not a supported linear layer`;
  if (weights?.dims.length !== 2) return noLinearLayer;
  const transposed = node.opType === 'Gemm' && intAttribute(node, 'transB', 0) === 1;
  const [size = 0, classCount = 0] = transposed ? weights.dims.toReversed() : weights.dims;
  const { dataType } = weights;
  switch (node.opType) {
    case 'Gemm':
      if (intAttribute(node, 'transA', 0) !== 0) return noLinearLayer;
      return { value, size, classCount, dataType, isMatrix: true };
    case 'MatMul':
      return { value, size, classCount, dataType, isMatrix };
    case 'MatMulInteger': {
      const quantize = index.producerOf(value);
      if (quantize?.opType !== 'DynamicQuantizeLinear') return noLinearLayer;
      return {
        value: quantize.input[0] ?? '',
        size,
        classCount,
        dataType: DataType.FLOAT,
        isMatrix,
      };
    }
    default:
      return noLinearLayer;
  }
}

/**
 * Dims and floating-point type of constant weights, also behind Transpose, Cast and
 * DequantizeLinear.
 */
function weightsOf(
  index: GraphIndex,
  value: string,
): Pick<TensorProto, 'dims' | 'dataType'> | undefined {
  const constant = index.constantOf(value);
  if (constant !== undefined) return constant;
  const node = index.producerOf(value);
  if (node === undefined || !['Transpose', 'Cast', 'DequantizeLinear'].includes(node.opType))
    return undefined;
  const behind = weightsOf(index, node.input[0] ?? '');
  if (behind === undefined) return undefined;
  if (node.opType === 'Cast') return { dims: behind.dims, dataType: intAttribute(node, 'to', 0) };
  if (node.opType === 'DequantizeLinear') {
    return {
      dims: behind.dims,
      dataType: index.constantOf(node.input[1] ?? '')?.dataType ?? DataType.FLOAT,
    };
  }
  const perm =
    intsAttribute(node, 'perm') ?? behind.dims.map((_, axis) => behind.dims.length - 1 - axis);
  return { dims: perm.map((axis) => behind.dims[axis] ?? 0), dataType: behind.dataType };
}
