/**
 * Follows, node by node, the axis along which the images of a batch lie.
 *
 * "Along axis a" means that the batch is the outermost part of axis a: in [8 × 197, 768] as in [8,
 * 197, 768] it lies along axis 0. Every operator that ViT exports consist of has a rule. A rule
 * answers null where the images would mix; an operator without a rule is not guessed at (ONNX
 * operator specification, opsets 7 to 23).
 */
import { type GraphIndex, intAttribute, intsAttribute } from '../graph/graph.js';
import type { NodeProto } from '../proto/model-proto.js';
import { intsOf } from '../proto/tensors.js';

/** What a rule sees of a node. Dims have the batch size that the graph was exported with. */
export interface Place {
  readonly node: NodeProto;
  readonly index: GraphIndex;
  /** By input: the axis of the batch, undefined for a value without one. */
  readonly axes: readonly (number | undefined)[];
  readonly inputDims: readonly (readonly number[])[];
  readonly outputDims: readonly number[];
}

/** The axis in the outputs; null: unknown, or the images mix. */
type Rule = (place: Place) => number | null;

/**
 * Whole numbers that a node takes as an attribute or, in later opsets, as an input; undefined where
 * they are not constant.
 */
export function constantInts(
  { node, index }: Place,
  attribute: string,
  input: number,
): number[] | undefined {
  const given = intsAttribute(node, attribute);
  if (given !== undefined) return given;
  const constant = index.constantOf(node.input[input] ?? '');
  return constant === undefined ? undefined : intsOf(constant);
}

function normalized(axis: number, rank: number): number {
  return axis < 0 ? axis + rank : axis;
}

/** The data is the first input, and nothing else has a batch. */
function dataAxis({ axes }: Place): number | null {
  return axes.slice(1).every((axis) => axis === undefined) ? (axes[0] ?? null) : null;
}

const kept: Rule = dataAxis;

/** Broadcasting aligns axes from the right. */
const broadcast: Rule = ({ axes, inputDims, outputDims }) => {
  const fromRight = axes.flatMap((axis, at) =>
    axis === undefined ? [] : [(inputDims[at]?.length ?? 0) - axis],
  );
  const [first] = fromRight;
  if (first === undefined || fromRight.some((other) => other !== first)) return null;
  const spread = inputDims.every(
    (dims, at) => axes[at] !== undefined || (dims.at(-first) ?? 1) === 1 || first > dims.length,
  );
  return spread ? outputDims.length - first : null;
};

const matrixProduct: Rule = (place) => {
  const { axes, inputDims } = place;
  const [left, right] = inputDims.map((dims, at) => dims.length - (axes[at] ?? Number.NaN));
  // Counted from the right, 1 is a matrix's columns and 2 its rows. Images may lie along the rows
  // of the left matrix, if they are in that one only.
  if (right !== undefined && right <= 2) return null;
  if (left === 1 || (left === 2 && axes[1] !== undefined)) return null;
  if (left === 2) return place.outputDims.length - 2;
  return broadcast(place);
};

const outermost: Rule = ({ axes }) =>
  axes.every((axis) => axis === undefined || axis === 0) ? 0 : null;

const alongOther =
  (whenAbsent: number): Rule =>
  (place) => {
    const axis = dataAxis(place);
    const chosen = normalized(
      intAttribute(place.node, 'axis', whenAbsent),
      place.inputDims[0]?.length ?? 0,
    );
    return axis === chosen ? null : axis;
  };

const transpose: Rule = ({ node, axes, inputDims }) => {
  const rank = inputDims[0]?.length ?? 0;
  const perm =
    intsAttribute(node, 'perm') ?? Array.from({ length: rank }, (_, at) => rank - 1 - at);
  return perm.indexOf(axes[0] ?? -1);
};

const gather: Rule = (place) => {
  const axis = dataAxis(place);
  const chosen = normalized(intAttribute(place.node, 'axis', 0), place.inputDims[0]?.length ?? 0);
  if (axis === null || chosen === axis) return null;
  return chosen < axis ? axis - 1 + (place.inputDims[1]?.length ?? 0) : axis;
};

