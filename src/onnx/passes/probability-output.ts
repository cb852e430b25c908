/**
 * The answer of a prepared graph: its first output becomes float32 `[batch, classes]`,
 * probabilities where it was logits.
 */
import { SetupError } from '../../errors.js';
import { int } from '../graph/build.js';
import { indexGraph, nodeLabel } from '../graph/graph.js';
import { DataType } from '../proto/model-proto.js';
import { float32Tensor, int64Tensor, typeNameOf } from '../proto/tensors.js';
import type { GraphRewrite, PrepareOptions } from './pass.js';
import { ValueChain } from './value-chain.js';

const FLOATS: readonly number[] = [
  DataType.FLOAT,
  DataType.FLOAT16,
  DataType.DOUBLE,
  DataType.BFLOAT16,
];

/** Throws SetupError if the output is not a classifier's. */
export function outputProbabilities(rewrite: GraphRewrite): void {
  const { graph, answer: value, declaredAnswer: declared, uniqueName } = rewrite;
  const options = rewrite.options.output;
  const known = rewrite.shapes().valueOf(value);
  // The exporter's declaration comes from a run of the model.
  const dims = declared?.dims ?? known?.dims ?? null;
  const dataType = declared?.dataType || (known?.dataType ?? DataType.FLOAT);
  const { activation, kind } = options;
  const problems = problemsOf(rewrite, value, dims, dataType, options);
  if (problems.length > 0) {
    throw new SetupError(
      'environment',
      problems.map((problem) => `output "${declared?.name ?? value}" ${problem}`),
    );
  }
  if (dims === null) {
    rewrite.note(`the shape of "${declared?.name ?? value}" is unknown: assuming [batch, classes]`);
  }
  const others = graph.output.filter((output) => output.name !== value);
  graph.output = [];
  const chain = new ValueChain(rewrite, value);
  if (dims?.length === 1) {
    const shape = int64Tensor(uniqueName(`${value}_shape`), [2], [-1, 1]);
    graph.initializer.push(shape);
    chain.append('Reshape', [chain.last, shape.name]);
  } else if (dims !== null && dims.length > 2)
    chain.append('Flatten', [chain.last], { axis: int(1) });
  if (dataType !== DataType.FLOAT) chain.append('Cast', [chain.last], { to: int(DataType.FLOAT) });
  if (kind === 'logits' && activation === 'softmax')
    chain.append('Softmax', [chain.last], { axis: int(1) });
  if (kind === 'logits' && activation === 'sigmoid') chain.append('Sigmoid', [chain.last]);
  const declaredClasses = dims?.length === 1 ? 1 : dims?.[1];
  let classes = typeof declaredClasses === 'number' ? declaredClasses : (known?.dims?.[1] ?? null);
  if (options.binaryClasses === 'two') {
    const one = float32Tensor(uniqueName('one'), [1], [1]);
    graph.initializer.push(one);
    const probability = chain.last;
    chain.append('Sub', [one.name, probability]);
    chain.append('Concat', [chain.last, probability], { axis: int(1) });
    classes = 2;
    rewrite.note('the probability p becomes two classes, (1 − p, p)');
  }
  chain.finish(rewrite.names.output, [rewrite.batch, classes]);
  graph.output.push(...others);
}

function problemsOf(
  { graph, batch }: GraphRewrite,
  value: string,
  dims: readonly (number | string | null)[] | null,
  dataType: number,
  { activation, kind, binaryClasses }: PrepareOptions['output'],
): string[] {
  const problems: string[] = [];
  if (!FLOATS.includes(dataType)) {
    problems.push(
      `is ${typeNameOf(dataType)}: give an output with one floating-point number per class`,
    );
  }
  const shape = dims?.map((size) => size ?? '?').join(', ');
  const index = indexGraph(graph);
  const last = index.producerOf(value);
  if (
    kind === 'logits' &&
    (last?.opType === 'Softmax' || (last?.opType === 'Sigmoid' && activation !== 'none'))
  ) {
    problems.push(
      `is made by node ${nodeLabel(last)}, so its values are probabilities and not logits`,
    );
  }
  if (dims === null) return problems;
  const [first, classes] = dims;
  const images = typeof batch === 'number' ? batch : 1;
  if (
    dims.length === 0 ||
    dims.slice(2).some((size) => size !== 1) ||
    (dims.length === 1 && typeof first === 'number' && first !== images)
  ) {
    problems.push(`is [${shape}], but a classifier's output is [batch, classes]`);
  } else if (dims.length === 1 && activation === 'softmax' && kind === 'logits') {
    problems.push(
      `is [batch], one number per image, which softmax would turn into 1: its activation must be sigmoid`,
    );
  }
  if (binaryClasses === 'two' && dims.length > 1 && classes !== 1) {
    problems.push(`is [${shape}], which can't become two classes: only one probability can`);
  }
  return problems;
}