const slice: Rule = (place) => {
  const axis = dataAxis(place);
  const starts = constantInts(place, 'starts', 1);
  const ends = constantInts(place, 'ends', 2);
  if (axis === null || starts === undefined || ends === undefined) return null;
  const rank = place.inputDims[0]?.length ?? 0;
  const axes = constantInts(place, 'axes', 3) ?? starts.map((_, at) => at);
  const at = axes.findIndex((one) => normalized(one, rank) === axis);
  if (at < 0) return axis;
  const step = place.node.input[4] ? constantInts(place, 'steps', 4)?.[at] : 1;
  // 2^31 - 1 and more means "to the end", for any number of images.
  return starts[at] === 0 && (ends[at] ?? 0) >= 2 ** 31 - 1 && step === 1 ? axis : null;
};

/** Removed axes. Without a list of them, the sizes decide which ones. */
const removing =
  (keepAttribute?: string): Rule =>
  (place) => {
    const axis = dataAxis(place);
    const rank = place.inputDims[0]?.length ?? 0;
    const axes = constantInts(place, 'axes', 1)?.map((one) => normalized(one, rank));
    if (axis === null || axes === undefined || axes.length === 0 || axes.includes(axis))
      return null;
    if (keepAttribute !== undefined && intAttribute(place.node, keepAttribute, 1) === 1)
      return axis;
    return axis - axes.filter((one) => one < axis).length;
  };

const unsqueeze: Rule = (place) => {
  const axis = dataAxis(place);
  const rank = place.outputDims.length;
  const axes = constantInts(place, 'axes', 1)?.map((one) => normalized(one, rank));
  if (axis === null || axes === undefined) return null;
  return (
    Array.from({ length: rank }, (_, at) => at).filter((at) => !axes.includes(at))[axis] ?? null
  );
};

const flatten: Rule = (place) => {
  const chosen = intAttribute(place.node, 'axis', 1);
  return dataAxis(place) === 0 && chosen > 0 ? 0 : null;
};

const pad: Rule = (place) => {
  const axis = dataAxis(place);
  const pads = constantInts(place, 'pads', 1);
  const rank = place.inputDims[0]?.length ?? 0;
  if (axis === null || pads?.length !== 2 * rank) return null;
  return pads[axis] === 0 && pads[axis + rank] === 0 ? axis : null;
};

/**
 * The batch continues along the axis at which the shapes begin to differ, which must be its own.
 */
const reshape: Rule = ({ axes, inputDims, outputDims }) => {
  const axis = axes[0];
  if (axis === undefined || axes[1] !== undefined) return null;
  const isPrefixKept = Array.from({ length: axis }, (_, at) => at).every(
    (at) => inputDims[0]?.[at] === outputDims[at],
  );
  return isPrefixKept && axis < outputDims.length ? axis : null;
};

function all(names: string, rule: Rule): [string, Rule][] {
  return names.split(' ').map((name) => [name, rule]);
}

const RULES: ReadonlyMap<string, Rule> = new Map([
  ...all(
    'Identity Cast Erf Sqrt Exp Log Neg Abs Tanh Sigmoid Relu Gelu QuickGelu FastGelu ' +
      'Reciprocal Softplus',
    broadcast,
  ),
  ...all(
    'HardSigmoid HardSwish Elu LeakyRelu Clip Dropout IsNaN Add Sub Mul Div Pow Min Max Where ' +
      'BiasGelu',
    broadcast,
  ),
  ...all('QuantizeLinear DequantizeLinear DynamicQuantizeLinear', kept),
  ...all('MatMul MatMulInteger FusedMatMul', matrixProduct),
  ...all('Gemm Conv GlobalAveragePool AveragePool MaxPool BatchNormalization', outermost),
  ...all('MultiHeadAttention Attention SkipLayerNormalization', outermost),
  ...all('Softmax LayerNormalization SimplifiedLayerNormalization', alongOther(-1)),
  ...all('Split', alongOther(0)),
  ...all('ReduceMean ReduceSum ReduceMax ReduceL2', removing('keepdims')),
  ['Transpose', transpose],
  ['Gather', gather],
  ['Slice', slice],
  ['Squeeze', removing()],
  ['Unsqueeze', unsqueeze],
  ['Flatten', flatten],
  ['Pad', pad],
  ['Reshape', reshape],
]);

/** The axis of the batch in what a node makes; null if it is unknown or the images mix. */
export function batchAxisAfter(place: Place): number | null {
  const axis = RULES.get(place.node.opType)?.(place) ?? null;
  return axis === null || axis < 0 ? null : axis;
}
